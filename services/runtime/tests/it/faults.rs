//! A log that fails once, at a chosen commit, and otherwise is the embedded one.

use orrery_log::{Bell, Commit, Fetch, Log, LogError, Topic, TopicPartition, Writer};
use orrery_model::record::{NewRecord, Offset};
use orrery_model::time::Timestamp;
use orrery_model::topics::Cleanup;
use std::sync::{Arc, Mutex};

/// What happens at the chosen commit.
pub(crate) enum Fault {
    /// Nothing is written, and nobody says so.
    Lost,
    /// All is written, but nobody says so.
    Unsaid,
    /// Only the journal is written, as a torn transaction of Kafka may leave it.
    Torn,
    /// All is written and said, after this.
    Slow(Box<dyn FnOnce() + Send>),
}

/// The fault to come, and the commits before it.
type Plan = Arc<Mutex<Option<(usize, Fault)>>>;

pub(crate) struct FaultyLog {
    log: Arc<dyn Log>,
    plan: Plan,
}

impl FaultyLog {
    /// Fails at the commit that comes after `commits` others, once.
    pub(crate) fn over(log: &Arc<dyn Log>, commits: usize, fault: Fault) -> Arc<dyn Log> {
        Arc::new(Self { log: Arc::clone(log), plan: Arc::new(Mutex::new(Some((commits, fault)))) })
    }
}

struct FaultyWriter {
    writer: Box<dyn Writer>,
    plan: Plan,
}

impl FaultyWriter {
    /// The fault, if its time has come.
    fn due(&self) -> Option<Fault> {
        let mut plan = self.plan.lock().expect("nobody panics with it");
        match plan.take() {
            Some((0, fault)) => Some(fault),
            later => {
                *plan = later.map(|(commits, fault)| (commits - 1, fault));
                None
            }
        }
    }
}

impl Writer for FaultyWriter {
    fn commit(&mut self, mut records: Vec<NewRecord>) -> Result<Commit, LogError> {
        let unknown = || Ok(Commit::Unknown("planted".into()));
        match self.due() {
            None => self.writer.commit(records),
            Some(Fault::Lost) => unknown(),
            Some(Fault::Unsaid) => self.writer.commit(records).and_then(|_| unknown()),
            Some(Fault::Torn) => {
                records.retain(|record| record.topic.ends_with(".journal"));
                self.writer.commit(records).and_then(|_| unknown())
            }
            Some(Fault::Slow(meanwhile)) => {
                let committed = self.writer.commit(records);
                meanwhile();
                committed
            }
        }
    }
}

impl Log for FaultyLog {
    fn ensure_topic(&self, name: &str, partitions: u32, cleanup: Cleanup) -> Result<Topic, LogError> {
        self.log.ensure_topic(name, partitions, cleanup)
    }
    fn topic(&self, name: &str) -> Result<Option<Topic>, LogError> {
        self.log.topic(name)
    }
    fn topics(&self) -> Result<Vec<Topic>, LogError> {
        self.log.topics()
    }
    fn delete_topic(&self, name: &str) -> Result<(), LogError> {
        self.log.delete_topic(name)
    }
    fn fence(&self, transactional_id: &str) -> Result<Box<dyn Writer>, LogError> {
        let writer = self.log.fence(transactional_id)?;
        Ok(Box::new(FaultyWriter { writer, plan: Arc::clone(&self.plan) }))
    }
    fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Offset>, LogError> {
        self.log.append(records)
    }
    fn read(&self, at: &TopicPartition, from: Offset, max_bytes: usize) -> Result<Fetch, LogError> {
        self.log.read(at, from, max_bytes)
    }
    fn start_offset(&self, at: &TopicPartition) -> Result<Offset, LogError> {
        self.log.start_offset(at)
    }
    fn end_offset(&self, at: &TopicPartition) -> Result<Offset, LogError> {
        self.log.end_offset(at)
    }
    fn offset_at(&self, at: &TopicPartition, time: Timestamp) -> Result<Offset, LogError> {
        self.log.offset_at(at, time)
    }
    fn ring_for(&self, topics: &[&str], bell: &Arc<Bell>) {
        self.log.ring_for(topics, bell);
    }
}
