//! Records without a transaction, through one idempotent producer for the whole process.

use super::config::{KafkaConfig, Role};
use super::delivery::{Acknowledged, Batch, Sender};
use super::reaper::Reaped;
use super::{REQUEST_TIMEOUT, unreachable};
use crate::LogError;
use orrery_model::record::{NewRecord, Offset};
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The client gives a record up after this.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// It always tells what became of one, a little later.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);

pub(super) struct Appender {
    config: KafkaConfig,
    producer: Mutex<Arc<Reaped<Sender>>>,
    /// How many partitions of each topic were asked for since this began.
    asked: Mutex<BTreeMap<String, u32>>,
}

impl Appender {
    pub(super) fn new(config: &KafkaConfig) -> Result<Self, LogError> {
        Ok(Self { config: config.clone(), producer: Mutex::new(Arc::new(make(config)?)), asked: Mutex::default() })
    }

    /// Appends and waits. After an error nobody knows which of them were written: a record of one append is written once or not
    /// at all, but several are not a unit.
    pub(super) fn append(&self, records: &[NewRecord]) -> Result<Vec<Offset>, LogError> {
        let producer = self.producer()?;
        self.look_for_partitions(&producer, records).map_err(|error| unreachable("asking for partitions", &error))?;
        let batch = Batch::send(&producer, records).map_err(|error| unreachable("appending", &error))?;
        match batch.wait(ANSWER_TIMEOUT) {
            Some(answer) => answer.map_err(|error| unreachable("appending", &error)),
            None => Err(unreachable("appending", &"no answer")),
        }
    }

    /// The client knows for minutes how many partitions a topic had when it first sent to it, and refuses those that were added since:
    /// it is told to look again before it sends to one for the first time.
    fn look_for_partitions(&self, producer: &Sender, records: &[NewRecord]) -> Result<(), KafkaError> {
        for record in records {
            let asked = self.asked().get(&record.topic).copied().unwrap_or(0);
            if record.partition >= asked {
                producer.client().fetch_metadata(Some(&record.topic), REQUEST_TIMEOUT)?;
                self.asked().insert(record.topic.clone(), record.partition + 1);
            }
        }
        Ok(())
    }

    fn asked(&self) -> MutexGuard<'_, BTreeMap<String, u32>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The producer; a new one if it has failed for good, as an idempotent one does when brokers have lost its sequence.
    fn producer(&self) -> Result<Arc<Reaped<Sender>>, LogError> {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, why)) = producer.client().fatal_error() {
            tracing::warn!(why, "a producer has failed for good; a new one takes its place");
            *producer = Arc::new(make(&self.config)?);
            self.asked().clear();
        }
        Ok(producer.clone())
    }
}

fn make(config: &KafkaConfig) -> Result<Reaped<Sender>, LogError> {
    let mut client = config.client(Role::Producer)?;
    client.set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string());
    let producer = client.create_with_context(Acknowledged::default());
    Ok(Reaped::new(producer.map_err(|error| config.refused(&error))?))
}
