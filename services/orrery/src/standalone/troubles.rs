//! What is wrong with the log, or was done to it, is told: on standard error for whoever starts it, and as alerts.

use anyhow::Result;
use orrery_log::Log;
use orrery_log::embedded::{EmbeddedLog, Salvaged};
use orrery_model::messages::Alert;
use orrery_model::record::NewRecord;
use orrery_runtime::membership::{alert_record, append_aside};
use orrery_runtime::messages::Cluster;
use std::sync::{Arc, Mutex, PoisonError};

/// What the alerts are about.
const ABOUT: &str = "log";
/// Ranges that are told one by one; the rest as a number. All of them stand in the log.
const RANGES_MOST: usize = 100;

/// The trouble that was told last.
#[derive(Default)]
pub(super) struct Troubles(Mutex<Option<String>>);

impl Troubles {
    /// Tells of the log's trouble, if it has another one than before.
    pub(super) fn tell(&self, log: &Arc<EmbeddedLog>, cluster: &Cluster) {
        let trouble = log.trouble();
        let before = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), trouble.clone());
        let Some(detail) = trouble.filter(|trouble| before.as_ref() != Some(trouble)) else { return };
        tracing::error!(detail, "the log is in trouble");
        let code = if log.holds_ticks() { "clock_held" } else { "log_damaged" };
        append_aside(log.clone(), alert(log, cluster, code, detail));
    }
}

/// Tells what this start did: a salvage, a clock that a person has confirmed.
pub(super) fn tell_start(log: &EmbeddedLog, cluster: &Cluster, clock_accepted: bool) -> Result<()> {
    let mut told: Vec<(&str, String)> = Vec::new();
    if let Some(salvaged) = log.salvaged() {
        told.extend(lines(salvaged).into_iter().map(|line| ("log_salvaged", line)));
    }
    if clock_accepted {
        told.push(("clock_accepted", format!("the wall clock was confirmed with --accept-clock at {}", log.wall())));
    }
    for (code, line) in &told {
        eprintln!("{code}: {line}");
    }
    let alerts: Vec<NewRecord> = told.into_iter().map(|(code, line)| alert(log, cluster, code, line)).collect();
    if !alerts.is_empty() {
        log.append(alerts)?;
    }
    Ok(())
}

fn lines(salvaged: &Salvaged) -> Vec<String> {
    let Salvaged { why, lost, kept } = salvaged;
    let first = format!("the log was damaged ({why}) and made anew of what could be read; the damaged one is kept in {}", kept.display());
    let range = |(at, range): &(orrery_log::TopicPartition, std::ops::Range<i64>)| {
        format!("{}/{}: what was there from offset {} to {} is lost", at.topic, at.partition, range.start, range.end)
    };
    let more = lost.len().saturating_sub(RANGES_MOST);
    let rest = (more > 0).then(|| format!("and {more} more ranges are lost"));
    std::iter::once(first).chain(lost.iter().take(RANGES_MOST).map(range)).chain(rest).collect()
}

fn alert(log: &EmbeddedLog, cluster: &Cluster, code: &str, detail: String) -> NewRecord {
    alert_record(cluster, ABOUT, &Alert { job: None, run: None, code: code.into(), detail, at: log.wall() })
}
