//! Results: values with units, percentiles, the table for people and the lines for machines.

use crate::Result;
use crate::clock::as_ms;
use serde_json::json;
use std::path::Path;

/// One result.
#[derive(Debug, Clone)]
pub(crate) struct Metric {
    name: String,
    value: f64,
    unit: &'static str,
    /// What it is compared with.
    reference: Option<f64>,
}

/// A result without a reference; its suite's name comes before its own.
pub(crate) fn metric(name: &str, value: f64, unit: &'static str) -> Metric {
    Metric { name: name.to_owned(), value, unit, reference: None }
}

impl Metric {
    /// One of this suite.
    pub(crate) fn of_suite(self, suite: &str) -> Self {
        Self { name: format!("{suite}.{}", self.name), ..self }
    }

    /// Compared with this; only the table shows it.
    pub(crate) fn against(self, reference: f64) -> Self {
        Self { reference: Some(reference), ..self }
    }

    /// One line of JSON.
    fn line(&self) -> String {
        json!({"metric": self.name, "value": self.value, "unit": self.unit}).to_string() + "\n"
    }

    /// One line of the table.
    pub(crate) fn row(&self) -> String {
        let compared = self.reference.map_or_else(String::new, |reference| format!("{reference:>12.3} {:>8.2}", self.value / reference));
        format!("{:<40} {:>12.3} {:<6}{compared}", self.name, self.value, self.unit).trim_end().to_owned()
    }
}

/// Heads the rows.
pub(crate) fn head() -> String {
    format!("{:<40} {:>12} {:<6}{:>12} {:>8}", "metric", "value", "unit", "reference", "ratio")
}

/// The smallest value that `percent` of all do not exceed.
pub(crate) fn percentile(values: &[i64], percent: usize) -> Result<i64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().ok_or_else(|| "nothing was measured".to_owned())
}

/// p50 and p99 of latencies: beyond the bare start, and raw with the bare start as their reference.
pub(crate) fn latencies(name: &str, ns: &[i64], bare_ms: f64) -> Result<Vec<Metric>> {
    let mut found = Vec::new();
    for percent in [50, 99] {
        let raw = as_ms(percentile(ns, percent)?);
        found.push(metric(&format!("{name}_ms.p{percent}"), raw - bare_ms, "ms"));
        found.push(metric(&format!("{name}_raw_ms.p{percent}"), raw, "ms").against(bare_ms));
    }
    found.sort_by_key(|metric| metric.name.contains("_raw_"));
    Ok(found)
}

/// Replaces the file by these results.
pub(crate) fn write(path: &Path, metrics: &[Metric]) -> Result<()> {
    let refused = |e: std::io::Error| format!("{}: {e}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(refused)?;
    }
    std::fs::write(path, metrics.iter().map(Metric::line).collect::<String>()).map_err(refused)
}
