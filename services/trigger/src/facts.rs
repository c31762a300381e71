//! What the trigger can be told and what it can decide: two closed enums, the columns of its journal.

use apache_avro::AvroSchema;
use orrery_model::codec::Codec;
use orrery_model::id::{JobName, Principal, RunId};
use orrery_model::journal::{EntryBatch, Observation};
use orrery_model::messages::{CatalogEntry, EnvVar, Outcome, Request, RunRecord, StartPosition, TaskSpec};
use orrery_model::payload::Payload;
use orrery_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// Everything that can reach the trigger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, AvroSchema)]
#[serde(rename_all = "snake_case")]
#[avro(repr = "bare_union")]
pub enum Input {
    /// A definition from the inbox, with the ends of the topics that it names.
    JobSubmitted {
        /// Canonical JSON of the document.
        document: String,
        /// Who sent it.
        principal: Option<Principal>,
        /// Where its topics end now: events behind that fire.
        ends: Vec<StartPosition>,
    },
    /// A tombstone in the inbox.
    JobWithdrawn {
        /// Which job.
        job: JobName,
        /// Who sent it.
        principal: Option<Principal>,
    },
    /// A request.
    Requested {
        /// What is asked.
        request: Request,
        /// Who asks.
        principal: Option<Principal>,
        /// Names the request: its idempotency key with the principal, or its place in the log.
        id: String,
        /// True if `id` comes from an idempotency key.
        keyed: bool,
    },
    /// A record of a user topic.
    EventArrived {
        /// The record.
        event: EventData,
    },
    /// An attempt's state changed.
    OutcomeArrived {
        /// How.
        outcome: Outcome,
    },
    /// A deadline has come.
    Tick {},
    /// The shell saw something.
    ShellObserved {
        /// What.
        observation: Observation,
    },
}

/// A record of a user topic, kept as received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct EventData {
    /// Full topic name.
    pub topic: String,
    /// Generation of the topic.
    pub generation: i64,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Log-append time.
    pub appended: Timestamp,
    /// Key.
    pub key: Option<Payload>,
    /// Headers, in the producer's order.
    pub headers: Vec<Header>,
    /// Value; none is a tombstone.
    pub value: Option<Payload>,
}

/// One header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct Header {
    /// Name.
    pub name: String,
    /// Value.
    pub value: Payload,
}

/// Everything the trigger can decide. Decisions about a run carry the whole record that they lead to, so that what data
/// teams read on `runs` is what was decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, AvroSchema)]
#[serde(rename_all = "snake_case")]
#[avro(repr = "bare_union")]
pub enum Decision {
    /// A definition is accepted.
    JobDefined {
        /// As published.
        entry: CatalogEntry,
    },
    /// A job is paused.
    JobPaused {
        /// As published.
        entry: CatalogEntry,
    },
    /// A job goes on.
    JobResumed {
        /// As published.
        entry: CatalogEntry,
    },
    /// A job is gone.
    JobDeleted {
        /// Which.
        job: JobName,
    },
    /// A definition or request is refused.
    Refused {
        /// Stable code: `invalid`, `not_found`, `conflict`.
        code: String,
        /// What is wrong.
        detail: String,
        /// What to do.
        hint: Option<String>,
        /// Job or run concerned.
        subject: Option<String>,
    },
    /// A keyed request is answered; a repeat within 24 h gets the same answer.
    Answered {
        /// Principal and key.
        id: String,
        /// Run id or job name.
        answer: String,
    },
    /// A keyed request is a repeat.
    AnsweredBefore {
        /// Principal and key.
        id: String,
        /// The first answer.
        answer: String,
    },
    /// A schedule moved on.
    SlotTaken {
        /// Job.
        job: JobName,
        /// Which of its triggers.
        trigger: i32,
        /// The newest slot that was due.
        slot: Timestamp,
        /// The next one.
        next: Option<Timestamp>,
        /// Slots up to `slot` that are not run.
        missed: i64,
        /// Why not.
        reason: Option<String>,
    },
    /// A parent of a join has ended as wanted.
    ParentDone {
        /// Dependent job.
        job: JobName,
        /// Which of its triggers.
        trigger: i32,
        /// Parent job.
        parent: JobName,
        /// Parent's run.
        run: RunId,
        /// Cycle of that run.
        root: String,
    },
    /// A run exists.
    RunCreated {
        /// Its first record.
        record: RunRecord,
        /// The job's incarnation.
        incarnation: i64,
        /// The event that fired it.
        event: Option<EventData>,
        /// Arguments of the request.
        args: Vec<EnvVar>,
        /// For an `after` run: which trigger, whose pending parents it uses up.
        joined: Option<i32>,
    },
    /// An attempt is wanted.
    AttemptWanted {
        /// The run from now on.
        record: RunRecord,
        /// The task, complete.
        spec: TaskSpec,
    },
    /// The run's live attempt is no longer wanted; how it ends decides the run's state.
    AttemptUnwanted {
        /// The run from now on.
        record: RunRecord,
        /// Hop of the attempt.
        hop: i32,
        /// Why.
        reason: String,
        /// State that the run comes to when the attempt is over.
        leads_to: orrery_model::messages::RunState,
    },
    /// The attempt is placed or runs.
    RunProgressed {
        /// The run from now on.
        record: RunRecord,
    },
    /// The attempt is over without success and another one follows at `record.next_attempt_at`.
    AttemptOver {
        /// The run from now on.
        record: RunRecord,
        /// True if it counts towards `retries.max`.
        counted: bool,
    },
    /// The run has ended.
    RunEnded {
        /// Its last record.
        record: RunRecord,
    },
}

/// Codec of the trigger's journal.
pub static JOURNAL: LazyLock<Codec<EntryBatch<Input, Decision>>> =
    LazyLock::new(|| Codec::new(include_str!("../../../schemas/trigger-journal.avsc")));

/// The trigger's schema files, for the schema test.
pub fn schema_files() -> Vec<(&'static str, apache_avro::Schema)> {
    let mut files = crate::rows::schema_files();
    files.push(("trigger-journal.avsc", EntryBatch::<Input, Decision>::get_schema()));
    files
}

#[cfg(test)]
mod tests {
    #[test]
    fn files_and_types_agree() {
        orrery_model::schemas::compare(super::schema_files(), option_env!("ORRERY_WRITE_SCHEMAS").is_some()).expect("schemas agree");
    }
}
