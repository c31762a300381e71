//! The deciding, one file per kind of input.

mod after;
mod cells;
mod events;
mod fires;
mod forwards;
mod jobs;
mod outcomes;
mod requests;
mod rereads;
mod runs;
mod ticks;

use crate::facts::{Decision, Input};
use crate::state::Trigger;
use jobs::Submission;
use orrery_model::decider::Decider;
use orrery_model::id::{JobName, RunId};
use orrery_model::journal::Observation;
use orrery_model::limits::DECISIONS_PER_INPUT;
use orrery_model::messages::{CatalogEntry, RunRecord};
use orrery_model::time::Timestamp;

/// Decisions kept free for what follows from the last one: a run, its attempt, its event.
const DECISIONS_MARGIN: usize = 20;
/// Bytes of event data in one entry's decisions, beyond the first; the rest follows with the next tick.
const EVENT_BYTES_PER_INPUT: usize = 128 << 10;
/// Steps of one entry's evaluations, beyond those of the job that passes it (a fifth of what one job may spend on one event): the
/// rest follows with the next tick, and schedules go first.
const WORK_PER_INPUT: u64 = crate::expr::budget::WORK_MAX / 5;

pub(crate) fn handle(state: &mut Trigger, at: Timestamp, input: &Input, out: &mut Vec<Decision>) {
    let mut turn = Turn { state, at, out, event_bytes: 0, work: 0, depth: 0 };
    turn.take(input);
    let work = turn.work;
    state.work += work;
}

impl Turn<'_> {
    fn take(&mut self, input: &Input) {
        match input {
            Input::JobSubmitted { document, principal, starts, origin, appended, read } => {
                self.job_submitted(&Submission { document, principal: principal.as_ref(), starts, origin, appended: *appended, read });
            }
            Input::JobWithdrawn { job, principal, origin, appended } => self.job_withdrawn(job, principal.as_ref(), origin, *appended),
            Input::Requested { asked, job, origin } => self.requested(asked, job.as_ref(), origin),
            Input::CatalogArrived { job, entry, read } => self.catalog_arrived(job, entry.as_ref(), read),
            Input::EndArrived { ended, origin } => self.end_arrived(ended, origin),
            Input::EventArrived { event } => self.event_arrived(event),
            Input::EventReread { job, event } => self.event_reread(job, event),
            Input::FireArrived { fire } => self.fire_arrived(fire),
            Input::OutcomeArrived { outcome } => self.outcome_arrived(outcome),
            Input::Tick {} => self.tick(),
            Input::ShellObserved { observation } => self.observed(observation),
        }
    }
}

/// One input being handled.
struct Turn<'t> {
    state: &'t mut Trigger,
    at: Timestamp,
    out: &'t mut Vec<Decision>,
    event_bytes: usize,
    /// Steps of evaluations, of predicates and of templates.
    work: u64,
    /// Runs that are being started because of one another.
    depth: u32,
}

impl Turn<'_> {
    /// Decides: applied at once, so that what follows sees it.
    fn decide(&mut self, decision: Decision) {
        self.state.apply(self.at, &decision);
        self.out.push(decision);
    }

    fn observed(&mut self, observation: &Observation) {
        match observation {
            Observation::Acquired { shards, .. } if self.state.known_shards() != Some(*shards) => {
                self.decide(Decision::ShardsLearned { shards: *shards });
            }
            Observation::CaughtUp { topic, partition } => self.caught_up(topic, *partition),
            Observation::TopicRecreated { topic, generation, partition, .. }
            | Observation::TailLost { topic, generation, partition, .. } => self.recreated(topic, *generation, *partition),
            _ => {}
        }
        if let Some((code, detail)) = observation.alert() {
            self.decide(Decision::Alerted { code: code.into(), detail });
        }
    }

    fn refuse(&mut self, code: &str, detail: impl Into<String>, hint: Option<String>, subject: Option<&str>) {
        let subject = subject.map(str::to_owned);
        self.decide(Decision::Refused { code: code.into(), detail: detail.into(), hint, subject });
    }

    /// True while this entry may hold another decision or so.
    fn has_room(&self) -> bool {
        let fits = self.out.len() + DECISIONS_MARGIN < DECISIONS_PER_INPUT && self.event_bytes <= EVENT_BYTES_PER_INPUT;
        fits && self.work < WORK_PER_INPUT
    }

    /// The definition of one of this shard's jobs.
    fn entry(&self, job: &JobName) -> Option<&CatalogEntry> {
        self.state.jobs.get(job).map(|row| &row.entry)
    }

    /// The run's record with `updated_at` set, to be changed and decided.
    fn record(&self, run: &RunId) -> Option<RunRecord> {
        let record = self.state.runs.get(run)?.record.clone();
        Some(RunRecord { updated_at: self.at, ..record })
    }
}
