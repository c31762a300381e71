//! The log on Apache Kafka, by librdkafka.
//!
//! Commits are transactions of one transactional id ([`writer`]), appends go through one idempotent producer ([`append`]), and all
//! readers of a process share a few consumers ([`reading`]). What the client library does not offer safely is in [`native`].

mod append;
mod config;
mod delivery;
mod group;
mod native;
mod positions;
mod reading;
mod reaper;
mod topics;
mod writer;

pub use config::{KafkaConfig, Role};
pub use group::{Assignee, Group, members};
pub use topics::{Difference, TopicWish};

use crate::pending::Pending;
use crate::{Bell, Fetch, Log, LogError, Topic, TopicPartition, Writer};
use append::Appender;
use orrery_model::record::{NewRecord, Offset};
use orrery_model::time::Timestamp;
use orrery_model::topics::Cleanup;
use positions::Positions;
use rdkafka::TopicPartitionList;
use rdkafka::error::KafkaError;
use reading::Readers;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use topics::Topics;
use writer::KafkaWriter;

/// Longest wait for an answer of the brokers to one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest record, as the other logs have it; our topics take it (`max.message.bytes`).
const RECORD_BYTES: usize = (1 << 20) + (64 << 10);

/// The log. Its clients connect when they are first used.
pub struct KafkaLog {
    config: KafkaConfig,
    topics: Arc<Topics>,
    readers: Readers,
    appender: Appender,
    positions: Positions,
    pending: Arc<Pending>,
}

impl KafkaLog {
    /// A log on the brokers that `bootstrap.servers` names. Settings that the client library does not know are refused here;
    /// whether anybody answers is found out by the first request.
    pub fn open(config: KafkaConfig) -> Result<Arc<Self>, LogError> {
        let topics = Arc::new(Topics::new(&config)?);
        let readers = Readers::new(&config, topics.clone())?;
        let appender = Appender::new(&config)?;
        let positions = Positions::new(&config);
        Ok(Arc::new(Self { config, topics, readers, appender, positions, pending: Arc::default() }))
    }

    /// What making the topics as wished would change; nothing is changed.
    pub fn plan_topics(&self, wishes: &[TopicWish]) -> Result<Vec<Difference>, LogError> {
        wishes.iter().filter_map(|wish| self.topics.difference(wish).transpose()).collect()
    }

    /// Changes one topic as [`Self::plan_topics`] said.
    pub fn apply_topic(&self, difference: &Difference) -> Result<(), LogError> {
        self.topics.apply(difference)
    }

    /// Where a reader said last that it is ([`Log::tell_positions`]), for those of these partitions that it said anything for.
    pub fn told_positions(&self, reader: &str, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, Offset>, LogError> {
        self.positions.told(reader, partitions)
    }
}

impl Log for KafkaLog {
    fn ensure_topic(&self, name: &str, partitions: u32, cleanup: Cleanup) -> Result<Topic, LogError> {
        let topic = match self.topics.find(name)? {
            Some(topic) => topic,
            None => {
                let made = self.topics.make(name, partitions, cleanup)?;
                self.readers.bells().ring(name);
                made
            }
        };
        if topic.partitions != partitions {
            return Err(LogError::TopicDiffers { topic: name.into(), existing: topic.partitions, wanted: partitions });
        }
        Ok(topic)
    }

    fn topic(&self, name: &str) -> Result<Option<Topic>, LogError> {
        self.topics.find(name)
    }

    fn topics(&self) -> Result<Vec<Topic>, LogError> {
        self.topics.all()
    }

    fn delete_topic(&self, name: &str) -> Result<(), LogError> {
        self.topics.delete(name)
    }

    fn fence(&self, transactional_id: &str) -> Result<Box<dyn Writer>, LogError> {
        let _waiting = self.pending.begin();
        let shared = (self.topics.clone(), self.readers.ends(), self.pending.clone());
        Ok(Box::new(KafkaWriter::fence(&self.config, shared, transactional_id)?))
    }

    fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Offset>, LogError> {
        self.topics.check_records(&records)?;
        let _waiting = self.pending.begin();
        let offsets = self.appender.append(&records)?;
        self.readers.ends().written(&self.topics, &records, &offsets);
        Ok(offsets)
    }

    fn read(&self, at: &TopicPartition, from: Offset, max_bytes: usize) -> Result<Fetch, LogError> {
        self.readers.read(at, from, max_bytes)
    }

    fn tell_positions(&self, reader: &str, positions: &[(TopicPartition, Offset)]) {
        self.positions.tell(reader, positions);
    }

    fn expect_reads(&self, from: &[(TopicPartition, Offset)]) {
        self.readers.expect(from);
    }

    fn start_offset(&self, at: &TopicPartition) -> Result<Offset, LogError> {
        Ok(self.readers.bounds(at)?.start)
    }

    fn end_offset(&self, at: &TopicPartition) -> Result<Offset, LogError> {
        Ok(self.readers.bounds(at)?.end)
    }

    fn settled_end(&self, at: &TopicPartition) -> Result<Offset, LogError> {
        self.readers.settled_end(at)
    }

    fn offset_at(&self, at: &TopicPartition, time: Timestamp) -> Result<Offset, LogError> {
        self.readers.offset_at(at, time)
    }

    fn unacknowledged(&self) -> Duration {
        self.pending.oldest()
    }

    fn probe(&self) -> Result<(), LogError> {
        let _waiting = self.pending.begin();
        self.topics.all().map(drop)
    }

    fn ring_for(&self, topics: &[&str], bell: &Arc<Bell>) {
        topics.iter().for_each(|topic| self.readers.bells().add(topic, bell));
    }
}

/// A request that nobody answered, or that was answered with an error that may pass.
fn unreachable(doing: &str, error: &dyn std::fmt::Display) -> LogError {
    LogError::Unreachable { why: format!("{doing}: {error}") }
}

/// Places in partitions, as the library takes them.
fn places<'a>(all: impl Iterator<Item = (&'a TopicPartition, rdkafka::Offset)>) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (at, place) in all {
        list.add_partition_offset(&at.topic, i32::try_from(at.partition).unwrap_or(i32::MAX), place)?;
    }
    Ok(list)
}
