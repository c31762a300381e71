//! How many runs of the smallest program are done in a second.

use crate::Result;
use crate::clock::{monotonic_ns, seconds_since};
use crate::home::Home;
use crate::metric::{Metric, metric};
use crate::stamp::Stamps;
use crate::suite::Context;
use serde_json::json;

/// Topic whose events run `/bin/true`.
const TOPIC: &str = "bench-true";

/// The first round on a fresh standalone, which is killed then; its folder is left for what follows.
pub(crate) fn first(context: &mut Context) -> Result<Vec<Metric>> {
    let (count, reference) = (context.sizes.round, context.spawn2_per_s()?);
    let mut home = Home::start()?;
    home.define("true", &json!({"event": TOPIC}), &["/bin/true".into()])?;
    let seconds = once(&home, count, count)?;
    home.kill();
    context.finished = Some(home);
    Ok(vec![metric("true_per_s", count as f64 / seconds, "1/s").against(reference)])
}

/// So many events; returns the seconds from before the first request until all runs, with those of the rounds before, are
/// counted as succeeded.
pub(crate) fn once(home: &Home, count: usize, in_all: usize) -> Result<f64> {
    let pauses = Stamps::new()?;
    let began = monotonic_ns();
    home.events(TOPIC, count)?;
    home.wait_for_count("succeeded", in_all, &pauses)?;
    Ok(seconds_since(began))
}
