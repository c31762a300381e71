//! How long a trigger shard with many rows takes to be there again: from the changelog, and from its own store.

use super::site::Site;
use crate::Result;
use crate::clock::{monotonic_ns, seconds_since};
use crate::home::small_job;
use crate::metric::{Metric, metric};
use crate::suite::Context;
use orrery_log::pieces;
use serde_json::json;
use std::collections::BTreeSet;

/// Topic of the runs that wait, as there is no allocator.
const TOPIC: &str = "bench-waiting";

/// From the start of the process to the first decision that others see.
pub(crate) fn rows(context: &mut Context) -> Result<Vec<Metric>> {
    let runs = context.sizes.restored_runs;
    let mut site = Site::start(1, 1)?;
    site.make_topic(TOPIC, 1)?;
    site.cluster.start("trigger", "trigger", &[]);
    site.define(small_job("waits", &json!({"event": TOPIC, "from": "earliest"}), &["/bin/true".into()]))?;
    site.pour(TOPIC, runs, |n| json!({"n": n}).to_string())?;
    site.tail(&site.cluster.topic("runs"))?.until_keys(runs)?;
    site.cluster.stop("trigger");
    let (live, written) = rows_of(&site)?;
    let from_store = resumed_s(&mut site)?;
    site.cluster.stop("trigger");
    let store = site.cluster.folder().join("trigger").join("store");
    std::fs::remove_dir_all(&store).map_err(|e| format!("{}: {e}", store.display()))?;
    let from_changelog = resumed_s(&mut site)?;
    Ok(vec![
        metric("restore_rows", live as f64, "rows"),
        metric("restore_changelog_s", from_changelog, "s"),
        metric("restore_rows_per_s", written as f64 / from_changelog, "1/s"),
        metric("restore_rocksdb_s", from_store, "s"),
    ])
}

/// Starts the trigger; the event that it finds fires one more run.
fn resumed_s(site: &mut Site) -> Result<f64> {
    site.pour(TOPIC, 1, |_| json!({"n": "probe"}).to_string())?;
    let topic = site.cluster.topic("runs");
    let ends = site.ends(&topic)?;
    let began = monotonic_ns();
    site.cluster.start("trigger", "trigger", &[]);
    site.tail_from(ends).until_keys(1)?;
    Ok(seconds_since(began))
}

/// Rows of the changelog that live, and all that were written.
fn rows_of(site: &Site) -> Result<(usize, usize)> {
    let (mut live, mut written) = (BTreeSet::new(), 0);
    for (at, end) in site.ends(&site.cluster.topic("trigger.changelog"))? {
        for piece in pieces(&*site.log, &at, 0, end) {
            for record in piece.map_err(|e| e.to_string())? {
                written += 1;
                let key = record.key.map(|key| key.as_bytes().to_vec());
                if record.value.is_some() {
                    live.insert(key);
                } else {
                    live.remove(&key);
                }
            }
        }
    }
    Ok((live.len(), written))
}
