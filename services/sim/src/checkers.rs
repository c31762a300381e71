//! Checkers: what must hold at the end of every world, one file each.
//!
//! The oracle is [`History`]: what the log accepted from outside and which processes really ran. Journals are read as an auditor
//! reads them.

mod capacity;
mod catalog;
mod ended;
mod epochs;
mod fired_once;
mod readable;
mod replay;
mod started_once;
mod stopped;

use crate::history::History;
use crate::plan::Plan;
use orrery_audit::entries::journal_of;
use orrery_log::Log;
use orrery_model::decider::Decider;
use orrery_model::journal::Entry;
use orrery_model::topics;
use orrery_runtime::messages::Cluster;
use std::sync::Arc;

/// The end of a world.
pub struct Outcome<'w> {
    /// What was planned.
    pub plan: &'w Plan,
    /// The log as it is now.
    pub log: Arc<dyn Log>,
    /// The cluster's numbers.
    pub cluster: &'w Cluster,
    /// What really happened.
    pub history: &'w History,
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Who found it.
    pub checker: &'static str,
    /// What was found, for people.
    pub what: String,
}

/// A checker: its name and what it finds.
type Checker = (&'static str, fn(&Outcome<'_>) -> Vec<String>);

/// Every checker.
pub const CHECKERS: &[Checker] = &[
    ("started_once", started_once::check),
    ("fired_once", fired_once::check),
    ("catalog", catalog::check),
    ("ended", ended::check),
    ("epochs", epochs::check),
    ("capacity", capacity::check),
    ("replay", replay::check),
    ("readable", readable::check),
    ("stopped", stopped::check),
];

/// Runs them all.
pub fn check(outcome: &Outcome<'_>) -> Vec<Finding> {
    let found = |(name, check): &Checker| check(outcome).into_iter().map(|what| Finding { checker: name, what }).collect::<Vec<_>>();
    CHECKERS.iter().flat_map(found).collect()
}

impl Outcome<'_> {
    /// A shard's whole journal.
    fn journal<D: Decider>(&self, shard: u32) -> Vec<Entry<D::Input, D::Decision>> {
        let fetch = self.log.read(&journal_of(self.cluster, D::SERVICE, shard), 0, usize::MAX).unwrap_or_default();
        let batches = fetch.records.iter().filter_map(|record| D::journal().decode(record.value.as_ref()?.as_bytes()).ok());
        batches.flat_map(|batch| batch.entries).collect()
    }

    /// What is found in every shard of both services.
    fn each_shard(&self, trigger: impl Fn(&Self, u32) -> Vec<String>, cell: impl Fn(&Self, u32) -> Vec<String>) -> Vec<String> {
        let triggers = self.trigger_shards().flat_map(|shard| trigger(self, shard));
        triggers.chain(self.cells().flat_map(|shard| cell(self, shard))).collect()
    }

    fn trigger_shards(&self) -> std::ops::Range<u32> {
        0..self.cluster.partitions(topics::Partitions::PerTriggerShard)
    }

    fn cells(&self) -> std::ops::Range<u32> {
        0..self.cluster.partitions(topics::Partitions::PerCell)
    }
}
