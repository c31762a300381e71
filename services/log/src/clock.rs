//! The one place where drivers read clocks. Pure crates get time as an argument instead.

use orrery_model::time::Timestamp;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The wall clock, UTC.
#[expect(clippy::disallowed_methods, reason = "the drivers' one window to the wall clock")]
pub fn wall() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "the drivers' one window to the monotonic clock")]
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Time since the machine started, asleep or awake: what tells how long a process was away in which the machine was not.
pub fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Which start of the machine this is; empty where the system does not tell.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// True if the system says that something keeps its wall clock right (NTP, PTP). Whoever sets the clock by hand takes that back.
#[expect(unsafe_code, reason = "the system's own word on its clock; no library of ours asks for it")]
pub fn is_synchronised() -> bool {
    // SAFETY: all fields of a timex are numbers, for which zeroes are a value; without modes the call only reads, and writes to it.
    let (state, status) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex.status)
    };
    (0..libc::TIME_ERROR).contains(&state) && status & libc::STA_UNSYNC == 0
}
