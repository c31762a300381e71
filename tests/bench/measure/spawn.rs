//! How many processes this machine starts and ends in a second without a scheduler.

use crate::Result;
use crate::clock::{monotonic_ns, seconds_since};
use crate::metric::{Metric, metric};
use crate::suite::Context;
use std::process::Command;

/// `/bin/true`, spawned and waited for: by one thread, then by two.
pub(crate) fn rates(context: &mut Context) -> Result<Vec<Metric>> {
    let count = context.sizes.spawns;
    let (one, two) = (rate(1, count)?, rate(2, count)?);
    context.set_spawn2_per_s(two);
    Ok(vec![metric("spawn_per_s", one, "1/s"), metric("spawn2_per_s", two, "1/s").against(one)])
}

/// Each thread starts `count`.
fn rate(threads: usize, count: usize) -> Result<f64> {
    let began = monotonic_ns();
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(|| spawn(count))).collect();
        running.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread panicked".to_owned())?)
    })?;
    Ok((threads * count) as f64 / seconds_since(began))
}

fn spawn(count: usize) -> Result<()> {
    for _ in 0..count {
        let status = Command::new("/bin/true").status().map_err(|e| format!("/bin/true: {e}"))?;
        if !status.success() {
            return Err(format!("/bin/true: {status}"));
        }
    }
    Ok(())
}
