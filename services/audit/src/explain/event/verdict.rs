//! What an event came to for one job: it fired, and what became of the run; or the rule that kept it from firing.

use super::EventFacts;
use super::trail::Account;
use crate::explain::reading::Decided;
use crate::explain::topics::{KEY_HEADER, missed, traced, unseen};
use crate::explain::{Line, Mark, codes, job, next};
use orrery_model::id::{JobName, RunId};
use orrery_model::job::{JobSpec, Trigger};
use orrery_model::journal::DropReason;
use orrery_model::messages::{CatalogEntry, EventData, RunRecord, RunState};
use orrery_trigger::event::EventView;
use orrery_trigger::predicate::trace::Clause;
use serde::Serialize;

/// A job that watches the topic, or that the event has fired.
#[derive(Debug, Clone)]
pub struct Watcher {
    /// Which.
    pub job: JobName,
    /// Its definition as it is now, if that watches the topic.
    pub definition: Option<(CatalogEntry, JobSpec)>,
    /// Trigger shard that owns it.
    pub owner: u32,
    /// The run that the event made of it, as it is now.
    pub run: Option<RunRecord>,
    /// A run that a later event of the partition had made before this one was read.
    pub later: Option<RunRecord>,
}

/// What an event came to for one job.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// Which job.
    pub job: JobName,
    /// Trigger shard that owns it.
    pub shard: u32,
    /// The run that the event made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// Why it fired, or not, and what became of the run.
    pub lines: Vec<Line>,
    /// How the predicates of its triggers come to their results on the event.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traces: Vec<Clause>,
}

/// A trigger of the event's topic, tried on it.
struct Tried<'w> {
    trigger: &'w Trigger,
    /// How its predicate comes to its result.
    traced: Option<Clause>,
    /// Why that keeps the event from firing, if it does: code, and in words.
    missed: Option<(&'static str, String)>,
}

/// Tells what the event came to for a job.
pub(super) fn of(facts: &EventFacts<'_>, watcher: &Watcher) -> Verdict {
    let made = facts.trail.run_of(&watcher.job);
    let run = watcher.run.as_ref().or(made.as_ref());
    let tried = tried(facts, watcher);
    let mut lines: Vec<Line> = facts.trail.decided_on(&watcher.job).filter_map(|decided| told(facts, watcher, &decided)).collect();
    match (made.as_ref(), watcher.run.as_ref()) {
        (None, None) => not_fired(&mut lines, facts, watcher, &tried),
        (made, now) => fired(&mut lines, made, now, &tried),
    }
    lines.extend(changed_since(facts, watcher));
    let traces = tried.into_iter().filter_map(|tried| tried.traced).collect();
    Verdict { job: watcher.job.clone(), shard: watcher.owner, run: run.map(|run| run.run.clone()), lines, traces }
}

/// What would help a job that did not come to a run that is well.
pub(super) fn helps(watcher: &Watcher, verdict: &Verdict) -> Vec<Line> {
    match &watcher.run {
        Some(run) if run.state == RunState::Waiting => {
            let of_reason = run.reason.as_ref().and_then(|reason| next::of_words(run.job.as_str(), reason));
            vec![of_reason.unwrap_or_else(|| Line::new(Mark::Note, codes::QUEUED, format!("orrery explain run {}", run.run)))]
        }
        Some(run) if run.state.is_final() && run.state != RunState::Succeeded => vec![next::retry(&run.run)],
        Some(_) => Vec::new(),
        None => {
            let is_no_json = verdict.lines.iter().any(|line| line.code == codes::NOT_JSON);
            let helps = |line: &&Line| line.mark == Mark::Bad && !(is_no_json && line.code == codes::PREDICATE_FAILED);
            verdict.lines.iter().filter(helps).filter_map(|line| next::of_miss(line.code)).collect()
        }
    }
}

/// The triggers of the job that watch the topic, each tried on the event.
fn tried<'w>(facts: &EventFacts<'_>, watcher: &'w Watcher) -> Vec<Tried<'w>> {
    let (Some((_, spec)), Some(event)) = (&watcher.definition, facts.event) else { return Vec::new() };
    let view = EventView::new(event);
    let watching = spec.triggers.iter().filter(|trigger| trigger.event.as_ref() == Some(&event.topic));
    let tried = |trigger| {
        let traced = traced(trigger, &view);
        Tried { trigger, missed: missed(traced.as_ref(), &view), traced }
    };
    watching.map(tried).collect()
}

/// What a decision on the event says of the job.
fn told(facts: &EventFacts<'_>, watcher: &Watcher, decided: &Decided<'_>) -> Option<Line> {
    if decided.kind != "forwarded" {
        return job::run(&watcher.job, decided);
    }
    let text = format!("trigger/{} found that it matches, and sent it to trigger/{}, which owns the job", facts.reader, watcher.owner);
    Some(Line::new(Mark::Note, codes::FORWARDED, text).of(decided.entry))
}

/// It fired: which predicate let it, and what became of the run that was made.
fn fired(lines: &mut Vec<Line>, made: Option<&RunRecord>, now: Option<&RunRecord>, tried: &[Tried<'_>]) {
    if let Some(Tried { trigger, .. }) = tried.iter().find(|tried| tried.missed.is_none()) {
        let every = || "it matches, as every event of its topic".to_owned();
        let text = trigger.when.as_ref().map_or_else(every, |when| format!("it matches {when}"));
        lines.insert(0, Line::new(Mark::Good, codes::TRIGGER_MATCH, text));
    }
    match (made, now) {
        // The entry that made it lies beyond what was looked at.
        (None, Some(run)) => {
            let line = Line::new(Mark::Good, codes::RUN, format!("run {} was made ({})", run.run, run.cause));
            lines.push(Line { at: Some(run.created_at), ..line });
        }
        (Some(RunRecord { run, .. }), None) => {
            let text = format!("run {run} is not shown any more; what became of it: `orrery audit log --run {run}`");
            lines.push(Line::new(Mark::Note, codes::RUN, text));
        }
        _ => {}
    }
    // A run that was held, or skipped, as it was made is told so already.
    if let Some(state) = now.map(state_of).filter(|state| lines.iter().all(|line| line.code != state.code)) {
        lines.push(state);
    }
}

/// What became of a run.
fn state_of(run: &RunRecord) -> Line {
    let reason = run.reason.as_deref();
    let of_reason = |otherwise| reason.map_or(otherwise, codes::of_words);
    let (mark, code) = match run.state {
        RunState::Waiting if run.next_attempt_at.is_some() => (Mark::Bad, codes::BACKOFF),
        RunState::Waiting => (Mark::Bad, of_reason(codes::QUEUED)),
        RunState::Starting => (Mark::Good, codes::PLACED),
        RunState::Running => (Mark::Good, codes::STARTED),
        RunState::Succeeded => (Mark::Good, codes::SUCCEEDED),
        RunState::Failed => (Mark::Bad, codes::FAILED),
        RunState::Cancelled => (Mark::Bad, codes::UNWANTED),
        RunState::Skipped => (Mark::Bad, of_reason(codes::OTHER)),
        RunState::Lost => (Mark::Bad, codes::LOST),
    };
    let agent = run.agent.as_ref().map_or_else(String::new, |agent| format!(" on {agent}"));
    let why = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    let line = Line::new(mark, code, format!("run {} is {}{agent}{why}", run.run, run.state.word()));
    Line { at: Some(run.updated_at), ..line }
}

/// It did not fire: what was decided instead or, where nothing was, the rule that it does not keep.
fn not_fired(lines: &mut Vec<Line>, facts: &EventFacts<'_>, watcher: &Watcher, tried: &[Tried<'_>]) {
    // A predicate that failed is told with its values as well.
    let says_all = |line: &Line| line.code == codes::PARKED || (line.mark == Mark::Bad && line.code != codes::PREDICATE_FAILED);
    if lines.iter().any(says_all) {
        return;
    }
    match (facts.event, &watcher.definition) {
        (Some(event), Some((entry, _))) => {
            let mut reasons = why_not(facts, watcher, (event, entry), tried);
            reasons.retain(|reason| lines.iter().all(|line| line.code != reason.code));
            lines.extend(reasons);
        }
        (None, Some(_)) => {
            let text = "whether it matched cannot be told: neither its topic nor a journal has it";
            lines.push(Line::new(Mark::Bad, codes::GONE, text));
        }
        (_, None) => {}
    }
}

/// The first rule that the event does not keep, in the order in which the trigger asks.
fn why_not(facts: &EventFacts<'_>, watcher: &Watcher, (event, entry): (&EventData, &CatalogEntry), tried: &[Tried<'_>]) -> Vec<Line> {
    let bad = |(code, text): (&'static str, String)| Line::new(Mark::Bad, code, text);
    if matches!(facts.trail.account(), Some((Account::Dropped(DropReason::Poison | DropReason::Quarantined), _))) {
        return vec![bad((codes::DEAD_LETTER, "no job was shown it: it is a dead letter".into()))];
    }
    // What was decided on is no repeat.
    let is_taken = matches!(facts.trail.account(), Some((Account::Taken, _)));
    let others: &[EventData] = if is_taken { &[] } else { facts.before };
    let is_forwarded = facts.trail.forwarded_at(&watcher.job).is_some();
    // What its reader has forwarded did match, by the definition of then.
    if !is_forwarded {
        if let Some(reason) = unseen(entry, event, others) {
            return vec![bad(reason)];
        }
        let misses: Vec<Line> = tried.iter().filter_map(|tried| tried.missed.clone()).map(bad).collect();
        if misses.len() == tried.len() {
            return misses;
        }
    }
    if !facts.is_passed() {
        return vec![Line::new(Mark::Note, codes::TRIGGER_MATCH, "it matches, and fires the job when it is read")];
    }
    if let Some(later) = &watcher.later {
        let text = format!("a later event had fired the job before it was read: run {} ({})", later.run, later.cause);
        return vec![bad((codes::BEHIND_FIRED, text))];
    }
    let text = if is_forwarded {
        format!("trigger/{} has not decided on it yet, or found it behind a later one that had fired the job", watcher.owner)
    } else {
        let key = event.header(KEY_HEADER).map_or("", |_| ": an earlier one with its idempotency-key may have fired");
        format!("it matches now; no decision about it was found{key}")
    };
    vec![bad((codes::NOT_DECIDED, text))]
}

/// The definition of now is not the one that the event was shown to.
fn changed_since(facts: &EventFacts<'_>, watcher: &Watcher) -> Option<Line> {
    let note = |text: String| Some(Line::new(Mark::Note, codes::DEFINITION, text));
    let Some((entry, _)) = &watcher.definition else {
        return note("the job does not watch the topic any more, or is gone".to_owned());
    };
    let then = facts.trail.read_at().or(facts.event.map(|event| event.appended))?;
    if entry.version == 1 || entry.defined_at <= then {
        return None;
    }
    let CatalogEntry { job, version, defined_at, .. } = entry;
    note(format!("version {version} was taken later, at {defined_at}: `orrery explain job {job} --at {then}` tells what was in force"))
}
