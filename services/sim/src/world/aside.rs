//! Records that kill whoever decides on them, and people who set records aside.

use super::load::TOPIC;
use super::{Happening, World};
use crate::crash::DEADLY;
use crate::history::Accepted;
use crate::plan::SECOND;
use orrery_allocator::Allocator;
use orrery_log::{Log, Topic};
use orrery_model::decider::Decider;
use orrery_model::id::Principal;
use orrery_model::record::NewRecord;
use orrery_model::topics;
use orrery_runtime::quarantine::{Quarantine, RecordPlace, record};
use orrery_trigger::Trigger;

impl World {
    /// A record of which a decider panics, or which takes the whole process along: of the data team, or on one of our topics. At
    /// times somebody sees that and sets it aside, before the members have found out.
    pub(super) fn send_deadly(&mut self, which: u32) {
        let of_cells = [topics::TASKS, topics::STATUS];
        let topics = [TOPIC, topics::REQUESTS, topics::JOBS, topics::TASKS, topics::STATUS];
        let name = topics[which as usize % topics.len()];
        let (topic, partitions) = match name {
            TOPIC => (TOPIC.to_owned(), self.partitions()),
            _ if of_cells.contains(&name) => (self.cluster.topic(name), self.cluster.cells),
            _ => (self.cluster.topic(name), self.cluster.trigger_shards),
        };
        let partition = self.chance.u32(..partitions);
        let value = DEADLY[usize::from((which / 8).is_multiple_of(4))];
        let record = NewRecord { topic: topic.clone(), partition, key: None, value: Some(value.into()), headers: Vec::new() };
        let Some(offset) = self.send_record(record, None) else { return };
        let accepted = Accepted::Deadly { topic: topic.clone(), partition, offset, generation: self.generation() };
        self.history.accepted.push((self.now(), accepted));
        if (which / 32).is_multiple_of(4) {
            let span = self.chance.i64(SECOND / 10..20 * SECOND);
            for record in self.quarantines(RecordPlace { topic, partition, offset }) {
                self.after(span, Happening::Sends(record, None));
            }
        }
    }

    /// Somebody sets an event aside: the newest, which may be decided on before, or one that came earlier.
    pub(super) fn set_aside(&mut self, which: u32) {
        let events = self.history.accepted.iter().filter_map(|(_, accepted)| match accepted {
            Accepted::Event { partition, offset, generation, .. } => Some((*generation, *partition, *offset)),
            _ => None,
        });
        let earlier: Vec<_> = events.collect();
        let place = if which.is_multiple_of(4) && !earlier.is_empty() {
            Some(earlier[which as usize / 4 % earlier.len()])
        } else {
            let (number, record) = self.next_event();
            let partition = record.partition;
            self.send_record(record, Some(number)).map(|offset| (self.generation(), partition, offset))
        };
        let Some(place) = place.filter(|place| place.0 == self.generation()) else { return };
        let records = self.quarantines(RecordPlace { topic: TOPIC.into(), partition: place.1, offset: place.2 });
        if !records.is_empty() && self.log.append(records).is_ok() {
            self.history.by_hand.insert(place);
        }
    }

    /// What somebody writes who sets a record aside; who reads a user's topic is not known to everybody.
    fn quarantines(&self, place: RecordPlace) -> Vec<NewRecord> {
        let ours = place.topic.strip_prefix(self.cluster.prefix.as_str());
        let readers: Vec<(&str, u32)> = match ours {
            None => (0..self.cluster.trigger_shards).map(|shard| (Trigger::SERVICE, shard)).collect(),
            Some(ours) if Allocator::inputs().contains(&ours) => vec![(Allocator::SERVICE, place.partition)],
            Some(_) => vec![(Trigger::SERVICE, place.partition)],
        };
        let Ok(Some(Topic { id: topic_id, .. })) = self.log.topic(&place.topic) else { return Vec::new() };
        let quarantine = Quarantine { by: Principal::parse("ann").ok(), reason: "of a test".into(), topic_id };
        readers.into_iter().map(|of| record(&self.cluster, of, place.clone(), quarantine.clone())).collect()
    }
}
