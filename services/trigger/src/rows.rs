//! The trigger's tables: tag, key, row. Tags are never reused.

use crate::facts::EventData;
use apache_avro::AvroSchema;
use orrery_model::codec::Codec;
use orrery_model::id::{JobName, RunId};
use orrery_model::journal::Shards;
use orrery_model::messages::{CatalogEntry, EnvVar, Fire, RunRecord, RunState, StartPosition};
use orrery_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// Jobs; key: job name.
pub const JOBS: u8 = 16;
/// Lives of job names; key: job name. Outlives the job, so that a job made again is another one.
pub const LIVES: u8 = 17;
/// Schedules; key: job name, trigger number.
pub const SLOTS: u8 = 18;
/// Runs; key: run id.
pub const RUNS: u8 = 19;
/// Highest event fired; key: job name, topic/generation/partition.
pub const FIRED: u8 = 20;
/// Parents that wait for each other; key: dependent job, `<trigger>/<parent>`.
pub const JOINS: u8 = 21;
/// Answers to keyed requests; key: what is asked, of which job or run, principal and key.
pub const ANSWERS: u8 = 22;
/// Events that runs may still need; key: topic, generation, partition, offset.
pub const EVENTS: u8 = 23;
/// The numbers of the cluster and of this shard, one row; key: 0.
pub const CLUSTER: u8 = 24;
/// What was taken of other shards; key: topic, partition of the origin.
pub const TAKEN: u8 = 25;
/// Definitions of other shards' jobs; key: job name.
pub const CATALOG: u8 = 26;
/// Ends of runs told to other shards; key: shard.
pub const TOLD: u8 = 27;
/// Events that other shards have matched and that wait for their job's definition; key: job name, number.
pub const PARKED: u8 = 28;

/// What is read again for one job; key: job name, topic/generation/partition.
pub const REREADS: u8 = 29;

/// One job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct JobRow {
    /// As published.
    pub entry: CatalogEntry,
}

/// How often a name has been used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct LifeRow {
    /// Incarnation of the present or last job of this name.
    pub incarnation: i64,
    /// Runs made under this name so far.
    pub runs: i64,
    /// When the last inbox record that was taken for this name was appended.
    pub submitted: Timestamp,
}

/// The last forwarded input taken of one origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, AvroSchema)]
pub struct TakenRow {
    /// Generation of its topic.
    pub generation: i64,
    /// Its offset there.
    pub offset: i64,
}

/// How many ends of runs a shard was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, AvroSchema)]
pub struct ToldRow {
    /// So many.
    pub ends: i64,
}

/// Where a schedule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct SlotRow {
    /// Last slot that was due, or the time of the definition.
    pub last: Timestamp,
    /// Next slot; none behind the last.
    pub next: Option<Timestamp>,
    /// Late slots run since the last one that was on time: bounded by `limits::CATCH_UP_RUNS`.
    pub caught_up: i64,
    /// The next slot was due already when the last one was taken.
    #[serde(default)]
    pub behind: bool,
}

/// One run that goes on, or one of the last that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct RunRow {
    /// Its record on `runs`.
    pub record: RunRecord,
    /// The job's incarnation.
    pub incarnation: i64,
    /// Counts the runs made under the job's name: first come, first served.
    pub order: i64,
    /// Cells that the last attempt was sent to, the one that has it last.
    pub tried: Vec<i32>,
    /// True while an attempt is wanted and not over.
    pub live: bool,
    /// Attempts that count towards `retries.max`.
    pub counted: i32,
    /// Set when the live attempt is to be ended: the state that follows.
    pub leads_to: Option<RunState>,
    /// Place of the event that fired it; none once nothing can need it.
    pub event: Option<String>,
    /// Arguments of the request.
    pub args: Vec<EnvVar>,
    /// It is skipped if no process of it has started by then.
    pub start_by: Option<Timestamp>,
    /// Its slot is caught up: such runs start one after another, whatever the job's concurrency.
    #[serde(default)]
    pub caught_up: bool,
    /// Attempts that were lost and repeated.
    #[serde(default)]
    pub lost: i32,
}

impl RunRow {
    /// Hop of the last attempt: how many cells have handed it back.
    pub fn hop(&self) -> i32 {
        self.tried.len().saturating_sub(1) as i32
    }
    /// Cell that has the last attempt.
    pub fn cell(&self) -> i32 {
        self.tried.last().copied().unwrap_or_default()
    }
}

/// An event that runs may still need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct EventRow {
    /// The record.
    pub event: EventData,
    /// Number of runs that may need it.
    pub users: i64,
    /// First job that it has not been shown to yet.
    pub next: Option<JobName>,
}

/// The highest event of a topic partition that fired a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct FiredRow {
    /// Its offset.
    pub offset: i64,
}

/// Ends of a parent that wait for the other parents.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, AvroSchema)]
pub struct JoinRow {
    /// Oldest first, at most `limits::PENDING_PARENTS`.
    pub pending: Vec<ParentEnd>,
}

/// One parent's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct ParentEnd {
    /// Run.
    pub run: RunId,
    /// Cycle of that run.
    pub root: String,
}

/// The answer to a keyed request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct AnswerRow {
    /// Run id or job name.
    pub answer: String,
    /// When it was given: forgotten after `limits::ANSWER_MS`.
    pub at: Timestamp,
    /// Digest of what was asked; none of an event.
    #[serde(default)]
    pub asked: String,
}

macro_rules! row_codecs {
    ($($name:ident: $row:ty = $file:literal;)*) => {
        $(pub(crate) static $name: LazyLock<Codec<$row>> = LazyLock::new(|| Codec::new(include_str!(concat!("../../../schemas/", $file))));)*
        pub(crate) fn schema_files() -> Vec<(&'static str, apache_avro::Schema)> {
            vec![$(($file, <$row as AvroSchema>::get_schema()),)*]
        }
    };
}
row_codecs! {
    JOB: JobRow = "trigger-job-row.avsc";
    LIFE: LifeRow = "trigger-life-row.avsc";
    SLOT: SlotRow = "trigger-slot-row.avsc";
    RUN: RunRow = "trigger-run-row.avsc";
    FIRE: FiredRow = "trigger-fired-row.avsc";
    JOIN: JoinRow = "trigger-join-row.avsc";
    ANSWER: AnswerRow = "trigger-answer-row.avsc";
    EVENT: EventRow = "trigger-event-row.avsc";
    SHARDS: Shards = "trigger-shards-row.avsc";
    TAKE: TakenRow = "trigger-taken-row.avsc";
    TELL: ToldRow = "trigger-told-row.avsc";
    PARK: Fire = "trigger-parked-row.avsc";
    REREAD: StartPosition = "trigger-reread-row.avsc";
}
