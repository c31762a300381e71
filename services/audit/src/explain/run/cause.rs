//! What made a run, and what it waited for before its first attempt was wanted.

use super::{RunFacts, Tale};
use crate::explain::reading::{Decided, span};
use crate::explain::{Line, Mark, codes};
use orrery_model::job::{Concurrency, JobSpec};
use orrery_model::messages::{RunRecord, RunState};

impl Tale {
    pub(super) fn created(&mut self, facts: &RunFacts<'_>, decided: &Decided<'_>, record: &RunRecord) {
        let entry = decided.entry;
        let spec = facts.spec;
        // Who gave no name is told as the service itself.
        let actor = entry.entry["actor"].as_str().filter(|actor| *actor != entry.service).unwrap_or("somebody");
        self.trigger.push(cause(record, spec, actor).of(entry));
        self.gates.extend(dependencies(record).map(|line| line.of(entry)));
        match (&record.reason, record.state) {
            (Some(why), RunState::Skipped) => self.gates.push(Line::new(Mark::Bad, codes::of_words(why), why).of(entry)),
            (Some(why), _) => self.held = Some((entry.at, Line::new(Mark::Bad, codes::of_words(why), format!("held: {why}")).of(entry))),
            (None, _) => self.gates.extend(concurrency(spec).map(|line| line.of(entry))),
        }
        if let Some(by) = decided.time("start_by") {
            self.gates.push(Line::new(Mark::Note, codes::START_WITHIN, format!("it is skipped if it has not started by {by}")).of(entry));
        }
    }

    /// It is held no longer, because of what else was decided in the same entry.
    pub(super) fn released(&mut self, decided: &Decided<'_>, record: &RunRecord) {
        let Some((since, line)) = self.held.take() else { return };
        let all = decided.entry.entry["decisions"].as_array().into_iter().flatten();
        let ended = all.filter_map(|decision| decision["run_ended"]["record"]["run"].as_str()).find(|run| *run != record.run.as_str());
        let until = match ended {
            Some(run) => format!("until run {run} ended"),
            None if line.code == codes::PAUSED => "until the job was resumed".to_owned(),
            None => "until it was its turn".to_owned(),
        };
        let why = line.text.trim_start_matches("held: ").to_owned();
        let text = format!("held for {}, {until} ({why})", span(since, decided.entry.at));
        self.gates.push(Line { mark: Mark::Good, text, ..line }.of(decided.entry));
    }
}

/// The cause in words.
fn cause(record: &RunRecord, spec: Option<&JobSpec>, actor: &str) -> Line {
    let (code, text) = match record.cause.split_once(':') {
        Some(("time", nominal)) => (codes::SCHEDULE, format!("its schedule was due at {nominal}{}", in_brackets(spec.map(schedules)))),
        Some(("event", place)) => {
            (codes::TRIGGER_MATCH, format!("event {place} matched{}", in_brackets(spec.map(|spec| predicates(spec, place)))))
        }
        Some(("after", parents)) => (codes::DEPENDENCY, format!("the runs {} have ended", parents.replace('+', ", "))),
        Some(("request", id)) => (codes::REQUEST, format!("{actor} asked for it ({id})")),
        _ => (codes::OTHER, record.cause.clone()),
    };
    Line::new(Mark::Good, code, text)
}

fn in_brackets(texts: Option<Vec<String>>) -> String {
    let texts = texts.unwrap_or_default().join(" or ");
    if texts.is_empty() { texts } else { format!("  ({texts})") }
}

fn schedules(spec: &JobSpec) -> Vec<String> {
    let text = |trigger: &orrery_model::job::Trigger| {
        let zone = trigger.zone.as_ref().map_or_else(String::new, |zone| format!(" {zone}"));
        trigger.cron.as_ref().map(|cron| format!("{cron}{zone}")).or_else(|| trigger.interval.clone())
    };
    spec.triggers.iter().filter_map(text).collect()
}

/// The predicates of the triggers that this event may have fired.
fn predicates(spec: &JobSpec, place: &str) -> Vec<String> {
    let topic = place.split(['~', '/']).next();
    spec.triggers.iter().filter(|trigger| trigger.event.as_deref() == topic).filter_map(|trigger| trigger.when.clone()).collect()
}

fn dependencies(record: &RunRecord) -> Option<Line> {
    let parents = record.cause.strip_prefix("after:")?.split('+').count();
    Some(Line::new(Mark::Good, codes::DEPENDENCY, format!("{parents} of {parents} parents have ended as wanted")))
}

fn concurrency(spec: Option<&JobSpec>) -> Option<Line> {
    let text = match spec?.concurrency {
        Concurrency::Allow => "concurrency is allow",
        Concurrency::Forbid => "concurrency is forbid, and no other run of the job went on",
        Concurrency::Queue => "concurrency is queue, and no other run of the job went on",
        Concurrency::Replace => "concurrency is replace, and no other run of the job went on",
    };
    Some(Line::new(Mark::Good, codes::CONCURRENCY, text))
}
