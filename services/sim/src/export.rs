//! A world's log as a data folder, for `orrery audit --data-dir` and `orrery serve gateway`.

use orrery_audit::export::copy_topic;
use orrery_log::embedded::EmbeddedLog;
use orrery_log::{Log, LogError};
use std::path::Path;

/// Copies every topic into an embedded log below this folder.
pub fn export(log: &dyn Log, folder: &Path) -> Result<(), LogError> {
    let copy = EmbeddedLog::open(&folder.join("log"))?;
    log.topics()?.iter().try_for_each(|topic| copy_topic(log, &copy, topic).map(drop))
}
