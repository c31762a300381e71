//! A transaction's entries and rows as records of the log.

use super::Shard;
use orrery_model::decider::Decider;
use orrery_model::journal::{Entry, EntryBatch};
use orrery_model::limits::{ENTRY_BYTES, PACKED_BYTES};
use orrery_model::payload::Payload;
use orrery_model::record::NewRecord;

impl<D: Decider> Shard<D> {
    /// Packs entries into records of at most [`PACKED_BYTES`], halving what is too large.
    pub(super) fn journal_records(&self, mut entries: Vec<Entry<D::Input, D::Decision>>) -> Vec<NewRecord> {
        let batch = EntryBatch { entries };
        let value = D::journal().encode(&batch);
        if value.len() > PACKED_BYTES && batch.entries.len() > 1 {
            entries = batch.entries;
            let rest = entries.split_off(entries.len() / 2);
            let mut records = self.journal_records(entries);
            records.extend(self.journal_records(rest));
            return records;
        }
        if value.len() > ENTRY_BYTES {
            // What goes in is bounded so that this does not happen; it has happened, so it is written, as the state has changed.
            tracing::error!(service = D::SERVICE, bytes = value.len(), limit = ENTRY_BYTES, "a journal entry is over the limit");
            metrics::counter!("orrery_entries_over_limit_total", "service" => D::SERVICE).increment(1);
        }
        vec![NewRecord {
            topic: self.cluster.topic(&format!("{}.journal", D::SERVICE)),
            partition: self.sender.shard,
            key: None,
            value: Some(Payload(value.into())),
            headers: Vec::new(),
        }]
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
