//! What to do about a reason: one action each, with the numbers that the reason gives.

use super::codes::{
    self, AGENT_UNABLE, FILTERED_CONSTRAINT, INSUFFICIENT_CPUS, INSUFFICIENT_DISK, INSUFFICIENT_MEMORY, NEVER_FITS, NO_AGENTS,
};
use super::{Line, Mark};
use orrery_model::id::RunId;
use orrery_model::messages::Reason;

/// What would let a task be placed, for one reason why the cell that it waits in does not.
pub fn next_of_reason(reason: &Reason, cell: Option<u32>) -> String {
    let Reason { code, detail, agents } = reason;
    let there = cell.map_or_else(String::new, |cell| format!(" in cell {cell}"));
    match code.as_str() {
        NO_AGENTS => format!("start an agent{there}: `orrery serve agent`, or look at those that are lost: `orrery agent list`"),
        AGENT_UNABLE => format!("give that machine what it lacks, after which it goes on by itself, or start another agent{there}"),
        NEVER_FITS => format!("ask for less, or start an agent{there} that is large enough"),
        FILTERED_CONSTRAINT => {
            let constraint = detail.split_once("the constraint ").map_or(detail.as_str(), |(_, constraint)| constraint);
            format!("drop the constraint {constraint} ({agents} agents), or start an agent{there} that satisfies it")
        }
        INSUFFICIENT_CPUS | INSUFFICIENT_MEMORY | INSUFFICIENT_DISK => at_most(code, detail, &there),
        _ => "see the entry that says so with `orrery audit show`".to_owned(),
    }
}

/// "it needs 4 cpus; agent a-1 is closest: 1 of 4 free, 3 short"
fn at_most(code: &str, detail: &str, there: &str) -> String {
    let what = code.strip_prefix("INSUFFICIENT_").unwrap_or(code).to_lowercase();
    let closest = || {
        let (before, after) = detail.split_once(" is closest: ")?;
        let (free, _) = after.split_once(" of ")?;
        Some((before.rsplit(' ').next()?, free))
    };
    match closest() {
        Some((agent, free)) if !free.starts_with(['0', '-']) || free.starts_with("0.") => {
            format!("ask for at most {free} {what} (agent {agent} now), or wait until tasks end there")
        }
        Some((agent, _)) => format!("wait until tasks end on agent {agent}, which is closest, or start another agent{there}"),
        None => format!("wait until tasks end, or start another agent{there}"),
    }
}

/// A line for each reason: what would unblock it.
pub(super) fn of_reasons(reasons: &[Reason], cell: Option<u32>) -> Vec<Line> {
    let line = |reason: &Reason| Line::new(Mark::Note, codes::known(&reason.code), next_of_reason(reason, cell)).counted(reason.agents);
    reasons.iter().map(line).collect()
}

/// A line for a reason that the trigger gave in words.
pub(super) fn of_words(job: &str, reason: &str) -> Option<Line> {
    let code = codes::of_words(reason);
    let text = match code {
        codes::PAUSED => format!("orrery job resume {job}"),
        codes::CONCURRENCY => match other_run(reason) {
            Some(run) => format!("run {run} of the same job must end: wait, or `orrery run cancel {run}`"),
            None => "another run of the same job must end".to_owned(),
        },
        _ => return None,
    };
    Some(Line::new(Mark::Note, code, text))
}

/// What would let an event fire that did not, by the code that says why.
pub(super) fn of_miss(code: &'static str) -> Option<Line> {
    let text = match code {
        codes::NO_TRIGGER_MATCH => "change the predicate, or send an event that satisfies it",
        codes::PREDICATE_FAILED => "guard the field that may be missing: has(data.x) && …",
        codes::NOT_JSON => "send it as JSON, or let the predicate read `data` as a text: data.contains(\"…\")",
        codes::BEFORE_START => "set `from` of the trigger to earliest or to a time before the event",
        codes::DUPLICATE_EVENT => "send it with another idempotency-key if it is to count",
        _ => return None,
    };
    Some(Line::new(Mark::Note, code, text))
}

/// What one can do about a run that has ended otherwise than wanted.
pub(super) fn retry(run: &RunId) -> Line {
    Line::new(Mark::Note, codes::REQUEST, format!("one more attempt: `orrery run retry {run}`"))
}

/// The run that a reason names: "concurrency is queue, and RUN goes on".
pub(super) fn other_run(reason: &str) -> Option<&str> {
    let before = reason.strip_suffix(" goes on")?;
    before.rsplit(' ').next()
}
