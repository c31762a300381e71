//! What the journals tell of a time that is over: what came from outside, which agents were there, how long each attempt took.

use super::agents::{AgentSpec, Lasted, Lasting};
use super::forecast::anchor;
use super::trace::Trace;
use super::world::{Given, What};
use crate::AuditError;
use crate::batch::each_entry;
use crate::entries::journal_of;
use orrery_allocator::{Allocator, Decision as Allocated};
use orrery_log::Log;
use orrery_model::decider::Decider;
use orrery_model::id::{AgentId, AttemptId, JobName};
use orrery_model::job::JobSpec;
use orrery_model::journal::Entry;
use orrery_model::messages::{EndKind, Request, RequestRecord, Status, StatusChange};
use orrery_model::time::Timestamp;
use orrery_runtime::messages::Cluster;
use orrery_trigger::{Input, Trigger};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// What an attempt takes of which nothing like it was recorded.
const UNKNOWN_US: i64 = 60_000_000;
/// An attempt that was killed would have gone on for longer than it did.
const LONGER_US: i64 = 1_000;

/// See the module.
pub(super) struct Recorded {
    /// What came from outside, in order of time.
    pub(super) given: Vec<Given>,
    pub(super) lasting: Lasting,
    /// What was decided in the span that is looked at.
    pub(super) trace: Trace,
    /// Time of the last entry.
    last: Timestamp,
    from: Timestamp,
    to: Timestamp,
    /// Starts of attempts that have not ended yet.
    started: BTreeMap<AttemptId, Timestamp>,
    /// Attempts that were killed, and when.
    killed: Vec<(AttemptId, JobName, Timestamp)>,
    /// How long attempts took, by job.
    lengths: BTreeMap<JobName, Vec<i64>>,
}

impl Recorded {
    /// Reads all journals; what was decided is noted from `from` (none: from the first entry) to `to` (none: to the last).
    pub(super) fn read(log: &dyn Log, cluster: &Cluster, from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Self, AuditError> {
        let mut recorded = Self {
            given: Vec::new(),
            lasting: Lasting::default(),
            trace: Trace::default(),
            last: Timestamp::default(),
            from: from.unwrap_or(Timestamp(i64::MIN)),
            to: to.unwrap_or(Timestamp(i64::MAX)),
            started: BTreeMap::new(),
            killed: Vec::new(),
            lengths: BTreeMap::new(),
        };
        // Attempts are wanted before they are placed.
        for shard in 0..cluster.trigger_shards {
            each_entry::<Trigger>(log, &journal_of(cluster, Trigger::SERVICE, shard), 0, |entry| {
                recorded.trigger_entry(shard as i32, entry);
                ControlFlow::Continue(())
            })?;
        }
        for cell in 0..cluster.cells {
            each_entry::<Allocator>(log, &journal_of(cluster, Allocator::SERVICE, cell), 0, |entry| {
                recorded.allocator_entry(cell as i32, &entry);
                ControlFlow::Continue(())
            })?;
        }
        recorded.measure();
        recorded.given.sort_by_key(|given| given.at);
        Ok(recorded)
    }

    /// The span that is looked at: what was not given is that of the journals.
    pub(super) fn span(&self) -> (Timestamp, Timestamp) {
        let first = self.given.first().map_or(self.last, |given| given.at);
        let from = if self.from == Timestamp(i64::MIN) { first } else { self.from };
        let until = if self.to == Timestamp(i64::MAX) { Timestamp(self.last.0.saturating_add(1)) } else { self.to };
        (from, until)
    }

    /// What is given to a world that begins at `from`: agents and definitions of the time before are there when it begins, other
    /// inputs of then are left out.
    pub(super) fn world_from(&mut self, from: Timestamp) {
        let given = std::mem::take(&mut self.given);
        let (before, within): (Vec<_>, Vec<_>) = given.into_iter().partition(|given| given.at < from);
        // A slot at the very first moment is run.
        let begin = Timestamp(from.0.saturating_sub(1));
        let mut agents: BTreeMap<(i32, AgentId), What> = BTreeMap::new();
        let mut definitions = Vec::new();
        for Given { at, what } in before {
            match what {
                What::Offer(spec) => drop(agents.insert((spec.cell, spec.agent.clone()), What::Offer(spec))),
                What::Gone { cell, agent } => drop(agents.remove(&(cell, agent))),
                What::Told(input) if is_definition(&input) => definitions.push(What::Told(Box::new(anchored(*input, at)))),
                What::Told(_) => {}
            }
        }
        let early = agents.into_values().chain(definitions).map(|what| Given { at: begin, what });
        self.given = early.chain(within).filter(|given| given.at < self.to).collect();
    }

    fn trigger_entry(&mut self, shard: i32, entry: Entry<Input, orrery_trigger::Decision>) {
        self.last = self.last.max(entry.at);
        if (self.from..self.to).contains(&entry.at) {
            let defines = matches!(entry.input, Input::JobSubmitted { .. });
            entry.decisions.iter().for_each(|decision| self.trace.trigger(entry.at, decision, defines));
        }
        if let Some(input) = from_outside(entry.input, shard) {
            self.given.push(Given { at: entry.at, what: What::Told(Box::new(input)) });
        }
    }

    fn allocator_entry(&mut self, cell: i32, entry: &Entry<orrery_allocator::Input, Allocated>) {
        self.last = self.last.max(entry.at);
        let within = (self.from..self.to).contains(&entry.at);
        for decision in &entry.decisions {
            // What agents offered before is offered still.
            if within || (offers(decision) && entry.at < self.to) {
                self.trace.allocator(entry.at, cell, decision);
            }
            self.agent(entry.at, cell, decision);
            if let Allocated::StatusTaken { status, job, .. } = decision {
                self.status(entry.at, status, job);
            }
        }
    }

    fn agent(&mut self, at: Timestamp, cell: i32, decision: &Allocated) {
        let what = match decision {
            Allocated::AgentJoined { agent, total, attributes, .. } | Allocated::AgentChanged { agent, total, attributes, .. } => {
                What::Offer(AgentSpec { agent: agent.clone(), cell, total: *total, attributes: attributes.clone() })
            }
            Allocated::AgentLost { agent, .. } => What::Gone { cell, agent: agent.clone() },
            _ => return,
        };
        self.given.push(Given { at, what });
    }

    fn status(&mut self, at: Timestamp, Status { attempt, change, .. }: &Status, job: &JobName) {
        let StatusChange::TaskEnded { end } = change else {
            self.started.insert(attempt.clone(), at);
            return;
        };
        let (kind, code, signal, wall_ms) = (end.kind, end.code, end.signal, end.wall_ms);
        let started = self.started.remove(attempt);
        // By the agent's own clock: an end may be taken long after it came.
        let us = match kind {
            EndKind::Lost => started.map_or(0, |started| at.0 - started.0),
            _ => wall_ms.max(0).saturating_mul(1000),
        };
        match kind {
            EndKind::Killed => self.killed.push((attempt.clone(), job.clone(), at)),
            _ => {
                if kind != EndKind::NotStarted {
                    self.lengths.entry(job.clone()).or_default().push(us);
                }
                self.lasting.attempts.insert(attempt.clone(), Lasted::new(us, kind, code, signal));
            }
        }
    }

    /// Medians for what was not recorded. An attempt that was killed lasts as long as others of its job, and until it was
    /// killed at least: it is killed again, if it comes to that.
    fn measure(&mut self) {
        let mut all: Vec<i64> = self.lengths.values().flatten().copied().collect();
        self.lasting.default_us = median(&mut all).unwrap_or(UNKNOWN_US);
        let of_job = |(job, mut lengths): (JobName, Vec<i64>)| Some((job, median(&mut lengths)?));
        self.lasting.by_job = std::mem::take(&mut self.lengths).into_iter().filter_map(of_job).collect();
        for (attempt, job, at) in std::mem::take(&mut self.killed) {
            let not_before = Timestamp(at.0.saturating_add(LONGER_US));
            self.lasting.attempts.insert(attempt, Lasted { not_before, ..Lasted::succeeds(self.lasting.usual_us(&job)) });
        }
    }
}

fn median(lengths: &mut [i64]) -> Option<i64> {
    lengths.sort_unstable();
    lengths.get(lengths.len() / 2).copied()
}

fn offers(decision: &Allocated) -> bool {
    matches!(decision, Allocated::AgentJoined { .. } | Allocated::AgentChanged { .. } | Allocated::AgentLost { .. })
}

/// The input for a world of one shard, if it came from outside and this shard was the first to read it. What is forwarded was read
/// by another one; a fire follows from an event that another one has read. An event that was read again for one job is shown once
/// more: jobs that it has fired before it does not fire again.
fn from_outside(input: Input, shard: i32) -> Option<Input> {
    let first_read_here = match &input {
        Input::JobSubmitted { origin, .. } | Input::JobWithdrawn { origin, .. } | Input::Requested { origin, .. } => {
            origin.partition == shard
        }
        _ => true,
    };
    match input {
        _ if !first_read_here => None,
        Input::JobSubmitted { document, principal, starts, origin, appended, .. } => {
            Some(Input::JobSubmitted { document, principal, starts, origin, appended, read: Vec::new() })
        }
        Input::JobWithdrawn { .. } | Input::Requested { .. } | Input::EventArrived { .. } => Some(input),
        Input::EventReread { event, .. } => Some(Input::EventArrived { event }),
        _ => None,
    }
}

/// True for what says which jobs there are and whether they are paused.
fn is_definition(input: &Input) -> bool {
    match input {
        Input::JobSubmitted { .. } | Input::JobWithdrawn { .. } => true,
        Input::Requested { asked: RequestRecord { request, .. }, .. } => {
            matches!(request, Request::PauseJob { .. } | Request::ResumeJob { .. })
        }
        _ => false,
    }
}

/// A definition that is taken later than it was: its intervals begin when they began.
fn anchored(mut input: Input, at: Timestamp) -> Input {
    if let Input::JobSubmitted { document, .. } = &mut input
        && let Ok(mut spec) = serde_json::from_str::<JobSpec>(document)
    {
        anchor(&mut spec, at);
        *document = spec.to_json();
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;
    use orrery_model::messages::Origin;

    #[test]
    fn what_was_forwarded_counts_where_it_was_read_first() {
        let job = JobName::parse("default/a").expect("a name");
        let origin = Origin { topic: "jobs".into(), partition: 1, generation: 0, offset: 7 };
        let withdrawn = Input::JobWithdrawn { job, principal: None, origin, appended: Timestamp(0) };
        assert_eq!(from_outside(withdrawn.clone(), 0), None);
        assert_eq!(from_outside(withdrawn.clone(), 1), Some(withdrawn));
        assert_eq!(from_outside(Input::Tick {}, 0), None);
    }
}
