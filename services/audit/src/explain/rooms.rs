//! When an agent will have room for a task that waits, by how long runs of the same jobs took before; and in which cell, as a task
//! may be handed on.

use orrery_allocator::SPILL_AFTER_MS;
use orrery_allocator::rows::TaskRow;
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

/// An agent that has room, or will have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Its cell.
    pub cell: u32,
    /// Which.
    pub agent: AgentId,
    /// The run whose end makes it; none where it is there when the task comes.
    pub run: Option<RunId>,
    /// When.
    pub at: Timestamp,
}

/// What a cell has for a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlook {
    /// No agent there could ever run it.
    Hopeless,
    /// The first room; none if that cannot be told.
    Room(Option<Room>),
}

/// The first room for a waiting task in one of so many cells: there or, where that cell may hand it back, in one that it then goes on
/// to (protocol §6.1). None of them gets it twice, so room that comes after it has left does not count.
pub fn first_room(task: &TaskRow, (cell, cells): (u32, u32), now: Timestamp, mut look: impl FnMut(u32) -> Outlook) -> Option<Room> {
    let had_it = u32::try_from(task.spec.hop).unwrap_or(0) + 1;
    let others = if task.spec.may_decline { cells.saturating_sub(had_it) } else { 0 };
    let (mut from, mut until) = (now, task.wanted_at.plus_ms(SPILL_AFTER_MS).max(now));
    for n in 0..=others {
        let left = match look((cell + n) % cells) {
            Outlook::Room(Some(room)) if n == others || room.at < until => return Some(not_before(from, room)),
            Outlook::Room(_) => until,
            // It is handed back at once.
            Outlook::Hopeless => from,
        };
        (from, until) = (left, left.plus_ms(SPILL_AFTER_MS));
    }
    None
}

/// Room that comes before the task does is there when it comes.
fn not_before(from: Timestamp, room: Room) -> Room {
    if room.at < from { Room { run: None, at: from, ..room } } else { room }
}

/// When an agent of a cell has room for this, if its tasks end when expected; none if that cannot be told.
pub fn room_at((cell, agent): (u32, &AgentId), free: &Resources, need: &Resources, running: &[Running], now: Timestamp) -> Option<Room> {
    if free.holds(need) {
        return Some(Room { cell, agent: agent.clone(), run: None, at: now });
    }
    let mut ends: Vec<(Timestamp, &Running)> = running.iter().filter_map(|task| Some((task.ends?, task))).collect();
    ends.sort_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.run.cmp(&other.run)));
    let mut free = *free;
    for (at, task) in ends {
        free = free.plus(&task.resources);
        if free.holds(need) {
            // One that should have come already says nothing.
            return (at > now).then(|| Room { cell, agent: agent.clone(), run: Some(task.run.clone()), at });
        }
    }
    None
}

/// The median of durations, milliseconds; the lower one of two in the middle.
pub fn median_ms(mut durations: Vec<i64>) -> Option<i64> {
    durations.sort_unstable();
    durations.get(durations.len().saturating_sub(1) / 2).copied()
}
