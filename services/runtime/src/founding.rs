//! The numbers of a cluster are fixed when it is made (§4.3): they stand in `catalog` under a key that no job has.
//!
//! The owner of a job and the cell of a task follow from these numbers. With others, keys would change their owners, and two shards
//! would each hold a half of what one of them decided.

use crate::messages::Cluster;
use orrery_log::{Commit, Log, LogError, TopicPartition, pieces};
use orrery_model::codec::CodecError;
use orrery_model::messages::{CLUSTER, ClusterNumbers};
use orrery_model::record::NewRecord;
use orrery_model::topics::{CATALOG, CLUSTER_KEY};
use std::sync::Arc;

/// Partition of `catalog` that holds them: the one that every cluster has.
const PARTITION: u32 = 0;
/// Members that may make one cluster at one moment: each fences the others once.
const TRIES: usize = 100;

/// Why a member may not take part in the cluster.
#[derive(Debug, thiserror::Error)]
pub enum FoundingError {
    /// The numbers are others.
    #[error(
        "this cluster was made with {field} = {made}, and this member is set to {set}; the number is fixed when a cluster is made: set \
         {field} to {made}, or make a new cluster with another topic prefix or data folder"
    )]
    Differs {
        /// Which setting.
        field: &'static str,
        /// What the cluster was made with.
        made: i64,
        /// What this member was started with.
        set: i64,
    },
    /// What is stored cannot be read.
    #[error("the cluster's numbers in {topic} cannot be read: {why}; start a release that can")]
    Unreadable {
        /// Full name of `catalog`.
        topic: String,
        /// The codec's words.
        why: CodecError,
    },
    /// Others keep on making it.
    #[error("{TRIES} other members were making this cluster at the same moment; start again")]
    Busy,
    /// The log refused.
    #[error("the log refused to say how the cluster was made: {0}")]
    Log(#[from] LogError),
}

/// Makes the cluster with these numbers, or compares them with those that it was made with. Called at start-up, before any shard
/// is acquired; the topic `catalog` must be there.
pub fn found(log: &Arc<dyn Log>, cluster: &Cluster) -> Result<(), FoundingError> {
    let set = ClusterNumbers { trigger_shards: i64::from(cluster.trigger_shards), cells: i64::from(cluster.cells) };
    for _ in 0..TRIES {
        if let Some(made) = numbers(log, cluster)? {
            return compare(&made, &set);
        }
        // Whoever else reads nothing now has fenced this writer, or is fenced by it: only one of them writes.
        let mut writer = log.fence(&cluster.topic("founding"))?;
        if numbers(log, cluster)?.is_none()
            && let Commit::Committed(_) = writer.commit(vec![record(cluster, &set)])?
        {
            return Ok(());
        }
    }
    Err(FoundingError::Busy)
}

/// What the cluster was made with, if it was made.
pub fn numbers(log: &Arc<dyn Log>, cluster: &Cluster) -> Result<Option<ClusterNumbers>, FoundingError> {
    let at = TopicPartition::new(&cluster.topic(CATALOG), PARTITION);
    let is_it = |key: &orrery_model::payload::Payload| key.as_bytes() == CLUSTER_KEY.as_bytes();
    for piece in pieces(&**log, &at, log.start_offset(&at)?, log.end_offset(&at)?) {
        let piece = piece?;
        let found = piece.iter().find(|record| record.key.as_ref().is_some_and(is_it));
        if let Some(value) = found.and_then(|record| record.value.as_ref()) {
            let read = CLUSTER.decode(value.as_bytes());
            return read.map(Some).map_err(|why| FoundingError::Unreadable { topic: at.topic.to_string(), why });
        }
    }
    Ok(None)
}

fn record(cluster: &Cluster, numbers: &ClusterNumbers) -> NewRecord {
    NewRecord {
        topic: cluster.topic(CATALOG),
        partition: PARTITION,
        key: Some(CLUSTER_KEY.as_bytes().into()),
        value: Some(CLUSTER.encode(numbers).as_slice().into()),
        headers: Vec::new(),
    }
}

fn compare(made: &ClusterNumbers, set: &ClusterNumbers) -> Result<(), FoundingError> {
    for (field, made, set) in [("trigger_shards", made.trigger_shards, set.trigger_shards), ("cells", made.cells, set.cells)] {
        if made != set {
            return Err(FoundingError::Differs { field, made, set });
        }
    }
    Ok(())
}
