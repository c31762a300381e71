//! A transaction's entries and rows as records of the log.

use super::Shard;
use crate::packing::packs;
use orrery_model::decider::Decider;
use orrery_model::limits::ENTRY_BYTES;
use orrery_model::payload::Payload;
use orrery_model::record::NewRecord;

impl<D: Decider> Shard<D> {
    pub(super) fn journal_records(&self, entries: &[Vec<u8>]) -> Vec<NewRecord> {
        packs(entries, Vec::len).map(|batch| self.journal_record(batch)).collect()
    }

    fn journal_record(&self, batch: &[Vec<u8>]) -> NewRecord {
        let value = D::journal().encode_items(batch.iter().map(Vec::as_slice));
        if value.len() > ENTRY_BYTES {
            // What goes in is bounded so that this does not happen; it has happened, so it is written, as the state has changed.
            tracing::error!(service = D::SERVICE, bytes = value.len(), limit = ENTRY_BYTES, "a journal entry is over the limit");
            metrics::counter!("orrery_entries_over_limit_total", "service" => D::SERVICE).increment(1);
        }
        NewRecord {
            topic: self.cluster.topic(&format!("{}.journal", D::SERVICE)),
            partition: self.sender.shard,
            key: None,
            value: Some(Payload(value.into())),
            headers: Vec::new(),
        }
    }

    pub(super) fn changelog_record(&self, key: &Payload, value: Option<&Payload>) -> NewRecord {
        NewRecord {
            topic: self.cluster.topic(&format!("{}.changelog", D::SERVICE)),
            partition: self.sender.shard,
            key: Some(key.clone()),
            value: value.cloned(),
            headers: Vec::new(),
        }
    }
}
