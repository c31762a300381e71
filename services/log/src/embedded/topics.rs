//! Making and deleting topics.

use super::catalog::Span;
use super::keys;
use super::rows::TopicRow;
use super::{Inner, Ledger, write_witness};
use crate::{LogError, Topic, clock};
use orrery_model::topics::{Cleanup, check_topic_name};
use rocksdb::WriteBatch;

/// Partitions of one topic: a Kafka broker's usual limit for all of its topics.
pub const PARTITIONS: u32 = 4_000;

impl Inner {
    /// See [`crate::Log::ensure_topic`]. A topic that exists takes on the cleanup asked for: it is configuration, and the embedded
    /// log has no other way to change it.
    pub(super) fn ensure_topic(&self, name: &str, partitions: u32, cleanup: Cleanup) -> Result<Topic, LogError> {
        self.healthy()?;
        if let Some(topic) = self.existing(name, partitions)?
            && topic.cleanup == cleanup
        {
            return Ok(topic);
        }
        let mut ledger = self.ledger()?;
        if let Some(mut topic) = self.existing(name, partitions)? {
            topic.cleanup = cleanup;
            let number = self.number(name).expect("topics are deleted only by who holds the ledger");
            let mut batch = WriteBatch::default();
            batch.put(keys::named(keys::TOPIC, name), TopicRow { number, topic: topic.clone() }.encode());
            self.write(&mut ledger, batch)?;
            self.catalog_mut().replace(number, topic.clone());
            self.witness_topics(&mut ledger);
            return Ok(topic);
        }
        check(name, partitions)?;
        let number = ledger.next_topic;
        let topic = Topic { name: name.to_owned(), id: self.new_id(number)?, partitions, cleanup };
        let mut batch = WriteBatch::default();
        batch.put(keys::named(keys::TOPIC, name), TopicRow { number, topic: topic.clone() }.encode());
        batch.put(keys::NEXT_TOPIC_KEY, (number + 1).to_be_bytes());
        self.write(&mut ledger, batch)?;
        ledger.next_topic = number + 1;
        self.catalog_mut().insert(number, topic.clone(), vec![Span::default(); partitions as usize]);
        self.witness_topics(&mut ledger);
        Ok(topic)
    }

    /// See [`crate::Log::delete_topic`]. A topic that is not there is deleted already.
    pub(super) fn delete_topic(&self, name: &str) -> Result<(), LogError> {
        let mut ledger = self.ledger()?;
        let Some(number) = self.number(name) else { return Ok(()) };
        let mut batch = WriteBatch::default();
        batch.delete(keys::named(keys::TOPIC, name));
        for (first, behind) in keys::ranges_of(number) {
            batch.delete_range(first, behind);
        }
        // Readers must lose the topic before its records go; see `read`.
        self.catalog_mut().remove(name);
        // A witness of a topic that is gone would tell of a loss.
        if !self.witness_topics(&mut ledger) {
            return Err(self.poisoned("the witness of the topics cannot be written"));
        }
        self.write(&mut ledger, batch)
    }

    /// Begins a new witness of the topics as they are now; false if it cannot be written, and the one before stays.
    fn witness_topics(&self, ledger: &mut Ledger) -> bool {
        match write_witness(&self.store, &self.catalog(), ledger.appended, &self.moment()) {
            Ok(witness) => {
                ledger.witness = Some(witness);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the witness of the log's topics was not written");
                false
            }
        }
    }

    fn existing(&self, name: &str, wanted: u32) -> Result<Option<Topic>, LogError> {
        let Some(topic) = self.catalog().named(name).map(|(_, topic)| topic.clone()) else { return Ok(None) };
        if topic.partitions != wanted {
            return Err(LogError::TopicDiffers { topic: topic.name, existing: topic.partitions, wanted });
        }
        Ok(Some(topic))
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.catalog().named(name).map(|(number, _)| number)
    }

    /// An id that no other topic has, also not one of the same number in a log that was wiped and made again.
    fn new_id(&self, number: u32) -> Result<String, LogError> {
        let made = [self.store.identity()?.as_slice(), &number.to_be_bytes(), &clock::wall().0.to_be_bytes()].concat();
        Ok(blake3::hash(&made).to_hex()[..16].to_owned())
    }
}

fn check(name: &str, partitions: u32) -> Result<(), LogError> {
    let why = match check_topic_name(name) {
        Err(why) => why,
        Ok(()) if !(1..=PARTITIONS).contains(&partitions) => {
            format!("topic {name} cannot have {partitions} partitions; choose 1 to {PARTITIONS}")
        }
        Ok(()) => return Ok(()),
    };
    Err(LogError::BadTopic { why })
}
