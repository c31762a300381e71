//! The journal entry (protocol §11.1): one input, where it came from, and every decision made on it.

use crate::time::Timestamp;
use crate::words::words;
use apache_avro::{AvroSchema, AvroSchemaComponent};
use serde::{Deserialize, Serialize};

/// One entry. `chain` = BLAKE3(previous chain ‖ this entry encoded with an empty chain).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct Entry<I: AvroSchemaComponent, D: AvroSchemaComponent> {
    /// Drawn when the shard was created empty; hex.
    pub lineage: String,
    /// Ownership that wrote it.
    pub epoch: i64,
    /// Counts the shard's entries from 1, over all epochs.
    pub seq: i64,
    /// The input's time (protocol §7.1).
    pub at: Timestamp,
    /// Version of the decider's logic.
    pub logic_version: i32,
    /// Version of the time zone database compiled in.
    pub tz_version: String,
    /// Who caused it: the record's principal, or the service itself.
    pub actor: String,
    /// Where the input came from.
    pub source: Source,
    /// The input, decoded.
    pub input: I,
    /// What was read and not taken since the entry before.
    pub dropped: Vec<Dropped>,
    /// Everything decided, in order.
    pub decisions: Vec<D>,
    /// Hash chain, hex.
    pub chain: String,
}

/// Where an input came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
#[serde(rename_all = "snake_case")]
#[avro(repr = "bare_union")]
pub enum Source {
    /// A record of the log.
    FromRecord {
        /// Full topic name.
        topic: String,
        /// Partition.
        partition: i32,
        /// Generation of the topic.
        generation: i64,
        /// Offset.
        offset: i64,
        /// Position that it was read from.
        prev: i64,
        /// Which item of a packed record, from 0.
        item: i32,
    },
    /// A deadline of the decider had come.
    FromTick {},
    /// The shell saw it.
    Observed {},
}

/// A range of records that was read and not taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, AvroSchema)]
pub struct Dropped {
    /// Full topic name.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// First position.
    pub from: i64,
    /// Position behind the last.
    pub to: i64,
    /// How many records or items.
    pub count: i64,
    /// Why.
    pub reason: DropReason,
}

words! {
    /// Why a record was not taken.
    DropReason {
        /// Seen before, by its message id.
        Repeat = "repeat",
        /// It changed nothing: a renewal, an event that no predicate matched, a stale outcome.
        NoEffect = "no_effect",
        /// It could not be read; it is in the dead-letter topic.
        Poison = "poison",
        /// It was set aside by a person, or as the shard died of it; it is in the dead-letter topic.
        Quarantined = "quarantined",
        /// It lies before the position where reading was to begin.
        BeforeStart = "before_start",
    }
}

/// Several entries as one log record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct EntryBatch<I: AvroSchemaComponent, D: AvroSchemaComponent> {
    /// Ascending by seq.
    pub entries: Vec<Entry<I, D>>,
}

/// The numbers of the cluster, fixed when it is made (protocol §4.3), and which of its shards one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct Shards {
    /// This shard's number; an allocator's is its cell.
    pub shard: i32,
    /// Number of trigger shards.
    pub trigger_shards: i32,
    /// Number of cells.
    pub cells: i32,
}

/// What a decider that was not told yet goes by: the one shard, the one cell.
impl Default for Shards {
    fn default() -> Self {
        Self { shard: 0, trigger_shards: 1, cells: 1 }
    }
}

/// What the shell saw, given to every decider as an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
#[serde(rename_all = "snake_case")]
#[avro(repr = "bare_union")]
pub enum Observation {
    /// First entry of an ownership.
    Acquired {
        /// Its epoch.
        epoch: i64,
        /// Owning member.
        member: String,
        /// Assignment generation.
        generation: i64,
        /// Version of the binary.
        binary: String,
        /// Messages of entries from this seq on are sent again with this transaction; 0 for none.
        resend_from: i64,
        /// Which of the cluster's shards it is.
        shards: Shards,
    },
    /// Only dropped records were read for a while.
    Idle {},
    /// An agent's lease ran out (protocol §7.2).
    LeaseExpired {
        /// Who.
        agent: crate::id::AgentId,
        /// Which session.
        session: crate::messages::Session,
        /// How long nothing was heard, milliseconds.
        silent_ms: i64,
    },
    /// Records between two positions were gone before they were read.
    Gap {
        /// Full topic name.
        topic: String,
        /// Partition.
        partition: i32,
        /// First position lost.
        from: i64,
        /// First position that is there.
        to: i64,
    },
    /// A topic was deleted and made again.
    TopicRecreated {
        /// Full topic name.
        topic: String,
        /// New generation.
        generation: i64,
        /// Partition.
        #[serde(default)]
        partition: i32,
        /// Identity of the new topic.
        #[serde(default)]
        topic_id: String,
    },
    /// A partition lost its tail, though its topic is the same: what stands there from now on is another generation.
    TailLost {
        /// Full topic name.
        topic: String,
        /// New generation.
        generation: i64,
        /// Partition.
        partition: i32,
        /// Position that was read up to.
        from: i64,
        /// Position that the new generation begins at: the end that was found, or `from`, if it had grown past it again.
        to: i64,
    },
    /// The decider's logic changed.
    LogicSwitched {
        /// From version.
        from: i32,
        /// To version.
        to: i32,
        /// State hash before, hex.
        hash_before: String,
        /// State hash after, hex.
        hash_after: String,
    },
    /// A sender was made anew: its messages come from another lineage than before (protocol §2.1).
    NewLineage {
        /// Sending service.
        service: String,
        /// Its shard.
        shard: i32,
        /// The lineage before.
        from: String,
        /// The lineage now.
        to: String,
    },
    /// A record was set aside without being decided on.
    RecordQuarantined {
        /// Full topic name.
        topic: String,
        /// Partition.
        partition: i32,
        /// Offset.
        offset: i64,
        /// Who wanted it; none: the member that died of it.
        by: Option<String>,
        /// Why, in words.
        reason: String,
    },
    /// A re-read (protocol §5.2) has come to where its topic partition is read.
    CaughtUp {
        /// Name of the re-read, see [`crate::topics::reread_name`].
        topic: String,
        /// Partition.
        partition: i32,
    },
    /// The wall clock went ahead of what had passed, and was followed at once (protocol §7.1).
    ClockStepped {
        /// What time it would have been.
        from: Timestamp,
        /// What time it is.
        to: Timestamp,
    },
}

impl Observation {
    /// What somebody should know about: a stable code, and words. (A cut `heartbeats` loses nothing: agents say the same again.)
    pub fn alert(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Gap { topic, partition, from, to } if !topic.ends_with(crate::topics::HEARTBEATS) => {
                let detail = format!("{topic}/{partition} was cut off from {from} to {to} before it was read: its records are lost");
                Some(("input_gap", detail))
            }
            Self::TailLost { topic, partition, from, to, .. } => {
                let found = if to < from {
                    format!("it ended at {to}, and what comes from there on counts as new")
                } else {
                    "it has grown past that again, and what was written anew before it was not read".to_owned()
                };
                let detail = format!("{topic}/{partition} was read up to {from} and has lost its tail since: {found}");
                Some(("tail_lost", detail))
            }
            Self::NewLineage { service, shard, from, to } => {
                let detail = format!("{service}/{shard} was made anew: its messages come from lineage {to}, and came from {from} before");
                Some(("new_lineage", detail))
            }
            Self::RecordQuarantined { topic, partition, offset, by, reason } => {
                let by = by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
                let detail = format!("{topic}/{partition}@{offset} was set aside{by}, and nothing was decided about it: {reason}");
                Some(("record_quarantined", detail))
            }
            Self::ClockStepped { from, to } => {
                let detail = format!("the clock stepped ahead from {from} to {to}: what was due in between is late, and begins now");
                Some(("clock_stepped", detail))
            }
            _ => None,
        }
    }
}
