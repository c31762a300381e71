//! Writes that nobody has acknowledged yet, and how long the oldest of them has waited: what a hung disk or broker looks like.

use crate::clock;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The writes under way.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    since: Mutex<Since>,
}

#[derive(Debug, Default)]
struct Since {
    /// Number of the next write.
    next: u64,
    /// When each began, in their order.
    began: BTreeMap<u64, Instant>,
}

impl Pending {
    /// A write begins; it ends, well or not, when the guard is dropped.
    pub(crate) fn begin(&self) -> Waiting<'_> {
        let mut since = self.since();
        let number = since.next;
        since.next += 1;
        since.began.insert(number, clock::monotonic());
        Waiting { pending: self, number }
    }

    /// Age of the oldest write under way; zero if there is none.
    pub(crate) fn oldest(&self) -> Duration {
        self.since().began.first_key_value().map_or(Duration::ZERO, |(_, began)| began.elapsed())
    }

    /// Single steps change it, so it is whole even if a holder panicked.
    fn since(&self) -> MutexGuard<'_, Since> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One write under way.
#[derive(Debug)]
pub(crate) struct Waiting<'p> {
    pending: &'p Pending,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pending.since().began.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_write_under_way_tells_the_age() {
        let pending = Pending::default();
        assert_eq!(pending.oldest(), Duration::ZERO);
        let first = pending.begin();
        let began = clock::monotonic();
        let second = pending.begin();
        assert!(pending.oldest() >= began.elapsed());
        let (before, held) = (began.elapsed(), pending.oldest());
        drop(first);
        assert!(held >= before && pending.oldest() <= began.elapsed(), "the first one is gone");
        drop(second);
        assert_eq!(pending.oldest(), Duration::ZERO);
    }
}
