//! A log in a folder of its own with all our topics, what is read from it, and an owner that is driven by hand.

use crate::counting::{Counting, Decision, Input, SUM_ROW, SUMS};
use orrery_log::embedded::{EmbeddedLog, EmbeddedOptions};
use orrery_log::{Commit, Log, TopicPartition, Writer, clock};
use orrery_model::decider::Decider;
use orrery_model::job::StartFrom;
use orrery_model::journal::Entry;
use orrery_model::messages::{StartPosition, TASKS, TaskMessage};
use orrery_model::record::{ID_HEADER, MessageId, NewRecord, Record};
use orrery_model::topics::{self, TOPICS};
use orrery_runtime::driver::{self, ShardConfig, ShardHandle};
use orrery_runtime::messages::Cluster;
use orrery_runtime::restore::{AcquireError, Acquired, Target, acquire, acquired_observation};
use orrery_runtime::rows::{HEAD, HEAD_ROW, Head, Position, full_key};
use orrery_runtime::shard::{Arrival, Shard};
use orrery_runtime::stamp::Now;
use orrery_runtime::store::{RocksStore, Store};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest wait for anything; it is only waited in full by a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);
/// Records that a hand-driven owner takes in one step.
const RECORDS_PER_TURN: usize = 2;

pub(crate) struct Fixture {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) cluster: Cluster,
    /// Lineages that shards which are started draw.
    pub(crate) draw_lineage: fn() -> String,
    folder: tempfile::TempDir,
}

/// One message as a cell would take it: its id, and the number in it.
pub(crate) type Told = ((i64, i64, i32), i64);

impl Fixture {
    pub(crate) fn new(trigger_shards: u32) -> Self {
        Self::with_options(trigger_shards, EmbeddedOptions::default())
    }

    pub(crate) fn with_options(trigger_shards: u32, options: EmbeddedOptions) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log: Arc<dyn Log> = EmbeddedLog::open_with(&folder.path().join("log"), options).expect("a log");
        let cluster = Cluster { trigger_shards, cells: trigger_shards, ..Cluster::single() };
        for topic in TOPICS {
            log.ensure_topic(&cluster.topic(topic.name), cluster.partitions(topic.partitions), topic.cleanup).expect("a topic");
        }
        Self { log, cluster, draw_lineage: || "beef".into(), folder }
    }

    /// Closes the log, which nobody else may hold, does something to its folder, and salvages it.
    pub(crate) fn salvage(&mut self, damage: impl FnOnce(&Path)) {
        let (log, elsewhere) = (self.folder.path().join("log"), self.folder.path().join("elsewhere"));
        self.log = EmbeddedLog::open(&elsewhere).expect("another log");
        damage(&log);
        self.log = EmbeddedLog::open_with(&log, EmbeddedOptions { salvage: true, ..EmbeddedOptions::default() }).expect("salvaged");
    }

    /// Where a shard's rows are.
    pub(crate) fn store(&self, shard: u32) -> PathBuf {
        self.folder.path().join(format!("store-{shard}"))
    }

    pub(crate) fn at(&self, topic: &str, partition: u32) -> TopicPartition {
        TopicPartition::new(&self.cluster.topic(topic), partition)
    }

    /// One `jobs` record each, each with a commit of its own.
    pub(crate) fn add(&self, shard: u32, values: &[&str]) {
        for value in values {
            self.append(topics::JOBS, shard, value.as_bytes(), Vec::new());
        }
    }

    pub(crate) fn append(&self, topic: &str, partition: u32, value: &[u8], headers: Vec<(String, orrery_model::payload::Payload)>) {
        self.log.append(vec![self.record(topic, partition, value, headers)]).expect("appended");
    }

    pub(crate) fn record(
        &self,
        topic: &str,
        partition: u32,
        value: &[u8],
        headers: Vec<(String, orrery_model::payload::Payload)>,
    ) -> NewRecord {
        NewRecord { topic: self.cluster.topic(topic), partition, key: None, value: Some(value.into()), headers }
    }

    pub(crate) fn start(&self, shard: u32) -> ShardHandle {
        self.start_on(Arc::clone(&self.log), shard)
    }

    pub(crate) fn start_on(&self, log: Arc<dyn Log>, shard: u32) -> ShardHandle {
        driver::start::<Counting>(ShardConfig {
            log,
            cluster: self.cluster.clone(),
            shard,
            generation: 1,
            folder: self.store(shard),
            member: orrery_runtime::membership::member("m", Vec::new(), "", clock::wall()),
            draw_lineage: self.draw_lineage,
        })
        .expect("a shard")
    }

    pub(crate) fn read(&self, topic: &str, partition: u32) -> Vec<Record> {
        let at = self.at(topic, partition);
        self.log.read(&at, 0, usize::MAX).expect("read").records
    }

    pub(crate) fn entries(&self, shard: u32) -> Vec<Entry<Input, Decision>> {
        let values = self.read(topics::TRIGGER_JOURNAL, shard).into_iter().filter_map(|record| record.value);
        values.flat_map(|value| Counting::journal().decode(value.as_bytes()).expect("a batch").entries).collect()
    }

    /// The newest changelog value of a key.
    fn row(&self, shard: u32, key: &[u8]) -> Option<Vec<u8>> {
        let records = self.read(topics::TRIGGER_CHANGELOG, shard);
        let newest = records.into_iter().rfind(|record| record.key.as_ref().is_some_and(|found| found.as_bytes() == key))?;
        newest.value.map(|value| value.as_bytes().to_vec())
    }

    pub(crate) fn sum(&self, shard: u32, name: &str) -> i64 {
        self.row(shard, &full_key(SUMS, name.as_bytes())).map_or(0, |value| SUM_ROW.decode(&value).expect("a row").value)
    }

    pub(crate) fn head(&self, shard: u32) -> Head {
        self.row(shard, &[HEAD]).map(|value| HEAD_ROW.decode(&value).expect("a head")).unwrap_or_default()
    }

    /// All messages to the cell, in the order of the topic.
    pub(crate) fn told(&self) -> Vec<Told> {
        let mut told = Vec::new();
        for record in self.read(topics::TASKS, 0) {
            let id = record.header(ID_HEADER).and_then(MessageId::parse).expect("an id");
            for item in TASKS.decode(record.value.expect("a value").as_bytes()).expect("tasks").items {
                let TaskMessage::TaskUnwanted { reason, .. } = item.body else { panic!("{:?}", item.body) };
                told.push(((id.epoch, item.seq, item.index), reason.parse().expect("a number")));
            }
        }
        told
    }

    /// Waits until this holds; looked at again whenever a shard has committed.
    pub(crate) fn wait(&self, what: &str, holds: impl Fn() -> bool) {
        let bell = self.log.bell(&[&self.cluster.topic(topics::TRIGGER_JOURNAL)]);
        let deadline = clock::monotonic() + PATIENCE;
        while !holds() {
            assert!(clock::monotonic() < deadline, "waited in vain: {what}");
            bell.wait(Duration::from_millis(20));
        }
    }

    pub(crate) fn wait_total(&self, shard: u32, total: i64) {
        self.wait(&format!("total {total} of shard {shard}"), || self.sum(shard, "total") == total);
    }
}

/// An owner without threads: what `driver` does, one step after the other.
pub(crate) struct Hand {
    pub(crate) shard: Shard<Counting>,
    resend_from: i64,
    pub(crate) found_store: bool,
    pub(crate) head: Head,
    log: Arc<dyn Log>,
    jobs: TopicPartition,
    writer: Box<dyn Writer>,
    store: Box<dyn Store>,
    began: Instant,
}

/// The process is gone; whether the store was still written is for the test to say.
#[derive(Debug, PartialEq)]
pub(crate) struct Crashed(pub(crate) String);

impl Hand {
    /// Takes shard 0 over and commits `Acquired`.
    pub(crate) fn acquire(fixture: &Fixture, log: &Arc<dyn Log>) -> Result<Self, Crashed> {
        Self::acquire_in(fixture, log, &fixture.store(0))
    }

    /// As [`Self::acquire`], with the store of another member.
    pub(crate) fn acquire_in(fixture: &Fixture, log: &Arc<dyn Log>, folder: &Path) -> Result<Self, Crashed> {
        let (mut hand, again) = Self::restore_in(fixture, log, folder).map_err(|e| Crashed(e.to_string()))?;
        let acquired = acquired_observation(fixture.cluster.shards(0), hand.head.epoch + 1, "hand", 1, hand.resend_from);
        hand.step(vec![Arrival::Observed(acquired)], again)?;
        Ok(hand)
    }

    /// Takes shard 0 over and commits nothing yet.
    pub(crate) fn restore(fixture: &Fixture) -> Result<(Self, Vec<NewRecord>), AcquireError> {
        Self::restore_in(fixture, &fixture.log, &fixture.store(0))
    }

    fn restore_in(fixture: &Fixture, log: &Arc<dyn Log>, folder: &Path) -> Result<(Self, Vec<NewRecord>), AcquireError> {
        let cluster = &fixture.cluster;
        let open = || RocksStore::open_or_begin(folder).map(|store| Box::new(store) as Box<dyn Store>);
        let target = Target { log, cluster, shard: 0, open_store: &open, fresh_lineage: "beef", now: clock::wall() };
        let Acquired { writer, store, found_store, restored, again, resend_from } = acquire::<Counting>(&target)?;
        let (began, head, jobs) = (clock::monotonic(), restored.head.clone(), fixture.at(topics::JOBS, 0));
        let mut shard = Shard::new(restored, cluster.clone(), 0, head.epoch + 1, now(began));
        if shard.position(&jobs.topic, 0).is_none() {
            let topic_id = log.topic(&jobs.topic).expect("asked").expect("it is there").id;
            shard.set_position(&jobs.topic, 0, Position { offset: 0, topic_id, generation: 0 });
        }
        Ok((Self { shard, resend_from, found_store, head, log: Arc::clone(log), jobs, writer, store, began }, again))
    }

    /// Takes some records and what is due; false if there was nothing.
    pub(crate) fn turn(&mut self) -> Result<bool, Crashed> {
        let position = self.shard.position(&self.jobs.topic, 0).expect("it was set").offset;
        let fetch = self.log.read(&self.jobs, position, usize::MAX).expect("read");
        let arrival = |record| Arrival::Record { topic: Arc::clone(&self.jobs.topic), partition: 0, record };
        let arrivals = fetch.records.into_iter().take(RECORDS_PER_TURN).map(arrival).collect();
        self.step(arrivals, Vec::new())
    }

    /// One step, its commit, the store.
    pub(crate) fn step(&mut self, arrivals: Vec<Arrival>, again: Vec<NewRecord>) -> Result<bool, Crashed> {
        let nowhere = |_: &str, _: StartFrom| Ok(Vec::<StartPosition>::new());
        let stepped = self.shard.step(now(self.began), arrivals, &nowhere, again).map_err(|e| Crashed(e.to_string()))?;
        let Some(transaction) = stepped else { return Ok(false) };
        for dead in transaction.records.iter().filter(|record| record.topic.ends_with(topics::DLQ_SUFFIX)) {
            self.log.ensure_topic(&dead.topic, 1, topics::Cleanup::Forever).expect("a topic");
        }
        match self.writer.commit(transaction.records).map_err(|e| Crashed(e.to_string()))? {
            Commit::Committed(offsets) => {
                self.store.write(&transaction.rows, offsets[transaction.changelog.end - 1]).expect("a store");
                self.shard.journal_ends_at(offsets[transaction.changelog.start - 1] + 1);
                Ok(true)
            }
            other => Err(Crashed(format!("{other:?}"))),
        }
    }

    /// Turns until there is nothing more.
    pub(crate) fn finish(&mut self) -> Result<(), Crashed> {
        while self.turn()? {}
        Ok(())
    }
}

fn now(began: Instant) -> Now {
    Now { wall: clock::wall(), monotonic_us: i64::try_from(began.elapsed().as_micros()).expect("a short test") }
}
