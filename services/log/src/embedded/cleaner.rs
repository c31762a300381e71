//! The thread that cleans from time to time, and ends with its log.

use super::{CleanReport, EmbeddedLog};
use crate::{LogError, clock};
use orrery_model::time::Timestamp;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// Handle of the cleaning thread; it may be dropped.
pub type Cleaner = JoinHandle<()>;

impl EmbeddedLog {
    /// Deletes what its topics' cleanup no longer keeps at this time. Called in turns: a second caller waits for the first.
    pub fn clean(&self, now: Timestamp) -> Result<CleanReport, LogError> {
        self.inner.clean(now)
    }

    /// Cleans every so often, on a thread of its own that ends when the log is dropped or has failed.
    pub fn spawn_cleaner(self: &Arc<Self>, every: Duration) -> std::io::Result<Cleaner> {
        let (log, dropped) = (Arc::downgrade(self), Arc::clone(&self.dropped));
        std::thread::Builder::new().name("log-cleaner".into()).spawn(move || while !dropped.wait(every) && clean_once(&log) {})
    }
}

/// False if there is nothing more to do.
fn clean_once(log: &Weak<EmbeddedLog>) -> bool {
    let Some(log) = log.upgrade() else { return false };
    match log.clean(clock::wall()) {
        Ok(report) if report == CleanReport::default() => true,
        Ok(report) => {
            tracing::debug!(report.starts_moved, report.compacted, report.records_removed, "the log was cleaned");
            true
        }
        Err(error) => {
            tracing::warn!(%error, "the log was not cleaned");
            !matches!(error, LogError::Poisoned { .. } | LogError::ReadOnly)
        }
    }
}
