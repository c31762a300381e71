//! What people and their programs read on topics: the catalogue of jobs, runs, alerts.

use super::End;
use crate::id::{AgentId, JobName, Principal, RunId};
use crate::time::Timestamp;
use crate::words::words;
use apache_avro::AvroSchema;
use serde::{Deserialize, Serialize};

/// Trigger → every trigger shard and the views, on `catalog`: one accepted definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct CatalogEntry {
    /// Name.
    pub job: JobName,
    /// Counts the definitions of this incarnation from 1.
    pub version: i64,
    /// Counts the lives of this name: a job deleted and made again is another one.
    pub incarnation: i64,
    /// The document, canonical JSON.
    pub document: String,
    /// True while paused.
    pub paused: bool,
    /// Where event triggers begin to read.
    pub starts: Vec<StartPosition>,
    /// Next due time of any of its schedules.
    pub next_due: Option<Timestamp>,
    /// When this definition was taken.
    pub defined_at: Timestamp,
    /// Who sent it.
    pub principal: Option<Principal>,
    /// For each trigger of the document, since when the job has had it as it is: an interval without a start begins then.
    #[serde(default)]
    pub since: Vec<Timestamp>,
}

impl CatalogEntry {
    /// Since when the job has the trigger at this place of its document.
    pub fn since(&self, trigger: usize) -> Timestamp {
        self.since.get(trigger).copied().unwrap_or(self.defined_at)
    }
}

/// The numbers of a cluster, in `catalog` under a key of its own (protocol §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct ClusterNumbers {
    /// Number of trigger shards.
    pub trigger_shards: i64,
    /// Number of cells.
    pub cells: i64,
}

/// A place in a topic partition to read from: the first offset that can fire a job (protocol §5.2), or where an input stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, AvroSchema)]
pub struct StartPosition {
    /// Full topic name.
    pub topic: String,
    /// Counts the topic's recreations, as its reader knows them. In a definition 0: its owner may not read the topic.
    pub generation: i64,
    /// Partition.
    pub partition: i32,
    /// Events at or behind this offset fire.
    pub offset: i64,
    /// Identity of the topic: one that was made again has another. Empty where it was not looked up.
    #[serde(default)]
    pub topic_id: String,
}

/// Trigger → anyone, on `runs`: the current state of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct RunRecord {
    /// Run id.
    pub run: RunId,
    /// Job.
    pub job: JobName,
    /// Version of the definition that its last attempt ran by; before its first, the one that it was made by.
    pub version: i64,
    /// What made it: `time:…`, `event:…`, `after:…`, `request:…`.
    pub cause: String,
    /// The cause at the head of the chain: equal for all runs of one cycle. A run by request that makes up for one has its cycle.
    pub root: String,
    /// The slot's time, for scheduled runs.
    pub nominal: Option<Timestamp>,
    /// State.
    pub state: RunState,
    /// Why it is in this state, where the state does not say it.
    pub reason: Option<String>,
    /// Attempts so far.
    pub attempts: i32,
    /// Agent of the last attempt.
    pub agent: Option<AgentId>,
    /// When the run was made.
    pub created_at: Timestamp,
    /// When its first process started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How the last attempt ended.
    pub end: Option<End>,
    /// When the next attempt is due, while it backs off.
    pub next_attempt_at: Option<Timestamp>,
    /// When this record was decided.
    pub updated_at: Timestamp,
}

words! {
    /// States of a run, as the API has them.
    RunState {
        /// Wanted, but not placed: it waits for resources, for another run, for its back-off or for its job's resume.
        Waiting = "waiting",
        /// Placed; its process is about to start.
        Starting = "starting",
        /// Its process runs.
        Running = "running",
        /// Ended with success.
        Succeeded = "succeeded",
        /// Ended without, and no attempt is left.
        Failed = "failed",
        /// Ended by a person or by `concurrency: replace`.
        Cancelled = "cancelled",
        /// Never started, by a rule that the reason names.
        Skipped = "skipped",
        /// Its attempt was lost and is not to be repeated.
        Lost = "lost",
    }
}

impl RunState {
    /// True if nothing more happens by itself.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Waiting | Self::Starting | Self::Running)
    }
}

/// All → anyone, on `alerts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct Alert {
    /// Job concerned, if one is.
    pub job: Option<JobName>,
    /// Run concerned, if one is.
    pub run: Option<RunId>,
    /// `run_failed`, `run_skipped`, `input_gap`, `new_lineage`.
    pub code: String,
    /// In words.
    pub detail: String,
    /// When.
    pub at: Timestamp,
}
