//! Positions of readers as the brokers' tools know them: offsets committed for a group that nobody joins. They are for people who
//! ask how far a reader is (`kafka-consumer-groups`, exporters of lag); where a reader goes on is in its own store (protocol §3.1).

use super::config::{KafkaConfig, Role};
use super::reaper::Reaped;
use super::{REQUEST_TIMEOUT, places, unreachable};
use crate::{LogError, TopicPartition};
use orrery_model::record::Offset;
use rdkafka::Offset as Place;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

type Client = Arc<Reaped<BaseConsumer>>;

pub(super) struct Positions {
    config: KafkaConfig,
    /// By reader.
    clients: Mutex<BTreeMap<String, Client>>,
}

impl Positions {
    pub(super) fn new(config: &KafkaConfig) -> Self {
        Self { config: config.clone(), clients: Mutex::default() }
    }

    /// Tells where a reader is; nothing depends on whether that arrives.
    pub(super) fn tell(&self, reader: &str, positions: &[(TopicPartition, Offset)]) {
        let told = self.client(reader).and_then(|client| {
            let list = places(positions.iter().map(|(at, offset)| (at, Place::Offset(*offset))));
            list.and_then(|list| client.commit(&list, CommitMode::Async)).map_err(|error| unreachable("telling positions", &error))
        });
        if let Err(error) = told {
            tracing::debug!(reader, %error, "positions were not told");
        }
    }

    /// What a reader told last, for those of these partitions that it told anything for.
    pub(super) fn told(&self, reader: &str, partitions: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, Offset>, LogError> {
        let failed = |error: KafkaError| unreachable(&format!("asking for the positions of {reader}"), &error);
        let asked = places(partitions.iter().map(|at| (at, Place::Invalid))).map_err(failed)?;
        let found = self.client(reader)?.committed_offsets(asked, REQUEST_TIMEOUT).map_err(failed)?;
        let known = found.elements().into_iter().filter_map(|one| match one.offset() {
            Place::Offset(offset) => Some((TopicPartition::new(one.topic(), u32::try_from(one.partition()).ok()?), offset)),
            _ => None,
        });
        Ok(known.collect())
    }

    fn client(&self, reader: &str) -> Result<Client, LogError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(reader) {
            return Ok(client.clone());
        }
        let mut config = self.config.client(Role::Consumer)?;
        config.set("group.id", format!("{}{reader}.positions", self.config.prefix));
        let client: BaseConsumer = config.create().map_err(|error| self.config.refused(&error))?;
        let client = Arc::new(Reaped::new(client));
        clients.insert(reader.to_owned(), client.clone());
        Ok(client)
    }
}
