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
