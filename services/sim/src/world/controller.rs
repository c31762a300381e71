//! The controller: assigns shards to members, late and wrongly at times.

use super::members::Key;
use super::{Happening, World};
use crate::plan::SECOND;

/// Between two looks.
const CONTROL_EVERY: i64 = 2 * SECOND;

/// What the controller believes about a shard.
pub(crate) struct Assigned {
    pub(super) member: usize,
    pub(super) generation: i64,
    /// The member was not seen to hold it since then.
    missing_since: Option<i64>,
}

impl Assigned {
    pub(super) const fn first(member: usize) -> Self {
        Self { member, generation: 1, missing_since: None }
    }
}

impl World {
    /// Gives shards whose members are gone for a while to somebody who lives. As a consumer group does, it sees who lives and wants
    /// to own, not who owns.
    pub(super) fn control(&mut self) {
        let now = self.now();
        let keys: Vec<Key> = self.assigned.keys().copied().collect();
        for key in keys {
            let Some(Assigned { member, missing_since, .. }) = self.assigned.get_mut(&key) else { continue };
            let seen = &self.members[*member];
            let holds = seen.alive && seen.paused_until <= now && seen.shards.get(&key).is_some_and(|held| !held.unfit);
            if holds {
                *missing_since = None;
            } else if now - *missing_since.get_or_insert(now) >= self.plan.dead_after {
                let alive: Vec<usize> = (0..self.members.len()).filter(|m| self.members[*m].alive).collect();
                if !alive.is_empty() {
                    let to = alive[self.chance.usize(..alive.len())];
                    let heard = self.chance.i64(0..30 * SECOND);
                    self.assign(key, to, heard);
                }
            }
        }
        self.after(CONTROL_EVERY, Happening::Control);
    }

    /// A newer assignment; the old owner hears of it later.
    pub(super) fn assign(&mut self, key: Key, to: usize, heard: i64) {
        let Some(assigned) = self.assigned.get_mut(&key) else { return };
        let old = std::mem::replace(&mut assigned.member, to);
        assigned.generation += 1;
        assigned.missing_since = None;
        let generation = assigned.generation;
        let span = self.chance.i64(0..SECOND);
        self.after(span, Happening::Told(to, key, generation, true));
        if old != to {
            self.after(heard, Happening::Told(old, key, generation, false));
        }
    }

    /// Two members are told the same; the controller believes in the first, and the second hears of it later.
    pub(super) fn contradict(&mut self, key: Key, first: usize, second: usize) {
        self.assign(key, first, 5 * SECOND);
        if first == second {
            return;
        }
        let generation = self.assigned.get(&key).map_or(1, |assigned| assigned.generation);
        let (told, heard) = (self.chance.i64(0..2 * SECOND), self.chance.i64(3 * SECOND..60 * SECOND));
        self.after(told, Happening::Told(second, key, generation, true));
        self.after(heard, Happening::Told(second, key, generation, false));
    }
}
