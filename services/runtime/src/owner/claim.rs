//! When a shard may be acquired, and when again (§1.5).

use super::Lost;
use orrery_model::planted::{Bug, planted};
use std::time::Duration;

/// First back-off after a loss; doubles …
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// … up to this.
const BACKOFF_MOST: Duration = Duration::from_secs(10);

/// A clock that is off is not set right within seconds, and each try is an alert.
const CLOCK_PAUSE: Duration = Duration::from_secs(60);

/// Who was fenced keeps away for at least half of this, which is longer than a group takes to notice that a member is gone …
const FENCED_FIRST: Duration = Duration::from_secs(20);
/// … twice as long after each further fence, up to this: two members that are set to the same shard take it from each other no more
/// often.
const FENCED_MOST: Duration = Duration::from_secs(300);

/// A member's claim to one shard.
///
/// Fenced is not failed: whoever was fenced keeps away, as two believers would fence each other for ever. A newer assignment ends
/// that, and so does an assignment that still stands when a group had time to take it back: the one that fenced may have died before
/// it held anything, or hold nothing any more, or have been fenced by this very member's last fence. After any loss there is a
/// jittered pause, longer with each one.
#[derive(Debug, Clone)]
pub struct Claim {
    loss: Pause,
    fence: Pause,
    fenced_in: Option<i64>,
    since_us: i64,
}

impl Default for Claim {
    fn default() -> Self {
        let (loss, fence) = (Pause::of(BACKOFF_FIRST, BACKOFF_MOST), Pause::of(FENCED_FIRST, FENCED_MOST));
        Self { loss, fence, fenced_in: None, since_us: i64::MIN }
    }
}

impl Claim {
    /// From when on (monotonic time) the shard may be acquired under this assignment generation.
    pub fn not_before_us(&self, generation: i64) -> i64 {
        let stands = self.fenced_in.is_some_and(|fenced| generation <= fenced);
        if stands { self.loss.until_us.max(self.fence.until_us) } else { self.loss.until_us }
    }

    /// An ownership begins.
    pub const fn acquiring(&mut self, now_us: i64) {
        self.since_us = now_us;
    }

    /// The ownership has ended. `jitter` is any number: two members must not retry in step.
    pub fn lost(&mut self, why: Option<&Lost>, generation: i64, now_us: i64, jitter: u8) {
        let lasted_us = now_us.saturating_sub(self.since_us);
        self.loss.begin(lasted_us, now_us, jitter);
        match why {
            Some(Lost::Fenced) => {
                self.fenced_in = Some(generation);
                self.fence.begin(lasted_us, now_us, jitter);
                if planted(Bug::FencedForGood) {
                    self.fence.until_us = i64::MAX;
                }
            }
            Some(Lost::ClockOff { .. }) => self.loss.until_us = now_us + jittered_us(CLOCK_PAUSE, jitter),
            _ => {}
        }
    }
}

/// A pause that doubles each time, until something has lasted for longer than the longest one.
#[derive(Debug, Clone)]
struct Pause {
    first: Duration,
    most: Duration,
    next: Duration,
    until_us: i64,
}

impl Pause {
    const fn of(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first, until_us: i64::MIN }
    }

    fn begin(&mut self, lasted_us: i64, now_us: i64, jitter: u8) {
        if lasted_us > micros(self.most) {
            self.next = self.first;
        }
        self.until_us = now_us + jittered_us(self.next, jitter);
        self.next = (self.next * 2).min(self.most);
    }
}

/// Between a half and the whole of it.
fn jittered_us(pause: Duration, jitter: u8) -> i64 {
    micros(pause / 2 + pause * u32::from(jitter) / 512)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fenced_owner_waits_for_a_newer_assignment_or_until_its_own_has_stood() {
        let mut claim = Claim::default();
        let mut fenced = |since, now| {
            claim.acquiring(since);
            claim.lost(Some(&Lost::Fenced), 3, now, 0);
            [3, 4].map(|generation| claim.not_before_us(generation) - now)
        };
        assert_eq!(fenced(0, 1_000), [10_000_000, 100_000], "the assignment that it was fenced in, a newer one");
        assert_eq!(fenced(0, 1_000), [20_000_000, 200_000]);
        assert_eq!((0..5).map(|_| fenced(0, 1_000)[0]).last(), Some(150_000_000), "no longer than this");
        assert_eq!(fenced(0, 300_000_001), [10_000_000, 100_000], "it has held the shard for long");
    }

    #[test]
    fn pauses_grow_until_an_ownership_has_lasted() {
        let mut claim = Claim::default();
        let unclean = Lost::Unclean("of a test".into());
        let mut pause = |since, now| {
            claim.acquiring(since);
            claim.lost(Some(&unclean), 1, now, 255);
            claim.not_before_us(1) - now
        };
        assert_eq!([pause(0, 0), pause(0, 0), pause(0, 0)], [199_609, 399_218, 798_437]);
        assert_eq!(pause(0, 0), 1_596_875);
        assert_eq!(pause(0, 10_000_001), 199_609);
    }
}
