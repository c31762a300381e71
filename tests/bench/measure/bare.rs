//! How long the stamping program takes to start without a scheduler: no scheduler can be faster.

use crate::Result;
use crate::clock::{as_ms, monotonic_ns};
use crate::metric::{Metric, metric, percentile};
use crate::stamp::Stamps;
use crate::suite::Context;

/// From the call that spawns it to its stamp, one at a time.
pub(crate) fn start(context: &mut Context) -> Result<Vec<Metric>> {
    let stamps = Stamps::new()?;
    let mut taken = Vec::new();
    for n in 0..context.sizes.bare_starts {
        let label = n.to_string();
        let mut command = stamps.bare(&label);
        let before = monotonic_ns();
        let mut child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
        taken.push(stamps.expect(&label, 10)? - before);
        child.wait().map_err(|e| format!("{command:?}: {e}"))?;
    }
    let p50 = as_ms(percentile(&taken, 50)?);
    context.set_bare_ms(p50);
    Ok(vec![metric("bare_start_ms.p50", p50, "ms")])
}
