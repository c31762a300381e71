//! The deciding, one file per kind of input. Every input ends with a placement round over what it has changed.

mod agents;
mod rounds;
mod status;
mod tasks;

use crate::facts::{Decision, Input};
use crate::state::Allocator;
use orrery_model::decider::Decider;
use orrery_model::id::AgentId;
use orrery_model::journal::Observation;
use orrery_model::limits::DECISIONS_PER_INPUT;
use orrery_model::messages::{Reason, TaskSpec};
use orrery_model::time::Timestamp;
use std::collections::BTreeSet;

/// Decisions kept free for what ends a round: new reasons, the pause.
const DECISIONS_MARGIN: usize = rounds::EXPLAINED + 20;
/// Bytes of specs in one entry's decisions, beyond the first; the rest follows with the next tick.
const SPEC_BYTES_PER_INPUT: usize = 256 << 10;

pub(crate) fn handle(state: &mut Allocator, at: Timestamp, input: &Input, out: &mut Vec<Decision>) {
    let mut turn = Turn { state, at, out, bytes: 0, gained: BTreeSet::new(), everywhere: false, agents_changed: false };
    match input {
        Input::TaskWanted { spec } => turn.task_wanted(spec),
        Input::TaskUnwanted { attempt, hop, reason } => turn.task_unwanted(attempt, *hop, reason),
        Input::HeartbeatArrived { heartbeat } => turn.heartbeat_arrived(heartbeat),
        Input::StatusArrived { status } => turn.status_arrived(status),
        Input::Tick {} => {}
        Input::ShellObserved { observation } => turn.observed(observation),
    }
    let is_tick = matches!(input, Input::Tick {});
    turn.settle(is_tick);
    // While a round is cut short, what waits may still be placed.
    if is_tick && !turn.state.counters().paused {
        turn.spill();
    }
}

/// One input being handled.
struct Turn<'t> {
    state: &'t mut Allocator,
    at: Timestamp,
    out: &'t mut Vec<Decision>,
    /// Approximate size of what was decided so far.
    bytes: usize,
    /// Agents that have more room than before: nothing that waits fits on any other.
    gained: BTreeSet<AgentId>,
    /// A task waits that was not tried anywhere.
    everywhere: bool,
    /// Agents came, went or changed: reasons to wait may be others.
    agents_changed: bool,
}

impl Turn<'_> {
    /// Decides: applied at once, so that what follows sees it.
    fn decide(&mut self, decision: Decision) {
        self.state.apply(self.at, &decision);
        self.out.push(decision);
    }

    /// True while this entry may hold another decision of so many bytes. The first is always taken, or nothing would move.
    fn has_room(&self, bytes: usize) -> bool {
        let fits = self.bytes == 0 || self.bytes + bytes <= SPEC_BYTES_PER_INPUT;
        fits && self.out.len() + DECISIONS_MARGIN < DECISIONS_PER_INPUT
    }

    fn observed(&mut self, observation: &Observation) {
        match observation {
            Observation::Acquired { shards, .. } if self.state.known_shards() != Some(*shards) => {
                self.decide(Decision::ShardsLearned { shards: *shards });
            }
            Observation::LeaseExpired { agent, session, silent_ms } => self.lease_expired(agent, session, *silent_ms),
            other => {
                if let Some((code, detail)) = other.alert() {
                    self.decide(Decision::Alerted { code: code.into(), detail });
                }
            }
        }
    }
}

/// Approximate size of reasons in the journal.
fn reasons_bytes(reasons: &[Reason]) -> usize {
    64 + reasons.iter().map(|reason| 32 + reason.detail.len()).sum::<usize>()
}

/// Approximate size of a spec in the journal.
fn spec_bytes(spec: &TaskSpec) -> usize {
    let event = spec.event.as_ref().map_or(0, |event| event.as_bytes().len());
    let argv: usize = spec.argv.iter().map(String::len).sum();
    let env: usize = spec.env.iter().map(|var| var.name.len() + var.value.len()).sum();
    let constraints: usize = spec.constraints.iter().map(String::len).sum();
    256 + event + argv + env + constraints
}
