//! What a shard knows of the cluster and of the other shards: numbers, owners, their definitions, what was taken and told.

use crate::rows::{JobRow, TakenRow, ToldRow};
use crate::state::{AT_ONCE, Deadline, Trigger};
use orrery_model::id::JobName;
use orrery_model::journal::Shards;
use orrery_model::messages::{CatalogEntry, EventData, Fire, Forward, ForwardBody, Origin};
use orrery_model::murmur2::partition_of;
use orrery_model::topics;

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

    /// Shard that reads a partition of a user topic (protocol §5.1).
    pub(crate) fn reader(&self, topic: &str, partition: i32) -> i32 {
        topics::reader(topic, partition, self.shards().trigger_shards as u32) as i32
    }

    /// The definition of a job, of this shard or another.
    pub(crate) fn definition(&self, job: &JobName) -> Option<&CatalogEntry> {
        self.jobs.get(job).or_else(|| self.catalog.get(job)).map(|row| &row.entry)
    }

    /// True if this event, or one behind it in its partition, has fired the job.
    pub(crate) fn has_fired(&self, job: &JobName, event: &EventData) -> bool {
        self.fired.get(&(job.clone(), event.source())).is_some_and(|fired| fired.offset >= event.offset)
    }

    /// True if the reader of this event knows the job better than its owner does yet.
    pub(crate) fn is_ahead(&self, fire: &Fire) -> bool {
        let life = self.lives.get(&fire.job).map_or(0, |life| life.incarnation);
        let known = self.jobs.get(&fire.job).map_or((life, i64::MAX), |row| (row.entry.incarnation, row.entry.version));
        (fire.incarnation, fire.version) > known
    }

    /// Fires of a job that wait for its definition, in the order in which they came.
    pub(crate) fn parked_fires(&self, job: &JobName) -> impl DoubleEndedIterator<Item = (u32, &Fire)> {
        self.parked.range((job.clone(), 0)..=(job.clone(), u32::MAX)).map(|((_, number), fire)| (*number, fire))
    }

    pub(crate) fn park_fire(&mut self, number: i64, fire: &Fire) {
        self.parked.insert((fire.job.clone(), number as u32), fire.clone());
        self.index_parked(&fire.job);
    }

    pub(crate) fn unpark_fire(&mut self, job: &JobName, number: i64) {
        self.parked.remove(&(job.clone(), number as u32));
        self.index_parked(job);
    }

    /// Keeps the deadline of a job whose first waiting fire can be taken.
    pub(crate) fn index_parked(&mut self, job: &JobName) {
        let due = self.parked_fires(job).next().is_some_and(|(_, fire)| !self.is_ahead(fire));
        let deadline = (AT_ONCE, Deadline::Fire(job.clone()));
        if due {
            self.index.deadlines.insert(deadline);
        } else {
            self.index.deadlines.remove(&deadline);
        }
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
        let old = self.catalog.get(&entry.job).map(|row| row.entry.clone());
        self.keep_rereads(&entry.job, old.as_ref(), Some(entry));
        self.catalog.insert(entry.job.clone(), JobRow { entry: entry.clone() });
        self.index_job(entry);
    }

    pub(crate) fn forget_definition(&mut self, job: &JobName) {
        self.unindex_job(job);
        self.keep_rereads(job, None, None);
        self.catalog.remove(job);
    }
}

fn taken_key(origin: &Origin) -> (String, u32) {
    (origin.topic.clone(), origin.partition as u32)
}

fn taken_row(origin: &Origin) -> TakenRow {
    TakenRow { generation: origin.generation, offset: origin.offset }
}
