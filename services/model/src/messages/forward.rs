//! What trigger shards send each other on `forwards`: what came to one and concerns a job that another owns (protocol §4.2).

use super::{Fire, RequestRecord, RunRecord, RunState};
use crate::id::{JobName, Principal, RunId};
use crate::time::Timestamp;
use apache_avro::AvroSchema;
use serde::{Deserialize, Serialize};

/// Trigger → trigger, on `forwards`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct Forward {
    /// Shard that it is for.
    pub to: i32,
    /// Where it comes from: what comes twice from there is a repeat.
    pub origin: Origin,
    /// What it is.
    pub body: ForwardBody,
}

/// What is forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
#[serde(rename_all = "snake_case")]
#[avro(repr = "bare_union")]
pub enum ForwardBody {
    /// A definition from the inbox.
    DefinitionForwarded {
        /// Canonical JSON of the document.
        document: String,
        /// Who sent it.
        principal: Option<Principal>,
        /// When it was appended to the inbox.
        appended: Timestamp,
    },
    /// A tombstone from the inbox.
    TombstoneForwarded {
        /// Which job.
        job: JobName,
        /// Who sent it.
        principal: Option<Principal>,
        /// When it was appended to the inbox.
        appended: Timestamp,
    },
    /// A request.
    RequestForwarded {
        /// It.
        asked: RequestRecord,
        /// Job that the record's key names.
        job: Option<JobName>,
    },
    /// A run has ended, and jobs of that shard run after its job.
    EndForwarded {
        /// The run.
        ended: EndedRun,
    },
    /// An event matches a job.
    FireForwarded {
        /// Which, and the event.
        fire: Fire,
    },
}

/// Where an input first stood: the place of a record, or, in a topic of that name, of one of the numbered things that a shard
/// tells another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, AvroSchema)]
pub struct Origin {
    /// Name of the topic, ours without prefix.
    pub topic: String,
    /// Shard that read it there: a shard reads these topics at its own partition only.
    pub partition: i32,
    /// Generation of the topic.
    pub generation: i64,
    /// Offset.
    pub offset: i64,
}

impl Origin {
    /// Names the place: `topic[~generation]/partition/offset`.
    pub fn place(&self) -> String {
        let generation = if self.generation > 0 { format!("~{}", self.generation) } else { String::new() };
        format!("{}{generation}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// What dependent jobs need to know of a run that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct EndedRun {
    /// Its job.
    pub job: JobName,
    /// The run.
    pub run: RunId,
    /// Its cycle.
    pub root: String,
    /// The slot's time, for scheduled runs.
    pub nominal: Option<Timestamp>,
    /// How it ended.
    pub state: RunState,
}

impl From<&RunRecord> for EndedRun {
    fn from(record: &RunRecord) -> Self {
        let RunRecord { job, run, root, nominal, state, .. } = record.clone();
        Self { job, run, root, nominal, state }
    }
}
