//! The rules a document must keep beyond its types: everything that is known without cron, CEL and templates, whose rules
//! `orrery_trigger::check` adds.
//!
//! Every broken rule is told, not only the first, each with the field's path, the value, and what to write instead.

use super::{Constraint, Interval, JobSpec, Period, Span, Trigger, TriggerKind};
use crate::limits::{ARGUMENT_BYTES, ARGUMENTS, EXPRESSION_BYTES, JOB_BYTES, TASK_BYTES, TRIGGERS_PER_JOB};
use crate::time::format_span_ms;
use crate::topics::check_topic_name;
use crate::zone::{self, Zone};
use std::collections::BTreeSet;

/// One rule that a document breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the field: `triggers[1].cron`.
    pub field: String,
    /// What is wrong, with the value.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// Every rule that a document breaks, in the order of its fields.
pub fn check(spec: &JobSpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    let bytes = spec.to_json().len();
    if bytes > JOB_BYTES {
        problems.push(Problem::new("", format!("the document has {bytes} bytes as JSON, allowed are {JOB_BYTES}")));
    }
    if spec.triggers.len() > TRIGGERS_PER_JOB {
        let message = format!("there are {}, allowed are {TRIGGERS_PER_JOB}", spec.triggers.len());
        problems.push(Problem::new("triggers", message).hint("divide the job, or use fewer, wider triggers"));
    }
    for (i, trigger) in spec.triggers.iter().enumerate().take(TRIGGERS_PER_JOB) {
        check_trigger(spec, trigger, &mut |field, message, hint| {
            let dot = if field.is_empty() { "" } else { "." };
            problems.push(Problem { field: format!("triggers[{i}]{dot}{field}"), message, hint });
        });
    }
    check_starts(spec, &mut problems);
    check_command(spec, &mut problems);
    check_numbers(spec, &mut problems);
    check_constraints(spec, &mut problems);
    check_environment(spec, &mut problems);
    problems
}

/// The known word that was probably meant.
pub fn nearest<'w>(found: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let lower: String = found.chars().take(100).collect::<String>().to_ascii_lowercase();
    let distance = |word: &str| strsim::damerau_levenshtein(&lower, &word.to_ascii_lowercase());
    let (steps, word) = known.map(|word| (distance(word), word)).min()?;
    (steps <= 2.max(lower.len() / 3) && steps < word.len().max(2)).then_some(word)
}

/// Largest amounts that a document may ask for: beyond any machine, and far from overflow when thousands are summed.
const CPUS_MAX: i64 = 100_000 * 1000;
const BYTES_MAX: i64 = 1 << 50;
const RETRIES_MAX: i32 = 1_000;
const CONSTRAINTS_MAX: usize = 100;
/// Names of resource limits, as setrlimit has them.
pub const LIMIT_NAMES: [&str; 7] = ["nofile", "nproc", "core", "fsize", "as", "stack", "cpu"];

/// A hint that names the known word that was probably meant.
pub fn did_you_mean<'w>(found: &str, known: impl Iterator<Item = &'w str>) -> Option<String> {
    nearest(found, known).map(|word| format!("did you mean {word}?"))
}

impl Problem {
    /// A problem of this field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into(), hint: None }
    }
    /// The same with a remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let colon = if self.field.is_empty() { "" } else { ": " };
        write!(f, "{}{colon}{}", self.field, self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

/// Takes field, message and remedy of one broken rule.
type Report<'r> = &'r mut dyn FnMut(&str, String, Option<String>);

fn check_trigger(spec: &JobSpec, trigger: &Trigger, report: Report<'_>) {
    let kinds = [
        ("cron", trigger.cron.is_some()),
        ("interval", trigger.interval.is_some()),
        ("at", trigger.at.is_some()),
        ("event", trigger.event.is_some()),
        ("after", !trigger.after.is_empty()),
    ];
    let set: Vec<&str> = kinds.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
    let Some(kind) = trigger.kind() else {
        let (message, hint) = match set.as_slice() {
            [] => ("it says nothing about when".to_owned(), "write one of cron, interval, at, event, after".to_owned()),
            several => (format!("it has {} at once", several.join(" and ")), "write each as a trigger of its own".to_owned()),
        };
        return report("", message, Some(hint));
    };
    let companions: [(&str, bool, &[&str]); 6] = [
        ("dialect", trigger.dialect.is_some(), &["cron"]),
        ("zone", trigger.zone.is_some(), &["cron", "interval"]),
        ("floor", trigger.floor.is_some(), &["interval"]),
        ("when", trigger.when.is_some(), &["event"]),
        ("from", trigger.from.is_some(), &["event"]),
        ("on", trigger.on.is_some(), &["after"]),
    ];
    for (name, given, owners) in companions {
        if given && !owners.iter().any(|owner| set.contains(owner)) {
            let message = format!("it belongs to {}, and this trigger is {}", owners.join(" and "), set.join(""));
            report(name, message, Some(format!("leave {name} out")));
        }
    }
    match kind {
        TriggerKind::Cron(_) => check_zone(trigger.zone.as_deref(), report),
        TriggerKind::Interval(text) => {
            check_zone(trigger.zone.as_deref(), report);
            match Interval::parse(text) {
                Ok(interval) => check_floor(interval.period, trigger.floor, report),
                Err(e) => report("interval", e.to_string(), None),
            }
        }
        TriggerKind::At(_) => {}
        TriggerKind::Event(topic) => {
            if let Err(message) = check_topic_name(topic) {
                report("event", message, None);
            }
            check_expression(trigger.when.as_deref(), report);
        }
        TriggerKind::After(parents) => check_parents(spec, parents, report),
    }
}

/// A job reads each partition of a topic once, so its triggers begin in one place.
fn check_starts(spec: &JobSpec, problems: &mut Vec<Problem>) {
    for (i, trigger) in spec.triggers.iter().enumerate().take(TRIGGERS_PER_JOB) {
        let from = trigger.from.unwrap_or_default();
        let other = |earlier: &&Trigger| earlier.event == trigger.event && earlier.from.unwrap_or_default() != from;
        if let (Some(topic), Some(earlier)) = (&trigger.event, spec.triggers[..i].iter().find(other)) {
            let before = earlier.from.unwrap_or_default();
            let message = format!("{from}, but another trigger of the job reads {topic} from {before}");
            problems.push(Problem::new(format!("triggers[{i}].from"), message).hint("write the same in both, or divide the job"));
        }
    }
}

fn check_zone(zone: Option<&str>, report: Report<'_>) {
    let Some(name) = zone.filter(|name| Zone::named(name).is_none()) else { return };
    report("zone", format!("{name:?} is not a time zone of the IANA database {}", zone::release()), Some(zone::hint(name)));
}

/// Shortest period that is taken without a word about it.
const FLOOR: Span = Span(1_000);

fn check_floor(period: Period, floor: Option<Span>, report: Report<'_>) {
    let Span(floor_ms) = floor.unwrap_or(FLOOR);
    if !(1..=FLOOR.0).contains(&floor_ms) {
        report("floor", format!("{} is out of range", format_span_ms(floor_ms)), Some("allowed is 1ms to 1s, which is the default".into()));
    } else if (period.months, period.days) == (0, 0) && period.ms < floor_ms {
        let message = format!("a period of {} is shorter than {}", format_span_ms(period.ms), format_span_ms(floor_ms));
        let hint = format!("write a longer one, or if it is meant, floor: {} beside it", format_span_ms(period.ms));
        report("interval", message, Some(hint));
    }
}

fn check_expression(when: Option<&str>, report: Report<'_>) {
    let Some(when) = when else { return };
    if when.trim().is_empty() {
        report("when", "it is empty".into(), Some("leave it out to take every event".into()));
    }
    if when.len() > EXPRESSION_BYTES {
        let hint = "let the producer set a header, and compare that".to_owned();
        report("when", format!("the expression has {} bytes, allowed are {EXPRESSION_BYTES}", when.len()), Some(hint));
    }
}

fn check_parents(spec: &JobSpec, parents: &[crate::id::JobName], report: Report<'_>) {
    let mut seen = BTreeSet::new();
    if parents.len() > TRIGGERS_PER_JOB {
        report("after", format!("it names {} jobs, allowed are {TRIGGERS_PER_JOB}", parents.len()), None);
    }
    for parent in parents {
        if *parent == spec.name {
            report("after", format!("the job would run after itself ({parent})"), Some("use an interval for work that repeats".into()));
        } else if !seen.insert(parent) {
            report("after", format!("{parent} is named twice"), None);
        }
    }
}

fn check_command(spec: &JobSpec, problems: &mut Vec<Problem>) {
    let either = "write command: [program, argument, …] or shell: \"script\"";
    match (&spec.shell, spec.command.is_empty()) {
        (None, true) => problems.push(Problem::new("command", "there is nothing to run").hint(either)),
        (Some(_), false) => problems.push(Problem::new("shell", "there is a command as well").hint(either)),
        (Some(script), true) if script.trim().is_empty() => problems.push(Problem::new("shell", "it is empty").hint(either)),
        _ => {}
    }
    if spec.command.first().is_some_and(|program| program.trim().is_empty()) {
        problems.push(Problem::new("command[0]", "the program's name is empty"));
    }
    if spec.command.len() > ARGUMENTS {
        let message = format!("it has {} arguments, allowed are {ARGUMENTS}", spec.command.len());
        problems.push(Problem::new("command", message).hint("put them into a file"));
    }
    for (i, argument) in spec.command.iter().enumerate().take(ARGUMENTS) {
        check_text(&format!("command[{i}]"), argument, problems);
    }
    if let Some(script) = &spec.shell {
        check_text("shell", script, problems);
    }
    let bytes = spec.command.iter().chain(&spec.shell).map(String::len).sum::<usize>()
        + spec.env.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    if bytes > TASK_BYTES {
        let message = format!("command and env have {bytes} bytes together, allowed are {TASK_BYTES}");
        problems.push(Problem::new("command", message).hint("put it into a file"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if let Some(user) = spec.user.as_ref().filter(|u| u.is_empty() || u.len() > 64 || u.starts_with('-') || !u.chars().all(plain)) {
        problems.push(Problem::new("user", format!("{user:?} is not a user's name")));
    }
}

/// What Linux takes as one argument or variable: at most 128 KiB, without a zero byte.
fn check_text(field: &str, text: &str, problems: &mut Vec<Problem>) {
    if text.len() >= ARGUMENT_BYTES {
        let message = format!("it has {} bytes, allowed are {}", text.len(), ARGUMENT_BYTES - 1);
        problems.push(Problem::new(field, message).hint("put it into a file"));
    }
    if text.contains('\0') {
        problems.push(Problem::new(field, "it holds a zero byte, which no process takes"));
    }
}

fn check_numbers(spec: &JobSpec, problems: &mut Vec<Problem>) {
    let needs = &spec.resources;
    let amounts = [
        ("resources.cpus", needs.cpus.to_string(), needs.cpus.0 > 0 && needs.cpus.0 <= CPUS_MAX, "more than 0 and at most 100000"),
        (
            "resources.memory",
            needs.memory.to_string(),
            needs.memory.0 > 0 && needs.memory.0 <= BYTES_MAX,
            "more than 0 and at most 1024TiB",
        ),
        ("resources.disk", needs.disk.to_string(), (0..=BYTES_MAX).contains(&needs.disk.0), "0 to 1024TiB"),
        ("priority", spec.priority.to_string(), (0..=100).contains(&spec.priority), "0 to 100, higher first"),
        ("retries.max", spec.retries.max.to_string(), (0..=RETRIES_MAX).contains(&spec.retries.max), "0 to 1000"),
        ("retries.on_lost.max", spec.retries.on_lost.max.to_string(), (0..=RETRIES_MAX).contains(&spec.retries.on_lost.max), "0 to 1000"),
    ];
    for (field, value, good, allowed) in amounts {
        if !good {
            problems.push(Problem::new(field, format!("{value} is out of range")).hint(format!("allowed is {allowed}")));
        }
    }
    let spans = [
        ("retries.backoff", Some(spec.retries.backoff), 0),
        ("timeout", spec.timeout, 1),
        ("grace", Some(spec.grace), 0),
        ("start_within", spec.start_within, 1),
        ("catch_up.window", spec.catch_up.window, 1),
    ];
    for (field, span, least) in spans {
        if let Some(Span(ms)) = span.filter(|span| span.0 < least || span.0 > SPAN_MAX_MS) {
            let allowed = if least == 0 {
                "allowed is 0s to 3660d"
            } else {
                "allowed is more than nothing and at most 3660d; leave it out for no limit"
            };
            problems.push(Problem::new(field, format!("{} is out of range", format_span_ms(ms))).hint(allowed));
        }
    }
}

/// Ten years: beyond it a time would be lost in arithmetic sooner than be of use.
const SPAN_MAX_MS: i64 = 3_660 * 86_400_000;

fn check_constraints(spec: &JobSpec, problems: &mut Vec<Problem>) {
    if spec.constraints.len() > CONSTRAINTS_MAX {
        let message = format!("there are {}, allowed are {CONSTRAINTS_MAX}", spec.constraints.len());
        problems.push(Problem::new("constraints", message).hint("use in or like"));
    }
    for (i, text) in spec.constraints.iter().enumerate().take(CONSTRAINTS_MAX) {
        if let Err(e) = Constraint::parse(text) {
            problems.push(Problem::new(format!("constraints[{i}]"), e.to_string()));
        }
    }
}

fn check_environment(spec: &JobSpec, problems: &mut Vec<Problem>) {
    for (name, value) in &spec.env {
        let field = format!("env.{name}");
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(legal) {
            let hint = "write letters, digits and '_', not beginning with a digit";
            problems.push(Problem::new(&field, format!("{name:?} is not a variable's name")).hint(hint));
        } else if name.starts_with("ORRERY_") {
            problems.push(Problem::new(&field, "names that begin with ORRERY_ are set by the agent").hint("choose another name"));
        }
        check_text(&field, value, problems);
    }
    for (name, value) in &spec.limits {
        let field = format!("limits.{name}");
        if !LIMIT_NAMES.contains(&name.as_str()) {
            let hint = match nearest(name, LIMIT_NAMES.into_iter()) {
                Some(known) => format!("did you mean {known}?"),
                None => format!("known are {}", LIMIT_NAMES.join(", ")),
            };
            problems.push(Problem::new(&field, format!("{name:?} is not a resource limit")).hint(hint));
        }
        if *value < 0 {
            problems.push(Problem::new(&field, format!("{value} is negative")).hint("leave it out for the agent's own limit"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Format, read_documents};
    use expect_test::{Expect, expect};

    fn problems(yaml: &str, expected: Expect) {
        let spec = read_documents(yaml, Format::Yaml).expect("the types are right").remove(0);
        expected.assert_eq(&check(&spec).iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn a_good_document_has_no_problems() {
        problems(
            "name: a\ntriggers: [{cron: '@daily', zone: UTC}, {event: t, when: 'true'}, {after: [b], on: any}, {interval: R//PT1H}, {at: '2026-01-01T00:00:00Z'}]
command: [x]\nresources: {disk: 0}\ntimeout: 1h\nlimits: {core: 0}\nenv: {_A1: x}\nconstraints: [zone != us]",
            expect![""],
        );
    }

    #[test]
    fn triggers() {
        problems(
            "name: a\ncommand: [x]\ntriggers:
- {cron: '@daily', event: t}
- {zone: UTC}
- {cron: '@daily', zone: Europe/Pariss}
- {cron: '@daily', zone: Mars/Olympus_Mons_Base}
- {cron: '@daily', when: 'true', on: any}
- {interval: PT1H}
- {interval: R//PT1H, zone: UTC, on: any}
- {event: 'a b', when: ' '}
- {after: [a, b, default/b]}",
            expect![[r#"
                triggers[0]: it has cron and event at once; write each as a trigger of its own
                triggers[1]: it says nothing about when; write one of cron, interval, at, event, after
                triggers[2].zone: "Europe/Pariss" is not a time zone of the IANA database 2026f; did you mean Europe/Paris?
                triggers[3].zone: "Mars/Olympus_Mons_Base" is not a time zone of the IANA database 2026f; write an IANA name such as Europe/Paris, America/New_York or UTC
                triggers[4].when: it belongs to event, and this trigger is cron; leave when out
                triggers[4].on: it belongs to after, and this trigger is cron; leave on out
                triggers[5].interval: "PT1H" is not a repeating interval: it does not begin with R; write R/start/period, for example R/2026-11-21T00:00:00Z/PT1H
                triggers[6].on: it belongs to after, and this trigger is interval; leave on out
                triggers[7].event: "a b" is not a topic name; use 1 to 249 letters, digits, '.', '_' and '-'
                triggers[7].when: it is empty; leave it out to take every event
                triggers[8].after: the job would run after itself (default/a); use an interval for work that repeats
                triggers[8].after: default/b is named twice"#]],
        );
    }

    #[test]
    fn periods_and_zones() {
        problems(
            "name: a\ncommand: [x]\ntriggers:
- {interval: R//PT1S}
- {interval: R//PT0.001S}
- {interval: R//PT0.5S, floor: 500ms}
- {interval: R//PT0.25S, floor: 500ms}
- {interval: R//PT1H, floor: 2s}
- {interval: R//P1M, floor: 0s}
- {cron: '@daily', floor: 1s}
- {interval: R//P1M, zone: PST}
- {at: '2026-01-01T00:00:00Z', zone: GMT+2}",
            expect![[r#"
                triggers[1].interval: a period of 1ms is shorter than 1s; write a longer one, or if it is meant, floor: 1ms beside it
                triggers[3].interval: a period of 250ms is shorter than 500ms; write a longer one, or if it is meant, floor: 250ms beside it
                triggers[4].floor: 2s is out of range; allowed is 1ms to 1s, which is the default
                triggers[5].floor: 0s is out of range; allowed is 1ms to 1s, which is the default
                triggers[6].floor: it belongs to interval, and this trigger is cron; leave floor out
                triggers[7].zone: "PST" is not a time zone of the IANA database 2026f; an abbreviation does not say when the clocks change: write a place, such as America/Los_Angeles
                triggers[8].zone: it belongs to cron and interval, and this trigger is at; leave zone out"#]],
        );
    }

    #[test]
    fn starts() {
        problems(
            "name: a\ncommand: [x]\ntriggers: [{event: t, from: earliest}, {event: t}, {event: u}, {cron: '0 2 * * *', from: latest}]",
            expect![[r#"
                triggers[3].from: it belongs to event, and this trigger is cron; leave from out
                triggers[1].from: latest, but another trigger of the job reads t from earliest; write the same in both, or divide the job"#]],
        );
    }

    #[test]
    fn commands_and_environment() {
        problems("name: a", expect![[r#"command: there is nothing to run; write command: [program, argument, …] or shell: "script""#]]);
        problems(
            "name: a\ncommand: ['', \"a\\0b\"]\nshell: 'true'\nuser: '-x'",
            expect![[r#"
            shell: there is a command as well; write command: [program, argument, …] or shell: "script"
            command[0]: the program's name is empty
            command[1]: it holds a zero byte, which no process takes
            user: "-x" is not a user's name"#]],
        );
        problems(
            "name: a\nshell: ' '\nenv: {1A: x, A-B: x, ORRERY_RUN: x, '': y}\nlimits: {nofiles: 1, core: -1, x: 1}",
            expect![[r#"
            shell: it is empty; write command: [program, argument, …] or shell: "script"
            env.: "" is not a variable's name; write letters, digits and '_', not beginning with a digit
            env.1A: "1A" is not a variable's name; write letters, digits and '_', not beginning with a digit
            env.A-B: "A-B" is not a variable's name; write letters, digits and '_', not beginning with a digit
            env.ORRERY_RUN: names that begin with ORRERY_ are set by the agent; choose another name
            limits.core: -1 is negative; leave it out for the agent's own limit
            limits.nofiles: "nofiles" is not a resource limit; did you mean nofile?
            limits.x: "x" is not a resource limit; known are nofile, nproc, core, fsize, as, stack, cpu"#]],
        );
        let long = format!("name: a\ncommand: [x, {}]", "y".repeat(ARGUMENT_BYTES));
        problems(&long, expect!["command[1]: it has 131072 bytes, allowed are 131071; put it into a file"]);
    }

    #[test]
    fn numbers() {
        problems(
            "name: a\nshell: x\nresources: {cpus: -1, memory: 0, disk: -5}\npriority: 101\nretries: {max: -1}\ntimeout: 0s\nstart_within: 9999999d",
            expect![[r#"
                resources.cpus: -1 is out of range; allowed is more than 0 and at most 100000
                resources.memory: 0 is out of range; allowed is more than 0 and at most 1024TiB
                resources.disk: -5B is out of range; allowed is 0 to 1024TiB
                priority: 101 is out of range; allowed is 0 to 100, higher first
                retries.max: -1 is out of range; allowed is 0 to 1000
                timeout: 0s is out of range; allowed is more than nothing and at most 3660d; leave it out for no limit
                start_within: 9999999d is out of range; allowed is more than nothing and at most 3660d; leave it out for no limit"#]],
        );
        problems(
            "name: a\nshell: x\nresources: {cpus: 0, memory: 2000TiB}\nconstraints: [zone = eu]",
            expect![[r#"
            resources.cpus: 0 is out of range; allowed is more than 0 and at most 100000
            resources.memory: 2000TiB is out of range; allowed is more than 0 and at most 1024TiB
            constraints[0]: "zone = eu" is not a constraint: a single = compares nothing; write zone == eu"#]],
        );
    }
}
