//! Records in: appended durably, and answered when the decision about them is in the journal.

use crate::App;
use crate::problem::{Answer, Problem};
use crate::views::Decided;
use orrery_log::{Log, LogError};
use orrery_model::codec::Codec;
use orrery_model::decider::Poison;
use orrery_model::id::{JobName, Principal};
use orrery_model::limits::INPUT_BYTES;
use orrery_model::messages::{self, Request, RequestRecord};
use orrery_model::payload::Payload;
use orrery_model::record::{NewRecord, Record, data_bytes};
use orrery_model::time::Timestamp;
use orrery_model::topics;
use orrery_runtime::shard::decode;
use orrery_trigger::{Decision, Trigger};
use std::sync::Arc;
use std::time::Duration;

/// How long a request waits for its decision; then the answer is 202 with the record's position (§10.1).
const DECISION_WAIT: Duration = Duration::from_secs(10);

/// What became of an appended record.
pub(crate) enum Outcome {
    /// It was decided.
    Decided(Decided),
    /// It is durable, but not decided yet.
    Accepted {
        /// Full topic name.
        topic: String,
        /// Partition.
        partition: u32,
        /// Offset.
        offset: i64,
    },
}

impl App {
    /// Appends records and says where they stand.
    pub(crate) async fn append(&self, records: Vec<NewRecord>) -> Answer<Vec<i64>> {
        for record in &records {
            let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.as_bytes().len()).sum();
            let bytes = data_bytes(record.key.as_ref(), record.value.as_ref()) + headers;
            if bytes > INPUT_BYTES {
                let detail = format!("the record for {} has {bytes} bytes, allowed are {INPUT_BYTES}", record.topic);
                return Err(Problem::new("too_large", detail).try_this("send a reference to the data instead"));
            }
        }
        self.writing(move |log| log.append(records)).await
    }

    /// Appends inputs of the trigger. One that a shard could not take is refused: nothing is answered with 202 and becomes a dead letter.
    pub(crate) async fn send(&self, records: Vec<NewRecord>) -> Answer<Vec<i64>> {
        for record in &records {
            let NewRecord { topic, partition, key, value, headers } = record.clone();
            let record = Record { offset: 0, prev: 0, appended: Timestamp(0), key, value, headers };
            let decoded = decode::<Trigger>(&self.config.cluster, &topic, (partition, 0, ""), &record);
            decoded.map_err(|Poison { stage, reason }| Problem::new(if stage == "size" { "too_large" } else { "invalid" }, reason))?;
        }
        self.append(records).await
    }

    /// Asks the log for something that is waited for, on a thread that no reading has.
    pub(crate) async fn writing<T: Send + 'static>(&self, ask: impl FnOnce(&dyn Log) -> Result<T, LogError> + Send + 'static) -> Answer<T> {
        let log = self.config.log.clone();
        Ok(self.appending.spawn_blocking(move || ask(&*log)).await??)
    }

    /// Appends one record to an input of the trigger and waits for its decision. A refusal becomes a problem.
    pub(crate) async fn decide(self: &Arc<Self>, record: NewRecord) -> Answer<Outcome> {
        let expectation = self.views.expect();
        let (topic, partition) = (record.topic.clone(), record.partition);
        let offset = self.send(vec![record]).await?[0];
        let Ok(Some(decided)) = tokio::time::timeout(DECISION_WAIT, expectation.of(&topic, partition, offset)).await else {
            return Ok(Outcome::Accepted { topic, partition, offset });
        };
        for decision in &decided.decisions {
            if let Decision::Refused { code, detail, hint, .. } = decision {
                return Err(Problem::new(code, detail.clone()).hint(hint.clone()));
            }
        }
        Ok(Outcome::Decided(decided))
    }

    /// Sends a request on behalf of `principal`.
    pub(crate) async fn request(self: &Arc<Self>, request: Request, principal: Option<Principal>, key: Option<String>) -> Answer<Outcome> {
        let partition = match &request {
            Request::RunJob { job, .. } | Request::PauseJob { job } | Request::ResumeJob { job } => self.config.cluster.owner_of_job(job),
            Request::CancelRun { run, .. } | Request::RetryRun { run } | Request::MarkSuccess { run } => {
                let job = self.views.read().runs.get(run).map(|record| record.job.clone());
                job.map_or(0, |job| self.config.cluster.owner_of_job(&job))
            }
        };
        let record = RequestRecord { request, principal, idempotency_key: key };
        let codec: &Codec<RequestRecord> = &messages::REQUEST;
        self.decide(NewRecord {
            topic: self.config.cluster.topic(topics::REQUESTS),
            partition,
            key: None,
            value: Some(Payload(codec.encode(&record).into())),
            headers: Vec::new(),
        })
        .await
    }

    /// A record for the inbox of definitions; none is a tombstone.
    pub(crate) fn inbox_record(&self, job: &JobName, document: Option<&str>, principal: Option<&Principal>) -> NewRecord {
        let header = |principal: &Principal| (orrery_trigger::decode::PRINCIPAL_HEADER.to_owned(), principal.as_str().as_bytes().into());
        NewRecord {
            topic: self.config.cluster.topic(topics::JOBS),
            partition: self.config.cluster.owner_of_job(job),
            key: Some(job.as_str().as_bytes().into()),
            value: document.map(|text| text.as_bytes().into()),
            headers: principal.map(header).into_iter().collect(),
        }
    }
}
