//! When a shard may be acquired, and when again (§1.5).

use super::Lost;
use std::time::Duration;

/// First back-off after a loss; doubles …
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// … up to this.
const BACKOFF_MOST: Duration = Duration::from_secs(10);

/// A clock that is off is not set right within seconds, and each try is an alert.
const CLOCK_PAUSE: Duration = Duration::from_secs(60);

/// A member's claim to one shard.
///
/// Fenced is not failed: whoever was fenced acquires again only under a newer assignment, as two believers would fence each other for
/// ever. After any loss there is a jittered pause, longer with each one.
#[derive(Debug, Clone)]
pub struct Claim {
    fenced_in: Option<i64>,
    backoff: Duration,
    not_before_us: i64,
    since_us: i64,
}

impl Default for Claim {
    fn default() -> Self {
        Self { fenced_in: None, backoff: BACKOFF_FIRST, not_before_us: i64::MIN, since_us: i64::MIN }
    }
}

impl Claim {
    /// True if the shard may be acquired under this assignment generation at this (monotonic) time.
    pub fn may_acquire(&self, generation: i64, now_us: i64) -> bool {
        self.is_open(generation) && now_us >= self.not_before_us
    }

    /// True if this generation is not one that the owner was fenced in: waiting may help.
    pub fn is_open(&self, generation: i64) -> bool {
        self.fenced_in.is_none_or(|fenced| generation > fenced)
    }

    /// End of the pause.
    pub const fn not_before_us(&self) -> i64 {
        self.not_before_us
    }

    /// An ownership begins.
    pub const fn acquiring(&mut self, now_us: i64) {
        self.since_us = now_us;
    }

    /// The ownership has ended. `jitter` is any number: two members must not retry in step.
    pub fn lost(&mut self, why: Option<&Lost>, generation: i64, now_us: i64, jitter: u8) {
        if matches!(why, Some(Lost::Fenced)) {
            self.fenced_in = Some(generation);
        }
        if now_us.saturating_sub(self.since_us) > micros(BACKOFF_MOST) {
            self.backoff = BACKOFF_FIRST;
        }
        let pause = if matches!(why, Some(Lost::ClockOff { .. })) { CLOCK_PAUSE } else { self.backoff };
        self.not_before_us = now_us + micros(pause / 2 + pause * u32::from(jitter) / 512);
        self.backoff = (self.backoff * 2).min(BACKOFF_MOST);
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fenced_owner_waits_for_a_newer_assignment() {
        let mut claim = Claim::default();
        assert!(claim.may_acquire(3, 0));
        claim.acquiring(0);
        claim.lost(Some(&Lost::Fenced), 3, 1_000, 0);
        assert!(!claim.may_acquire(3, i64::MAX), "the assignment that it was fenced in");
        assert!(!claim.may_acquire(4, 100_999) && claim.may_acquire(4, 101_000), "a newer one, after the pause");
    }

    #[test]
    fn pauses_grow_until_an_ownership_has_lasted() {
        let mut claim = Claim::default();
        let unclean = Lost::Unclean("of a test".into());
        let mut pause = |since, now| {
            claim.acquiring(since);
            claim.lost(Some(&unclean), 1, now, 255);
            claim.not_before_us() - now
        };
        assert_eq!([pause(0, 0), pause(0, 0), pause(0, 0)], [199_609, 399_218, 798_437]);
        assert_eq!(pause(0, 0), 1_596_875);
        assert_eq!(pause(0, 10_000_001), 199_609);
    }
}
