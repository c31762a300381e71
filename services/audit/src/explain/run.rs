//! The story of a run: what made it, what held it back, where its attempts went, how they ended, and what would let it go on.

mod attempts;
mod cause;
mod placing;

use super::reading::{Decided, decisions, span};
use super::{Expected, Line, Mark, Room, codes, next};
use crate::{EntryView, Place};
use orrery_model::id::{AgentId, JobName, RunId};
use orrery_model::job::JobSpec;
use orrery_model::messages::{Reason, RunRecord, RunState};
use orrery_model::time::Timestamp;
use serde::Serialize;

/// What a run's story is made of.
#[derive(Debug, Clone, Copy)]
pub struct RunFacts<'a> {
    /// Which run.
    pub run: &'a RunId,
    /// Entries of both journals that speak of it, by time.
    pub entries: &'a [EntryView],
    /// The definition that it was made by, where it is still known.
    pub spec: Option<&'a JobSpec>,
    /// Why it has no place, counted anew; where nothing was counted, the journal's own count is told.
    pub counted: Option<&'a Counted>,
    /// Later entries do not count.
    pub as_of: Timestamp,
}

/// Why a task has no place: counted over the agents of the cell that it waits in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The cell.
    pub cell: u32,
    /// Its agents that may be given tasks.
    pub agents: usize,
    /// Why it is given to none of them.
    pub reasons: Vec<Reason>,
    /// The first room that is expected for it, there or in a cell that it goes on to.
    pub room: Option<Room>,
}

/// The story of a run.
#[derive(Debug, Clone, Serialize)]
pub struct RunStory {
    /// Which run.
    pub run: RunId,
    /// Its job.
    pub job: JobName,
    /// Version of the definition.
    pub version: i64,
    /// As of when.
    pub as_of: Timestamp,
    /// Its state.
    pub headline: Headline,
    /// What made it.
    pub trigger: Vec<Line>,
    /// What it had to wait for before it was wanted.
    pub gates: Vec<Line>,
    /// Where it was sent, and why it was placed or not.
    pub placement: Vec<Line>,
    /// Starts and ends.
    pub attempts: Vec<Line>,
    /// What would let it go on.
    pub next: Vec<Line>,
    /// When it is expected to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
}

/// A run's state, and for how long.
#[derive(Debug, Clone, Serialize)]
pub struct Headline {
    /// `WAITING`, `RUNNING`, …
    pub word: String,
    /// Since when.
    pub since: Timestamp,
    /// For how long, milliseconds.
    pub for_ms: i64,
    /// Why, in short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The decision that led to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Ownership that decided it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
}

/// Tells a run's story; none if no entry up to that time has made it.
pub fn run_story(facts: &RunFacts<'_>) -> Option<RunStory> {
    let mut tale = Tale::default();
    for decided in decisions(facts.entries, facts.as_of) {
        tale.take(facts, &decided);
    }
    let record = tale.record.take()?;
    let headline = tale.headline(&record, facts.as_of);
    let waits = record.state == RunState::Waiting;
    let counted = tale.counted(facts);
    let reasons = if waits && tale.wanted_at.is_some() { tale.reasons_now(counted) } else { Vec::new() };
    let next = tale.next(&record, &reasons);
    let expected = match record.next_attempt_at.filter(|_| waits) {
        Some(at) => Some(Expected { at, because: "its next attempt is due".into() }),
        None => counted.filter(|_| !reasons.is_empty()).and_then(of_room),
    };
    tale.close(&reasons, counted);
    let Tale { trigger, gates, placement, attempts, .. } = tale;
    let RunRecord { run, job, version, .. } = record;
    Some(RunStory { run, job, version, as_of: facts.as_of, headline, trigger, gates, placement, attempts, next, expected })
}

/// What is expected to give a waiting task its place.
fn of_room(counted: &Counted) -> Option<Expected> {
    let Room { cell, agent, run, at } = counted.room.as_ref()?;
    let goes_on = if *cell == counted.cell { "" } else { ", which it goes on to," };
    let because = match run {
        Some(run) => {
            format!("run {run} on agent {agent} of cell {cell}{goes_on} is expected to end, as the runs of its job took so long before")
        }
        None => format!("agent {agent} of cell {cell}{goes_on} has room"),
    };
    Some(Expected { at: *at, because })
}

/// A story while it is being told.
#[derive(Default)]
struct Tale {
    record: Option<RunRecord>,
    since: Timestamp,
    evidence: Option<(Place, Option<i64>)>,
    trigger: Vec<Line>,
    gates: Vec<Line>,
    placement: Vec<Line>,
    attempts: Vec<Line>,
    /// Since when it is held back, and the line that says so.
    held: Option<(Timestamp, Line)>,
    /// When the present attempt was wanted; none while there is none.
    wanted_at: Option<Timestamp>,
    /// The cell that the present attempt is in, or on its way to.
    cell: Option<u32>,
    /// Why the present attempt has no place, and the line that says so.
    waits: Option<(Line, Vec<Reason>)>,
    agent: Option<AgentId>,
}

impl Tale {
    fn take(&mut self, facts: &RunFacts<'_>, decided: &Decided<'_>) {
        if decided.fields["record"]["run"].as_str() == Some(facts.run.as_str()) {
            let Some(record) = decided.record() else { return };
            match decided.kind {
                "run_created" => self.created(facts, decided, &record),
                "attempt_wanted" => self.wanted(decided, &record),
                "attempt_unwanted" => self.unwanted(decided),
                "run_progressed" => self.progressed(decided, &record),
                "attempt_over" | "run_ended" => self.over(decided, &record),
                _ => return,
            }
            return self.now(decided.entry, record);
        }
        let of_run = |attempt: &str| attempt.rsplit_once('.').is_some_and(|(run, _)| run == facts.run.as_str());
        if let Some(attempt) = decided.attempt().filter(|attempt| of_run(attempt)) {
            self.placing(decided, attempt);
        }
    }

    /// The run's record from now on.
    fn now(&mut self, entry: &EntryView, record: RunRecord) {
        if self.record.as_ref().is_none_or(|old| old.state != record.state) {
            self.since = entry.at;
        }
        self.show(entry);
        self.record = Some(record);
    }

    /// This entry is the newest that says why it is as it is.
    fn show(&mut self, entry: &EntryView) {
        self.evidence = Some((entry.place.clone(), entry.entry["epoch"].as_i64()));
    }

    fn headline(&self, record: &RunRecord, as_of: Timestamp) -> Headline {
        let why = match record.state {
            RunState::Waiting if record.next_attempt_at.is_some() => Some("it backs off".to_owned()),
            RunState::Waiting if self.wanted_at.is_some() => Some("eligible, not placed".to_owned()),
            RunState::Starting | RunState::Running => record.agent.as_ref().map(|agent| format!("on {agent}")),
            _ => None,
        };
        let (place, epoch) = self.evidence.clone().map_or((None, None), |(place, epoch)| (Some(place), epoch));
        Headline {
            word: record.state.word().to_uppercase(),
            since: self.since,
            for_ms: as_of.since_ms(self.since).max(0),
            why: why.or_else(|| record.reason.clone()),
            place,
            epoch,
        }
    }

    /// What was counted anew, unless that was in another cell than the journal has the attempt in: one of the two was read later.
    fn counted<'a>(&self, facts: &RunFacts<'a>) -> Option<&'a Counted> {
        let is_there = |counted: &&Counted| self.cell.is_none_or(|cell| cell == counted.cell);
        facts.counted.filter(|counted| !counted.reasons.is_empty()).filter(is_there)
    }

    /// Why it has no place: as counted anew, else as the journal has it.
    fn reasons_now(&self, counted: Option<&Counted>) -> Vec<Reason> {
        let recorded = || self.waits.as_ref().map_or_else(Vec::new, |(_, reasons)| reasons.clone());
        counted.map_or_else(recorded, |counted| counted.reasons.clone())
    }

    /// Tells what is still as it is.
    fn close(&mut self, reasons: &[Reason], counted: Option<&Counted>) {
        if let Some((_, line)) = self.held.take() {
            self.gates.push(line);
        }
        let Some((line, _)) = self.waits.take() else { return };
        let told = reasons.iter().map(|reason| {
            let line = Line { code: codes::known(&reason.code), text: reason.detail.clone(), ..line.clone() };
            line.counted(reason.agents)
        });
        let told: Vec<Line> = told.collect();
        let agents = counted.map(|counted| i32::try_from(counted.agents).unwrap_or(i32::MAX));
        self.placement.push(Line { agents, ..line });
        self.placement.extend(told);
    }

    fn next(&self, record: &RunRecord, reasons: &[Reason]) -> Vec<Line> {
        match (record.state, record.next_attempt_at) {
            (RunState::Waiting, Some(at)) => vec![Line::new(Mark::Note, codes::BACKOFF, format!("the next attempt is due at {at}"))],
            (RunState::Waiting, None) if self.wanted_at.is_some() => next::of_reasons(reasons, self.cell),
            (RunState::Waiting, None) => {
                let reason = record.reason.iter();
                reason.filter_map(|reason| next::of_words(record.job.as_str(), reason)).collect()
            }
            (RunState::Failed | RunState::Lost | RunState::Cancelled | RunState::Skipped, _) => vec![next::retry(&record.run)],
            _ => Vec::new(),
        }
    }
}

/// Tells how long something lasted, up to this entry.
fn after(since: Option<Timestamp>, entry: &EntryView) -> String {
    since.map_or_else(String::new, |since| format!(" after {}", span(since, entry.at)))
}
