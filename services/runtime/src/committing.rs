//! One commit: the transaction, then the store. What is not clean ends the writer's life (§1.2, §1.3).

use crate::messages::Cluster;
use crate::owner::Lost;
use crate::rows::Head;
use crate::shard::Transaction;
use crate::snapshots::Snapshot;
use crate::store::Store;
use orrery_log::{Commit, Log, LogError, Topic, TopicPartition, Writer, pieces};
use orrery_model::decider::Decider;
use orrery_model::planted::{Bug, planted};
use orrery_model::record::NewRecord;
use orrery_model::topics::{Cleanup, DLQ, DLQ_MS, DLQ_SUFFIX, check_topic_name};
use std::sync::Arc;
use std::time::Duration;

/// A commit slower than this is not clean: the writer is not used again (§1.3).
pub const CLEAN_COMMIT: Duration = Duration::from_millis(250);
/// Transactional id of a shard.
pub fn transactional_id(cluster: &Cluster, service: &str, shard: u32) -> String {
    format!("{}{service}.{shard}", cluster.prefix)
}

/// An owner's writer and store.
pub struct Committing {
    log: Arc<dyn Log>,
    cluster: Cluster,
    writer: Box<dyn Writer>,
    store: Box<dyn Store>,
    service: &'static str,
    shard: u32,
    /// In force with the last commit.
    logic_version: Option<i32>,
    snapshot: Option<Snapshot>,
    transactional_id: String,
    /// The last commit was not clean: where its journal and changelog end.
    unclean: Option<[(TopicPartition, i64); 2]>,
}

impl Committing {
    /// Of a shard that was just acquired.
    pub fn new<D: Decider>(log: Arc<dyn Log>, cluster: &Cluster, shard: u32, writer: Box<dyn Writer>, store: Box<dyn Store>) -> Self {
        Self {
            log,
            cluster: cluster.clone(),
            writer,
            store,
            service: D::SERVICE,
            shard,
            logic_version: None,
            snapshot: None,
            transactional_id: transactional_id(cluster, D::SERVICE, shard),
            unclean: None,
        }
    }

    /// Commits, then writes the store; returns the journal's end. `elapsed` is asked how long the commit took. Before the next
    /// commit, [`Self::settle`] is to be called.
    pub fn commit(&mut self, mut transaction: Transaction, elapsed: &mut dyn FnMut() -> Duration) -> Result<i64, Lost> {
        self.place_dead_letters(&mut transaction.records)?;
        let parts = [&transaction.records[transaction.changelog.start - 1], &transaction.records[transaction.changelog.end - 1]];
        let places = parts.map(|record| TopicPartition::new(&record.topic, record.partition));
        let again = planted(Bug::ReuseWriter).then(|| transaction.records.clone());
        let mut committed = self.writer.commit(transaction.records)?;
        if let (Some(again), Commit::Unknown(_)) = (again, &committed) {
            committed = self.writer.commit(again)?;
        }
        let took = elapsed();
        metrics::histogram!("orrery_commit_seconds", "service" => self.service).record(took.as_secs_f64());
        let offsets = match committed {
            Commit::Committed(offsets) => offsets,
            Commit::Fenced => return Err(Lost::Fenced),
            Commit::Unknown(why) => return Err(Lost::Unclean(format!("nobody knows whether it was committed ({why})"))),
        };
        metrics::counter!("orrery_entries_total", "service" => self.service).increment(transaction.entries as u64);
        let (journal_end, head_offset) = (offsets[transaction.changelog.start - 1] + 1, offsets[transaction.changelog.end - 1]);
        self.store.write(&transaction.rows, head_offset).map_err(|e| Lost::Unclean(e.to_string()))?;
        let switched = self.logic_version.replace(transaction.head.logic_version).is_some_and(|old| old != transaction.head.logic_version);
        if switched || self.cluster.snapshots.is_due(&transaction.head) {
            self.begin_snapshot(transaction.head);
        }
        let [journal, changelog] = places;
        self.unclean = (took > CLEAN_COMMIT).then_some([(journal, journal_end), (changelog, head_offset + 1)]);
        Ok(journal_end)
    }

    /// The snapshot that the last commits began, if they did: its records are to be appended beside what goes on (§9.6).
    pub const fn take_snapshot(&mut self) -> Option<Snapshot> {
        self.snapshot.take()
    }

    /// The store stands at the head, and is frozen there. Nothing depends on a snapshot: without this one there is a later one.
    fn begin_snapshot(&mut self, head: Head) {
        match self.store.freeze() {
            Ok(frozen) => {
                let of = (self.service, self.shard);
                self.snapshot = Some(Snapshot::new(&self.cluster, of, head, frozen));
            }
            Err(error) => tracing::warn!(service = self.service, %error, "no snapshot is taken"),
        }
    }

    /// After a slow commit a late copy of it could hit the next transaction; a fence ends the old writer's chances (§1.3).
    /// Another owner may have fenced, written and been fenced by this meanwhile: then journal or changelog end elsewhere than with
    /// this owner's last commit, and its memory is stale (§1.2). What an open transaction hides is not known (§9.2).
    pub fn settle(&mut self) -> Result<(), Lost> {
        let Some(ends) = self.unclean.take() else { return Ok(()) };
        tracing::debug!(service = self.service, "a slow commit: using a new writer");
        self.writer = self.log.fence(&self.transactional_id)?;
        for (place, end) in ends {
            for piece in pieces(&*self.log, &place, end, self.log.settled_end(&place)?) {
                if !piece?.is_empty() && !planted(Bug::NoHeadCheck) {
                    return Err(Lost::Fenced);
                }
            }
        }
        Ok(())
    }

    /// The dead letters' topic, or, where that cannot be made, ours, which always is there.
    fn dead_letter_topic(&self, name: &str, partitions: u32) -> Result<Topic, LogError> {
        let made = check_topic_name(name).map_err(|why| LogError::BadTopic { why });
        match made.and_then(|()| self.log.ensure_topic(name, partitions, Cleanup::DeleteAfterMs(DLQ_MS))) {
            Ok(topic) => Ok(topic),
            Err(error) => {
                tracing::warn!(topic = name, %error, "no topic can be made for dead letters: they go to the cluster's own");
                self.log.ensure_topic(&self.cluster.topic(DLQ), 1, Cleanup::DeleteAfterMs(DLQ_MS))
            }
        }
    }

    /// Gives dead letters a topic with as many partitions as theirs has; in one that is there already, a partition that it has.
    fn place_dead_letters(&self, records: &mut [NewRecord]) -> Result<(), LogError> {
        for record in records.iter_mut() {
            let Some(of) = record.topic.strip_suffix(DLQ_SUFFIX) else { continue };
            let topic = match self.log.topic(&record.topic)? {
                Some(topic) => topic,
                None => {
                    let partitions = self.log.topic(of)?.map_or(record.partition + 1, |topic| topic.partitions);
                    self.dead_letter_topic(&record.topic, partitions)?
                }
            };
            record.topic.clone_from(&topic.name);
            record.partition %= topic.partitions;
        }
        Ok(())
    }
}
