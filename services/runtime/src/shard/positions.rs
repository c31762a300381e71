//! Positions of inputs beyond their moving on: what a decider is told of them, and re-reads that are over.

use super::Shard;
use crate::rows::{self, Position, full_key};
use orrery_model::decider::Decider;
use orrery_model::messages::StartPosition;
use orrery_model::topics::reread_of;
use std::sync::Arc;

impl<D: Decider> Shard<D> {
    /// Where this shard stands in a topic's partitions, as far as it reads them.
    pub(super) fn standing_in(&self, topic: &str) -> impl Iterator<Item = StartPosition> {
        let from: (Arc<str>, u32) = (topic.into(), 0);
        let of_topic = self.positions.range(from.clone()..=(from.0, u32::MAX));
        of_topic.map(|((topic, partition), position)| {
            let Position { offset, topic_id, generation } = position.clone();
            StartPosition { topic: topic.to_string(), generation, partition: *partition as i32, offset, topic_id }
        })
    }

    /// Forgets inputs of names that are not read any more and never again: re-reads that are over.
    pub fn forget_rereads(&mut self, goes_on: impl Fn(&(Arc<str>, u32)) -> bool) {
        let over = |input: &&(Arc<str>, u32)| reread_of(&input.0).is_some() && !goes_on(input);
        let over: Vec<_> = self.positions.keys().filter(over).cloned().collect();
        for (name, partition) in over {
            self.shell_rows.insert(full_key(rows::POSITIONS, &rows::position_key(&name, partition)), None);
            self.positions.remove(&(name, partition));
        }
    }
}
