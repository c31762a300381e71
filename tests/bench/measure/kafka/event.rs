//! From an event that a client produces to the process that it starts, at 50 events a second; the broker and every service run
//! beside it.

use super::site::Site;
use crate::Result;
use crate::clock::{MS, as_ms};
use crate::measure::paced::{self, Paced};
use crate::metric::{Metric, latencies, metric};
use crate::stamp::Stamps;
use crate::suite::Context;

/// Between two events.
const PERIOD: i64 = 20 * MS;
/// Events before those that count: the broker's virtual machine compiles what is hot.
const WARM_UP: usize = 15 * 50;

/// One trigger shard, one cell.
pub(crate) fn one_shard(context: &mut Context) -> Result<Vec<Metric>> {
    measured(context, "event_to_start", 1, 1)
}

/// As many as a new cluster has.
pub(crate) fn many_shards(context: &mut Context) -> Result<Vec<Metric>> {
    measured(context, "event_to_start_16x4", 16, 4)
}

fn measured(context: &Context, name: &str, shards: u32, cells: u32) -> Result<Vec<Metric>> {
    let bare = context.bare_ms()?;
    let stamps = Stamps::new()?;
    let mut site = Site::start(shards, cells)?;
    site.serve(cells);
    site.define_stamping(&stamps, shards)?;
    let count = WARM_UP + context.sizes.paced_seconds * 50;
    let Paced { taken, latest } = paced::run(&stamps, count, PERIOD, |n| site.stamp(n, shards))?;
    let mut found = latencies(name, &taken[WARM_UP..], bare)?;
    found.push(metric(&format!("{name}_sent_late_ms.max"), as_ms(latest), "ms"));
    Ok(found)
}
