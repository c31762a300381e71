//! The decider's contract: one discipline for trigger and allocator.
//!
//! `handle` decides, `apply` is the only way state changes and cannot fail, messages are a projection of decisions.
//! Recovery applies rows and never re-decides, so that a new version may decide differently without rewriting history.

use crate::codec::Codec;
use crate::id::{AgentId, JobName};
use crate::job::StartFrom;
use crate::journal::{EntryBatch, Observation};
use crate::messages::{Alert, CatalogEntry, Command, Forward, Outcome, Packed, RunRecord, Session, StartPosition, TaskMessage};
use crate::record::Record;
use crate::table::{Change, RowError, Rows, load_row};
use crate::time::Timestamp;
use apache_avro::AvroSchemaComponent;
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;
use std::ops::RangeInclusive;

/// What inputs and decisions must be: plain data with a schema.
pub trait Fact: Serialize + DeserializeOwned + AvroSchemaComponent + Clone + PartialEq + Debug + Send + 'static {}
impl<T: Serialize + DeserializeOwned + AvroSchemaComponent + Clone + PartialEq + Debug + Send + 'static> Fact for T {}

/// Pure, deterministic, single-threaded; owns its tables.
pub trait Decider: Default + Send + 'static {
    /// Name in topics, ids and metrics ("trigger").
    const SERVICE: &'static str;
    /// The versions of its logic that are compiled in. A new one comes whenever the same inputs could lead to other decisions; old
    /// ones stay until no cluster decides by them.
    const LOGIC_VERSIONS: RangeInclusive<i32>;
    /// One closed enum: everything that can reach it, ticks and observations included.
    type Input: Fact;
    /// One closed enum: everything it can decide; the unit of audit.
    type Decision: Fact;

    /// The journal's codec.
    fn journal() -> &'static Codec<EntryBatch<Self::Input, Self::Decision>>;
    /// Topics of ours that it always reads, without prefix.
    fn inputs() -> &'static [&'static str];
    /// Topics of ours of which it reads the partitions of all other shards.
    fn inputs_of_others() -> &'static [&'static str] {
        &[]
    }
    /// Reads one record into inputs: one for a plain record, one per item for a packed one.
    fn decode(topic: InputTopic<'_>, record: &Record) -> Result<Vec<Decoded<Self::Input>>, Poison>;
    /// A deadline has come.
    fn tick() -> Self::Input;
    /// The shell saw something.
    fn observed(observation: Observation) -> Self::Input;

    /// From now on decides by this version, one of [`Decider::LOGIC_VERSIONS`]. With one version, or equal ones, there is nothing to do.
    fn decide_by(&mut self, _version: i32) {}
    /// Decides, applying each decision as it is made and adding it to `out`.
    fn handle(&mut self, at: Timestamp, input: &Self::Input, out: &mut Vec<Self::Decision>);
    /// Work done in [`Decider::handle`] since the last call, in steps of less than 100 ns. The shell ends a step at a bound of these,
    /// so that what is due need not wait for what was read.
    fn take_work(&mut self) -> u64 {
        0
    }
    /// Changes state by one decision; the only way, and it cannot fail.
    fn apply(&mut self, at: Timestamp, decision: &Self::Decision);
    /// What leaves the shard because of a decision.
    fn messages(at: Timestamp, decision: &Self::Decision, out: &mut Vec<Message>);
    /// When a tick is wanted next.
    fn next_deadline(&self) -> Option<Timestamp>;
    /// All its tables, in the order in which their changes are written.
    fn tables(&mut self) -> Vec<&mut dyn Rows>;
    /// Moves the rows changed since the last call into `out`.
    fn take_changes(&mut self, out: &mut Vec<Change>) {
        self.tables().into_iter().for_each(|rows| rows.take_changes(out));
    }
    /// Takes one stored row at restore.
    fn load(&mut self, table: u8, key: &[u8], value: &[u8]) -> Result<(), RowError> {
        load_row(self.tables(), table, key, value)
    }
    /// From now on remembers no changes: nobody commits them.
    fn forget_changes(&mut self) {
        self.tables().into_iter().for_each(Rows::forget_changes);
    }
    /// All rows are loaded: rebuild what is derived from them.
    fn loaded(&mut self);

    /// User topics to read besides [`Decider::inputs`].
    fn subscriptions(&self) -> Vec<String> {
        Vec::new()
    }
    /// The first offset that matters of a partition of such a topic, if this shard reads it.
    fn reads_from(&self, _topic: &str, _partition: i32, _topic_id: &str) -> Option<i64> {
        Some(0)
    }
    /// True while what was read of a partition waits: no more of it is read until then.
    fn holds_back(&self, _topic: &str, _generation: i64, _partition: i32) -> bool {
        false
    }
    /// What is to be read again, beside the topics themselves and never beyond where these are read: inputs of their own, named by
    /// [`crate::topics::reread_name`].
    fn rereads(&self) -> Vec<StartPosition> {
        Vec::new()
    }
    /// What the shell must look up about topics and give to [`Decider::looked_up`] before this input is handled.
    fn lookups(_input: &Self::Input) -> Vec<Lookup> {
        Vec::new()
    }
    /// Completes an input with the starts that were looked up in the log, and with where the shell itself stands in these topics.
    fn looked_up(_input: &mut Self::Input, _starts: Vec<StartPosition>, _read: Vec<StartPosition>) {}
    /// Where, by this input, the shell stands in topics: an auditor compares it.
    fn read_positions(_input: &Self::Input) -> &[StartPosition] {
        &[]
    }
    /// The input that is to be read from there on because of this decision: an auditor proves that it is.
    fn begins(_decision: &Self::Decision) -> Option<&StartPosition> {
        None
    }
    /// The lease that this input renews.
    fn renews(_input: &Self::Input) -> Option<Lease> {
        None
    }
    /// Leases to keep from the moment of acquisition.
    fn leases(&self) -> Vec<Lease> {
        Vec::new()
    }
    /// What the shell saw, if that is what this input is: the other way round of [`Decider::observed`].
    fn observation(input: &Self::Input) -> Option<&Observation>;
    /// If this input is the `Acquired` observation: the seq from which on its transaction sent messages again.
    fn resend_from(input: &Self::Input) -> Option<i64> {
        match Self::observation(input) {
            Some(Observation::Acquired { resend_from, .. }) => Some(*resend_from),
            _ => None,
        }
    }
    /// Version of the time zone database that decisions may depend on.
    fn tz_version() -> &'static str {
        ""
    }
    /// Who caused an input, for the journal; `None` is the service itself.
    fn actor(_input: &Self::Input) -> Option<String> {
        None
    }
}

/// What a decider must know of a topic before it handles an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// Full topic name.
    pub topic: String,
    /// Where each of its partitions begins, so understood; none: only where the shell itself stands in them.
    pub start: Option<StartFrom>,
}

/// A lease that the shell measures on its own monotonic clock (protocol §7.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Holder.
    pub agent: AgentId,
    /// Session that it renews.
    pub session: Session,
    /// How long it may be silent, milliseconds.
    pub lease_ms: i64,
}

/// Where an input record stands.
#[derive(Debug, Clone, Copy)]
pub struct InputTopic<'a> {
    /// Name without our prefix where `ours`, else the full name.
    pub name: &'a str,
    /// True for our own topics.
    pub ours: bool,
    /// Partition.
    pub partition: u32,
    /// Generation of the topic.
    pub generation: i64,
    /// Identity of the topic.
    pub id: &'a str,
}

/// One input of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded<I> {
    /// Seq and index, where the record is packed and has an `orrery-id`.
    pub place: Option<(i64, i32)>,
    /// The input.
    pub input: I,
}

impl Poison {
    /// Refused at this stage, for this reason.
    pub fn new(stage: &'static str, reason: impl Into<String>) -> Self {
        Self { stage, reason: reason.into() }
    }
}

impl<I> Decoded<I> {
    /// The inputs of a packed record's items.
    pub fn items<M: apache_avro::AvroSchemaComponent>(packed: Packed<M>, input: impl Fn(M) -> I) -> Vec<Self> {
        packed.items.into_iter().map(|item| Self { place: Some((item.seq, item.index)), input: input(item.body) }).collect()
    }

    /// An input that is not part of a packed record.
    pub fn plain(input: I) -> Self {
        Self { place: None, input }
    }
}

/// A record that cannot be taken: it becomes a dead letter with this reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Poison {
    /// Stage that refused it: `size`, `decode`, `validate`.
    pub stage: &'static str,
    /// What is wrong.
    pub reason: String,
}

/// What can leave a shard: the closed set of all messages, so that packing and topics stand in one place.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// On `forwards`, to the shard that it names.
    Forward(Box<Forward>),
    /// On `tasks`, to the cell that it names.
    Task(Box<TaskMessage>),
    /// On `outcomes`, to the owner of the job.
    Outcome(Outcome),
    /// On `commands`, to the agent.
    Command(Box<Command>),
    /// On `catalog`; none is a tombstone.
    Catalog(JobName, Option<Box<CatalogEntry>>),
    /// On `runs`.
    Run(Box<RunRecord>),
    /// On `alerts`.
    Alert(Alert),
}
