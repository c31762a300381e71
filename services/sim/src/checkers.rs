//! Checkers: what must hold at the end of every world, one file each.
//!
//! The oracle is [`History`]: what the log accepted from outside and which processes really ran. Journals are read as an auditor
//! reads them.

mod cancelled;
mod capacity;
mod catalog;
mod clocks;
mod ended;
mod epochs;
mod fired_once;
mod healthy_kept;
mod logic;
mod overtaken;
mod readable;
mod replay;
mod salvaged;
mod set_aside;
mod shown;
mod started_once;
mod stays_stopped;
mod stopped;
mod twice_told;

use crate::history::History;
use crate::plan::Plan;
use orrery_allocator::Allocator;
use orrery_audit::entries::journal_of;
use orrery_gateway::views::Views;
use orrery_log::Log;
use orrery_model::decider::Decider;
use orrery_model::journal::Entry;
use orrery_model::time::Timestamp;
use orrery_model::topics;
use orrery_runtime::messages::Cluster;
use orrery_trigger::Trigger;
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
    /// What the gateway shows, if there is one.
    shown: Option<Arc<Views>>,
    triggers: Vec<Vec<Timed<Trigger>>>,
    allocators: Vec<Vec<Timed<Allocator>>>,
}

/// An entry of a decider's journal.
type EntryOf<D> = Entry<<D as Decider>::Input, <D as Decider>::Decision>;

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

/// A journal entry with its append time.
type Timed<D> = (Timestamp, EntryOf<D>);

/// Every checker.
pub const CHECKERS: &[Checker] = &[
    ("started_once", started_once::check),
    ("fired_once", fired_once::check),
    ("catalog", catalog::check),
    ("ended", ended::check),
    ("epochs", epochs::check),
    ("healthy_kept", healthy_kept::check),
    ("clocks", clocks::check),
    ("logic", logic::check),
    ("stays_stopped", stays_stopped::check),
    ("capacity", capacity::check),
    ("replay", replay::check),
    ("readable", readable::check),
    ("stopped", stopped::check),
    ("cancelled", cancelled::check),
    ("overtaken", overtaken::check),
    ("shown", shown::check),
    ("twice_told", twice_told::check),
    ("set_aside", set_aside::check),
    ("salvaged", salvaged::check),
];

/// Those that sum a journal up from its first entry: where a salvage has lost a part of it, they say nothing.
const OF_WHOLE_JOURNALS: [&str; 6] = ["catalog", "stays_stopped", "capacity", "cancelled", "overtaken", "shown"];

/// Runs them all.
pub fn check(outcome: &Outcome<'_>) -> Vec<Finding> {
    let counts = |name: &str| outcome.history.salvaged.is_none() || !OF_WHOLE_JOURNALS.contains(&name);
    let found = |(name, check): &Checker| check(outcome).into_iter().map(|what| Finding { checker: name, what }).collect::<Vec<_>>();
    CHECKERS.iter().filter(|(name, _)| counts(name)).flat_map(found).collect()
}

impl<'w> Outcome<'w> {
    /// Of a world that has ended; every journal is read once.
    pub fn new(plan: &'w Plan, log: Arc<dyn Log>, cluster: &'w Cluster, history: &'w History, shown: Option<Arc<Views>>) -> Self {
        let triggers = (0..cluster.trigger_shards).map(|shard| read_journal::<Trigger>(&log, cluster, shard)).collect();
        let allocators = (0..cluster.cells).map(|cell| read_journal::<Allocator>(&log, cluster, cell)).collect();
        Self { plan, log, cluster, history, shown, triggers, allocators }
    }

    /// A shard's whole journal.
    fn journal<D: Journalled>(&self, shard: u32) -> impl Iterator<Item = &EntryOf<D>> {
        self.timed_journal::<D>(shard).iter().map(|(_, entry)| entry)
    }

    /// A shard's whole journal, each entry with its append time.
    fn timed_journal<D: Journalled>(&self, shard: u32) -> &[Timed<D>] {
        &D::journals(self)[shard as usize]
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

fn read_journal<D: Decider>(log: &Arc<dyn Log>, cluster: &Cluster, shard: u32) -> Vec<Timed<D>> {
    let fetch = log.read(&journal_of(cluster, D::SERVICE, shard), 0, usize::MAX).unwrap_or_default();
    let batches = fetch.records.iter().filter_map(|record| {
        let batch = D::journal().decode(record.value.as_ref()?.as_bytes()).ok()?;
        Some(batch.entries.into_iter().map(|entry| (record.appended, entry)))
    });
    batches.flatten().collect()
}

/// A decider whose journals an outcome holds.
trait Journalled: Decider {
    /// One of each shard.
    fn journals<'o>(outcome: &'o Outcome<'_>) -> &'o [Vec<Timed<Self>>];
}

impl Journalled for Trigger {
    fn journals<'o>(outcome: &'o Outcome<'_>) -> &'o [Vec<Timed<Self>>] {
        &outcome.triggers
    }
}

impl Journalled for Allocator {
    fn journals<'o>(outcome: &'o Outcome<'_>) -> &'o [Vec<Timed<Self>>] {
        &outcome.allocators
    }
}
