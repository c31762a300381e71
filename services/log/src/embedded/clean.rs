//! Cleanup: what is too old goes, and of each key the newest record stays.
//!
//! * Retention moves a partition's start behind the last record that is too old, then deletes what lies before it. Readers see
//!   the new start before anything is gone, so none passes over a hole without being told. The start never moves over a mere gap
//!   between offsets: a reader that stands there has lost nothing and must not be told that it has.
//! * Compaction works as Kafka's: the newest offset of each key in the part that is new since the last time (the *dirty* part,
//!   without what is younger than the lag), then one pass over everything up to there. Oldest goes first: a tombstone never goes
//!   before the records that it deletes, not even in a crash.
//! * The partition's last record is never compacted away, and the end is a row of its own: it never goes back.

use super::Inner;
use super::catalog::Span;
use super::encoding::Glance;
use super::keys::Place;
use super::rows::MarksRow;
use crate::LogError;
use orrery_model::record::Offset;
use orrery_model::time::Timestamp;
use orrery_model::topics::Cleanup;
use rocksdb::WriteBatch;
use std::collections::HashMap;

/// Keys of one round of compaction: 24 bytes each, about 5 MiB with the map's free space.
const KEYS_PER_ROUND: usize = 100_000;
/// Records deleted in one batch: commits wait for it, so it takes about a millisecond.
const DELETES_PER_BATCH: usize = 1_000;
/// A partition is compacted after this time even if its new part is small, so that tombstones go.
const COMPACT_AT_LEAST_MS: i64 = 86_400_000;

/// What a cleaning did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CleanReport {
    /// Partitions whose start moved.
    pub starts_moved: u64,
    /// Partitions that were compacted.
    pub compacted: u64,
    /// Records that compaction deleted.
    pub records_removed: u64,
}

impl Inner {
    /// See [`super::EmbeddedLog::clean`].
    pub(super) fn clean(&self, now: Timestamp) -> Result<CleanReport, LogError> {
        self.writable()?;
        self.healthy()?;
        let _only = self.cleaning.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut report = CleanReport::default();
        for (place, cleanup) in self.places() {
            match cleanup {
                Cleanup::Forever => {}
                Cleanup::DeleteAfterMs(ms) => self.expire(place, now.plus_ms(-ms), &mut report)?,
                Cleanup::Compact => self.compact(place, now, &mut report)?,
                Cleanup::CompactAndDeleteAfterMs(ms) => {
                    self.expire(place, now.plus_ms(-ms), &mut report)?;
                    self.compact(place, now, &mut report)?;
                }
            }
        }
        Ok(report)
    }

    fn places(&self) -> Vec<(Place, Cleanup)> {
        let catalog = self.catalog();
        let of = |topic, partitions, cleanup| (0..partitions).map(move |partition| (Place { topic, partition }, cleanup));
        catalog.entries().flat_map(|(number, entry)| of(number, entry.topic.partitions, entry.topic.cleanup)).collect()
    }

    /// Deletes the records appended before `horizon`.
    fn expire(&self, place: Place, horizon: Timestamp, report: &mut CleanReport) -> Result<(), LogError> {
        let Some(span) = self.catalog().span(place) else { return Ok(()) };
        let start = self.behind_older(place, span, horizon)?;
        if start <= span.start {
            return Ok(());
        }
        let marks = self.marks(place)?;
        let mut ledger = self.ledger()?;
        match self.catalog_mut().span_mut(place) {
            Some(span) => span.start = start,
            None => return Ok(()),
        }
        let mut batch = WriteBatch::default();
        batch.put(place.marks(), MarksRow { start, cleaned: marks.cleaned.max(start), ..marks }.encode());
        batch.delete_range(place.record(0), place.record(start));
        self.write(&mut ledger, batch)?;
        drop(ledger);
        self.store.drop_files(place, start);
        report.starts_moved += 1;
        Ok(())
    }

    /// Compacts the partition if enough of it is new.
    fn compact(&self, place: Place, now: Timestamp, report: &mut CleanReport) -> Result<(), LogError> {
        let Some(span) = self.catalog().span(place) else { return Ok(()) };
        let mut marks = self.marks(place)?;
        marks.cleaned = marks.cleaned.max(span.start);
        let until = self.offset_at(place, span, now.plus_ms(-self.options.compaction_lag_ms))?.max(marks.cleaned);
        // Positions, not records: gaps make the new part look a little larger than it is.
        let new = until - marks.cleaned;
        let enough = new > 0 && new * 100 >= marks.kept * self.options.dirty_percent;
        let due = new + marks.kept > 0 && now.since_ms(marks.cleaned_at) >= COMPACT_AT_LEAST_MS;
        if !enough && !due {
            return Ok(());
        }
        report.compacted += 1;
        loop {
            let newest = self.newest(place, marks.cleaned, until)?;
            let mut pass = Pass {
                inner: self,
                place,
                span,
                newest,
                tombstones_before: now.plus_ms(-self.options.tombstones_ms),
                doomed: WriteBatch::default(),
                kept: 0,
            };
            report.records_removed += pass.run()?;
            marks = MarksRow { start: marks.start, cleaned: pass.newest.until, kept: pass.kept, cleaned_at: now };
            pass.doomed.put(place.marks(), marks.encode());
            pass.delete()?;
            if marks.cleaned >= until {
                return Ok(());
            }
        }
    }

    fn marks(&self, place: Place) -> Result<MarksRow, LogError> {
        self.store.row(&place.marks(), MarksRow::decode)
    }

    /// The newest offset of each key from `from` on, as far as one round goes.
    fn newest(&self, place: Place, from: Offset, until: Offset) -> Result<Newest, LogError> {
        let mut newest = Newest { offsets: HashMap::new(), until };
        let mut at = self.store.records(place, from, until, false);
        while let Some((key, value)) = at.item() {
            let (offset, record) = self.glance(key, value)?;
            if let Some(key) = record.key {
                newest.offsets.insert(digest(key), offset);
            }
            if newest.offsets.len() >= KEYS_PER_ROUND {
                newest.until = offset + 1;
                return Ok(newest);
            }
            at.next();
        }
        self.store.finished(&at).map(|()| newest)
    }
}

/// Newest offsets by key, of the records below `until`.
struct Newest {
    /// 128 bits of BLAKE3 stand for a key: two of 2^40 keys agree with a chance of 2^-49.
    offsets: HashMap<[u8; 16], Offset>,
    until: Offset,
}

/// One pass over a partition, from its start to where the round's keys were taken.
struct Pass<'a> {
    inner: &'a Inner,
    place: Place,
    span: Span,
    newest: Newest,
    tombstones_before: Timestamp,
    doomed: WriteBatch,
    kept: i64,
}

impl Pass<'_> {
    /// Deletes what is superseded; the last deletions stay in `doomed`. Returns how many there were.
    fn run(&mut self) -> Result<u64, LogError> {
        let (inner, place) = (self.inner, self.place);
        let mut removed = 0;
        let mut at = inner.store.records(place, self.span.start, self.newest.until, false);
        while let Some((key, value)) = at.item() {
            let (offset, record) = inner.glance(key, value)?;
            if self.is_doomed(offset, record) {
                removed += 1;
                self.doomed.delete(key);
            } else {
                self.kept += 1;
            }
            if self.doomed.len() >= DELETES_PER_BATCH {
                self.delete()?;
            }
            at.next();
        }
        inner.store.finished(&at).map(|()| removed)
    }

    /// Records without a key stay: nothing says what would supersede them.
    fn is_doomed(&self, offset: Offset, record: Glance<'_>) -> bool {
        let Some(key) = record.key else { return false };
        let last = offset + 1 == self.span.end;
        let superseded = self.newest.offsets.get(&digest(key)).is_some_and(|newest| *newest > offset);
        !last && (superseded || (!record.has_value && record.appended < self.tombstones_before))
    }

    /// Writes the deletions so far, unless the topic was deleted meanwhile.
    fn delete(&mut self) -> Result<(), LogError> {
        let mut ledger = self.inner.ledger()?;
        let batch = std::mem::take(&mut self.doomed);
        if self.inner.catalog().span(self.place).is_none() {
            return Ok(());
        }
        self.inner.write(&mut ledger, batch)
    }
}

fn digest(key: &[u8]) -> [u8; 16] {
    *blake3::hash(key).as_bytes().first_chunk().expect("a BLAKE3 hash has 32 bytes")
}
