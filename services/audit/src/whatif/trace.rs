//! What is noted of decisions, simulated or recorded: runs, attempts, agents, and where the allocators' ways could part.

use orrery_allocator::Decision as Allocated;
use orrery_model::id::{AgentId, AttemptId, JobName, RunId};
use orrery_model::messages::{Reason, RunRecord, RunState, StatusChange, TaskSpec};
use orrery_model::resources::Resources;
use orrery_model::time::Timestamp;
use orrery_trigger::Decision as Triggered;
use serde::Serialize;
use std::collections::BTreeMap;

/// Code of a refused definition.
const INVALID: &str = "invalid";

/// All that is noted.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) runs: BTreeMap<RunId, RunTrace>,
    pub(super) attempts: BTreeMap<AttemptId, AttemptTrace>,
    /// What agents offer from then on, in the order of decisions.
    pub(super) offers: Vec<Offered>,
    pub(super) moves: Vec<Move>,
    pub(super) refused: Vec<Refusal>,
}

/// One run.
#[derive(Debug)]
pub(super) struct RunTrace {
    pub(super) job: JobName,
    pub(super) nominal: Option<Timestamp>,
    pub(super) created: Timestamp,
    pub(super) started: Option<Timestamp>,
    pub(super) ended: Option<Timestamp>,
    pub(super) agent: Option<AgentId>,
    pub(super) state: RunState,
}

/// One attempt.
#[derive(Debug)]
pub(super) struct AttemptTrace {
    pub(super) job: JobName,
    pub(super) needs: Resources,
    pub(super) wanted: Timestamp,
    pub(super) started: Option<Timestamp>,
    pub(super) ended: Option<Timestamp>,
    /// Codes of what it waited for, as they came up.
    pub(super) reasons: Vec<String>,
}

/// What an agent offers from then on; nothing: it is gone.
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) at: Timestamp,
    pub(super) cell: i32,
    pub(super) agent: AgentId,
    pub(super) total: Resources,
}

/// A decision of an allocator about a task's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Move {
    /// When.
    pub at: Timestamp,
    /// The allocator's cell.
    pub cell: i32,
    /// Kind of the decision, as in the journal: `placed`, `task_queued`, …
    pub decision: &'static str,
    /// Which attempt.
    pub attempt: AttemptId,
    /// Its job, where the decision names it.
    pub job: Option<JobName>,
    /// The agent, where there is one.
    pub agent: Option<AgentId>,
}

/// A definition that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// When.
    pub at: Timestamp,
    /// Which job, if the definition could be read.
    pub job: Option<String>,
    /// Why, and what to do.
    pub reason: String,
}

impl Trace {
    /// Notes a decision of a trigger; `defines`: it is on a definition. Attempts of runs that are not known began before the time
    /// that is looked at.
    pub(super) fn trigger(&mut self, at: Timestamp, decision: &Triggered, defines: bool) {
        match decision {
            Triggered::RunCreated { record, .. } => {
                self.runs.insert(record.run.clone(), RunTrace::new(at, record));
            }
            Triggered::AttemptWanted { record, spec, .. } => {
                if let Some(run) = self.runs.get_mut(&record.run) {
                    run.follow(record);
                    self.attempts.entry(spec.attempt.clone()).or_insert_with(|| AttemptTrace::new(at, spec));
                }
            }
            Triggered::AttemptUnwanted { record, .. }
            | Triggered::RunProgressed { record }
            | Triggered::AttemptOver { record, .. }
            | Triggered::RunEnded { record } => {
                if let Some(run) = self.runs.get_mut(&record.run) {
                    run.follow(record);
                }
            }
            Triggered::Refused { code, detail, hint, subject } if defines && code == INVALID => {
                let reason = hint.as_ref().map_or_else(|| detail.clone(), |hint| format!("{detail}; {hint}"));
                self.refused.push(Refusal { at, job: subject.clone(), reason });
            }
            _ => {}
        }
    }

    /// Notes a decision of an allocator.
    pub(super) fn allocator(&mut self, at: Timestamp, cell: i32, decision: &Allocated) {
        match decision {
            Allocated::AgentJoined { agent, total, .. } | Allocated::AgentChanged { agent, total, .. } => {
                self.offers.push(Offered { at, cell, agent: agent.clone(), total: *total });
            }
            Allocated::AgentLost { agent, .. } => {
                self.offers.push(Offered { at, cell, agent: agent.clone(), total: Resources::default() });
            }
            Allocated::TaskQueued { spec, reasons, .. } => {
                self.waits(&spec.attempt, reasons);
                self.moved(Move::new(at, cell, "task_queued", &spec.attempt).of(&spec.job));
            }
            Allocated::TaskWaits { attempt, reasons } => self.waits(attempt, reasons),
            Allocated::Placed { spec, agent, .. } => {
                self.moved(Move { agent: Some(agent.clone()), ..Move::new(at, cell, "placed", &spec.attempt).of(&spec.job) });
            }
            Allocated::TaskReturned { attempt, .. } => self.moved(Move::new(at, cell, "task_returned", attempt)),
            Allocated::TaskDeclined { attempt, job, reasons, .. } => {
                self.waits(attempt, reasons);
                self.moved(Move::new(at, cell, "task_declined", attempt).of(job));
            }
            Allocated::TaskDropped { attempt, job, .. } => {
                self.over(at, attempt);
                self.moved(Move::new(at, cell, "task_dropped", attempt).of(job));
            }
            Allocated::TaskLost { attempt, job, agent, .. } => {
                self.over(at, attempt);
                self.moved(Move { agent: Some(agent.clone()), ..Move::new(at, cell, "task_lost", attempt).of(job) });
            }
            Allocated::StatusTaken { status, .. } => match status.change {
                StatusChange::TaskRunning { .. } => self.began(at, &status.attempt),
                StatusChange::TaskEnded { .. } => self.over(at, &status.attempt),
            },
            _ => {}
        }
    }

    fn moved(&mut self, step: Move) {
        self.moves.push(step);
    }

    fn waits(&mut self, attempt: &AttemptId, reasons: &[Reason]) {
        let Some(attempt) = self.attempts.get_mut(attempt) else { return };
        for reason in reasons {
            if !attempt.reasons.contains(&reason.code) {
                attempt.reasons.push(reason.code.clone());
            }
        }
    }

    fn began(&mut self, at: Timestamp, attempt: &AttemptId) {
        if let Some(attempt) = self.attempts.get_mut(attempt) {
            attempt.started.get_or_insert(at);
        }
    }

    fn over(&mut self, at: Timestamp, attempt: &AttemptId) {
        if let Some(attempt) = self.attempts.get_mut(attempt) {
            attempt.ended.get_or_insert(at);
        }
    }
}

impl RunTrace {
    fn new(at: Timestamp, record: &RunRecord) -> Self {
        let RunRecord { job, nominal, started_at, ended_at, agent, state, .. } = record;
        let (job, agent) = (job.clone(), agent.clone());
        Self { job, nominal: *nominal, created: at, started: *started_at, ended: *ended_at, agent, state: *state }
    }

    fn follow(&mut self, record: &RunRecord) {
        (self.started, self.ended, self.state) = (record.started_at, record.ended_at, record.state);
        self.agent.clone_from(&record.agent);
    }
}

impl AttemptTrace {
    fn new(at: Timestamp, spec: &TaskSpec) -> Self {
        Self { job: spec.job.clone(), needs: spec.resources, wanted: at, started: None, ended: None, reasons: Vec::new() }
    }

    /// When it stopped waiting: with its start, else with its end, else not before the end of the time that is looked at.
    pub(super) fn waited_until(&self, until: Timestamp) -> Timestamp {
        self.started.or(self.ended).unwrap_or(until)
    }
}

impl Move {
    fn new(at: Timestamp, cell: i32, decision: &'static str, attempt: &AttemptId) -> Self {
        Self { at, cell, decision, attempt: attempt.clone(), job: None, agent: None }
    }

    fn of(self, job: &JobName) -> Self {
        Self { job: Some(job.clone()), ..self }
    }
}
