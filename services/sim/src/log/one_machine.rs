//! The clocks of the one machine that an embedded log lies on, and what the log makes of them: the product's own
//! [`Hold`](orrery_log::embedded::Hold).

use orrery_log::embedded::{Clocks, Hold};
use orrery_model::time::Timestamp;
use std::time::Duration;

/// The machine and its log's time.
pub(super) struct OneMachine {
    clocks: SimClocks,
    hold: Hold,
}

#[derive(Debug, Clone, Copy)]
struct SimClocks {
    /// True time.
    now: Timestamp,
    /// Wall clock minus true time.
    ahead_us: i64,
    boots: u32,
    booted: Timestamp,
}

impl Clocks for SimClocks {
    fn wall(&self) -> Timestamp {
        Timestamp(self.now.0 + self.ahead_us)
    }
    fn since_boot(&self) -> Duration {
        Duration::from_micros((self.now.0 - self.booted.0).max(0).unsigned_abs())
    }
    fn boot_id(&self) -> String {
        format!("boot-{}", self.boots)
    }
    fn is_synchronised(&self) -> bool {
        false
    }
}

impl OneMachine {
    /// One that was started an hour ago, with an empty log.
    pub(super) fn new(now: Timestamp) -> Self {
        let clocks = SimClocks { now, ahead_us: 0, boots: 1, booted: now.plus_ms(-3_600_000) };
        Self { clocks, hold: Hold::begin(&clocks, Timestamp::default(), None, false) }
    }

    pub(super) fn time(&mut self, now: Timestamp) -> Timestamp {
        self.clocks.now = now;
        self.hold.now(&self.clocks)
    }

    pub(super) fn holds_ticks(&self) -> bool {
        self.hold.why().is_some()
    }

    pub(super) const fn set_ahead(&mut self, ahead_us: i64) {
        self.clocks.ahead_us = ahead_us;
    }

    /// The log is opened by another process. Its witness says when it was appended to last; after a start of the machine that is of
    /// another boot.
    pub(super) fn reopen(&mut self, now: Timestamp, appended: Timestamp, reboots: bool) {
        self.clocks.now = now;
        if reboots {
            (self.clocks.boots, self.clocks.booted) = (self.clocks.boots + 1, now);
        }
        self.hold = Hold::begin(&self.clocks, appended, Some(self.hold.last().clone()), false);
    }
}
