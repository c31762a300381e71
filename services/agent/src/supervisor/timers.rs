//! All deadlines of the supervisor on one timer of the boot clock, which also counts while the machine is suspended.

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// The task has run for as long as it may.
    Timeout(u64),
    /// The task's grace after SIGTERM is over.
    Grace(u64),
    /// Nothing of the task may be left since a while.
    Resists(u64),
    /// The socket is listened to again.
    Listen,
    /// Trees of ended tasks are looked at again.
    Look,
    /// The lease may have run out.
    Lease,
    /// Starts that were held back may be tried again.
    Retry,
    /// The lease has no second holder: it may be had now.
    Holder,
    /// Nobody may have needed the supervisor for a while.
    Idle,
}

/// Deadlines and the kernel's timer, set to the first of them.
#[derive(Debug)]
pub(super) struct Timers {
    timer: OwnedFd,
    due: BTreeSet<(i64, Due)>,
    set_to: Option<i64>,
}

impl Timers {
    pub(super) fn new() -> std::io::Result<Self> {
        let timer = rustix::time::timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        Ok(Self { timer, due: BTreeSet::new(), set_to: None })
    }

    /// The file to wait on.
    pub(super) const fn file(&self) -> &OwnedFd {
        &self.timer
    }

    pub(super) fn add(&mut self, boot_ms: i64, due: Due) {
        self.due.insert((boot_ms, due));
    }

    pub(super) fn remove(&mut self, boot_ms: i64, due: Due) {
        self.due.remove(&(boot_ms, due));
    }

    /// The next deadline that has come.
    pub(super) fn take(&mut self, now_boot_ms: i64) -> Option<Due> {
        let (at, _) = *self.due.first()?;
        if at > now_boot_ms {
            return None;
        }
        self.due.pop_first().map(|(_, due)| due)
    }

    /// Sets the kernel's timer, if the first deadline has changed.
    pub(super) fn arm(&mut self) -> std::io::Result<()> {
        let first = self.due.first().map(|(at, _)| *at);
        if first == self.set_to {
            return Ok(());
        }
        // A time of zero would disarm it; a deadline in the past fires at once, as it should.
        let at = first.map_or(0, |at| at.max(1));
        let value = Timespec { tv_sec: at / 1000, tv_nsec: (at % 1000) * 1_000_000 };
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &Itimerspec { it_interval: zero, it_value: value })?;
        self.set_to = first;
        Ok(())
    }

    /// Takes the expiry, so that the file is quiet again.
    pub(super) fn acknowledge(&mut self) {
        let _ = rustix::io::read(&self.timer, &mut [0_u8; 8]);
        self.set_to = None;
    }
}
