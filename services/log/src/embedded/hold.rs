//! What time it is for the log: the wall clock's, unless that has gone further ahead than anything explains.
//!
//! Append times are this machine's own, so nobody else says whether its clock is right, and one that is ten years ahead for a minute
//! would delete what is to be kept and run what is to run in ten years. What has passed since the last append is measured by the time
//! since boot, over restarts of the process, too: the witness keeps which boot that was. Steps ahead are believed until they come to an
//! hour together. From then on the log's time goes on from the last append as the machine counts it, and ticks and cleaning wait,
//! until the clock is confirmed or set right. It is confirmed by the system, which says that NTP keeps it; by a person
//! ([`EmbeddedOptions::accept_clock`](super::EmbeddedOptions)); or by a machine that was started since: then nothing measured how
//! long it was off, and up to [`OFF_MOST`] it may have been. A clock that goes back needs no hold: append times wait for it.

use crate::clock;
use orrery_model::planted::{Bug, planted};
use orrery_model::time::Timestamp;
use std::fmt::Debug;
use std::time::Duration;

/// Steps ahead that nothing explains are believed until they come to this.
const STEPS_MOST_US: i64 = 3_600_000_000;
/// Less than this is drift, or a slewed clock, and no step.
const DRIFT_US: i64 = 1_000_000;
/// A machine that was started again may have been off for so long: holidays, a repair. A dead battery of the clock, or a wrong year, is
/// further off.
pub const OFF_MOST: Duration = Duration::from_secs(31 * 86_400);

/// The clocks of the machine.
pub trait Clocks: Debug + Send + Sync {
    /// The wall clock.
    fn wall(&self) -> Timestamp;
    /// Time since boot.
    fn since_boot(&self) -> Duration;
    /// Which boot.
    fn boot_id(&self) -> String;
    /// True if something keeps the wall clock right.
    fn is_synchronised(&self) -> bool;
}

/// Those of this machine.
#[derive(Debug, Clone, Copy)]
pub struct Machine;

impl Clocks for Machine {
    fn wall(&self) -> Timestamp {
        clock::wall()
    }
    fn since_boot(&self) -> Duration {
        clock::since_boot()
    }
    fn boot_id(&self) -> String {
        clock::boot_id()
    }
    fn is_synchronised(&self) -> bool {
        clock::is_synchronised()
    }
}

/// When something was appended, and the time since boot then.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Moment {
    /// Which boot.
    pub boot_id: String,
    /// Time since then, microseconds.
    pub boot_us: i64,
    /// The log's time.
    pub at: Timestamp,
}

/// The log's time.
#[derive(Debug)]
pub struct Hold {
    last: Moment,
    /// Steps that were believed though nothing explains them.
    steps_us: i64,
    /// How far the wall clock is ahead, while it is not believed.
    ahead_us: Option<i64>,
}

impl Hold {
    /// At the opening of a log. `appended` is when its newest record was; `witnessed`, what is known of the last append.
    pub fn begin(clocks: &dyn Clocks, appended: Timestamp, witnessed: Option<Moment>, accept: bool) -> Self {
        let now = Moment { boot_id: clocks.boot_id(), boot_us: since_boot_us(clocks), at: clocks.wall() };
        let last = match witnessed.filter(|then| then.boot_id == now.boot_id && !now.boot_id.is_empty() && then.boot_us <= now.boot_us) {
            Some(then) => Moment { at: then.at.max(appended), ..then },
            // Nothing measured what has passed.
            None => {
                let off_us = now.at.0.saturating_sub(appended.0);
                let may_be = appended == Timestamp::default() || off_us <= OFF_MOST.as_micros() as i64 || planted(Bug::HoldIgnored);
                Moment { at: if may_be { now.at.max(appended) } else { appended }, ..now.clone() }
            }
        };
        let mut hold = Self { last: if accept { now } else { last }, steps_us: 0, ahead_us: None };
        hold.now(clocks);
        hold
    }

    /// The log's time now.
    pub fn now(&mut self, clocks: &dyn Clocks) -> Timestamp {
        let (wall, boot_us) = (clocks.wall(), since_boot_us(clocks));
        let passed = Timestamp(self.last.at.0 + (boot_us - self.last.boot_us).max(0));
        let ahead = wall.0.saturating_sub(passed.0);
        let step = if ahead > DRIFT_US { ahead } else { 0 };
        let believed = self.steps_us.saturating_add(step) < STEPS_MOST_US || planted(Bug::HoldIgnored);
        let confirmed = !believed && clocks.is_synchronised();
        if confirmed || believed {
            self.steps_us = if confirmed { 0 } else { self.steps_us + step };
            self.ahead_us = None;
            self.last.at = wall;
        } else {
            self.ahead_us = Some(ahead);
            self.last.at = passed;
        }
        self.last.boot_us = boot_us;
        self.last.at
    }

    /// Says why ticks and cleaning wait, if they do.
    pub fn why(&self) -> Option<String> {
        let hours = self.ahead_us? / 3_600_000_000;
        Some(format!(
            "the clock is {hours} h ahead of the last append and of what has passed since, as the machine counts it: schedules and \
             cleaning wait. Set the clock right or have NTP keep it, and they go on by themselves; if it is right, start once with \
             --accept-clock"
        ))
    }

    /// The last look, for the witness.
    pub const fn last(&self) -> &Moment {
        &self.last
    }
}

fn since_boot_us(clocks: &dyn Clocks) -> i64 {
    i64::try_from(clocks.since_boot().as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    const MINUTE: i64 = 60_000_000;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    /// Some time in 2026.
    const NOW: i64 = 1_780_000_000_000_000;

    /// Wall clock, time since boot, which boot, whether NTP keeps it.
    #[derive(Debug)]
    struct Set(Mutex<(i64, i64, &'static str, bool)>);

    impl Set {
        fn new(wall: i64, boot_us: i64, boot: &'static str) -> Self {
            Self(Mutex::new((wall, boot_us, boot, false)))
        }
        fn go(&self, wall: i64, boot_us: i64) {
            let mut set = self.0.lock().unwrap();
            (set.0, set.1) = (set.0 + wall, set.1 + boot_us);
        }
    }

    impl Clocks for Set {
        fn wall(&self) -> Timestamp {
            Timestamp(self.0.lock().unwrap().0)
        }
        fn since_boot(&self) -> Duration {
            Duration::from_micros(self.0.lock().unwrap().1.unsigned_abs())
        }
        fn boot_id(&self) -> String {
            self.0.lock().unwrap().2.to_owned()
        }
        fn is_synchronised(&self) -> bool {
            self.0.lock().unwrap().3
        }
    }

    fn then(boot: &str, boot_us: i64) -> Option<Moment> {
        Some(Moment { boot_id: boot.into(), boot_us, at: Timestamp(NOW) })
    }

    #[test]
    fn steps_are_believed_up_to_an_hour_together_and_held_beyond() {
        let clocks = Set::new(NOW, HOUR, "a");
        let mut hold = Hold::begin(&clocks, Timestamp::default(), None, false);
        for n in 1..6 {
            clocks.go(10 * MINUTE, 0);
            assert_eq!((hold.now(&clocks), hold.why()), (Timestamp(NOW + n * 10 * MINUTE), None));
        }
        clocks.go(11 * MINUTE, MINUTE);
        assert_eq!(hold.now(&clocks), Timestamp(NOW + 51 * MINUTE), "held: only what has passed");
        clocks.go(MINUTE, MINUTE);
        assert_eq!(hold.now(&clocks), Timestamp(NOW + 52 * MINUTE), "it goes on meanwhile");
        assert!(hold.why().unwrap().contains("--accept-clock"));
        clocks.go(-10 * MINUTE, 0);
        assert_eq!((hold.now(&clocks), hold.why()), (Timestamp(NOW + 52 * MINUTE), None), "set right, it goes on by itself");
        clocks.go(2 * HOUR, 0);
        assert!(hold.now(&clocks) == Timestamp(NOW + 52 * MINUTE) && hold.why().is_some());
        clocks.0.lock().unwrap().3 = true;
        assert_eq!((hold.now(&clocks), hold.why()), (Timestamp(NOW + 2 * HOUR + 52 * MINUTE), None), "NTP says that it is right");
    }

    #[test]
    fn one_start_ten_years_ahead_is_held_whatever_was_started_again() {
        let ahead = NOW + 3_650 * DAY;
        let of_process = Hold::begin(&Set::new(ahead, 2 * HOUR, "a"), Timestamp(NOW), then("a", HOUR), false);
        assert_eq!((of_process.last.at, of_process.why().is_some()), (Timestamp(NOW + HOUR), true), "an hour has passed");
        for witnessed in [then("a", HOUR), None] {
            let of_machine = Hold::begin(&Set::new(ahead, MINUTE, "b"), Timestamp(NOW), witnessed, false);
            assert_eq!((of_machine.last.at, of_machine.why().is_some()), (Timestamp(NOW), true));
        }
        let accepted = Hold::begin(&Set::new(ahead, MINUTE, "b"), Timestamp(NOW), then("a", HOUR), true);
        assert_eq!((accepted.last.at, accepted.why()), (Timestamp(ahead), None));
    }

    #[test]
    fn a_weekend_off_goes_on_by_itself() {
        let monday = NOW + 3 * DAY;
        let off = Hold::begin(&Set::new(monday, MINUTE, "b"), Timestamp(NOW), then("a", HOUR), false);
        assert_eq!((off.last.at, off.why()), (Timestamp(monday), None), "the machine was off");
        let stopped = Hold::begin(&Set::new(monday, HOUR + 3 * DAY, "a"), Timestamp(NOW), then("a", HOUR), false);
        assert_eq!((stopped.last.at, stopped.why()), (Timestamp(monday), None), "the machine counted what passed");
        let stepped = Hold::begin(&Set::new(monday, 2 * HOUR, "a"), Timestamp(NOW), then("a", HOUR), false);
        assert_eq!((stepped.last.at, stepped.why().is_some()), (Timestamp(NOW + HOUR), true), "the machine ran, and counted an hour");
    }
}
