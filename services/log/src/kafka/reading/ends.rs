//! How far each partition is known to go: a read below that waits for what is on its way.

use crate::TopicPartition;
use orrery_model::record::{NewRecord, Offset};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where a partition begins and ends.
pub(in super::super) struct Bounds {
    pub(in super::super) start: Offset,
    pub(in super::super) end: Offset,
}

/// The highest end that this process has heard of or caused, by partition.
#[derive(Default)]
pub(in super::super) struct Ends(Mutex<BTreeMap<Arc<str>, BTreeMap<u32, Offset>>>);

impl Ends {
    /// Records were written. They become readable a little later: the brokers answer a commit before they mark its partitions.
    pub(in super::super) fn written(&self, records: &[NewRecord], offsets: &[Offset]) {
        let mut ends = self.lock();
        for (record, offset) in records.iter().zip(offsets) {
            if !ends.contains_key(record.topic.as_str()) {
                ends.insert(record.topic.as_str().into(), BTreeMap::new());
            }
            let known = ends.get_mut(record.topic.as_str()).expect("it is there now").entry(record.partition).or_default();
            *known = (*known).max(offset + 1);
        }
    }

    /// An end was heard of; what is known is at least that.
    pub(super) fn raise(&self, at: &TopicPartition, end: Offset) -> Offset {
        let mut ends = self.lock();
        let known = ends.entry(at.topic.clone()).or_default().entry(at.partition).or_default();
        *known = (*known).max(end);
        *known
    }

    pub(super) fn of(&self, at: &TopicPartition) -> Offset {
        self.lock().get(&at.topic).and_then(|topic| topic.get(&at.partition)).copied().unwrap_or(0)
    }

    pub(super) fn forget(&self, topic: &str) {
        self.lock().remove(topic);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, BTreeMap<u32, Offset>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
