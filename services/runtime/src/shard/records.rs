//! A transaction's entries and rows as records of the log.

use super::{Shard, Step, Transaction};
use crate::chain::write_chained;
use crate::messages::Outbox;
use crate::packing::packs;
use crate::rows::{self, Head, full_key};
use crate::store::RowBatch;
use orrery_model::decider::Decider;
use orrery_model::limits::ENTRY_BYTES;
use orrery_model::payload::Payload;
use orrery_model::planted::{Bug, planted};
use orrery_model::record::NewRecord;

impl<D: Decider> Shard<D> {
    /// Chains the entries, coalesces rows by key, packs messages, and moves the head (§1.4, §10.3).
    pub(super) fn transaction(&mut self, mut step: Step<'_, D>, again: Vec<NewRecord>) -> Transaction {
        let mut outbox = Outbox::new(&self.cluster);
        let mut chain = std::mem::take(&mut self.head.chain);
        let mut entries = Vec::with_capacity(step.entries.len());
        for mut entry in std::mem::take(&mut step.entries) {
            entries.push(write_chained(D::journal(), if planted(Bug::Unchained) { "" } else { &chain }, &mut entry));
            chain.clone_from(&entry.chain);
            let mut messages = Vec::new();
            entry.decisions.iter().for_each(|decision| D::messages(entry.at, decision, &mut messages));
            for (index, message) in messages.into_iter().enumerate() {
                outbox.add(&self.sender, entry.seq, index as i32, message);
            }
        }
        let messages = outbox.into_records(&self.sender);
        self.dropped_records = 0;
        let count = entries.len();
        self.head = Head {
            epoch: self.sender.epoch,
            first_seq: self.head.last_seq + 1,
            last_seq: self.head.last_seq + count as i64,
            chain,
            at: step.at,
            ..std::mem::take(&mut self.head)
        };
        let rows = self.changed_rows();
        let mut records = self.journal_records(&entries);
        let changelog_from = records.len();
        records.extend(rows.iter().map(|(key, value)| self.changelog_record(key, value.as_ref())));
        let changelog = changelog_from..records.len();
        records.extend(again);
        records.extend(messages);
        records.extend(step.dead);
        Transaction { records, changelog, rows, head: self.head.clone(), entries: count }
    }

    /// What is taken back, the decider's changed rows, then the shell's, then the head.
    fn changed_rows(&mut self) -> RowBatch {
        self.head.state_hash = self.hash_now();
        let changes = std::mem::take(&mut self.changed);
        self.head.rows = self.hash.rows;
        let decider = changes.into_iter().map(|change| (full_key(change.table, &change.key), change.value));
        let head = (full_key(rows::HEAD, &[]), Some(rows::HEAD_ROW.encode(&self.head)));
        let all = decider.chain(std::mem::take(&mut self.shell_rows)).chain([head]);
        let all = all.map(|(key, value)| (Payload(key.into()), value.map(|value| Payload(value.into()))));
        std::mem::take(&mut self.taken_back).into_iter().chain(all).collect()
    }

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
