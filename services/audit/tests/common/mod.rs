//! What tests of several journals share.

use orrery_audit::{Filter, read_entries};
use orrery_log::Log;
use orrery_runtime::messages::Cluster;
use std::ops::ControlFlow;
use std::time::Duration;

/// Waits until a shard's journal has so many entries with a decision or an input of a kind.
pub(crate) fn wait_for(log: &dyn Log, cluster: &Cluster, (service, shard): (&str, u32), kind: &str, wanted: usize) {
    let bell = log.bell(&[&cluster.topic(&format!("{service}.journal"))]);
    let filter = Filter { kind: Some(kind.into()), ..Default::default() };
    loop {
        let mut found = 0;
        let mut count = |_| {
            found += 1;
            ControlFlow::Continue(())
        };
        read_entries(log, cluster, (service, shard), 0, &filter, &mut count).unwrap();
        if found >= wanted {
            return;
        }
        bell.wait(Duration::from_secs(1));
    }
}
