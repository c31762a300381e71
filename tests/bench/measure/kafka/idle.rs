//! What a cluster that has nothing to do writes to its log.

use super::site::Site;
use crate::Result;
use crate::clock::SECOND;
use crate::metric::{Metric, metric};
use crate::stamp::Stamps;
use crate::suite::Context;
use orrery_log::{Log, pieces};
use orrery_model::record::data_bytes;

/// Agents of the one cell.
const AGENTS: usize = 10;
/// What starting writes is written by then.
const SETTLED_AFTER: i64 = 10 * SECOND;

/// With ten agents, for a minute.
pub(crate) fn records(context: &mut Context) -> Result<Vec<Metric>> {
    let stamps = Stamps::new()?;
    let mut site = Site::start(1, 1)?;
    site.cluster.start("trigger", "trigger", &[]);
    site.cluster.start("allocator", "allocator", &[]);
    (0..AGENTS).for_each(|n| site.cluster.start(&format!("agent-{n}"), "agent", &[]));
    stamps.pause(SETTLED_AFTER)?;
    let before = site.written()?;
    let seconds = i64::try_from(context.sizes.idle_seconds).map_err(|e| e.to_string())?;
    stamps.pause(seconds * SECOND)?;
    let after = site.written()?;
    let per_minute = 60.0 / seconds as f64;
    Ok(vec![
        metric("idle_records_per_min", (after.0 - before.0) as f64 * per_minute, "1/min"),
        metric("idle_bytes_per_min", (after.1 - before.1) as f64 * per_minute, "B/min"),
    ])
}

impl Site {
    /// Records and bytes in all topics of the cluster: transaction markers do not count, keys and values do.
    fn written(&self) -> Result<(usize, usize)> {
        let (mut records, mut bytes) = (0, 0);
        for topic in self.log.topics().map_err(|e| e.to_string())?.iter().filter(|topic| topic.name.starts_with(&self.cluster.prefix)) {
            for (at, end) in self.ends(&topic.name)? {
                for piece in pieces(&*self.log, &at, 0, end) {
                    let piece = piece.map_err(|e| e.to_string())?;
                    records += piece.len();
                    bytes += piece.iter().map(|record| data_bytes(record.key.as_ref(), record.value.as_ref())).sum::<usize>();
                }
            }
        }
        Ok((records, bytes))
    }
}
