//! What the allocator can be told and what it can decide: two closed enums, the columns of its journal.

use apache_avro::AvroSchema;
use orrery_model::codec::Codec;
use orrery_model::id::{AgentId, AttemptId, JobName};
use orrery_model::journal::{EntryBatch, Observation, Shards};
use orrery_model::messages::{Attribute, EndKind, Heartbeat, Reason, Session, Status, TaskSpec};
use orrery_model::resources::Resources;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// Everything that can reach the allocator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, AvroSchema)]
#[serde(rename_all = "snake_case")]
#[avro(repr = "bare_union")]
pub enum Input {
    /// An attempt is to run somewhere.
    TaskWanted {
        /// The task, complete.
        spec: TaskSpec,
    },
    /// An attempt is to run no longer.
    TaskUnwanted {
        /// Which.
        attempt: AttemptId,
        /// Hop that it is known under.
        hop: i32,
        /// Why.
        reason: String,
    },
    /// An agent lives.
    HeartbeatArrived {
        /// What it says.
        heartbeat: Heartbeat,
    },
    /// A task's state changed on its agent.
    StatusArrived {
        /// How.
        status: Status,
    },
    /// There is work left over.
    Tick {},
    /// The shell saw something.
    ShellObserved {
        /// What.
        observation: Observation,
    },
}

/// Everything the allocator can decide. A decision carries all that its messages need.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, AvroSchema)]
#[serde(rename_all = "snake_case")]
#[avro(repr = "bare_union")]
pub enum Decision {
    /// The numbers of the cluster and of this cell are known, or differ from those that were.
    ShardsLearned {
        /// They.
        shards: Shards,
    },
    /// An agent's session is open; what was placed on it and is named in neither list is dealt with next.
    AgentJoined {
        /// Who.
        agent: AgentId,
        /// The new session.
        session: Session,
        /// All that it may give to tasks.
        total: Resources,
        /// What constraints are matched against.
        attributes: Vec<Attribute>,
        /// How long it may be silent, milliseconds.
        lease_ms: i64,
        /// Live attempts that go on in this session.
        adopted: Vec<AttemptId>,
        /// Live attempts that are not wanted any more: the agent ends them, and their ends are awaited.
        ending: Vec<AttemptId>,
    },
    /// An agent asked again for a session that is open: the welcome may not have reached it.
    AgentWelcomed {
        /// Who.
        agent: AgentId,
        /// The open session.
        session: Session,
        /// Live attempts that go on.
        adopted: Vec<AttemptId>,
        /// Placed attempts that it does not list: their launches are to be sent again.
        missing: Vec<AttemptId>,
    },
    /// A heartbeat of a session that is over or not known, or of another cell's agent: the agent is to open a new one.
    AgentRefused {
        /// Who.
        agent: AgentId,
        /// Session that the heartbeat named.
        session: Session,
        /// Why.
        reason: String,
        /// It is a second holder of the identity, and is to give it up.
        #[serde(default)]
        copy: bool,
    },
    /// An agent offers something else than before.
    AgentChanged {
        /// Who.
        agent: AgentId,
        /// All that it may give to tasks.
        total: Resources,
        /// What constraints are matched against.
        attributes: Vec<Attribute>,
        /// How long it may be silent, milliseconds.
        lease_ms: i64,
    },
    /// An agent's lease ran out: its session is over for good, and all its tasks are certainly over.
    AgentLost {
        /// Who.
        agent: AgentId,
        /// The session that is over.
        session: Session,
        /// How long nothing was heard, milliseconds.
        silent_ms: i64,
    },
    /// A task waits.
    TaskQueued {
        /// The task, complete.
        spec: TaskSpec,
        /// Its place among those of equal priority.
        order: i64,
        /// Why it has no place yet.
        reasons: Vec<Reason>,
    },
    /// A waiting task waits for another reason than was recorded before.
    TaskWaits {
        /// Which.
        attempt: AttemptId,
        /// Why it has no place.
        reasons: Vec<Reason>,
    },
    /// A task has a place; or it has kept it, and its launch is sent again.
    Placed {
        /// The task, complete.
        spec: TaskSpec,
        /// Its place among those of equal priority.
        order: i64,
        /// Where.
        agent: AgentId,
        /// Session that it is launched in.
        session: Session,
    },
    /// A task that certainly never started has lost its place and waits again.
    TaskReturned {
        /// Which.
        attempt: AttemptId,
        /// Why.
        reason: String,
    },
    /// A task is over before it started.
    TaskDropped {
        /// Which.
        attempt: AttemptId,
        /// Its job.
        job: JobName,
        /// Its hop.
        hop: i32,
        /// How its end counts.
        kind: EndKind,
        /// Why.
        reason: String,
    },
    /// A task that cannot be placed here, or waits for too long, goes back to the trigger, which tries another cell.
    TaskDeclined {
        /// Which.
        attempt: AttemptId,
        /// Its job.
        job: JobName,
        /// Its hop.
        hop: i32,
        /// Why it has no place here.
        reasons: Vec<Reason>,
        /// Cell to try next, if this one knows a better one.
        suggested_cell: Option<i32>,
    },
    /// A cancel came for a task that is not known: it is kept, should the task follow.
    CancelKept {
        /// Which.
        attempt: AttemptId,
        /// Its hop.
        hop: i32,
        /// From the counter of arrivals.
        order: i64,
        /// Why it is cancelled.
        reason: String,
    },
    /// A task that has a place is to be ended.
    KillOrdered {
        /// Which.
        attempt: AttemptId,
        /// Where.
        agent: AgentId,
        /// The agent's session.
        session: Session,
        /// Why.
        reason: String,
    },
    /// A status is taken; with its end a task leaves.
    StatusTaken {
        /// It, under the agent's present session.
        status: Status,
        /// Its job.
        job: JobName,
        /// Its hop.
        hop: i32,
    },
    /// A status that was taken before, or is of no concern, is acknowledged (again).
    Reacked {
        /// Which.
        attempt: AttemptId,
        /// Where.
        agent: AgentId,
        /// The agent's session.
        session: Session,
        /// Up to here.
        seq: i64,
        /// Set if the attempt runs there and should not: why it is ended.
        kill: Option<String>,
    },
    /// Nobody can say how a task ended; it is certainly over.
    TaskLost {
        /// Which.
        attempt: AttemptId,
        /// Its job.
        job: JobName,
        /// Its hop.
        hop: i32,
        /// Where it was.
        agent: AgentId,
        /// Why.
        reason: String,
    },
    /// More tasks could be placed than one entry may hold; the rest follow with the next tick.
    PlacementPaused {},
    /// All tasks that could be placed are.
    PlacementResumed {},
    /// Somebody should know.
    Alerted {
        /// Stable code: `input_gap`, `new_lineage`, `agent_unable`, `agent_able`, `agent_copied`.
        code: String,
        /// In words.
        detail: String,
    },
}

/// Codec of the allocator's journal.
pub static JOURNAL: LazyLock<Codec<EntryBatch<Input, Decision>>> =
    LazyLock::new(|| Codec::new(include_str!("../../../schemas/allocator-journal.avsc")));

/// The allocator's schema files, for the schema test.
pub fn schema_files() -> Vec<(&'static str, apache_avro::Schema)> {
    let mut files = crate::rows::schema_files();
    files.push(("allocator-journal.avsc", EntryBatch::<Input, Decision>::get_schema()));
    files
}

#[cfg(test)]
mod tests {
    #[test]
    fn files_and_types_agree() {
        orrery_model::schemas::compare(super::schema_files(), option_env!("ORRERY_WRITE_SCHEMAS").is_some()).expect("schemas agree");
    }
}
