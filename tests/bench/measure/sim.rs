//! How fast clusters are simulated: on all processors, compared with one thread alone.

use crate::Result;
use crate::metric::{Metric, metric};
use crate::suite::Context;
use serde_json::Value;
use std::process::{Command, Stdio};

/// One thread simulates this part of what all do: it is a reference only.
const REFERENCE_PART: usize = 5;

/// `orrery-sim` as `make sim` runs it.
pub(crate) fn worlds(context: &mut Context) -> Result<Vec<Metric>> {
    let (one_hours, one_events) = simulate(context.sizes.hours.div_ceil(REFERENCE_PART), Some(1))?;
    let (hours, events) = simulate(context.sizes.hours, None)?;
    Ok(vec![metric("cluster_hours_per_min", hours, "h/min").against(one_hours), metric("events_per_s", events, "1/s").against(one_events)])
}

/// Cluster-hours a minute and events a second.
fn simulate(hours: usize, threads: Option<usize>) -> Result<(f64, f64)> {
    let mut command = Command::new(orrery_tests::binary().with_file_name("orrery-sim"));
    command.args(["--json", "--hours", &hours.to_string()]).stdin(Stdio::null());
    command.args(threads.iter().flat_map(|threads| ["--threads".to_owned(), threads.to_string()]));
    let done = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    let summary: Value = serde_json::from_slice(&done.stdout).map_err(|e| format!("{e}: {said}"))?;
    if summary["findings"] != 0 {
        return Err(format!("promises were not kept: {said}"));
    }
    let number = |name: &str| summary[name].as_f64().ok_or_else(|| format!("no {name}: {said}"));
    let seconds = number("seconds")?;
    Ok((number("cluster_hours")? * 60.0 / seconds, number("events")? / seconds))
}
