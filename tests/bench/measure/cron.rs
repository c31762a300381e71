//! From a slot of a schedule to the process that it starts.

use crate::Result;
use crate::clock::{SECOND, monotonic_ns, wall_offset_ns};
use crate::home::Home;
use crate::metric::{Metric, latencies};
use crate::stamp::Stamps;
use crate::suite::Context;
use chrono::DateTime;
use serde_json::json;

/// Longest wait for one slot: it comes every second.
const LATEST: i64 = 10 * SECOND;

/// A job of every second; its label is the time that the slot was due. No slot may be left out.
pub(crate) fn slots(context: &mut Context) -> Result<Vec<Metric>> {
    let bare = context.bare_ms()?;
    let offset = wall_offset_ns();
    let stamps = Stamps::new()?;
    let home = Home::start()?;
    home.define("every-second", &json!({"cron": "* * * * * ?", "dialect": "quartz"}), &stamps.command("{{ run.nominal }}"))?;
    let (mut taken, mut last) = (Vec::new(), None);
    while taken.len() < context.sizes.slots {
        let stamp = stamps.next(monotonic_ns() + LATEST)?.ok_or_else(|| format!("no slot after {last:?}; {}", home.others()))?;
        let nominal = DateTime::parse_from_rfc3339(&stamp.label).map_err(|e| format!("{stamp:?}: {e}"))?;
        let nominal = nominal.timestamp_nanos_opt().ok_or_else(|| format!("{stamp:?}: the year"))?;
        if last.is_some_and(|last| nominal != last + SECOND) {
            return Err(format!("slot {} does not follow {last:?} by a second", stamp.label));
        }
        last = Some(nominal);
        taken.push(stamp.at + offset - nominal);
    }
    latencies("cron_to_start", &taken, bare)
}
