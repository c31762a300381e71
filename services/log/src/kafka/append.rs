//! Records without a transaction, through one idempotent producer for the whole process.

use super::config::{KafkaConfig, Role};
use super::delivery::{Batch, Sender};
use super::reaper::Reaped;
use super::unreachable;
use crate::LogError;
use orrery_model::record::{NewRecord, Offset};
use std::time::Duration;

/// The client gives a record up after this.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// It always tells what became of one, a little later.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);

pub(super) struct Appender {
    producer: Reaped<Sender>,
}

impl Appender {
    pub(super) fn new(config: &KafkaConfig) -> Result<Self, LogError> {
        let mut client = config.client(Role::Producer)?;
        client.set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string());
        let producer = client.create_with_context(super::delivery::Acknowledged::default());
        Ok(Self { producer: Reaped::new(producer.map_err(|error| config.refused(&error))?) })
    }

    /// Appends and waits. After an error nobody knows which of them were written: a record of one append is written once or not
    /// at all, but several are not a unit.
    pub(super) fn append(&self, records: &[NewRecord]) -> Result<Vec<Offset>, LogError> {
        let batch = Batch::send(&self.producer, records).map_err(|error| unreachable("appending", &error))?;
        match batch.wait(ANSWER_TIMEOUT) {
            Some(answer) => answer.map_err(|error| unreachable("appending", &error)),
            None => Err(unreachable("appending", &"no answer")),
        }
    }
}
