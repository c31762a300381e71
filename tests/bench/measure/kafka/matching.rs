//! Events in a second that one trigger process consumes, matches against 10,000 event triggers, and commits; each of one in a hundred
//! matches exactly one of them.

use super::site::Site;
use crate::Result;
use crate::clock::{monotonic_ns, seconds_since};
use crate::home::small_job;
use crate::metric::{Metric, metric};
use crate::suite::Context;
use serde_json::json;
use std::collections::BTreeSet;

/// Topic of the events.
const TOPIC: &str = "bench-matched";
/// One event of so many matches.
const ONE_OF: usize = 100;
/// Of twenty triggers one compares ranges, the others for equality.
const RANGE_OF: usize = 20;

/// All events are there before the trigger process starts again.
pub(crate) fn events(context: &mut Context) -> Result<Vec<Metric>> {
    let (jobs, events) = (context.sizes.event_jobs, context.sizes.matched_events);
    let mut site = Site::start(1, 1)?;
    site.make_topic(TOPIC, 1)?;
    site.cluster.start("trigger", "trigger", &[]);
    let job = |n: usize| {
        let when = if n.is_multiple_of(RANGE_OF) {
            format!("data.n >= {} && data.n < {}", n * 10, n * 10 + 1)
        } else {
            format!("data.n == {}", n * 10)
        };
        small_job(&format!("matched-{n}"), &json!({"event": TOPIC, "when": when}), &["/bin/true".into()])
    };
    site.define_all((0..jobs).map(job))?;
    // Every definition, and the cluster's numbers.
    site.tail(&site.cluster.topic("catalog"))?.until_keys(jobs + 1)?;
    site.cluster.stop("trigger");
    // Most values lie between those that match.
    site.pour(TOPIC, events, |n| {
        let value = if n.is_multiple_of(ONE_OF) { n / ONE_OF % jobs * 10 } else { n % (jobs * 10) / 10 * 10 + 5 };
        json!({"n": value, "customer": "c-1234", "note": "an event of some size, as they are"}).to_string()
    })?;
    site.cluster.start("trigger", "trigger", &[]);
    let (mut keys, mut began) = (BTreeSet::new(), None);
    site.tail(&site.cluster.topic("runs"))?.until(events.div_ceil(ONE_OF), |record| {
        // From the first on: what acquiring takes is another measurement's.
        began.get_or_insert_with(monotonic_ns);
        keys.insert(record.key.as_ref().map(|key| key.as_bytes().to_vec()));
        Ok(keys.len())
    })?;
    Ok(vec![metric("events_matched_per_s", events as f64 / began.map_or(f64::INFINITY, seconds_since), "1/s")])
}
