//! How far each partition is known to go: a read below that waits for what is on its way.

use super::Topics;
use crate::TopicPartition;
use orrery_model::record::{NewRecord, Offset};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where a partition begins and ends.
pub(in super::super) struct Bounds {
    pub(in super::super) start: Offset,
    pub(in super::super) end: Offset,
}

/// The highest end that this process has heard of or caused, by partition, of the newest generation of each topic: the ends of a
/// topic that was made again are not those of the one before.
#[derive(Default)]
pub(in super::super) struct Ends(Mutex<BTreeMap<Arc<str>, Known>>);

/// Of one generation, by partition.
#[derive(Default)]
struct Known {
    generation: u64,
    ends: BTreeMap<u32, Offset>,
    /// Last records of partitions that the brokers did not let anybody read on behind them.
    torn: BTreeMap<u32, Offset>,
}

impl Ends {
    /// Records were written. They become readable a little later: the brokers answer a commit before they mark its partitions.
    pub(in super::super) fn written(&self, topics: &Topics, records: &[NewRecord], offsets: &[Offset]) {
        for (record, offset) in records.iter().zip(offsets) {
            let at = TopicPartition::new(&record.topic, record.partition);
            self.raise((&at, topics.generation(&record.topic)), offset + 1);
        }
    }

    /// An end was heard of; what is known is at least that.
    pub(super) fn raise(&self, (at, generation): (&TopicPartition, u64), end: Offset) -> Offset {
        let mut all = self.lock();
        let known = all.entry(at.topic.clone()).or_default();
        if known.generation < generation {
            *known = Known { generation, ..Known::default() };
        }
        if known.generation > generation {
            return end;
        }
        let known = known.ends.entry(at.partition).or_default();
        *known = (*known).max(end);
        *known
    }

    /// The brokers do not let anybody read on behind this record, or it is another one: the partition's tail is lost, its first records
    /// are, or its topic is another one. What was known of its end is not true any more.
    pub(super) fn tear(&self, (at, generation): (&TopicPartition, u64), last: Offset) {
        let mut all = self.lock();
        if let Some(known) = all.get_mut(&at.topic).filter(|known| known.generation == generation) {
            known.ends.remove(&at.partition);
            known.torn.insert(at.partition, last);
        }
    }

    /// True if whoever reads on has to be told that it was torn.
    pub(super) fn is_torn(&self, (at, generation): (&TopicPartition, u64)) -> bool {
        let all = self.lock();
        let known = all.get(&at.topic).filter(|known| known.generation == generation);
        known.is_some_and(|known| known.torn.contains_key(&at.partition))
    }

    /// True if it was torn between its start and this position; asked once.
    pub(super) fn take_torn(&self, (at, generation): (&TopicPartition, u64), start: Offset, position: Offset) -> bool {
        let mut all = self.lock();
        let known = all.get_mut(&at.topic).filter(|known| known.generation == generation);
        let torn = known.and_then(|known| known.torn.remove(&at.partition));
        torn.is_some_and(|torn| (start..=position).contains(&torn))
    }

    pub(super) fn of(&self, (at, generation): (&TopicPartition, u64)) -> Offset {
        let all = self.lock();
        let known = all.get(&at.topic).filter(|known| known.generation == generation);
        known.and_then(|known| known.ends.get(&at.partition)).copied().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
