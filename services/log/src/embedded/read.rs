//! Reading: records, ends and times, all below the visible end.

use super::catalog::Span;
use super::encoding::Glance;
use super::keys::{Place, offset_of};
use super::{Inner, encoding};
use crate::{Fetch, LogError, TopicPartition};
use orrery_model::record::{Offset, Record};
use orrery_model::time::Timestamp;
use rocksdb::DBRawIterator;

impl Inner {
    /// See [`crate::Log::read`].
    pub(super) fn read(&self, at: &TopicPartition, from: Offset, max_bytes: usize) -> Result<Fetch, LogError> {
        self.healthy()?;
        let (place, span) = self.catalog().at(at)?;
        check_range(at, from, span)?;
        if from == span.end {
            return Ok(Fetch { records: Vec::new(), next: from });
        }
        let mut records = self.store.records(place, from, span.end, true);
        // Cleanup publishes a start, or a topic's end, before it deletes. What still stands here stood when the iterator was made.
        let (place_now, span_now) = self.catalog().at(at)?;
        if place_now != place {
            return Err(LogError::NoSuchPartition { topic: at.topic.to_string(), partition: at.partition });
        }
        check_range(at, from, Span { start: span_now.start, ..span })?;
        self.collect(&mut records, from, max_bytes)
    }

    fn collect(&self, at: &mut DBRawIterator<'_>, from: Offset, max_bytes: usize) -> Result<Fetch, LogError> {
        let mut fetch = Fetch { records: Vec::new(), next: from };
        let mut bytes = 0;
        while let Some((key, value)) = at.item() {
            bytes += value.len();
            if bytes > max_bytes && !fetch.records.is_empty() {
                return Ok(fetch);
            }
            let record = self.decode(key, value, fetch.next)?;
            fetch.next = record.offset + 1;
            fetch.records.push(record);
            at.next();
        }
        self.store.finished(at)?;
        Ok(fetch)
    }

    /// See [`crate::Log::offset_at`].
    pub(super) fn offset_at(&self, place: Place, span: Span, time: Timestamp) -> Result<Offset, LogError> {
        let low = self.behind_older(place, span, time)?;
        Ok(self.first(place, low, span.end)?.map_or(span.end, |(offset, _)| offset))
    }

    /// Position behind the last record that is older, or the start: a binary search, as append times ascend with the offsets.
    pub(super) fn behind_older(&self, place: Place, span: Span, time: Timestamp) -> Result<Offset, LogError> {
        // Invariant: all records below `low` are earlier; the first record at `high` or later is not, or there is none.
        let (mut low, mut high) = (span.start, span.end);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.first(place, middle, high)? {
                Some((offset, appended)) if appended < time => low = offset + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// Offset and append time of the first record in a range.
    fn first(&self, place: Place, from: Offset, end: Offset) -> Result<Option<(Offset, Timestamp)>, LogError> {
        let at = self.store.records(place, from, end, true);
        let Some((key, value)) = at.item() else { return self.store.finished(&at).map(|()| None) };
        let (offset, record) = self.glance(key, value)?;
        Ok(Some((offset, record.appended)))
    }

    /// Offset and beginning of a record.
    pub(super) fn glance<'a>(&self, key: &[u8], value: &'a [u8]) -> Result<(Offset, Glance<'a>), LogError> {
        offset_of(key).zip(encoding::glance(value)).ok_or_else(|| self.unreadable(key))
    }

    fn decode(&self, key: &[u8], value: &[u8], prev: Offset) -> Result<Record, LogError> {
        offset_of(key).and_then(|offset| encoding::decode(offset, prev, value)).ok_or_else(|| self.unreadable(key))
    }

    fn unreadable(&self, key: &[u8]) -> LogError {
        self.store.damaged(format!("the record at {key:02x?} cannot be read; restore the folder from a copy"))
    }
}

fn check_range(at: &TopicPartition, asked: Offset, Span { start, end }: Span) -> Result<(), LogError> {
    if (start..=end).contains(&asked) {
        return Ok(());
    }
    Err(LogError::OutOfRange { topic: at.topic.to_string(), partition: at.partition, asked, start, end })
}
