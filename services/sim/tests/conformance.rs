//! The simulated log keeps every promise of the port: the same suite as for the embedded log and Kafka.

use orrery_log::{clock, conformance};
use orrery_sim::crash::CrashPoints;
use orrery_sim::log::SimLog;
use std::sync::Arc;

#[test]
fn the_simulated_log_conforms() {
    conformance::run(&|| Arc::new(SimLog::new(7, Arc::new(CrashPoints::default()), Arc::new(clock::wall))));
}
