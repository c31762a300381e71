//! A gateway over a data folder that nobody runs: a copy of one, or one that the simulator has made. It shows what is there and
//! writes nothing to the log: what would be appended is refused.

use super::{show, start_gateway};
use crate::cli::serve::Signals;
use crate::config::Config;
use crate::standalone::{LOG_DIR, Settings};
use anyhow::{Context, Result};
use orrery_audit::cluster_of;
use orrery_gateway::outputs;
use orrery_log::Log;
use orrery_log::embedded::EmbeddedLog;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks whether everything is shown.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Serves until a signal comes. As nothing is added to what is there, it is ready when it shows all of that.
pub(super) fn serve(config: &Config, settings: &Settings, mut signals: Signals) -> Result<()> {
    let folder = settings.data_dir.join(LOG_DIR);
    let opened = EmbeddedLog::open_read_only(&folder);
    let log: Arc<dyn Log> = opened.with_context(|| {
        let folder = folder.display();
        format!("no log can be opened in {folder}; name a data folder with --data-dir, or the brokers of a cluster (config/kafka.toml)")
    })?;
    let cluster = cluster_of(&*log, config.get("prefix").unwrap_or_default())?;
    let gateway = start_gateway(settings, (log, cluster), outputs::of_folder(settings.data_dir.join("agent")), Arc::new(|| Ok(())))?;
    while !gateway.views().seen().ready {
        if signals.came_within(LOOK_AGAIN) {
            return Ok(());
        }
    }
    show(config, &gateway, signals)
}
