//! The conformance suite on the embedded log.

use orrery_log::embedded::EmbeddedLog;
use orrery_log::{Log, conformance};
use std::sync::Arc;

#[test]
fn the_embedded_log_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let log: Arc<dyn Log> = EmbeddedLog::open(folder.path()).unwrap();
    conformance::run(&|| Arc::clone(&log));
}
