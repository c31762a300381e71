//! What tests of several journals share.

use orrery_audit::{Filter, read_entries};
use orrery_log::Log;
use orrery_model::decider::Decider;
use orrery_runtime::driver::{self, ShardConfig, ShardHandle};
use orrery_runtime::messages::Cluster;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Starts a shard with its store in this folder.
pub(crate) fn start<D: Decider>(log: &Arc<dyn Log>, cluster: &Cluster, shard: u32, folder: PathBuf) -> ShardHandle {
    let config = ShardConfig {
        log: log.clone(),
        cluster: cluster.clone(),
        shard,
        generation: 1,
        folder,
        member: orrery_runtime::membership::member("test", Vec::new(), "", orrery_log::clock::wall()),
        draw_lineage: || "5eed".into(),
    };
    driver::start::<D>(config).unwrap()
}

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
