//! From an event to the process that it starts, on an idle standalone.

use crate::Result;
use crate::clock::{as_ms, monotonic_ns};
use crate::home::Home;
use crate::metric::{Metric, latencies, metric};
use crate::stamp::Stamps;
use crate::suite::Context;
use serde_json::json;

/// Topic of the stamped events.
pub(crate) const TOPIC: &str = "bench-stamps";
/// Longest wait for one start.
const LATEST_S: i64 = 10;

/// A standalone with a job that stamps each event, and how long the first event took in nanoseconds. It makes the topic, which
/// the job waited for: a start unlike those that follow.
pub(crate) fn stamping_home(stamps: &Stamps) -> Result<(Home, i64)> {
    let home = Home::start()?;
    home.define("stamps", &json!({"event": TOPIC}), &stamps.command("{{ event.data.n }}"))?;
    let before = monotonic_ns();
    home.event(TOPIC, "first")?;
    let first = stamps.expect("first", LATEST_S)? - before;
    Ok((home, first))
}

/// Each event after the stamp of the one before.
pub(crate) fn one_at_a_time(context: &mut Context) -> Result<Vec<Metric>> {
    let bare = context.bare_ms()?;
    let stamps = Stamps::new()?;
    let (home, first) = stamping_home(&stamps)?;
    let mut taken = Vec::new();
    for n in 0..context.sizes.events {
        let label = n.to_string();
        let before = monotonic_ns();
        home.event(TOPIC, &label)?;
        taken.push(stamps.expect(&label, LATEST_S).map_err(|why| format!("{why}; {}", home.others()))? - before);
    }
    let mut found = latencies("event_to_start", &taken, bare)?;
    found.push(metric("first_event_to_start_raw_ms", as_ms(first), "ms").against(bare));
    Ok(found)
}
