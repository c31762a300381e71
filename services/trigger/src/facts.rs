//! What the trigger can be told and what it can decide: two closed enums, the columns of its journal.

pub use orrery_model::messages::{EventData, Header};

use apache_avro::AvroSchema;
use orrery_model::codec::Codec;
use orrery_model::id::{JobName, Principal, RunId};
use orrery_model::journal::{EntryBatch, Observation, Shards};
use orrery_model::messages::{
    CatalogEntry, EndedRun, EnvVar, Fire, Forward, Origin, Outcome, RequestRecord, RunRecord, StartPosition, TaskSpec,
};
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
        /// Where its topics begin to count, by the log as it is now: events from there on fire.
        starts: Vec<StartPosition>,
        /// Where it came in.
        origin: Origin,
        /// When it was appended there.
        appended: Timestamp,
        /// Where this shard stands in its topics, as far as it reads them.
        #[serde(default)]
        read: Vec<StartPosition>,
    },
    /// A tombstone in the inbox.
    JobWithdrawn {
        /// Which job.
        job: JobName,
        /// Who sent it.
        principal: Option<Principal>,
        /// Where it came in.
        origin: Origin,
        /// When it was appended there.
        appended: Timestamp,
    },
    /// A request.
    Requested {
        /// What is asked, and who asks.
        asked: RequestRecord,
        /// Job that the record's key names: leads a request about a run to its shard.
        job: Option<JobName>,
        /// Where it came in: names it, unless it has an idempotency key.
        origin: Origin,
    },
    /// A definition as another shard has published it, or its tombstone.
    CatalogArrived {
        /// Which job.
        job: JobName,
        /// The definition; none: the job is gone.
        entry: Option<CatalogEntry>,
        /// Where this shard stands in its topics, as far as it reads them.
        #[serde(default)]
        read: Vec<StartPosition>,
    },
    /// A run of another shard's job has ended.
    EndArrived {
        /// The run.
        ended: EndedRun,
        /// Its number among those that its shard has told this one.
        origin: Origin,
    },
    /// A record of a user topic.
    EventArrived {
        /// The record.
        event: EventData,
    },
    /// A record that was passed before a job's definition was known here, read again for that job alone.
    EventReread {
        /// Which job.
        job: JobName,
        /// The record.
        event: EventData,
    },
    /// Another shard has read an event that matches a job of this one.
    FireArrived {
        /// Which, and the event.
        fire: Fire,
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

/// Where one schedule of a definition begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct ScheduleStart {
    /// Which of the job's triggers.
    pub trigger: i32,
    /// Slots up to here are done.
    pub last: Timestamp,
    /// Next slot; none: there is no more.
    pub next: Option<Timestamp>,
    /// Late slots run since the last one that was on time.
    #[serde(default)]
    pub caught_up: i64,
    /// The next slot was due already when the last one was taken.
    #[serde(default)]
    pub behind: bool,
}

/// Everything the trigger can decide. Decisions about a run carry the whole record that they lead to, so that what data
/// teams read on `runs` is what was decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, AvroSchema)]
#[serde(rename_all = "snake_case")]
#[avro(repr = "bare_union")]
#[expect(clippy::large_enum_variant, reason = "runs are what it decides about, and Avro derives no boxes")]
pub enum Decision {
    /// The numbers of the cluster and of this shard are known, or differ from those that were.
    ShardsLearned {
        /// They.
        shards: Shards,
    },
    /// An input that concerns another shard's job goes there.
    Forwarded {
        /// What is sent.
        forward: Forward,
    },
    /// What another shard has forwarded is taken: from that origin, no more than what lies behind.
    ForwardTaken {
        /// Where it comes from.
        origin: Origin,
    },
    /// A definition of another shard's job is known, or has changed.
    DefinitionLearned {
        /// As its owner published it.
        entry: CatalogEntry,
    },
    /// Another shard's job is gone.
    DefinitionForgotten {
        /// Which.
        job: JobName,
    },
    /// A definition that is known now begins to count before the place where its topic partition is read: what lies between is
    /// read again for this job alone, and until then no other event of the partition is shown to it.
    RereadBegun {
        /// Which job.
        job: JobName,
        /// Names what is read again, see [`orrery_model::topics::reread_name`], and says from where.
        from: StartPosition,
    },
    /// What was to be read again was, or is gone.
    RereadEnded {
        /// Which job; none: every job, as the topic was made anew.
        job: Option<JobName>,
        /// The topic partition, see [`EventData::source`].
        source: String,
    },
    /// An inbox record is older than the last one taken for its job, and changes nothing.
    Superseded {
        /// Which job.
        job: JobName,
        /// When it was appended.
        appended: Timestamp,
        /// When the one that counts was appended.
        by: Timestamp,
    },
    /// An inbox record that is refused is the newest of its job all the same: what was appended before it does not count any more.
    Submitted {
        /// Which job.
        job: JobName,
        /// When it was appended.
        appended: Timestamp,
    },
    /// A definition is accepted.
    JobDefined {
        /// As published.
        entry: CatalogEntry,
        /// When its document was appended to the inbox.
        appended: Timestamp,
        /// Where its schedules stand from now on.
        slots: Vec<ScheduleStart>,
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
        /// When the tombstone was appended to the inbox.
        appended: Timestamp,
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
    /// A request is granted; a repeat of a keyed one within 24 h gets the same answer.
    Answered {
        /// Names the request: by its idempotency key with who asks and of what, else by its place.
        id: String,
        /// True if `id` comes from an idempotency key.
        keyed: bool,
        /// Run id or job name.
        answer: String,
        /// Digest of a keyed request: another one with its key is a conflict.
        #[serde(default)]
        asked: String,
    },
    /// A keyed request is a repeat.
    AnsweredBefore {
        /// Names the request.
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
        /// Late slots run since the last one that was on time.
        caught_up: i64,
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
    /// An event has fired a job at least: it is kept while runs may need it.
    EventKept {
        /// The record.
        event: EventData,
    },
    /// An event has fired as many jobs as one entry may hold; the rest follow with the next tick.
    EventParked {
        /// Its place, see [`EventData::place`].
        event: String,
        /// First job that is still to be looked at; none: all are done.
        next: Option<JobName>,
    },
    /// Another shard matched an event by a definition that is still to come here: it waits for that.
    FireParked {
        /// Its number among those of its job that wait.
        number: i64,
        /// It.
        fire: Fire,
    },
    /// An event that has waited for its job's definition is taken.
    FireReleased {
        /// Job.
        job: JobName,
        /// Its number among those that wait.
        number: i64,
    },
    /// An event that another shard has matched starts nothing.
    Skipped {
        /// Job.
        job: JobName,
        /// Incarnation that matched.
        incarnation: i64,
        /// Version that matched.
        version: i64,
        /// Which of its triggers.
        trigger: i32,
        /// The event's place.
        event: String,
        /// Why not.
        reason: String,
    },
    /// A predicate could not be evaluated on an event, which counts as a miss.
    PredicateFailed {
        /// Job.
        job: JobName,
        /// Which of its triggers.
        trigger: i32,
        /// The event's place.
        event: String,
        /// What went wrong.
        reason: String,
    },
    /// A run exists.
    RunCreated {
        /// Its first record.
        record: RunRecord,
        /// The job's incarnation.
        incarnation: i64,
        /// Place of the event that fired it.
        event: Option<String>,
        /// Version of the definition that the event matched, where another shard has read it.
        matched: Option<i64>,
        /// Arguments of the request.
        args: Vec<EnvVar>,
        /// It is skipped if no process of it has started by then.
        start_by: Option<Timestamp>,
        /// For an `after` run: which trigger, whose pending parents it uses up.
        joined: Option<i32>,
        /// Its slot is caught up: such runs start one after another, whatever the job's concurrency.
        #[serde(default)]
        caught_up: bool,
    },
    /// An attempt is wanted; or, having been handed back, it is wanted of another cell.
    AttemptWanted {
        /// The run from now on.
        record: RunRecord,
        /// Cell that is to run it.
        cell: i32,
        /// The task, complete.
        spec: TaskSpec,
    },
    /// The run's live attempt is no longer wanted; how it ends decides the run's state.
    AttemptUnwanted {
        /// The run from now on.
        record: RunRecord,
        /// Cell that has the attempt.
        cell: i32,
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
    /// Somebody should know.
    Alerted {
        /// Stable code: `input_gap`, `new_lineage`.
        code: String,
        /// In words.
        detail: String,
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
