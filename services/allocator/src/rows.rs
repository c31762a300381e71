//! The allocator's tables: tag, key, row. Tags are never reused. Public, because the gateway reads `allocator.changelog`.

use apache_avro::AvroSchema;
use orrery_model::codec::Codec;
use orrery_model::id::AgentId;
use orrery_model::journal::Shards;
use orrery_model::messages::{Attribute, Reason, Session, TaskSpec};
use orrery_model::resources::Resources;
use orrery_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// Agents; key: agent id. A lost agent's row stays, so that its old sessions are known as such.
pub const AGENTS: u8 = 16;
/// Tasks that wait, are placed or run; key: attempt id.
pub const TASKS: u8 = 17;
/// Cancels that came before their task; key: attempt id, hop.
pub const TOMBSTONES: u8 = 18;
/// The shard's one row of counters; key: 0.
pub const COUNTERS: u8 = 19;
/// The numbers of the cluster and of this cell, one row; key: 0.
pub const CLUSTER: u8 = 20;

/// One agent. What its tasks use is derived from theirs, not stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct AgentRow {
    /// Last session that was opened or refused.
    pub session: Session,
    /// All that it may give to tasks.
    pub total: Resources,
    /// What constraints are matched against.
    pub attributes: Vec<Attribute>,
    /// How long it may be silent, milliseconds.
    pub lease_ms: i64,
    /// When the session was opened.
    pub joined_at: Timestamp,
    /// Set once the session is over: nothing is placed on it until it opens another one.
    pub lost: Option<Loss>,
    /// Last welcome or request to register: at most one a second.
    pub answered_at: Timestamp,
    /// Begin of the second in which repeated acknowledgements are counted.
    pub reacked_at: Timestamp,
    /// Repeated acknowledgements since then.
    pub reacked: i32,
    /// Boots and processes whose open sessions were replaced, oldest first, since the agent was last lost: one that comes back lives
    /// beside the one that has replaced it.
    #[serde(default)]
    pub displaced: Vec<String>,
    /// Those that did, and were refused for good.
    #[serde(default)]
    pub copies: Vec<String>,
}

/// Why and since when an agent is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct Loss {
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// One task that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct TaskRow {
    /// The task, complete.
    pub spec: TaskSpec,
    /// Counts arrivals: among equal priorities, first come, first served.
    pub order: i64,
    /// When it arrived.
    pub wanted_at: Timestamp,
    /// Why it waits, as last recorded; empty while it has a place.
    pub reasons: Vec<Reason>,
    /// Where it is; none while it waits.
    pub place: Option<Place>,
    /// Why it is being ended, if it is.
    pub unwanted: Option<String>,
}

/// A task's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct Place {
    /// Agent.
    pub agent: AgentId,
    /// Session that it was launched or adopted in.
    pub session: Session,
    /// When it got this place.
    pub at: Timestamp,
    /// Number of the last status taken; 0 before the first.
    pub seq: i64,
    /// True once its process was reported.
    pub running: bool,
    /// True if the launch may have been dropped, as the agent did not list it: it is to be sent again.
    pub adrift: bool,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskState {
    /// It has no place.
    Waiting,
    /// A launch is under way.
    Placed,
    /// Its process runs.
    Running,
}

impl TaskRow {
    /// Where it stands.
    pub fn state(&self) -> TaskState {
        match &self.place {
            None => TaskState::Waiting,
            Some(place) if place.running => TaskState::Running,
            Some(_) => TaskState::Placed,
        }
    }
}

/// A cancel that came before its task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct TombstoneRow {
    /// From the same counter as the order of tasks: the oldest goes first.
    pub order: i64,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// What is counted over all rows, those that are gone included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, AvroSchema)]
pub struct CountersRow {
    /// Order of the next task or tombstone.
    pub next_order: i64,
    /// True while a placement round is cut short and goes on with the next tick.
    pub paused: bool,
}

macro_rules! row_codecs {
    ($($(#[$doc:meta])* $name:ident: $row:ty = $file:literal;)*) => {
        $($(#[$doc])* pub static $name: LazyLock<Codec<$row>> =
            LazyLock::new(|| Codec::new(include_str!(concat!("../../../schemas/", $file))));)*
        pub(crate) fn schema_files() -> Vec<(&'static str, apache_avro::Schema)> {
            vec![$(($file, <$row as AvroSchema>::get_schema()),)*]
        }
    };
}
row_codecs! {
    /// Rows of [`AGENTS`].
    AGENT: AgentRow = "allocator-agent-row.avsc";
    /// Rows of [`TASKS`].
    TASK: TaskRow = "allocator-task-row.avsc";
    /// Rows of [`TOMBSTONES`].
    TOMBSTONE: TombstoneRow = "allocator-tombstone-row.avsc";
    /// The row of [`COUNTERS`].
    COUNTER: CountersRow = "allocator-counters-row.avsc";
    /// The row of [`CLUSTER`].
    SHARDS: Shards = "allocator-shards-row.avsc";
}
