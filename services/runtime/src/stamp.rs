//! The time of inputs (§7.1): it never goes back, follows the wall clock, and stays within half and double of elapsed time. A wall clock
//! that is far ahead of it, and believed, is jumped to instead: what is due would be late until time has caught up.

use orrery_model::planted::{Bug, planted};
use orrery_model::time::Timestamp;

/// What the driver's clocks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The wall clock.
    pub wall: Timestamp,
    /// The monotonic clock, microseconds since any fixed point.
    pub monotonic_us: i64,
}

/// A wall clock that is further ahead is jumped to: at double speed, time would need as long again to catch up.
pub const JUMP_FROM_US: i64 = 5_000_000;

/// Gives each step its `at`.
#[derive(Debug, Clone, Copy)]
pub struct Stamper {
    last: Timestamp,
    last_monotonic_us: i64,
}

impl Stamper {
    /// At acquisition: max(last, wall).
    pub fn acquire(last: Timestamp, now: Now) -> Self {
        Self { last: last.max(now.wall), last_monotonic_us: now.monotonic_us }
    }

    /// Within an ownership: clamp(wall, last + elapsed/2, last + 2·elapsed).
    pub fn next(&mut self, now: Now) -> Timestamp {
        let elapsed = (now.monotonic_us - self.last_monotonic_us).max(0);
        let followed = now.wall.0.clamp(self.last.0 + elapsed / 2, self.last.0 + 2 * elapsed);
        self.last = if planted(Bug::AtByWall) { now.wall } else { Timestamp(followed) };
        self.last_monotonic_us = now.monotonic_us;
        self.last
    }

    /// Where time would be, and where it would jump to, if the wall clock is far ahead.
    pub fn jump(&self, now: Now) -> Option<(Timestamp, Timestamp)> {
        let elapsed = (now.monotonic_us - self.last_monotonic_us).max(0);
        let from = Timestamp(self.last.0 + elapsed);
        (now.wall.0 - from.0 > JUMP_FROM_US).then_some((from, now.wall))
    }

    /// Goes on from a time that was jumped to.
    pub const fn jumped(&mut self, to: Timestamp, now: Now) {
        self.last = to;
        self.last_monotonic_us = now.monotonic_us;
    }

    /// Microseconds after which the next stamp can be `until`, from `now` on: while the wall clock is ahead, stamps follow it at
    /// double speed, so that waiting for the wall clock alone would be no waiting at all.
    pub fn wait_us(&self, until: Timestamp, now: Now) -> i64 {
        let elapsed = (now.monotonic_us - self.last_monotonic_us).max(0);
        let by_wall = until.0.saturating_sub(now.wall.0);
        let by_elapsed = until.0.saturating_sub(self.last.0) / 2 - elapsed;
        by_wall.max(by_elapsed).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jumping_wall_clock_is_followed_slowly_and_never_backwards() {
        let now = |wall, monotonic_us| Now { wall: Timestamp(wall), monotonic_us };
        let mut stamper = Stamper::acquire(Timestamp(1_000), now(900, 0));
        assert_eq!(stamper.next(now(910, 10)), Timestamp(1_005), "behind: at half speed");
        assert_eq!(stamper.next(now(9_000_000, 20)), Timestamp(1_025), "ahead: at double speed");
        assert_eq!(stamper.next(now(0, 20)), Timestamp(1_025), "no time has passed");
        assert_eq!(stamper.wait_us(Timestamp(1_035), now(9_000_000, 22)), 3, "the wall clock has passed it, stamps have not");
        assert_eq!(stamper.wait_us(Timestamp(1_035), now(1_030, 40)), 5);
    }

    #[test]
    fn a_wall_clock_far_ahead_is_jumped_to() {
        let now = |wall, monotonic_us| Now { wall: Timestamp(wall), monotonic_us };
        let mut stamper = Stamper::acquire(Timestamp(0), now(1_000, 0));
        assert_eq!(stamper.jump(now(1_010 + JUMP_FROM_US, 10)), None, "followed at double speed");
        let ahead = now(1_011 + JUMP_FROM_US, 10);
        assert_eq!(stamper.jump(ahead), Some((Timestamp(1_010), ahead.wall)));
        stamper.jumped(ahead.wall, ahead);
        assert_eq!((stamper.next(ahead), stamper.jump(ahead)), (ahead.wall, None));
    }
}
