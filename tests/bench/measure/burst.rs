//! Many jobs that are due at the same instant: when the last of them starts.

use crate::Result;
use crate::clock::{SECOND, as_ms, monotonic_ns, wall_offset_ns};
use crate::home::Home;
use crate::metric::{Metric, metric};
use crate::stamp::Stamps;
use crate::suite::Context;
use chrono::{DateTime, SecondsFormat};
use serde_json::json;
use std::collections::BTreeSet;

/// For defining the jobs before they are due.
const AHEAD: i64 = 5 * SECOND;
/// For the last start after the instant.
const LATEST: i64 = 60 * SECOND;

/// From the instant to the last stamp; compared with the time that bare processes by two threads take.
pub(crate) fn one_instant(context: &mut Context) -> Result<Vec<Metric>> {
    let count = context.sizes.burst;
    let bare_ms = count as f64 / context.spawn2_per_s()? * 1e3;
    let stamps = Stamps::new()?;
    let home = Home::start()?;
    let offset = wall_offset_ns();
    // Whole milliseconds, so that the text says exactly what is meant.
    let due = (monotonic_ns() + offset + AHEAD) / 1_000_000 * 1_000_000;
    define(&home, &stamps, count, &DateTime::from_timestamp_nanos(due).to_rfc3339_opts(SecondsFormat::Millis, true))?;
    let due = due - offset;
    if monotonic_ns() > due {
        return Err(format!("defining {count} jobs took longer than {} s", AHEAD / SECOND));
    }
    let (mut seen, mut last) = (BTreeSet::new(), due);
    while seen.len() < count {
        let stamp = stamps.next(due + LATEST)?.ok_or_else(|| format!("{} of {count} jobs have started; {}", seen.len(), home.others()))?;
        if stamp.at < due {
            return Err(format!("{stamp:?} was before the instant {due}"));
        }
        last = last.max(stamp.at);
        if !seen.insert(stamp.label.clone()) {
            return Err(format!("{stamp:?}: it ran twice"));
        }
    }
    Ok(vec![metric("burst200_last_start_ms", as_ms(last - due), "ms").against(bare_ms)])
}

fn define(home: &Home, stamps: &Stamps, count: usize, at: &str) -> Result<()> {
    for n in 0..count {
        let name = format!("burst-{n}");
        let resources = json!({"cpus": "1m", "memory": "1MiB"});
        let command = stamps.command(&name);
        home.define_as(&json!({"name": name, "triggers": [{"at": at}], "command": command, "resources": resources}))?;
    }
    Ok(())
}
