//! The answer in one paragraph, and what is said of runs that the trigger holds.

use orrery_audit::explain::{BACKOFF, CONCURRENCY, Counted, OTHER, PAUSED, Waiting, of_words};
use orrery_model::messages::{CatalogEntry, Reason, RunRecord, RunState};

/// Why a run is as it is.
pub(super) fn of_run(record: &RunRecord, counted: Option<&Counted>) -> String {
    let cause = match record.cause.split_once(':') {
        Some(("time", nominal)) => format!("Its schedule was due at {nominal}."),
        Some(("event", place)) => format!("The event {place} matched its trigger."),
        Some(("after", parents)) => format!("The runs {} that it comes after have ended.", parents.replace('+', ", ")),
        Some(("request", id)) => format!("Somebody asked for it ({id})."),
        _ => record.cause.clone(),
    };
    let agent = record.agent.as_ref().map_or_else(String::new, |agent| format!(" on {agent}"));
    let state = match record.state {
        RunState::Waiting => {
            let cell = counted.map_or_else(String::new, |counted| format!(" in cell {}", counted.cell));
            let reasons = counted.into_iter().flat_map(|counted| &counted.reasons);
            let told = reasons.map(|reason| reason.detail.as_str()).collect::<Vec<_>>().join("; ");
            let why = record.reason.clone().into_iter().chain((!told.is_empty()).then_some(told)).collect::<Vec<_>>().join("; ");
            format!("It waits{cell}{}.", because((!why.is_empty()).then_some(&why)))
        }
        RunState::Starting => format!("It is about to start{agent}."),
        RunState::Running => format!("It runs{agent}."),
        state => {
            let attempts = if record.attempts == 1 { "one attempt".to_owned() } else { format!("{} attempts", record.attempts) };
            format!("It is {}{agent}, after {attempts}{}.", state.word(), because(record.reason.as_ref()))
        }
    };
    format!("{cause} {state}")
}

/// Why a job ran, or did not.
pub(super) fn of_job(entry: &CatalogEntry, last: Option<&RunRecord>) -> String {
    match (entry.paused, entry.next_due, last) {
        (true, ..) => "It is paused: nothing more starts until it is resumed.".to_owned(),
        (false, _, Some(last)) => format!("Its last run {} is {}{}.", last.run, last.state.word(), because(last.reason.as_ref())),
        (false, Some(next), None) => format!("It has not run yet; it is due at {next}."),
        (false, None, None) => "It has not run yet, and no schedule says when: it waits for events, other jobs or a request.".to_owned(),
    }
}

fn because(reason: Option<&String>) -> String {
    reason.map_or_else(String::new, |reason| format!(", because {reason}"))
}

/// Why the trigger holds a run. One that it has just sent to a cell is held by nobody.
pub(super) fn held_reason(run: &RunRecord) -> Option<Reason> {
    let of = |code: &str, detail: String| Some(Reason { code: code.to_owned(), detail, agents: 0 });
    match (run.next_attempt_at, &run.reason) {
        (Some(at), _) => of(BACKOFF, format!("the next attempt is due at {at}")),
        (None, Some(reason)) => of(of_words(reason), reason.clone()),
        (None, None) => None,
    }
}

/// What to do about a reason of the trigger.
pub(super) fn next_of_held(one: &Waiting, reason: &Reason) -> Option<String> {
    match reason.code.as_str() {
        BACKOFF => Some("wait for the next attempt".to_owned()),
        PAUSED => Some(format!("orrery job resume {}", one.job)),
        CONCURRENCY => Some("another run of the same job must end".to_owned()),
        OTHER => Some(format!("orrery explain run {}", one.subject)),
        _ => None,
    }
}
