//! All readers of a process share a few consumers.
//!
//! A *lane* is one consumer; in each of its partitions it holds a *window*: records that were fetched, from a position on. A read
//! that falls into a window is answered from memory. One that does not gets a window of its own, in the first lane that has none for
//! this partition; so readers at the end of a partition share one fetch, and one that reads a partition from its start has another
//! lane for it until it has caught up.

mod bells;
mod ends;
mod lane;
mod window;

pub(super) use bells::Bells;
pub(super) use ends::Ends;

use super::config::{KafkaConfig, Role};
use super::native::{self, Isolation};
use super::reaper::Reaped;
use super::topics::Topics;
use super::{REQUEST_TIMEOUT, places, unreachable};
use crate::{Fetch, LogError, TopicPartition};
use ends::Bounds;
use lane::Lane;
use orrery_model::record::Offset;
use orrery_model::time::Timestamp;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, Offset as Place};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Consumers at most: as many readers of one partition, at places apart from each other.
const LANES: usize = 6;

pub(super) struct Readers {
    client: ClientConfig,
    config: KafkaConfig,
    topics: Arc<Topics>,
    /// Answers what needs no position.
    asker: Reaped<BaseConsumer<DefaultConsumerContext>>,
    lanes: Mutex<Vec<Arc<Lane>>>,
    bells: Arc<Bells>,
    ends: Arc<Ends>,
}

impl Readers {
    pub(super) fn new(config: &KafkaConfig, topics: Arc<Topics>) -> Result<Self, LogError> {
        let mut client = config.client(Role::Consumer)?;
        // Nobody joins this group; the library wants a name for whoever is assigned partitions.
        client.set("group.id", format!("{}readers", config.prefix));
        let asker: BaseConsumer<DefaultConsumerContext> =
            client.create_with_context(DefaultConsumerContext).map_err(|error| config.refused(&error))?;
        native::tell_by_tracing(asker.client());
        Ok(Self {
            client,
            config: config.clone(),
            bells: Bells::start(topics.clone()),
            topics,
            asker: Reaped::new(asker),
            lanes: Mutex::default(),
            ends: Arc::default(),
        })
    }

    pub(super) fn bells(&self) -> &Bells {
        &self.bells
    }

    pub(super) fn ends(&self) -> Arc<Ends> {
        self.ends.clone()
    }

    pub(super) fn read(&self, at: &TopicPartition, from: Offset, max_bytes: usize) -> Result<Fetch, LogError> {
        loop {
            let lanes = self.lanes().clone();
            let generation = self.topics.generation(&at.topic);
            let known = lanes.iter().find_map(|lane| lane.read((at, generation), from, max_bytes, self.ends.of((at, generation))));
            if let Some(answer) = known {
                return answer.map_err(|error| unreachable(&format!("reading {}/{}", at.topic, at.partition), &error));
            }
            let Bounds { start, end } = self.bounds(at)?;
            if from < start || from > end {
                return Err(LogError::OutOfRange { topic: at.topic.to_string(), partition: at.partition, asked: from, start, end });
            }
            // Now the topic has been seen, perhaps for the first time.
            let generation = self.topics.generation(&at.topic);
            if self.ends.take_torn((at, generation), start, from) {
                return Err(LogError::TailLost { topic: at.topic.to_string(), partition: at.partition, asked: from });
            }
            self.lane_for((at, generation))?.begin((at, generation), from).map_err(|error| unreachable("assigning a partition", &error))?;
        }
    }

    /// Begins windows for readers to come, so that they do not wait for one after the other. What cannot be begun, reading tells.
    pub(super) fn expect(&self, from: &[(TopicPartition, Offset)]) {
        for (at, from) in from {
            let generation = self.topics.generation(&at.topic);
            let lanes = self.lanes().clone();
            if !self.ends.is_torn((at, generation))
                && !lanes.iter().any(|lane| lane.holds((at, generation), *from))
                && let Ok(lane) = self.lane_for((at, generation))
                && let Err(error) = lane.begin((at, generation), *from)
            {
                tracing::debug!(%error, topic = %at.topic, at.partition, "a window was not begun");
            }
        }
    }

    /// Where a partition begins and ends, for readers of committed records.
    pub(super) fn bounds(&self, at: &TopicPartition) -> Result<Bounds, LogError> {
        self.topics.check(&at.topic, at.partition)?;
        let generation = self.topics.generation(&at.topic);
        let partition = i32::try_from(at.partition).unwrap_or(i32::MAX);
        // It is assigned nothing: what waits in its queue are reports of connections, and they must not pile up.
        while native::poll(self.asker.client(), Duration::ZERO).is_some() {}
        let (start, end) = self.ask(at, "asking for ends", || self.asker.fetch_watermarks(&at.topic, partition, REQUEST_TIMEOUT))?;
        Ok(Bounds { start, end: self.ends.raise((at, generation), end) })
    }

    /// The end, unless the brokers say that more was written than readers of committed records may see.
    pub(super) fn settled_end(&self, at: &TopicPartition) -> Result<Offset, LogError> {
        self.topics.check(&at.topic, at.partition)?;
        let doing = "asking for ends";
        let place = places(std::iter::once((at, Place::End))).map_err(|error| unreachable(doing, &error))?;
        let end = |isolation| self.ask(at, doing, || native::offset_of(self.asker.client(), &place, isolation, REQUEST_TIMEOUT));
        // In this order: what is committed between the two does not look as if it were open.
        let written = end(Isolation::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED)?;
        let stable = end(Isolation::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED)?;
        if stable < written {
            return Err(LogError::OpenTransaction { topic: at.topic.to_string(), partition: at.partition, stable, written });
        }
        Ok(self.ends.raise((at, self.topics.generation(&at.topic)), stable))
    }

    pub(super) fn offset_at(&self, at: &TopicPartition, time: Timestamp) -> Result<Offset, LogError> {
        self.topics.check(&at.topic, at.partition)?;
        // Kafka's clock has milliseconds; the first record at this time or later is not before its millisecond.
        let asked = places(std::iter::once((at, Place::Offset((time.0 + 999).div_euclid(1_000).max(0)))));
        let asked = asked.map_err(|error| unreachable("asking for a time", &error))?;
        let found = self.ask(at, "asking for a time", || self.asker.offsets_for_times(asked.clone(), REQUEST_TIMEOUT))?;
        match found.elements().first().map(|found| found.offset()) {
            Some(Place::Offset(offset)) if offset >= 0 => Ok(offset),
            _ => Ok(self.bounds(at)?.end),
        }
    }

    /// What the partition's leader answers. The library goes on asking the leader that it knows, in the epoch that it knows, for half a
    /// minute and more, unless it is told to look again.
    fn ask<T>(&self, at: &TopicPartition, doing: &str, request: impl Fn() -> Result<T, KafkaError>) -> Result<T, LogError> {
        let look_again = |_| self.asker.fetch_metadata(Some(&at.topic), REQUEST_TIMEOUT).and_then(|_| request());
        request().or_else(look_again).map_err(|error| self.failed(at, doing, &error))
    }

    /// An error of a request, or a topic that is gone since it was last seen.
    fn failed(&self, at: &TopicPartition, doing: &str, error: &KafkaError) -> LogError {
        if matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::UnknownPartition | RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition)
        ) {
            self.topics.forget(&at.topic);
            if let Err(gone) = self.topics.check(&at.topic, at.partition) {
                return gone;
            }
        }
        unreachable(&format!("{doing} of {}/{}", at.topic, at.partition), error)
    }

    /// The first lane without a window for the partition; else a new one; else the one whose window was read longest ago.
    fn lane_for(&self, at: (&TopicPartition, u64)) -> Result<Arc<Lane>, LogError> {
        let mut lanes = self.lanes();
        if let Some(free) = lanes.iter().find(|lane| lane.last_read(at).is_none()) {
            return Ok(free.clone());
        }
        if lanes.len() >= LANES {
            let oldest = lanes.iter().min_by_key(|lane| lane.last_read(at)).expect("there are lanes");
            return Ok(oldest.clone());
        }
        let lane = Lane::start(&self.client, &self.bells, &self.ends).map_err(|error| self.config.refused(&error))?;
        lanes.push(lane.clone());
        Ok(lane)
    }

    fn lanes(&self) -> MutexGuard<'_, Vec<Arc<Lane>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.lanes().drain(..).for_each(|lane| lane.stop());
        self.bells.stop();
    }
}
