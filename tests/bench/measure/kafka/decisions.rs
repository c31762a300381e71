//! Durable placements in a second: attempts that were waiting when an allocator came, until the launch command of each is committed
//! (with its journal entry and rows, as one transaction holds all of them).

use super::site::Site;
use crate::Result;
use crate::clock::{monotonic_ns, seconds_since};
use crate::home::small_job;
use crate::metric::{Metric, metric};
use crate::suite::Context;
use orrery_model::messages::{COMMANDS, Order};
use serde_json::json;
use std::collections::BTreeSet;

/// Simulated agents of each cell.
const AGENTS: usize = 10;

/// Cells, and processes that they are divided over.
const SHAPES: [(u32, u32); 5] = [(1, 1), (2, 1), (2, 2), (4, 1), (4, 2)];

/// For each shape.
pub(crate) fn placements(context: &mut Context) -> Result<Vec<Metric>> {
    let mut found = Vec::new();
    let mut reference = None;
    for (cells, processes) in SHAPES {
        let rate = placed_per_s(context.sizes.placements, cells, processes)?;
        let name = if processes == 1 {
            format!("decisions_per_s.shards{cells}")
        } else {
            format!("decisions_per_s.shards{cells}_processes{processes}")
        };
        found.push(metric(&name, rate, "1/s").against(*reference.get_or_insert(rate)));
    }
    Ok(found)
}

fn placed_per_s(count: usize, cells: u32, processes: u32) -> Result<f64> {
    let mut site = Site::start(1, cells)?;
    site.cluster.start("trigger", "trigger", &[]);
    for cell in 0..cells {
        let topic = format!("bench-load-{cell}");
        site.make_topic(&topic, 1)?;
        let trigger = json!({"event": topic, "from": "earliest"});
        let mut job = small_job(&format!("load-{cell}"), &trigger, &["/bin/true".into()]);
        job["cell"] = cell.into();
        site.define(job)?;
        site.pour(&topic, count / cells as usize, |n| json!({"n": n}).to_string())?;
    }
    // The trigger is done before an allocator begins: each is measured by itself.
    let wanted = count / cells as usize * cells as usize;
    site.tail(&site.cluster.topic("runs"))?.until_keys(wanted)?;
    site.cluster.stop("trigger");
    (0..cells).try_for_each(|cell| site.simulate_agents(cell, AGENTS))?;
    for process in 0..processes {
        site.cluster.start(&format!("allocator-{process}"), "allocator", &[]);
    }
    let (mut placed, mut began) = (BTreeSet::new(), None);
    site.tail(&site.cluster.topic("commands"))?.until(wanted, |record| {
        let Some(value) = &record.value else { return Ok(placed.len()) };
        // From the first command of all: what acquiring takes is another measurement's.
        began.get_or_insert_with(monotonic_ns);
        for item in COMMANDS.decode(value.as_bytes()).map_err(|e| e.to_string())?.items {
            // One that was sent again counts once.
            if let Order::Launch { spec } = item.body.order {
                placed.insert(spec.attempt);
            }
        }
        Ok(placed.len())
    })?;
    Ok(wanted as f64 / began.map_or(f64::INFINITY, seconds_since))
}
