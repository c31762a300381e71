//! Transactions of one transactional id.
//!
//! The journal's records are acknowledged before the others are sent, so that a torn transaction always has its journal (§1.4). All
//! acknowledgements are waited for before the commit: the library's own flush waits in steps of 100 ms. Whatever is not a clean
//! answer is answered as unknown, and the runtime makes a new writer (§1.3).
//!
//! A coordinator answers a commit before it has marked the partitions, and refuses the next transaction of that id until it has; the
//! library then waits for 20 ms. So a writer has two ids and takes turns: while the one's partitions are marked, the other's
//! transaction is under way. It begins only when the commit before was answered, and both ids are fenced before a writer is used.

use super::config::{KafkaConfig, Role};
use super::delivery::{Acknowledged, Batch, Sender};
use super::reading::Ends;
use super::reaper::Reaped;
use super::topics::Topics;
use super::unreachable;
use crate::pending::Pending;
use crate::{Commit, LogError, Writer, clock};
use orrery_model::record::{NewRecord, Offset};
use orrery_model::topics::MEMBERS;
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer;
use rdkafka::types::RDKafkaErrorCode;
use std::sync::Arc;
use std::time::Duration;

/// A transaction that takes longer is ended by the coordinator (§1.7).
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the coordinator's answer to a fence: it ends what is open, which may wait for a timeout of its own.
const FENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for an abort: it only tells whether the writer is fenced, and the next fence ends what is open.
const ABORT_TIMEOUT: Duration = Duration::from_secs(2);
/// How brokers and the client say that a newer writer exists.
const FENCED: [RDKafkaErrorCode; 3] = [RDKafkaErrorCode::Fenced, RDKafkaErrorCode::ProducerFenced, RDKafkaErrorCode::InvalidProducerEpoch];
/// From one look to the next at whether the client has seen its last acknowledgement.
const DRAIN_STEP: Duration = Duration::from_micros(50);

pub(super) struct KafkaWriter {
    producers: [Reaped<Sender>; 2],
    /// Which of them commits next.
    turn: usize,
    topics: Arc<Topics>,
    ends: Arc<Ends>,
    pending: Arc<Pending>,
}

/// What a log's writers share.
type Shared = (Arc<Topics>, Arc<Ends>, Arc<Pending>);

impl KafkaWriter {
    pub(super) fn fence(config: &KafkaConfig, (topics, ends, pending): Shared, id: &str) -> Result<Self, LogError> {
        let make = |id: &str| fenced(config, id);
        // Both at once: a fence waits for the coordinator several times.
        let producers = std::thread::scope(|scope| {
            let second = scope.spawn(|| make(&format!("{id}.second")));
            let first = make(id);
            let second = second.join().unwrap_or_else(|_| Err(unreachable(&format!("fencing {id}"), &"the client panicked")));
            Ok([first?, second?])
        });
        Ok(Self { producers: producers?, turn: 0, topics, ends, pending })
    }
}

/// A producer of this transactional id, after every earlier one was fenced.
fn fenced(config: &KafkaConfig, id: &str) -> Result<Reaped<Sender>, LogError> {
    let mut client = config.client(Role::Producer)?;
    client
        .set("transactional.id", id)
        .set("transaction.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string())
        .set("retry.backoff.ms", "2");
    let producer: Sender = client.create_with_context(Acknowledged::default()).map_err(|error| config.refused(&error))?;
    let producer = Reaped::new(producer);
    connect(&producer, &format!("{}{MEMBERS}", config.prefix))
        .and_then(|()| producer.init_transactions(FENCE_TIMEOUT))
        .map_err(|error| unreachable(&format!("fencing {id}"), &error))?;
    Ok(producer)
}

/// The coordinator is asked for at once only if a broker is connected, and the bootstrap's connection does not count; else after half
/// a second. The leader of any partition will do, if there is such a topic.
fn connect(producer: &Sender, topic: &str) -> Result<(), KafkaError> {
    let client = producer.client();
    let known = client.fetch_metadata(Some(topic), FENCE_TIMEOUT)?;
    if known.topics().iter().any(|found| !found.partitions().is_empty()) {
        client.fetch_watermarks(topic, 0, FENCE_TIMEOUT)?;
    }
    Ok(())
}

fn try_commit(producer: &Sender, records: &[NewRecord]) -> Result<Vec<Offset>, Failed> {
    let troubles = producer.context().troubles();
    let before = |error: KafkaError| Failed::BeforeEnd(error.to_string());
    producer.begin_transaction().map_err(before)?;
    let journals = records.iter().take_while(|record| record.topic.ends_with(".journal")).count();
    let (first, rest) = records.split_at(journals);
    let mut offsets = send(producer, first)?;
    offsets.extend(send(producer, rest)?);
    let deadline = clock::monotonic() + TRANSACTION_TIMEOUT;
    while producer.in_flight_count() > 0 && clock::monotonic() < deadline {
        std::thread::park_timeout(DRAIN_STEP);
    }
    producer.commit_transaction(TRANSACTION_TIMEOUT).map_err(|error| Failed::AtEnd(error.to_string()))?;
    match producer.context().troubles() - troubles {
        0 => Ok(offsets),
        more => Err(Failed::AtEnd(format!("{more} transport events during the commit"))),
    }
}

fn send(producer: &Sender, records: &[NewRecord]) -> Result<Vec<Offset>, Failed> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let before = |error: KafkaError| Failed::BeforeEnd(error.to_string());
    let batch = Batch::send(producer, records).map_err(before)?;
    match batch.wait(TRANSACTION_TIMEOUT) {
        Some(answer) => answer.map_err(before),
        None => Err(Failed::BeforeEnd("no acknowledgement within the transaction's timeout".into())),
    }
}

/// True if the client was told that a newer writer exists. Before the end of a transaction was asked for, an abort makes it ask.
fn is_fenced(producer: &Sender, failed: &Failed) -> bool {
    let is_told = || producer.client().fatal_error().is_some_and(|(code, _)| FENCED.contains(&code));
    let is_refused = |error: &KafkaError| error.rdkafka_error_code().is_some_and(|code| FENCED.contains(&code));
    is_told()
        || (matches!(failed, Failed::BeforeEnd(_))
            && (producer.abort_transaction(ABORT_TIMEOUT).as_ref().is_err_and(is_refused) || is_told()))
}

/// What a transaction failed by, and whether its end had been asked for.
enum Failed {
    BeforeEnd(String),
    AtEnd(String),
}

impl Writer for KafkaWriter {
    fn commit(&mut self, records: Vec<NewRecord>) -> Result<Commit, LogError> {
        self.topics.check_records(&records)?;
        if records.is_empty() {
            return Ok(Commit::Committed(Vec::new()));
        }
        let _waiting = self.pending.begin();
        let producer = &self.producers[self.turn];
        self.turn = 1 - self.turn;
        match try_commit(producer, &records) {
            Ok(offsets) => {
                self.ends.written(&self.topics, &records, &offsets);
                Ok(Commit::Committed(offsets))
            }
            Err(failed) if is_fenced(producer, &failed) => Ok(Commit::Fenced),
            Err(Failed::BeforeEnd(why) | Failed::AtEnd(why)) => Ok(Commit::Unknown(why)),
        }
    }
}
