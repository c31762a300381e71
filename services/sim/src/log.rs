//! A log in memory that misbehaves as a real one can, and only so.
//!
//! It keeps every promise of [`orrery_log::Log`] (the conformance suite runs on it), and within them does its worst: gaps in
//! offsets, commits of which nobody knows, commits that take effect later, readers that are cut off. What the next commit of a
//! transactional id comes to is planned by the world.

mod broken;
mod one_machine;
mod partition;

use crate::crash::{CrashPoints, Point};
use one_machine::OneMachine;
use orrery_log::bells::Bells;
use orrery_log::{Bell, Commit, Fetch, Log, LogError, Topic, TopicPartition, Writer};
use orrery_model::planted::{Bug, planted};
use orrery_model::record::{NewRecord, Offset, data_bytes};
use orrery_model::time::Timestamp;
use orrery_model::topics::{Cleanup, Compaction};
use partition::Partition;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Largest record, as the other logs have it.
const RECORD_BYTES: usize = (1 << 20) + (64 << 10);

/// What becomes of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fate {
    /// Committed, and answered so.
    #[default]
    Clean,
    /// Committed, but the answer is lost.
    UnknownDone,
    /// Not committed, and nobody says so.
    UnknownLost,
    /// A part of it is committed, its journal at least: a late end of an earlier transaction hit it. (Kafka before KIP-890.)
    Torn,
    /// Not committed yet: the log completes it later, unless the writer is fenced before. (Kafka before KIP-890.)
    UnknownLate,
    /// Refused: of this writer's two transactional ids an older writer has fenced the second one, itself fenced by this writer for
    /// the first. (Kafka, where two fence at the same time.)
    Crossed,
}

/// The log; its handles share one state.
#[derive(Clone)]
pub struct SimLog {
    inner: Arc<Mutex<Inner>>,
    crash: Arc<CrashPoints>,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

struct Inner {
    topics: BTreeMap<String, Held>,
    /// The newest epoch of each transactional id.
    writers: BTreeMap<String, i64>,
    fates: BTreeMap<String, Fate>,
    late: Vec<Late>,
    bells: Bells,
    /// Partitions that were written to since somebody asked.
    touched: BTreeSet<(String, u32)>,
    chance: fastrand::Rng,
    made: u64,
    last_append: Timestamp,
    records: u64,
    reachable: bool,
    /// With a planted defect: records that can be read and will be lost.
    unsynced: Vec<(String, u32, Offset)>,
    stray: Option<(TopicPartition, usize)>,
    compaction: Compaction,
    /// Offsets have gaps.
    gaps: bool,
    /// It lies on one machine, whose clock is its own.
    machine: Option<OneMachine>,
}

struct Held {
    topic: Topic,
    partitions: Vec<Partition>,
}

/// A commit whose end has not reached the log.
struct Late {
    transactional_id: String,
    epoch: i64,
    records: Vec<NewRecord>,
}

impl SimLog {
    /// An empty log. `clock` is the broker's.
    pub fn new(seed: u64, crash: Arc<CrashPoints>, clock: Arc<dyn Fn() -> Timestamp + Send + Sync>) -> Self {
        let inner = Inner {
            topics: BTreeMap::new(),
            writers: BTreeMap::new(),
            fates: BTreeMap::new(),
            late: Vec::new(),
            bells: Bells::default(),
            touched: BTreeSet::new(),
            chance: fastrand::Rng::with_seed(seed),
            made: 0,
            last_append: Timestamp(0),
            records: 0,
            reachable: true,
            unsynced: Vec::new(),
            stray: None,
            compaction: Compaction::default(),
            gaps: true,
            machine: None,
        };
        Self { inner: Arc::new(Mutex::new(inner)), crash, clock }
    }

    /// What the next commit of this transactional id comes to.
    pub fn plan(&self, transactional_id: &str, fate: Fate) {
        self.lock().fates.insert(transactional_id.into(), fate);
    }

    /// The ends of late commits arrive: those whose writers were not fenced are committed now.
    pub fn settle_late(&self) {
        let mut inner = self.lock();
        let now = self.time(&mut inner);
        for (topic, partition, offset) in std::mem::take(&mut inner.unsynced) {
            if let Some(held) = inner.topics.get_mut(&topic) {
                held.partitions[partition as usize].lose(offset);
            }
        }
        for late in std::mem::take(&mut inner.late) {
            if inner.writers.get(&late.transactional_id) == Some(&late.epoch) {
                inner.write(late.records, now);
            }
        }
    }

    /// How its topics compact from now on.
    pub fn set_compaction(&self, compaction: Compaction) {
        self.lock().compaction = compaction;
    }

    /// Without gaps, the n-th record of a partition stands at its offset n from now on: people can name places beforehand.
    pub fn set_gaps(&self, gaps: bool) {
        self.lock().gaps = gaps;
    }

    /// Unreachable, it refuses everything: nobody of the cluster has a log.
    pub fn set_reachable(&self, reachable: bool) {
        self.lock().reachable = reachable;
    }

    /// Cleans all topics as brokers do: compaction and retention.
    pub fn clean(&self) {
        let mut inner = self.lock();
        let now = self.time(&mut inner);
        if inner.holds_ticks() {
            return;
        }
        let compaction = inner.compaction;
        for held in inner.topics.values_mut() {
            let cleanup = held.topic.cleanup;
            held.partitions.iter_mut().for_each(|partition| partition.clean(cleanup, compaction, now));
        }
    }

    /// Records written so far.
    pub fn written(&self) -> u64 {
        self.lock().records
    }

    /// Partitions that were written to since the last call.
    pub fn take_touched(&self) -> BTreeSet<(String, u32)> {
        std::mem::take(&mut self.lock().touched)
    }

    /// Calls `each` with every partition that exists.
    pub fn each_partition(&self, mut each: impl FnMut(&TopicPartition)) {
        let all: Vec<TopicPartition> = {
            let inner = self.lock();
            let of = |held: &Held| (0..held.topic.partitions).map(|n| TopicPartition::new(&held.topic.name, n)).collect::<Vec<_>>();
            inner.topics.values().flat_map(of).collect()
        };
        all.iter().for_each(&mut each);
    }

    /// The log's time.
    fn time(&self, inner: &mut Inner) -> Timestamp {
        let now = (self.clock)();
        inner.machine.as_mut().map_or(now, |machine| machine.time(now))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&self) -> Result<MutexGuard<'_, Inner>, LogError> {
        let inner = self.lock();
        if inner.reachable { Ok(inner) } else { Err(LogError::Poisoned { why: "no broker answers (simulated)".into() }) }
    }
}

impl Inner {
    fn holds_ticks(&self) -> bool {
        self.machine.as_ref().is_some_and(OneMachine::holds_ticks)
    }

    fn partition(&self, at: &TopicPartition) -> Result<&Partition, LogError> {
        let held = self.topics.get(&*at.topic).and_then(|held| held.partitions.get(at.partition as usize));
        held.ok_or_else(|| LogError::NoSuchPartition { topic: at.topic.to_string(), partition: at.partition })
    }

    fn partition_mut(&mut self, at: &TopicPartition) -> Option<&mut Partition> {
        self.topics.get_mut(&*at.topic)?.partitions.get_mut(at.partition as usize)
    }

    fn check(&self, records: &[NewRecord]) -> Result<(), LogError> {
        records.iter().try_for_each(|record| {
            self.partition(&TopicPartition::new(&record.topic, record.partition))?;
            let bytes = data_bytes(record.key.as_ref(), record.value.as_ref());
            if bytes > RECORD_BYTES { Err(LogError::TooLarge { topic: record.topic.clone(), bytes, limit: RECORD_BYTES }) } else { Ok(()) }
        })
    }

    /// Appends to checked partitions and rings.
    fn write(&mut self, records: Vec<NewRecord>, now: Timestamp) -> Vec<Offset> {
        self.last_append = self.last_append.max(now);
        self.records += records.len() as u64;
        let mut touched: Vec<(String, u32)> = Vec::new();
        let mut offsets = Vec::with_capacity(records.len());
        // Control records of a broker take offsets too: nobody may count on contiguity.
        let gap = i64::from(self.gaps && self.chance.u8(0..8) == 0);
        for record in records {
            let Some(held) = self.topics.get_mut(&record.topic) else { continue };
            offsets.push(held.partitions[record.partition as usize].append(&record, self.last_append, gap));
            if !touched.iter().any(|(topic, partition)| *topic == record.topic && *partition == record.partition) {
                touched.push((record.topic, record.partition));
            }
        }
        if self.gaps && self.chance.u8(0..4) == 0 {
            for (topic, partition) in &touched {
                self.topics.get_mut(topic).expect("it was written to").partitions[*partition as usize].skip();
            }
        }
        touched.iter().for_each(|(topic, _)| self.bells.ring(topic));
        self.touched.extend(touched);
        offsets
    }
}

impl Log for SimLog {
    fn ensure_topic(&self, name: &str, partitions: u32, cleanup: Cleanup) -> Result<Topic, LogError> {
        let mut inner = self.reach()?;
        if let Some(held) = inner.topics.get(name) {
            let (topic, existing, wanted) = (name.to_owned(), held.topic.partitions, partitions);
            return if existing == wanted { Ok(held.topic.clone()) } else { Err(LogError::TopicDiffers { topic, existing, wanted }) };
        }
        inner.made += 1;
        let topic = Topic { name: name.into(), id: format!("topic-{}", inner.made), partitions, cleanup };
        let partitions = (0..partitions).map(|_| Partition::default()).collect();
        inner.topics.insert(name.into(), Held { topic: topic.clone(), partitions });
        inner.bells.ring(name);
        inner.touched.insert((name.into(), 0));
        Ok(topic)
    }

    fn topic(&self, name: &str) -> Result<Option<Topic>, LogError> {
        Ok(self.reach()?.topics.get(name).map(|held| held.topic.clone()))
    }

    fn topics(&self) -> Result<Vec<Topic>, LogError> {
        Ok(self.reach()?.topics.values().map(|held| held.topic.clone()).collect())
    }

    fn delete_topic(&self, name: &str) -> Result<(), LogError> {
        self.reach()?.topics.remove(name);
        Ok(())
    }

    fn fence(&self, transactional_id: &str) -> Result<Box<dyn Writer>, LogError> {
        self.crash.pass(Point::BeforeFence);
        let epoch = {
            let mut inner = self.reach()?;
            let now = self.time(&mut inner);
            // A fence resolves what is open, one way or the other; afterwards nothing of an older writer appears any more.
            let (open, others) = std::mem::take(&mut inner.late).into_iter().partition(|late| late.transactional_id == transactional_id);
            inner.late = others;
            for late in open {
                if inner.chance.bool() {
                    inner.write(late.records, now);
                }
            }
            let epoch = inner.writers.entry(transactional_id.into()).or_default();
            *epoch += 1;
            *epoch
        };
        self.crash.pass(Point::AfterFence);
        Ok(Box::new(SimWriter { log: self.clone(), transactional_id: transactional_id.into(), epoch }))
    }

    fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Offset>, LogError> {
        let mut inner = self.reach()?;
        inner.check(&records)?;
        let now = self.time(&mut inner);
        Ok(inner.write(records, now))
    }

    fn read(&self, at: &TopicPartition, from: Offset, max_bytes: usize) -> Result<Fetch, LogError> {
        self.crash.pass(Point::Read);
        let mut inner = self.reach()?;
        let mut fetch = inner.partition(at)?.read(at, from, max_bytes)?;
        // Only readers that may die are shards.
        if self.crash.is_mortal()
            && let Some((_, further)) = inner.stray.take_if(|(place, further)| place == at && fetch.records.len() > *further)
        {
            fetch.records.drain(..further);
        }
        Ok(fetch)
    }

    fn start_offset(&self, at: &TopicPartition) -> Result<Offset, LogError> {
        Ok(self.reach()?.partition(at)?.start())
    }

    fn end_offset(&self, at: &TopicPartition) -> Result<Offset, LogError> {
        Ok(self.reach()?.partition(at)?.end())
    }

    fn settled_end(&self, at: &TopicPartition) -> Result<Offset, LogError> {
        let inner = self.reach()?;
        let found = inner.partition(at)?;
        let (stable, written) = (found.end(), found.written());
        if stable < written && !planted(Bug::OpenUnseen) {
            return Err(LogError::OpenTransaction { topic: at.topic.to_string(), partition: at.partition, stable, written });
        }
        Ok(stable)
    }

    fn offset_at(&self, at: &TopicPartition, time: Timestamp) -> Result<Offset, LogError> {
        Ok(self.reach()?.partition(at)?.offset_at(time))
    }

    fn shares_clock(&self) -> bool {
        self.lock().machine.is_some()
    }

    fn wall(&self) -> Timestamp {
        self.time(&mut self.lock())
    }

    fn holds_ticks(&self) -> bool {
        self.lock().holds_ticks()
    }

    fn lost(&self, at: &TopicPartition) -> Result<Vec<Range<Offset>>, LogError> {
        Ok(self.reach()?.partition(at)?.lost())
    }

    fn ring_for(&self, topics: &[&str], bell: &Arc<Bell>) {
        let inner = self.lock();
        topics.iter().for_each(|topic| inner.bells.add(topic, bell));
    }
}

/// A writer of one epoch.
struct SimWriter {
    log: SimLog,
    transactional_id: String,
    epoch: i64,
}

impl Writer for SimWriter {
    fn commit(&mut self, records: Vec<NewRecord>) -> Result<Commit, LogError> {
        self.log.crash.pass(Point::BeforeCommit);
        let answer = self.try_commit(records)?;
        self.log.crash.pass(Point::AfterCommit);
        Ok(answer)
    }
}

impl SimWriter {
    fn try_commit(&mut self, records: Vec<NewRecord>) -> Result<Commit, LogError> {
        let mut inner = self.log.reach()?;
        let now = self.log.time(&mut inner);
        if inner.writers.get(&self.transactional_id) != Some(&self.epoch) {
            return Ok(Commit::Fenced);
        }
        inner.check(&records)?;
        let unknown = |why: &str| Ok(Commit::Unknown(format!("{why} (simulated)")));
        if let Some(at) = inner.late.iter().position(|late| late.transactional_id == self.transactional_id) {
            // The end of the last transaction arrives while this one is being sent, in the same epoch: the log ends this one
            // there. What was sent so far is committed, the rest is not.
            let late = inner.late.remove(at);
            inner.write(late.records, now);
            let sent = inner.chance.usize(1..records.len().max(2)).min(records.len());
            inner.write(records[..sent].to_vec(), now);
            return unknown("a transaction was ended in its middle");
        }
        match inner.fates.remove(&self.transactional_id).unwrap_or_default() {
            Fate::Clean => Ok(Commit::Committed(inner.write(records, now))),
            Fate::UnknownDone => {
                inner.write(records, now);
                unknown("the answer was lost")
            }
            Fate::UnknownLost if planted(Bug::VisibleBeforeSync) => {
                let offsets = inner.write(records.clone(), now);
                let places = records.iter().zip(&offsets).map(|(record, offset)| (record.topic.clone(), record.partition, *offset));
                inner.unsynced.extend(places);
                Ok(Commit::Committed(offsets))
            }
            Fate::UnknownLost => unknown("the request was lost"),
            Fate::Torn => {
                let journal = records.iter().take_while(|record| record.topic.ends_with(".journal")).count();
                let sent = inner.chance.usize(journal..=records.len());
                inner.write(records[..sent].to_vec(), now);
                unknown("a transaction was ended in its middle")
            }
            Fate::Crossed => {
                *inner.writers.entry(self.transactional_id.clone()).or_default() += 1;
                Ok(Commit::Fenced)
            }
            Fate::UnknownLate => {
                let transactional_id = self.transactional_id.clone();
                inner.late.push(Late { transactional_id, epoch: self.epoch, records });
                unknown("the request is under way")
            }
        }
    }
}
