//! How fast recorded decisions are derived again, and that they are the same.

use crate::Result;
use crate::clock::{monotonic_ns, seconds_since};
use crate::metric::{Metric, metric};
use crate::suite::Context;
use serde_json::Value;
use std::process::{Command, Stdio};

/// `orrery audit verify` of the first round's journals. The rate is its own, and has to fit the time that we see.
pub(crate) fn journals(context: &mut Context) -> Result<Vec<Metric>> {
    let home = context.finished.as_ref().ok_or("there are no journals: the first round has failed")?;
    let mut command = Command::new(orrery_tests::binary());
    command.args(["audit", "verify", "-o", "json", "--data-dir"]).arg(home.folder()).stdin(Stdio::null());
    let began = monotonic_ns();
    let done = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let seconds = seconds_since(began);
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    let summary: Value = serde_json::from_slice(&done.stdout).map_err(|e| format!("{e}: {said}"))?;
    let rate = summary["entries_per_s"].as_f64().ok_or_else(|| format!("no entries_per_s: {said}"))?;
    if !done.status.success() || summary["divergences"] != 0 || summary["seconds"].as_f64().is_none_or(|own| own > seconds) {
        return Err(format!("{} after {seconds} s: {said}", done.status));
    }
    Ok(vec![metric("verify_entries_per_s", rate, "1/s")])
}
