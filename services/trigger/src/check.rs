//! Every rule of a job document: the model's and those that need cron, CEL and templates.

use crate::expr::Budget;
use crate::predicate::Predicate;
use crate::schedule::Schedule;
use crate::template;
use orrery_model::job::{Interval, JobSpec, Problem, StartFrom, Trigger, TriggerKind};
use orrery_model::limits::{ARGUMENTS, TRIGGERS_PER_JOB};
use orrery_model::time::Timestamp;
use orrery_model::zone;

/// Every rule that the document breaks; none: it can be taken. `now` is when it is taken: a cron that never fires after it is
/// refused.
pub fn check_job(spec: &JobSpec, now: Timestamp) -> Vec<Problem> {
    check_within(spec, now, &mut Budget::default())
}

/// The same; the budget pays for what is evaluated.
pub(crate) fn check_within(spec: &JobSpec, now: Timestamp, budget: &mut Budget) -> Vec<Problem> {
    let mut problems = orrery_model::job::check(spec);
    for (i, trigger) in spec.triggers.iter().enumerate().take(TRIGGERS_PER_JOB) {
        let place = format!("triggers[{i}].");
        let found = [check_schedule(trigger, now), check_predicate(trigger), check_start(trigger, now)].into_iter().filter_map(Result::err);
        let found = found.map(|p| Problem { field: format!("{place}{}", p.field), ..p });
        let known: Vec<String> = problems.iter().map(|p| p.field.clone()).collect();
        problems.extend(found.filter(|p| !known.contains(&p.field)));
    }
    let arguments = spec.command.iter().enumerate().take(ARGUMENTS);
    problems.extend(arguments.filter_map(|(i, argument)| template::check(&format!("command[{i}]"), argument, budget).err()));
    problems.extend(spec.shell.as_deref().and_then(|script| template::check_shell(script).err()));
    problems
}

/// What is taken, but probably not meant: a trigger that never fires, though it may have under an earlier definition, a step that does
/// not do what it seems to, a zone that somebody else would have to guess. `defined_at` is when the document was taken.
pub fn warnings(spec: &JobSpec, defined_at: Timestamp) -> Vec<Problem> {
    let triggers = spec.triggers.iter().enumerate().take(TRIGGERS_PER_JOB);
    let warned = |(i, trigger)| {
        let found = [never(trigger, defined_at), uneven(trigger), assumed(trigger)].into_iter().flatten();
        found.map(move |p| Problem { field: format!("triggers[{i}].{}", p.field), ..p })
    };
    triggers.flat_map(warned).collect()
}

fn never(trigger: &Trigger, defined_at: Timestamp) -> Option<Problem> {
    match trigger.kind()? {
        TriggerKind::At(time) if time < defined_at => {
            Some(Problem::new("at", format!("{time} was past at {defined_at}, when it was defined: it does not run")))
        }
        TriggerKind::Interval(text) => {
            let schedule = Schedule::compile(trigger, defined_at).ok().flatten()?;
            // An interval without a start begins with its definition.
            if schedule.next_after(Timestamp(defined_at.0 - 1)).is_some() {
                return None;
            }
            let why = match Interval::parse(text).ok()?.count {
                Some(0) => "repeats 0 times".to_owned(),
                _ => format!("ended before {defined_at}, when it was defined"),
            };
            let hint = "write R without a number to repeat without end, and a later start or none";
            Some(Problem::new("interval", format!("{text:?} {why}: it does not run")).hint(hint))
        }
        _ => None,
    }
}

fn uneven(trigger: &Trigger) -> Option<Problem> {
    let schedule = Schedule::compile(trigger, Timestamp(0)).ok().flatten()?;
    schedule.warning().map(|what| Problem::new("cron", what))
}

fn assumed(trigger: &Trigger) -> Option<Problem> {
    if let Some(without) = trigger.zone.as_deref().and_then(zone::without_summer_time) {
        return Some(Problem::new("zone", without));
    }
    let start = trigger.interval.as_deref().and_then(|text| Interval::parse(text).ok())?.start?;
    let unsaid = start.offset_s.is_none() && trigger.zone.is_none();
    let message = || format!("its start {} is read as UTC, as nothing says otherwise", start.wall.format("%Y-%m-%dT%H:%M:%S"));
    unsaid.then(|| Problem::new("interval", message()).hint("write Z or an offset behind it, or zone: beside it"))
}

fn check_schedule(trigger: &Trigger, now: Timestamp) -> Result<(), Problem> {
    let Some(schedule) = Schedule::compile(trigger, now)? else { return Ok(()) };
    match &trigger.cron {
        Some(cron) if schedule.next_after(now).is_none() => {
            let hint = "look at its day, month and year: \"0 0 30 2 *\" names the 30th of February";
            Err(Problem::new("cron", format!("{cron:?} never fires after {now}")).hint(hint))
        }
        _ => Ok(()),
    }
}

fn check_predicate(trigger: &Trigger) -> Result<(), Problem> {
    match &trigger.when {
        Some(source) if trigger.event.is_some() => Predicate::compile(source).map(drop),
        _ => Ok(()),
    }
}

/// A start is a place in the log, so its time has come.
fn check_start(trigger: &Trigger, now: Timestamp) -> Result<(), Problem> {
    match trigger.from {
        Some(StartFrom::At(time)) if time > now => {
            let hint = "leave it out to begin with the next event";
            Err(Problem::new("from", format!("{time} is still to come")).hint(hint))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use orrery_model::job::{Format, read_documents};

    fn check(yaml: &str, expected: Expect) {
        let spec = read_documents(yaml, Format::Yaml).expect("the types are right").remove(0);
        let now = Timestamp::parse("2026-11-21T00:00:00Z").expect("a time");
        expected.assert_eq(&check_job(&spec, now).iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn every_broken_rule_is_told() {
        check(
            "name: a\ncommand: [x, '{{ event.data.id }}']\ntriggers: [{cron: '0 2 * * *', zone: Europe/Paris}, {event: t, when: data.n > 1}]",
            expect![""],
        );
        check(
            "name: a\ncommand: [x, '{{ event.data.id', '{% if x %}{{ x }}', '{% raw']\ntriggers:
- {cron: 0 0 30 2 *}
- {cron: 0 2 * *}
- {cron: '@daily', zone: Europe/Pariss}
- {cron: '@daily', event: t}
- {event: t, when: data.amount >}
- {interval: PT1H}
- {cron: '0 0 0 1 1 ? 2020', dialect: quartz}
- {at: '2020-01-01T00:00:00Z'}",
            expect![[r#"
                triggers[2].zone: "Europe/Pariss" is not a time zone of the IANA database 2026f; did you mean Europe/Paris?
                triggers[3]: it has cron and event at once; write each as a trigger of its own
                triggers[5].interval: "PT1H" is not a repeating interval: it does not begin with R; write R/start/period, for example R/2026-11-21T00:00:00Z/PT1H
                triggers[0].cron: "0 0 30 2 *" never fires after 2026-11-21T00:00:00Z; look at its day, month and year: "0 0 30 2 *" names the 30th of February
                triggers[1].cron: "0 2 * *" is not a cron expression of the unix dialect (5 fields are wanted, not 4); write minute, hour, day of month, month, day of week: "0 2 * * *"; for seconds set dialect: quartz
                triggers[4].when: it does not compile: line 1, column 14: mismatched input '<EOF>'; write for example data.amount > 100 && key != ""
                triggers[6].cron: "0 0 0 1 1 ? 2020" never fires after 2026-11-21T00:00:00Z; look at its day, month and year: "0 0 30 2 *" names the 30th of February
                command[1]: "{{ event.data.id" does not render: unexpected end of input, expected end of variable block; write for example {{ event.data.id }}; braces that are meant as such: {{ "{{" }}
                command[2]: beside {{ … }}, neither {% nor {# is taken; braces that are meant as such: {{ "{" }}%"#]],
        );
        check(
            "name: a\nresources: {cpus: -1}\nshell: 'echo {{ event.data.id }}'",
            expect![[r#"
            resources.cpus: -1 is out of range; allowed is more than 0 and at most 100000
            shell: a script is no template: data in it would be run as code; read the event with jq from "$ORRERY_EVENT_FILE", use $ORRERY_RUN and its like, or write a command"#]],
        );
        check("name: a\nshell: \"docker ps --format '{{.Names}} {{ json . }}'\"", expect![""]);
    }

    #[test]
    fn what_is_probably_not_meant_is_told() {
        let yaml = "name: a\ncommand: [x]\ntriggers:
- {cron: '*/90 * * * *'}
- {cron: '*/15 * * * *'}
- {interval: R0//PT1H}
- {interval: R1//PT1H}
- {interval: R5/2026-01-01T00:00:00Z/PT1H}
- {interval: R/2020-01-01T00:00:00Z/PT1H}
- {at: '2020-01-01T00:00:00Z'}
- {at: '2030-01-01T00:00:00Z'}
- {event: t}
- {cron: '@daily', zone: EST}
- {interval: R/2030-01-01T02:00:00/P1D}
- {interval: R/2030-01-01T02:00:00/P1D, zone: Europe/Paris}";
        let spec = read_documents(yaml, Format::Yaml).expect("the types are right").remove(0);
        let now = Timestamp::parse("2026-11-21T00:00:00Z").expect("a time");
        assert_eq!(check_job(&spec, now), []);
        expect![[r#"
            triggers[0].cron: */90 begins anew with each hour and names minute 0; for every 90 minutes write interval: R//PT1H30M
            triggers[2].interval: "R0//PT1H" repeats 0 times: it does not run; write R without a number to repeat without end, and a later start or none
            triggers[4].interval: "R5/2026-01-01T00:00:00Z/PT1H" ended before 2026-11-21T00:00:00Z, when it was defined: it does not run; write R without a number to repeat without end, and a later start or none
            triggers[6].at: 2020-01-01T00:00:00Z was past at 2026-11-21T00:00:00Z, when it was defined: it does not run
            triggers[9].zone: clocks of EST have no summer time; write America/New_York where they have
            triggers[10].interval: its start 2030-01-01T02:00:00 is read as UTC, as nothing says otherwise; write Z or an offset behind it, or zone: beside it"#]].assert_eq(&warnings(&spec, now).iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"));
    }
}
