//! What was fetched of one partition, from a position on.

use crate::Fetch;
use orrery_model::payload::Payload;
use orrery_model::record::{Offset, Record, data_bytes};
use orrery_model::time::Timestamp;
use std::collections::VecDeque;
use std::time::Instant;

/// Bytes that nobody has read yet, at which fetching pauses …
pub(super) const UNREAD_MOST: usize = 8 << 20;
/// … and at which it goes on.
const UNREAD_LEAST: usize = 4 << 20;
/// Bytes that were read and are kept for readers a little behind.
const READ_KEPT: usize = 256 << 10;

/// Records from `start` up to `next`. Nothing else lies between.
pub(super) struct Window {
    /// Of the topic, as [`Topics`](crate::kafka::topics::Topics) counts.
    pub(super) generation: u64,
    start: Offset,
    next: Offset,
    records: VecDeque<Record>,
    /// Bytes of all records, and of those that nobody has read.
    bytes: usize,
    unread: usize,
    /// How far the furthest reader has come.
    read_to: Offset,
    pub(super) read_at: Instant,
    pub(super) paused: bool,
    /// An end was met, so a record that is missing has not been written yet.
    pub(super) met_end: bool,
    /// What was fetched last.
    last: Option<Last>,
    /// The brokers were away: it is fetched again from the last record on, which must be the one that it was.
    doubted: bool,
}

/// What is compared of a record. Its bytes are shared with those who read it, and stay for as long as it is the last.
#[derive(PartialEq, Eq)]
struct Last {
    offset: Offset,
    appended: Timestamp,
    key: Option<Payload>,
    value: Option<Payload>,
}

impl Last {
    fn of(Record { offset, appended, key, value, .. }: &Record) -> Self {
        Self { offset: *offset, appended: *appended, key: key.clone(), value: value.clone() }
    }
}

impl Window {
    pub(super) const fn new(generation: u64, from: Offset, now: Instant) -> Self {
        Self {
            generation,
            start: from,
            next: from,
            records: VecDeque::new(),
            bytes: 0,
            unread: 0,
            read_to: from,
            read_at: now,
            paused: false,
            met_end: false,
            last: None,
            doubted: false,
        }
    }

    /// True if a read from here is answered by this window.
    pub(super) fn holds(&self, from: Offset) -> bool {
        (self.start..=self.next).contains(&from)
    }

    /// Position behind what was fetched.
    pub(super) const fn next(&self) -> Offset {
        self.next
    }

    /// The brokers were away, and may have lost what they had: where to fetch from again, to see whether they have.
    pub(super) fn doubt(&mut self) -> Offset {
        (self.doubted, self.paused) = (self.last.is_some(), false);
        self.last_seen()
    }

    /// The last record that is known to have been there; if nothing was fetched yet, the first that may be.
    pub(super) fn last_seen(&self) -> Offset {
        self.last.as_ref().map_or(self.next, |last| last.offset)
    }

    /// True if what is met shows that the partition's tail is not what it was.
    fn is_torn(&mut self, met: Result<&Record, Offset>) -> bool {
        let Some(last) = self.last.as_ref().filter(|_| self.doubted) else { return false };
        match met {
            Ok(record) if record.offset < last.offset => return false,
            Ok(record) if record.offset == last.offset && *last != Last::of(record) => return true,
            Err(end) if end <= last.offset => return true,
            // It is the one that it was; or compaction or age has taken it since.
            Ok(_) | Err(_) => {}
        }
        self.doubted = false;
        false
    }

    /// Adds what was fetched next; something from further back was fetched for an earlier window. False if the tail is torn.
    #[must_use]
    pub(super) fn push(&mut self, record: Record) -> bool {
        if self.is_torn(Ok(&record)) {
            return false;
        }
        if record.offset < self.next {
            return true;
        }
        self.last = Some(Last::of(&record));
        let bytes = record.bytes();
        self.next = record.offset + 1;
        self.bytes += bytes;
        self.unread += bytes;
        self.records.push_back(record);
        true
    }

    /// Nothing lies before this position that was not fetched. False if the tail is torn.
    #[must_use]
    pub(super) fn meet_end(&mut self, end: Offset) -> bool {
        if self.is_torn(Err(end)) {
            return false;
        }
        self.met_end = true;
        self.next = self.next.max(end);
        true
    }

    /// True if fetching is to wait until somebody reads.
    pub(super) const fn is_full(&self) -> bool {
        self.unread >= UNREAD_MOST
    }

    /// True if fetching may go on.
    pub(super) const fn has_room(&self) -> bool {
        self.unread <= UNREAD_LEAST
    }

    /// Records from a position that the window holds.
    pub(super) fn read(&mut self, from: Offset, max_bytes: usize, now: Instant) -> Fetch {
        self.read_at = now;
        let first = self.records.partition_point(|record| record.offset < from);
        let (mut records, mut bytes, mut next) = (Vec::new(), 0, from);
        for record in self.records.range(first..) {
            bytes += data_bytes(record.key.as_ref(), record.value.as_ref());
            if bytes > max_bytes && !records.is_empty() {
                break;
            }
            records.push(Record { prev: next, ..record.clone() });
            next = record.offset + 1;
        }
        if first + records.len() == self.records.len() {
            // Behind the last record lie at most offsets that no record has.
            next = if records.is_empty() { self.next } else { next };
        }
        self.pass(next);
        Fetch { records, next }
    }

    /// A reader has come this far: what lies far behind goes.
    fn pass(&mut self, to: Offset) {
        if to > self.read_to {
            let read = |record: &&Record| record.offset >= self.read_to && record.offset < to;
            let first = self.records.partition_point(|record| record.offset < self.read_to);
            let bytes: usize = self.records.range(first..).take_while(read).map(Record::bytes).sum();
            self.unread = self.unread.saturating_sub(bytes);
            self.read_to = to;
        }
        while self.bytes - self.unread > READ_KEPT
            && let Some(oldest) = self.records.front()
            && oldest.offset < self.read_to
        {
            self.bytes -= oldest.bytes();
            self.start = oldest.offset + 1;
            self.records.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: Offset, bytes: usize) -> Record {
        let value = Some(Payload::from(vec![7; bytes].as_slice()));
        Record { offset, prev: offset, appended: Timestamp(0), key: None, value, headers: Vec::new() }
    }

    fn offsets(fetch: &Fetch) -> Vec<(Offset, Offset)> {
        fetch.records.iter().map(|record| (record.prev, record.offset)).collect()
    }

    #[test]
    fn reads_chain_over_gaps_and_behind_the_last_record() {
        let now = crate::clock::monotonic();
        let mut window = Window::new(1, 3, now);
        [5, 4, 9].into_iter().for_each(|offset| assert!(window.push(record(offset, 10))));
        let fetch = window.read(3, 1, now);
        assert_eq!((offsets(&fetch), fetch.next), (vec![(3, 5)], 6), "a record from further back is left out");
        let fetch = window.read(7, 1_000, now);
        assert_eq!((offsets(&fetch), fetch.next), (vec![(7, 9)], 10));
        assert!(window.meet_end(12));
        assert_eq!(window.read(10, 1_000, now).next, 12, "offsets without records are passed");
        assert!(window.holds(3) && window.holds(12) && !window.holds(2) && !window.holds(13));
    }

    #[test]
    fn what_was_read_goes_and_what_was_not_stays() {
        let now = crate::clock::monotonic();
        let mut window = Window::new(1, 0, now);
        (0..100).for_each(|offset| assert!(window.push(record(offset, 100 << 10))));
        assert!(window.is_full() && !window.has_room());
        assert_eq!(window.read(0, usize::MAX, now).records.len(), 100);
        assert!(window.has_room() && !window.holds(0) && window.holds(98) && window.holds(100));
        assert!(window.push(record(100, 10)));
        assert_eq!(offsets(&window.read(100, usize::MAX, now)), [(100, 100)]);
    }

    #[test]
    fn a_tail_that_is_not_what_it_was_is_seen_when_brokers_were_away() {
        let doubted = || {
            let mut window = Window::new(1, 0, crate::clock::monotonic());
            assert!(window.doubt() == 0 && window.push(record(0, 10)) && window.push(record(3, 10)) && window.meet_end(5));
            assert_eq!(window.doubt(), 3);
            window
        };
        let mut same = doubted();
        assert!(same.push(record(3, 10)) && same.push(record(5, 10)) && same.push(record(6, 20)));
        assert_eq!(offsets(&same.read(0, 1_000, crate::clock::monotonic())), [(0, 0), (1, 3), (4, 5), (6, 6)]);
        let mut taken_by_age = doubted();
        assert!(taken_by_age.push(record(7, 10)));
        assert!(doubted().meet_end(4), "a transaction's mark may have stood behind it");
        assert!(!doubted().push(record(3, 11)), "another one");
        assert!(!doubted().push(Record { appended: Timestamp(1), ..record(3, 10) }), "written at another time");
        assert!(!doubted().meet_end(3), "it is gone");
    }
}
