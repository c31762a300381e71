//! What a shard knows of the cluster and of the other shards: numbers, owners, their definitions, what was taken and told.

use crate::rows::{JobRow, TakenRow, ToldRow};
use crate::state::Trigger;
use orrery_model::id::JobName;
use orrery_model::journal::Shards;
use orrery_model::messages::{CatalogEntry, Forward, ForwardBody, Origin};
use orrery_model::murmur2::partition_of;

/// Key of the one row about the cluster.
const CLUSTER_KEY: u32 = 0;

impl Trigger {
    /// The numbers of the cluster and of this shard, if it was told.
    pub fn known_shards(&self) -> Option<Shards> {
        self.cluster.get(&CLUSTER_KEY).copied()
    }

    /// What it goes by.
    pub(crate) fn shards(&self) -> Shards {
        self.known_shards().unwrap_or_default()
    }

    /// Shard that owns a job.
    pub(crate) fn owner(&self, job: &JobName) -> i32 {
        partition_of(job.as_str().as_bytes(), self.shards().trigger_shards as u32) as i32
    }

    /// True if this, or what lay behind it, was taken before.
    pub(crate) fn has_taken(&self, origin: &Origin) -> bool {
        self.taken.get(&taken_key(origin)).is_some_and(|last| *last >= taken_row(origin))
    }

    /// Ends of runs that a shard was told so far.
    pub(crate) fn ends_told(&self, shard: i32) -> i64 {
        self.told.get(&(shard as u32)).map_or(0, |row| row.ends)
    }

    pub(crate) fn learn(&mut self, shards: Shards) {
        self.cluster.insert(CLUSTER_KEY, shards);
    }

    pub(crate) fn take_forward(&mut self, origin: &Origin) {
        self.taken.insert(taken_key(origin), taken_row(origin));
    }

    /// The ends of runs that another shard is told are numbered.
    pub(crate) fn count_told(&mut self, forward: &Forward) {
        if matches!(forward.body, ForwardBody::EndForwarded { .. }) {
            self.told.insert(forward.to as u32, ToldRow { ends: forward.origin.offset });
        }
    }

    pub(crate) fn learn_definition(&mut self, entry: &CatalogEntry) {
        self.unindex_job(&entry.job);
        self.catalog.insert(entry.job.clone(), JobRow { entry: entry.clone() });
        self.index_job(entry);
    }

    pub(crate) fn forget_definition(&mut self, job: &JobName) {
        self.unindex_job(job);
        self.catalog.remove(job);
    }
}

fn taken_key(origin: &Origin) -> (String, u32) {
    (origin.topic.clone(), origin.partition as u32)
}

fn taken_row(origin: &Origin) -> TakenRow {
    TakenRow { generation: origin.generation, offset: origin.offset }
}
