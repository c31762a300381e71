//! Messages between services: tasks, outcomes, heartbeats, commands, status, requests, catalogue, runs, alerts.
//!
//! Each is a record of `schemas/`; what several messages share stands at the end.

mod admin;
mod event;
mod forward;
mod member;
mod output;
mod public;

pub use admin::{AdminChange, AdminRecord};
pub use event::{EventData, Fire, Header, source};
pub use forward::{EndedRun, Forward, ForwardBody, Origin};
pub use member::{LogicVersions, Member};
pub use output::{OutputPiece, OutputWanted};
pub use public::{Alert, CatalogEntry, ClusterNumbers, RunRecord, RunState, StartPosition};

use crate::codec::Codec;
use crate::id::{AgentId, AttemptId, JobName, Principal, Role, RunId};
use crate::payload::Payload;
use crate::resources::Resources;
use crate::time::Timestamp;
use crate::words::words;
use apache_avro::AvroSchema;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// Trigger → allocator, on `tasks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
#[serde(rename_all = "snake_case")]
#[avro(repr = "bare_union")]
#[expect(clippy::large_enum_variant, reason = "the large variant is the common one, and Avro derives no boxes")]
pub enum TaskMessage {
    /// Run this attempt somewhere.
    TaskWanted {
        /// Cell that is to run it.
        cell: i32,
        /// What to run.
        spec: TaskSpec,
    },
    /// This attempt is no longer wanted: drop it if it waits, kill it if it runs.
    TaskUnwanted {
        /// Cell that it was sent to.
        cell: i32,
        /// Which.
        attempt: AttemptId,
        /// Hand-over count that it is known under.
        hop: i32,
        /// Why ("cancelled by alice", "replaced by run …").
        reason: String,
    },
}

impl TaskMessage {
    /// The cell that it is for.
    pub fn cell(&self) -> i32 {
        match self {
            Self::TaskWanted { cell, .. } | Self::TaskUnwanted { cell, .. } => *cell,
        }
    }
}

/// One attempt, complete: everything an agent needs to start it and an allocator to place it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct TaskSpec {
    /// Attempt id, `<run>.<n>`.
    pub attempt: AttemptId,
    /// Job that it belongs to.
    pub job: JobName,
    /// Version of the definition used.
    pub version: i64,
    /// How many cells have handed it back.
    pub hop: i32,
    /// True if another cell is to be tried should this one not place it soon; else it waits here.
    pub may_decline: bool,
    /// Accounted to.
    pub role: Role,
    /// For whom.
    pub principal: Option<Principal>,
    /// 0 to 100, higher first.
    pub priority: i32,
    /// What it needs.
    pub resources: Resources,
    /// What its agent must be like, as written in the job: `zone == eu-1`.
    pub constraints: Vec<String>,
    /// The rendered command; the first element is looked up in PATH.
    pub argv: Vec<String>,
    /// Environment of the job and the `ORRERY_*` variables that the trigger knows, in order.
    pub env: Vec<EnvVar>,
    /// User to run as; the agent's own if none.
    pub user: Option<String>,
    /// Resource limits (setrlimit).
    pub limits: Vec<ProcessLimit>,
    /// Killed after this long, milliseconds; none means never.
    pub timeout_ms: Option<i64>,
    /// Between SIGTERM and SIGKILL, milliseconds.
    pub grace_ms: i64,
    /// Data of the event that fired the run: written to `ORRERY_EVENT_FILE`.
    pub event: Option<Payload>,
    /// Agent that the last attempt failed on, avoided if another one fits.
    pub avoid: Option<AgentId>,
}

/// Name and value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, AvroSchema)]
pub struct EnvVar {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// One rlimit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct ProcessLimit {
    /// `nofile`, `nproc`, `core`, `fsize`, `as`, `stack`, `cpu`.
    pub name: String,
    /// Soft and hard limit; the agent clamps it to its own hard limit.
    pub value: i64,
}

/// Allocator → trigger, on `outcomes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct Outcome {
    /// Which attempt.
    pub attempt: AttemptId,
    /// Key of the record: the outcome goes to the shard that owns this job.
    pub job: JobName,
    /// Hop that the allocator knows; outcomes of a lower hop are stale.
    pub hop: i32,
    /// When the allocator decided.
    pub at: Timestamp,
    /// What happened.
    pub change: OutcomeChange,
}

/// What happened to an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
#[serde(rename_all = "snake_case")]
#[avro(repr = "bare_union")]
pub enum OutcomeChange {
    /// It has a place and a launch command is under way.
    AttemptPlaced {
        /// Where.
        agent: AgentId,
    },
    /// Its process runs.
    AttemptRunning {
        /// Where.
        agent: AgentId,
        /// Process id there.
        pid: i64,
        /// Started, by the agent's clock.
        started_at: Timestamp,
    },
    /// It is over.
    AttemptEnded {
        /// Where, if it had a place.
        agent: Option<AgentId>,
        /// How.
        end: End,
    },
    /// This cell cannot place it; the trigger re-issues it elsewhere (protocol §6.1).
    AttemptDeclined {
        /// Why, counted.
        reasons: Vec<Reason>,
        /// Cell to try next.
        suggested_cell: Option<i32>,
    },
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct End {
    /// The class.
    pub kind: EndKind,
    /// Exit code, if it exited.
    pub code: Option<i32>,
    /// Signal number, if a signal ended it.
    pub signal: Option<i32>,
    /// In words where the class does not say all ("No such file or directory").
    pub reason: Option<String>,
    /// Start to end, milliseconds.
    pub wall_ms: i64,
    /// User and system time of the whole tree, milliseconds.
    pub cpu_ms: i64,
    /// Largest resident set of a process of the tree, bytes (at least the supervisor's own: getrusage(2) counts from before exec).
    pub peak_memory: i64,
    /// When, by the agent's clock.
    pub ended_at: Timestamp,
}

words! {
    /// Classes of ends.
    EndKind {
        /// Exit code 0.
        Succeeded = "succeeded",
        /// Another exit code, or a signal that nobody of ours sent.
        Failed = "failed",
        /// The process could not be started.
        NotStarted = "not_started",
        /// Ended by our kill (cancel, replace).
        Killed = "killed",
        /// Ended by its timeout.
        TimedOut = "timed_out",
        /// Nobody can say how it ended; it is certainly over.
        Lost = "lost",
    }
}

/// Agent → allocator, on `heartbeats`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct Heartbeat {
    /// Who.
    pub agent: AgentId,
    /// Session that it holds or, when registering, wants to open.
    pub session: Session,
    /// True until the allocator has welcomed this session.
    pub registering: bool,
    /// Its cell.
    pub cell: i32,
    /// All that it may give to tasks.
    pub total: Resources,
    /// What constraints are matched against, sorted by name; `hostname` is always there.
    pub attributes: Vec<Attribute>,
    /// Attempts that are starting or running, and ended ones whose end is not acknowledged yet.
    pub live: Vec<AttemptId>,
    /// How long the allocator may wait for the next one before the agent is lost, milliseconds (L + grace + drift).
    pub lease_ms: i64,
}

/// One registration of an agent: ordered by counter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, AvroSchema)]
pub struct Session {
    /// Registrations of this agent so far; kept in its journal.
    pub counter: i64,
    /// The kernel's boot id; behind a slash the agent process' own, which no other process has.
    pub boot_id: String,
}

/// Attribute of an agent that can start nothing at present, and offers nothing: why.
pub const UNABLE: &str = "unable";
/// Attribute of an agent on which something of a task lives on that it cannot end: who.
pub const RESISTING: &str = "resisting";
/// Attribute of an agent that cannot remove what finished attempts left: how much, and what helps.
pub const UNREMOVABLE: &str = "unremovable";
/// The attributes by which an agent says what is wrong with it.
pub const TROUBLES: [&str; 3] = [UNABLE, RESISTING, UNREMOVABLE];

/// Name and value of an agent's attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, AvroSchema)]
pub struct Attribute {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// Allocator → agent, on `commands`. Cell and epoch stand in the record's `orrery-id` (shard and epoch).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct Command {
    /// To whom.
    pub agent: AgentId,
    /// Session that it is meant for; an agent drops commands of another session.
    pub session: Session,
    /// What to do.
    pub order: Order,
}

/// What an agent is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
#[serde(rename_all = "snake_case")]
#[avro(repr = "bare_union")]
#[expect(clippy::large_enum_variant, reason = "the large variant is the common one, and Avro derives no boxes")]
pub enum Order {
    /// The session is open; live attempts not named here are to be killed.
    Welcome {
        /// Attempts that the allocator takes over.
        adopted: Vec<AttemptId>,
    },
    /// The session that you speak of is over: open a new one.
    Register {
        /// Why.
        reason: String,
    },
    /// Another machine holds this identity, from a copy of the agent's folder: end everything, and be nobody's agent of this name again.
    Renounce {
        /// Why.
        reason: String,
    },
    /// Start this attempt; a known one is answered, not run.
    Launch {
        /// What.
        spec: TaskSpec,
    },
    /// End this attempt.
    Kill {
        /// Which.
        attempt: AttemptId,
        /// Why; it becomes the end's reason.
        reason: String,
    },
    /// This attempt's updates up to `seq` are in the journal.
    Acknowledge {
        /// Which.
        attempt: AttemptId,
        /// Number of the last update taken.
        seq: i64,
    },
}

/// Agent → allocator, on `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct Status {
    /// Who.
    pub agent: AgentId,
    /// In which session.
    pub session: Session,
    /// Which attempt.
    pub attempt: AttemptId,
    /// Number of this update for this attempt, from 1: 1 running, 2 ended (or 1 ended, where it never ran).
    pub seq: i64,
    /// What happened.
    pub change: StatusChange,
}

/// A task's state change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
#[serde(rename_all = "snake_case")]
#[avro(repr = "bare_union")]
pub enum StatusChange {
    /// The process runs.
    TaskRunning {
        /// Process id.
        pid: i64,
        /// Started, by the agent's clock.
        started_at: Timestamp,
    },
    /// It is over.
    TaskEnded {
        /// How.
        end: End,
    },
}

/// Anyone → trigger, on `requests`; as JSON `{"run_job": {"job": "a/b", …}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
#[serde(rename_all = "snake_case")]
#[avro(repr = "bare_union")]
pub enum Request {
    /// Run the job now.
    RunJob {
        /// Which.
        job: JobName,
        /// Values for `{{ args.name }}`.
        #[serde(default)]
        args: Vec<EnvVar>,
    },
    /// End a run.
    CancelRun {
        /// Which.
        run: RunId,
        /// Why.
        #[serde(default)]
        reason: Option<String>,
    },
    /// One more attempt for a run that has ended without success.
    RetryRun {
        /// Which.
        run: RunId,
    },
    /// Count a run that has ended without success as succeeded, and start what waits for it.
    MarkSuccess {
        /// Which.
        run: RunId,
    },
    /// Start nothing more of this job until it is resumed.
    PauseJob {
        /// Which.
        job: JobName,
    },
    /// Go on; missed slots follow the job's catch-up policy.
    ResumeJob {
        /// Which.
        job: JobName,
    },
}

impl Request {
    /// The job that it is about, where it names one.
    pub fn job(&self) -> Option<&JobName> {
        match self {
            Self::RunJob { job, .. } | Self::PauseJob { job } | Self::ResumeJob { job } => Some(job),
            Self::CancelRun { .. } | Self::RetryRun { .. } | Self::MarkSuccess { .. } => None,
        }
    }
    /// The run that it is about, where it names one.
    pub fn run(&self) -> Option<&RunId> {
        match self {
            Self::CancelRun { run, .. } | Self::RetryRun { run } | Self::MarkSuccess { run } => Some(run),
            Self::RunJob { .. } | Self::PauseJob { .. } | Self::ResumeJob { .. } => None,
        }
    }
}

/// One reason with its count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, AvroSchema)]
pub struct Reason {
    /// Stable code: `INSUFFICIENT_MEMORY`, `FILTERED_CONSTRAINT`, …
    pub code: String,
    /// In words, with the best candidate.
    pub detail: String,
    /// How many agents it keeps out.
    pub agents: i32,
}

/// A packed record's item: one message with its own place in the sender's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct Item<M: apache_avro::AvroSchemaComponent> {
    /// Entry that it follows from.
    pub seq: i64,
    /// Place among the entry's messages.
    pub index: i32,
    /// The message.
    pub body: M,
}

/// The value of a packed record (protocol §10.3, §11.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct Packed<M: apache_avro::AvroSchemaComponent> {
    /// The messages, ascending by seq and index.
    pub items: Vec<Item<M>>,
}

macro_rules! codecs {
    ($($(#[$doc:meta])* $name:ident: $record:ty = $file:literal;)*) => {
        $($(#[$doc])* pub static $name: LazyLock<Codec<$record>> =
            LazyLock::new(|| Codec::new(include_str!(concat!("../../../schemas/", $file))));)*

        /// Every schema file with the schema that the type derives; the schema test compares them.
        pub fn schema_files() -> Vec<(&'static str, apache_avro::Schema)> {
            vec![$(($file, <$record as AvroSchema>::get_schema()),)*]
        }
    };
}
codecs! {
    /// `forwards`.
    FORWARDS: Packed<Forward> = "forward.avsc";
    /// `tasks`.
    TASKS: Packed<TaskMessage> = "task.avsc";
    /// `outcomes`.
    OUTCOMES: Packed<Outcome> = "outcome.avsc";
    /// `commands`.
    COMMANDS: Packed<Command> = "command.avsc";
    /// `heartbeats`.
    HEARTBEAT: Heartbeat = "heartbeat.avsc";
    /// `status`: one record carries the updates of one flush.
    STATUS: StatusBatch = "status.avsc";
    /// `requests`.
    REQUEST: RequestRecord = "request.avsc";
    /// `catalog`.
    CATALOG: CatalogEntry = "catalog.avsc";
    /// The cluster's numbers, in `catalog` too.
    CLUSTER: ClusterNumbers = "cluster.avsc";
    /// `runs`.
    RUN: RunRecord = "run.avsc";
    /// `alerts`.
    ALERT: Alert = "alert.avsc";
    /// `admin`.
    ADMIN: AdminRecord = "admin.avsc";
    /// `members`.
    MEMBER: Member = "member.avsc";
    /// `reads`.
    READ: OutputWanted = "read.avsc";
    /// `output`.
    OUTPUT: OutputPiece = "output.avsc";
}

/// The value of a `status` record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct StatusBatch {
    /// Updates, oldest first.
    pub updates: Vec<Status>,
}

/// The value of a `requests` record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct RequestRecord {
    /// What is asked.
    pub request: Request,
    /// Who asks.
    #[serde(default)]
    pub principal: Option<Principal>,
    /// Repeats of (principal, key) within 24 h get the first answer (protocol §10.1).
    #[serde(default)]
    pub idempotency_key: Option<String>,
}
