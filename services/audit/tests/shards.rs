//! Two trigger shards and two cells on one log: what they decide together, and that each journal verifies by itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{start, wait_for};
use orrery_allocator::Allocator;
use orrery_audit::{Begin, cluster_of, verify, verify_all};
use orrery_log::Log;
use orrery_log::embedded::EmbeddedLog;
use orrery_model::decider::Decider;
use orrery_model::record::NewRecord;
use orrery_model::topics::{self, Cleanup};
use orrery_runtime::driver::ShardHandle;
use orrery_runtime::messages::Cluster;
use orrery_trigger::Trigger;
use std::path::Path;
use std::sync::Arc;

/// A cluster on one log.
struct World {
    log: Arc<dyn Log>,
    cluster: Cluster,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log: Arc<dyn Log> = EmbeddedLog::open(&folder.path().join("log")).unwrap();
        let cluster = Cluster { trigger_shards: 2, cells: 2, ..Cluster::single() };
        for topic in topics::TOPICS {
            log.ensure_topic(&cluster.topic(topic.name), cluster.partitions(topic.partitions), topic.cleanup).unwrap();
        }
        log.ensure_topic("t", 3, Cleanup::Forever).unwrap();
        Self { log, cluster, folder }
    }

    fn start<D: Decider>(&self, shard: u32) -> ShardHandle {
        let folder = Path::new(D::SERVICE).join(shard.to_string());
        start::<D>(&self.log, &self.cluster, shard, self.folder.path().join(folder))
    }

    fn append(&self, topic: &str, partition: u32, value: &str) {
        let record = NewRecord { topic: topic.into(), partition, value: Some(value.as_bytes().into()), ..NewRecord::default() };
        self.log.append(vec![record]).unwrap();
    }

    /// Waits until a shard has made so many decisions of a kind.
    fn wait_for(&self, service: &str, shard: u32, kind: &str, wanted: usize) {
        wait_for(&*self.log, &self.cluster, (service, shard), kind, wanted);
    }

    fn verified<D: Decider>(&self, shard: u32) {
        let report = verify::<D>(&self.log, &self.cluster, shard).unwrap();
        assert!(report.divergence.is_none() && report.state_hash == "equal", "{}/{shard}: {report:?}", D::SERVICE);
    }
}

/// default/a belongs to trigger shard 1 and cell 1; of the topic, shard 0 reads partition 0 and shard 1 partition 2.
#[test]
fn a_job_is_defined_fired_and_sent_on_over_shards_and_cells() {
    let world = World::new();
    let triggers = [0, 1].map(|shard| world.start::<Trigger>(shard));
    let allocators = [0, 1].map(|shard| world.start::<Allocator>(shard));
    let document = r#"{"name": "a", "command": ["x"], "concurrency": "allow", "triggers": [{"event": "t"}]}"#;
    world.append(&world.cluster.topic(topics::JOBS), 0, document);
    world.wait_for("trigger", 0, "forwarded", 1);
    world.wait_for("trigger", 1, "job_defined", 1);
    world.wait_for("trigger", 0, "definition_learned", 1);

    world.append("t", 0, "{}");
    world.append("t", 2, "{}");
    world.wait_for("trigger", 1, "run_created", 2);
    world.wait_for("allocator", 1, "task_declined", 2);
    world.wait_for("allocator", 0, "task_queued", 2);
    triggers.into_iter().for_each(|shard| shard.stop());

    let triggers = [0, 1].map(|shard| world.start::<Trigger>(shard));
    world.append(&world.cluster.topic(topics::REQUESTS), 0, r#"{"request": {"run_job": {"job": "default/a"}}}"#);
    world.append("t", 0, "{}");
    world.wait_for("allocator", 0, "task_queued", 4);
    triggers.into_iter().chain(allocators).for_each(|shard| shard.stop());
    for shard in [0, 1] {
        world.verified::<Trigger>(shard);
        world.verified::<Allocator>(shard);
    }
    verified_as_the_command_line_does(&world);
}

/// It is told nothing of the cluster: the log says how many shards there are.
fn verified_as_the_command_line_does(world: &World) {
    let found = cluster_of(&*world.log, "orrery.").unwrap();
    assert_eq!((found.trigger_shards, found.cells), (2, 2));
    let verified = |service| {
        let reports = verify_all(&world.log, &found, service, &Begin::default()).unwrap();
        assert!(reports.iter().all(|report| report.divergence.is_none() && report.entries > 0), "{reports:?}");
        reports.iter().map(|report| format!("{}/{}", report.service, report.shard)).collect::<Vec<_>>()
    };
    assert_eq!(verified(None), ["trigger/0", "trigger/1", "allocator/0", "allocator/1"]);
    assert_eq!(verified(Some("allocator")), ["allocator/0", "allocator/1"]);
}
