//! Replays decision journals: lists entries, and proves that each decision follows from the recorded inputs.
//!
//! [`entries`] reads journals for people and for the gateway, [`explain`] tells their stories; [`verify`] re-derives and compares, [`auditor`] does so as journals
//! grow; [`anchors`] are signed. [`state`] says what was known at
//! a point of the past. [`export`] writes them for other programs; [`whatif`] asks
//! what would be.

pub mod anchors;
pub mod auditor;
mod batch;
mod bounded;
pub mod entries;
pub mod explain;
pub mod export;
pub mod state;
pub mod verify;
pub mod whatif;

pub use bounded::{Limit, Limits, Reading, read_first, read_from};
pub use entries::{EntryView, Filter, Place, read_entries, read_some};
pub use verify::{Begin, Divergence, Report, Stretch, Verify, verify, verify_all, verify_from};

use orrery_allocator::Allocator;
use orrery_log::{Log, LogError, TopicPartition};
use orrery_model::decider::Decider as _;
use orrery_model::topics;
use orrery_runtime::messages::Cluster;
use orrery_trigger::Trigger;

/// The cluster that wrote a log under this prefix: it has as many shards as its journals have partitions.
pub fn cluster_of(log: &dyn Log, prefix: &str) -> Result<Cluster, AuditError> {
    let single = Cluster { prefix: prefix.into(), ..Cluster::single() };
    let shards = |journal: &str| {
        let topic = single.topic(journal);
        let found = log.topic(&topic).map_err(|source| AuditError::Log { topic, source })?;
        Ok(found.map_or(1, |topic| topic.partitions))
    };
    Ok(Cluster { trigger_shards: shards(topics::TRIGGER_JOURNAL)?, cells: shards(topics::ALLOCATOR_JOURNAL)?, ..single.clone() })
}

/// The journals of a cluster, or those of one service: service and shard.
pub fn journals(cluster: &Cluster, service: Option<&str>) -> Vec<(&'static str, u32)> {
    let all = [(Trigger::SERVICE, cluster.trigger_shards), (Allocator::SERVICE, cluster.cells)];
    let wanted = all.into_iter().filter(|(name, _)| service.is_none_or(|service| service == *name));
    wanted.flat_map(|(name, count)| (0..count).map(move |shard| (name, shard))).collect()
}

/// Why a journal cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The log refused.
    #[error("the journal {topic} cannot be read: {source}")]
    Log {
        /// Full topic name.
        topic: String,
        /// Why.
        source: LogError,
    },
    /// A record is not a journal entry of this version.
    #[error("{topic} holds a record at {offset} that cannot be read: {why}; it was altered, or written by another version")]
    Unreadable {
        /// Full topic name.
        topic: String,
        /// Its offset.
        offset: i64,
        /// What is wrong.
        why: String,
    },
    /// No such entry.
    #[error("there is no entry {0}")]
    NoSuchEntry(String),
    /// No such service.
    #[error("{0:?} has no journal; it is one of trigger, allocator")]
    NoSuchService(String),
}

impl AuditError {
    /// The log refused to say something of this partition.
    pub(crate) fn of_log(at: &TopicPartition) -> impl Fn(LogError) -> Self + Copy {
        |source| Self::Log { topic: at.topic.to_string(), source }
    }

    /// This record of it is not what it should be.
    pub(crate) fn unreadable(at: &TopicPartition, offset: i64, why: impl ToString) -> Self {
        Self::Unreadable { topic: at.topic.to_string(), offset, why: why.to_string() }
    }
}
