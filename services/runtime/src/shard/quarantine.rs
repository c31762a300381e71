//! Records that are set aside without being decided on.

use super::{Shard, Step};
use crate::messages::dead_letter;
use crate::quarantine::{Quarantine, Quarantined, RecordPlace};
use crate::rows::Position;
use orrery_model::decider::{Decider, Poison};
use orrery_model::journal::{DropReason, Observation};
use orrery_model::planted::{Bug, planted};
use orrery_model::record::Record;
use orrery_model::topics::topic_of;
use std::sync::Arc;

impl<D: Decider> Shard<D> {
    /// Sets these aside when they come.
    pub fn quarantine(&mut self, records: Quarantined) {
        self.quarantined.extend(records);
    }

    /// Takes so many records in a step at most.
    pub fn take_at_most(&mut self, records_per_step: usize) {
        self.records_per_step = records_per_step;
    }

    /// A record is the same one where its topic is read again for a job.
    pub(super) fn quarantine_of(&self, topic: &str, partition: u32, position: &Position, offset: i64) -> Option<Quarantine> {
        if self.quarantined.is_empty() {
            return None;
        }
        let at = |offset| self.quarantined.get(&RecordPlace { topic: topic_of(topic).to_owned(), partition, offset }).cloned();
        let found = at(offset).or_else(|| at(offset - 1).filter(|_| planted(Bug::QuarantineNeighbour)));
        found.filter(|found| found.topic_id.is_empty() || found.topic_id == position.topic_id)
    }

    pub(super) fn set_aside(
        &mut self,
        (topic, partition): (&Arc<str>, u32),
        position: Position,
        record: &Record,
        quarantine: &Quarantine,
        step: &mut Step<'_, D>,
    ) {
        let by = quarantine.by.as_ref().map(ToString::to_string);
        let reason = quarantine.reason.clone();
        let poison = Poison::new("quarantined", format!("it was set aside: {reason}"));
        step.dead.push(dead_letter(topic_of(topic), partition, record, &poison));
        self.drop_range(topic, partition, (record.prev, record.offset + 1), 1, DropReason::Quarantined);
        self.move_position(topic, partition, Position { offset: record.offset + 1, ..position });
        let (topic, partition, offset) = (topic.to_string(), partition as i32, record.offset);
        self.observe(Observation::RecordQuarantined { topic, partition, offset, by, reason }, step);
    }
}
