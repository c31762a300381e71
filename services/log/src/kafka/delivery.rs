//! Waiting for the brokers' acknowledgements of records that were sent together.

use orrery_model::record::{NewRecord, Offset};
use rdkafka::client::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A producer whose acknowledgements find the batch that waits for them.
pub(super) type Sender = ThreadedProducer<Acknowledged>;

/// Hands acknowledgements to their batches, and counts what went wrong with the connections.
#[derive(Default)]
pub(super) struct Acknowledged {
    troubles: AtomicU64,
}

impl Acknowledged {
    /// Transport events so far. A commit during which one was reported is not clean (§1.3).
    pub(super) fn troubles(&self) -> u64 {
        self.troubles.load(Ordering::Acquire)
    }
}

impl ClientContext for Acknowledged {
    fn error(&self, error: KafkaError, reason: &str) {
        self.troubles.fetch_add(1, Ordering::AcqRel);
        tracing::warn!(%error, reason, "a producer's connection");
    }
}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, delivered: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let result = delivered.as_ref().map(Message::offset).map_err(|(error, _)| error.clone());
        ticket.batch.acknowledge(ticket.place, result);
    }
}

/// Where an acknowledgement belongs.
pub(super) struct Ticket {
    batch: Arc<Batch>,
    place: usize,
}

/// Records sent together.
pub(super) struct Batch {
    state: Mutex<State>,
    done: Condvar,
}

struct State {
    offsets: Vec<Offset>,
    missing: usize,
    failed: Option<KafkaError>,
}

impl Batch {
    /// Hands records to the client, which sends them by itself.
    pub(super) fn send(producer: &Sender, records: &[NewRecord]) -> Result<Arc<Self>, KafkaError> {
        let state = State { offsets: vec![-1; records.len()], missing: records.len(), failed: None };
        let batch = Arc::new(Self { state: Mutex::new(state), done: Condvar::new() });
        for (place, record) in records.iter().enumerate() {
            let ticket = Box::new(Ticket { batch: batch.clone(), place });
            let mut sent: BaseRecord<'_, [u8], [u8], Box<Ticket>> = BaseRecord::with_opaque_to(&record.topic, ticket);
            sent = sent.partition(i32::try_from(record.partition).unwrap_or(i32::MAX));
            if let Some(key) = &record.key {
                sent = sent.key(key.as_bytes());
            }
            if let Some(value) = &record.value {
                sent = sent.payload(value.as_bytes());
            }
            if !record.headers.is_empty() {
                let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
                for (name, value) in &record.headers {
                    headers = headers.insert(Header { key: name, value: Some(value.as_bytes()) });
                }
                sent = sent.headers(headers);
            }
            producer.send(sent).map_err(|(error, _)| error)?;
        }
        Ok(batch)
    }

    fn acknowledge(&self, place: usize, result: Result<Offset, KafkaError>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(offset) => state.offsets[place] = offset,
            Err(error) => state.failed = Some(error),
        }
        state.missing -= 1;
        if state.missing == 0 {
            self.done.notify_all();
        }
    }

    /// Waits until all are acknowledged or have failed; nothing, if that takes too long.
    pub(super) fn wait(&self, at_most: Duration) -> Option<Result<Vec<Offset>, KafkaError>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.done.wait_timeout_while(state, at_most, |state| state.missing > 0);
        let (mut state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() && state.missing > 0 {
            return None;
        }
        Some(state.failed.take().map_or_else(|| Ok(std::mem::take(&mut state.offsets)), Err))
    }
}
