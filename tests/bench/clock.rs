//! The benchmarks' clocks, read from the kernel directly: stamps of other processes must be comparable with ours, which
//! `Instant` does not allow.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of a millisecond.
pub(crate) const MS: i64 = 1_000_000;
/// Nanoseconds of a second.
pub(crate) const SECOND: i64 = 1_000 * MS;

/// CLOCK_MONOTONIC in nanoseconds; the same in all processes.
pub(crate) fn monotonic_ns() -> i64 {
    read(ClockId::Monotonic)
}

/// What to add to the monotonic clock for the wall clock. Of some readings the one that was interrupted least.
pub(crate) fn wall_offset_ns() -> i64 {
    let reading = |_| {
        let before = monotonic_ns();
        let wall = read(ClockId::Realtime);
        let after = monotonic_ns();
        (after - before, wall - (before + after) / 2)
    };
    (0..100).map(reading).min().map_or(0, |(_, offset)| offset)
}

/// Seconds since a reading of the monotonic clock.
pub(crate) fn seconds_since(began: i64) -> f64 {
    (monotonic_ns() - began) as f64 / SECOND as f64
}

/// Nanoseconds as milliseconds.
pub(crate) fn as_ms(ns: i64) -> f64 {
    ns as f64 / MS as f64
}

fn read(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * SECOND + time.tv_nsec
}
