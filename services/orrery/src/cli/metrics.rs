//! The process's metrics, in Prometheus' text format.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// From 50 µs to 2.5 s: decisions take microseconds, commits milliseconds.
const BUCKETS: [f64; 12] = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5];

/// Begins to record; once per process.
pub(crate) fn install() -> anyhow::Result<()> {
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS)?;
    let handle = builder.install_recorder()?;
    describe();
    let _already = RECORDER.set(handle);
    Ok(())
}

/// Everything recorded so far.
pub(crate) fn render() -> String {
    RECORDER.get().map_or_else(String::new, |handle| {
        handle.run_upkeep();
        handle.render()
    })
}

fn describe() {
    metrics::describe_histogram!("orrery_decision_seconds", "Time that a shard takes for one entry, from input to transaction.");
    metrics::describe_histogram!("orrery_commit_seconds", "Time that a transaction takes to be durable.");
    metrics::describe_counter!("orrery_entries_total", "Journal entries committed.");
    metrics::describe_counter!("orrery_dropped_total", "Records read and not taken, by reason.");
    metrics::describe_counter!("orrery_shard_restarts_total", "Times that a shard was given up and acquired again.");
    metrics::describe_gauge!("orrery_restore_remaining_records", "Changelog records that are still to be read, while a shard is acquired.");
    metrics::describe_gauge!("orrery_standby_lag", "Offsets between a changelog's end and where a standby's store stands.");
    metrics::describe_counter!("orrery_audit_entries_total", "Journal entries that the auditor derived again and compared.");
    metrics::describe_counter!("orrery_audit_unverified_total", "Entries that it applied only: their logic version is not compiled in.");
    metrics::describe_counter!("orrery_audit_snapshots_total", "Snapshots that it compared with the rows that it derived.");
    metrics::describe_counter!("orrery_audit_anchors_total", "Anchors that it signed.");
    metrics::describe_gauge!("orrery_audit_verified_seq", "The last entry that it verified.");
    metrics::describe_gauge!("orrery_audit_lag", "Committed entries that it has not verified yet.");
    metrics::describe_gauge!("orrery_audit_diverged", "1 if the journal has diverged, which it tells on the topic of alerts too.");
    metrics::describe_gauge!("orrery_input_lag", "Offsets between an input's end and where its reader stands.");
}
