//! When an agent will have room, by how long runs of the same jobs took before.

use orrery_model::id::{AgentId, RunId};
use orrery_model::resources::Resources;
use orrery_model::time::Timestamp;

/// A task that runs on an agent, and when it is expected to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its run.
    pub run: RunId,
    /// What it gives back.
    pub resources: Resources,
    /// When, by the runs of its job before; none if there were none.
    pub ends: Option<Timestamp>,
}

/// An agent that will have room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Which.
    pub agent: AgentId,
    /// The run whose end makes it.
    pub run: RunId,
    /// When.
    pub at: Timestamp,
}

/// When an agent has room for this, if its tasks end when expected; none if that cannot be told.
pub fn room_at(agent: &AgentId, free: &Resources, need: &Resources, running: &[Running]) -> Option<Room> {
    let mut ends: Vec<(Timestamp, &Running)> = running.iter().filter_map(|task| Some((task.ends?, task))).collect();
    ends.sort_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.run.cmp(&other.run)));
    let mut free = *free;
    for (at, task) in ends {
        free = free.plus(&task.resources);
        if free.holds(need) {
            return Some(Room { agent: agent.clone(), run: task.run.clone(), at });
        }
    }
    None
}

/// The median of durations, milliseconds; the lower one of two in the middle.
pub fn median_ms(mut durations: Vec<i64>) -> Option<i64> {
    durations.sort_unstable();
    durations.get(durations.len().saturating_sub(1) / 2).copied()
}
