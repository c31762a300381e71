//! One partition: records by offset, read positions, cleaning.

use orrery_log::{Fetch, LogError, TopicPartition};
use orrery_model::record::{NewRecord, Offset, Record, data_bytes};
use orrery_model::time::Timestamp;
use orrery_model::topics::{Cleanup, Compaction};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

#[derive(Default)]
pub(super) struct Partition {
    records: Vec<Record>,
    start: Offset,
    end: Offset,
    /// A transaction that nobody ends was begun here: readers see nothing from here on.
    open_from: Option<Offset>,
    /// What salvages have found to be lost, or where the end was that they found.
    lost: Vec<Range<Offset>>,
}

impl Partition {
    pub(super) const fn start(&self) -> Offset {
        self.start
    }

    /// Where readers' records end.
    pub(super) fn end(&self) -> Offset {
        self.open_from.unwrap_or(self.end)
    }

    /// Where the records end that were written.
    pub(super) const fn written(&self) -> Offset {
        self.end
    }

    /// Somebody begins a transaction, and does not end it.
    pub(super) const fn open(&mut self) {
        if self.open_from.is_none() {
            self.open_from = Some(self.end);
            self.end += 1;
        }
    }

    /// Somebody ends it. True if there was one.
    pub(super) const fn close(&mut self) -> bool {
        self.open_from.take().is_some()
    }

    pub(super) fn append(&mut self, record: &NewRecord, appended: Timestamp, gap: i64) -> Offset {
        let offset = self.end + gap;
        self.end = offset + 1;
        let NewRecord { key, value, headers, .. } = record.clone();
        self.records.push(Record { offset, prev: 0, appended, key, value, headers });
        offset
    }

    pub(super) fn read(&self, at: &TopicPartition, from: Offset, max_bytes: usize) -> Result<Fetch, LogError> {
        let end = self.end();
        if from < self.start || from > end {
            let topic = at.topic.to_string();
            return Err(LogError::OutOfRange { topic, partition: at.partition, asked: from, start: self.start, end });
        }
        if from == end {
            return Ok(Fetch { records: Vec::new(), next: from });
        }
        let first = self.records.partition_point(|record| record.offset < from);
        let (mut records, mut bytes, mut next) = (Vec::new(), 0, from);
        for record in self.records[first..].iter().take_while(|record| record.offset < end) {
            bytes += data_bytes(record.key.as_ref(), record.value.as_ref());
            if bytes > max_bytes && !records.is_empty() {
                break;
            }
            records.push(Record { prev: next, ..record.clone() });
            next = record.offset + 1;
        }
        if records.is_empty() {
            next = end;
        }
        Ok(Fetch { records, next })
    }

    /// An offset that no record has, as a broker's control record takes.
    pub(super) const fn skip(&mut self) {
        self.end += 1;
    }

    /// A record that was never durable is gone. (Only with a planted defect.)
    pub(super) fn lose(&mut self, offset: Offset) {
        self.records.retain(|record| record.offset != offset);
    }

    /// The last records cannot be read any more; the end stays where it was.
    pub(super) fn salvage(&mut self, records: usize) {
        let kept = self.records.len().saturating_sub(records);
        let from = self.records.get(kept).map_or(self.end, |record| record.offset);
        self.records.truncate(kept);
        self.open_from = None;
        self.lost.push(from..self.end);
    }

    pub(super) fn lost(&self) -> Vec<Range<Offset>> {
        self.lost.clone()
    }

    pub(super) fn offset_at(&self, time: Timestamp) -> Offset {
        let first = self.records.iter().find(|record| record.appended >= time);
        first.map_or(self.end(), |record| record.offset.min(self.end()))
    }

    /// As brokers do, which leave alone what is behind an open transaction: here, all of it.
    pub(super) fn clean(&mut self, cleanup: Cleanup, compaction: Compaction, now: Timestamp) {
        match cleanup {
            Cleanup::Forever => {}
            _ if self.open_from.is_some() => {}
            Cleanup::Compact => self.compact(compaction, now),
            Cleanup::DeleteAfterMs(ms) => self.delete_before(now.plus_ms(-ms)),
            Cleanup::CompactAndDeleteAfterMs(ms) => {
                self.compact(compaction, now);
                self.delete_before(now.plus_ms(-ms));
            }
        }
    }

    fn delete_before(&mut self, time: Timestamp) {
        let kept = self.records.partition_point(|record| record.appended < time);
        if kept > 0 {
            self.start = self.records.get(kept).map_or(self.end, |record| record.offset);
            self.records.drain(..kept);
        }
    }

    /// The newest of each key stays; of those that are old enough, the others go, and old tombstones too.
    fn compact(&mut self, compaction: Compaction, now: Timestamp) {
        let young = now.plus_ms(-compaction.lag_ms);
        if self.records.first().is_none_or(|record| record.appended >= young) {
            return;
        }
        let keys = self.records.iter().filter_map(|record| Some((record.key.as_ref()?.as_bytes(), record.offset)));
        let newest: BTreeMap<&[u8], Offset> = keys.collect();
        let newest: BTreeSet<Offset> = newest.into_values().collect();
        let dead = now.plus_ms(-compaction.tombstones_ms);
        self.records.retain(|record| {
            let is_newest = record.key.is_none() || newest.contains(&record.offset);
            record.appended >= young || (is_newest && (record.value.is_some() || record.appended >= dead))
        });
    }
}
