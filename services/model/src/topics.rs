//! The topics of design §2, as one table: name, partitions by what, cleanup, retention.

use crate::id::{AgentId, JobName};
use crate::murmur2::partition_of;

/// How a topic forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// The newest record of each key stays.
    Compact,
    /// Records older than this go.
    DeleteAfterMs(i64),
    /// Both: the newest of each key, and nothing older than this.
    CompactAndDeleteAfterMs(i64),
    /// Nothing goes.
    Forever,
}

/// How topics that keep the newest of each key forget the others (protocol §9.1). A store that is older than half of the time that
/// tombstones stay may have missed some, so log and stores must go by the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compaction {
    /// Younger records are not compacted, milliseconds.
    pub lag_ms: i64,
    /// A tombstone stays for so long, milliseconds.
    pub tombstones_ms: i64,
}

/// An hour, and seven days.
impl Default for Compaction {
    fn default() -> Self {
        Self { lag_ms: 3_600_000, tombstones_ms: 7 * DAY_MS }
    }
}

/// What decides a topic's number of partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitions {
    /// One per trigger shard.
    PerTriggerShard,
    /// One per cell.
    PerCell,
    /// [`COMMAND_PARTITIONS`] per cell.
    PerCellAndAgent,
    /// Always one.
    One,
}

/// One of our topics.
#[derive(Debug, Clone, Copy)]
pub struct TopicDef {
    /// Name behind the prefix.
    pub name: &'static str,
    /// Number of partitions.
    pub partitions: Partitions,
    /// What is forgotten.
    pub cleanup: Cleanup,
}

/// Begins the names of all our topics, groups and transactional ids.
pub const DEFAULT_PREFIX: &str = "orrery.";

const DAY_MS: i64 = 86_400_000;
const fn topic(name: &'static str, partitions: Partitions, cleanup: Cleanup) -> TopicDef {
    TopicDef { name, partitions, cleanup }
}

/// Divides the parts of a re-read's name: no topic name holds it.
const OF_REREAD: char = '#';

/// Names the input that reads a topic again for one definition of a job (protocol §5.2): `TOPIC#JOB#INCARNATION.VERSION`.
///
/// To the shell, and to who reads journals, it is an input like any other, with its own position.
pub fn reread_name(topic: &str, job: &JobName, incarnation: i64, version: i64) -> String {
    format!("{topic}{OF_REREAD}{job}{OF_REREAD}{incarnation}.{version}")
}

/// Topic and job of a re-read, if this is the name of one.
pub fn reread_of(name: &str) -> Option<(&str, &str)> {
    let (topic, rest) = name.split_once(OF_REREAD)?;
    Some((topic, rest.split_once(OF_REREAD)?.0))
}

/// The topic that an input of this name is read from.
pub fn topic_of(name: &str) -> &str {
    reread_of(name).map_or(name, |(topic, _)| topic)
}

/// Every topic of ours.
pub const TOPICS: &[TopicDef] = &[
    topic(JOBS, Partitions::PerTriggerShard, Cleanup::Compact),
    topic(REQUESTS, Partitions::PerTriggerShard, Cleanup::DeleteAfterMs(7 * DAY_MS)),
    topic(CATALOG, Partitions::PerTriggerShard, Cleanup::Compact),
    topic(FORWARDS, Partitions::PerTriggerShard, Cleanup::DeleteAfterMs(7 * DAY_MS)),
    topic(TASKS, Partitions::PerCell, Cleanup::DeleteAfterMs(7 * DAY_MS)),
    topic(OUTCOMES, Partitions::PerTriggerShard, Cleanup::DeleteAfterMs(7 * DAY_MS)),
    topic(HEARTBEATS, Partitions::PerCell, Cleanup::DeleteAfterMs(3_600_000)),
    topic(STATUS, Partitions::PerCell, Cleanup::DeleteAfterMs(7 * DAY_MS)),
    topic(COMMANDS, Partitions::PerCellAndAgent, Cleanup::DeleteAfterMs(DAY_MS)),
    topic(TRIGGER_JOURNAL, Partitions::PerTriggerShard, Cleanup::Forever),
    topic(ALLOCATOR_JOURNAL, Partitions::PerCell, Cleanup::Forever),
    topic(TRIGGER_CHANGELOG, Partitions::PerTriggerShard, Cleanup::Compact),
    topic(ALLOCATOR_CHANGELOG, Partitions::PerCell, Cleanup::Compact),
    topic(TRIGGER_SNAPSHOTS, Partitions::PerTriggerShard, Cleanup::Forever),
    topic(ALLOCATOR_SNAPSHOTS, Partitions::PerCell, Cleanup::Forever),
    topic(RUNS, Partitions::PerTriggerShard, Cleanup::CompactAndDeleteAfterMs(30 * DAY_MS)),
    topic(ADMIN, Partitions::One, Cleanup::Forever),
    topic(MEMBERS, Partitions::One, Cleanup::CompactAndDeleteAfterMs(7 * DAY_MS)),
    topic(ALERTS, Partitions::One, Cleanup::DeleteAfterMs(30 * DAY_MS)),
    topic(DLQ, Partitions::One, Cleanup::DeleteAfterMs(DLQ_MS)),
    topic(READS, Partitions::PerCell, Cleanup::DeleteAfterMs(3_600_000)),
    topic(OUTPUT_PIECES, Partitions::PerCell, Cleanup::DeleteAfterMs(3_600_000)),
];

/// Inbox of job definitions.
pub const JOBS: &str = "jobs";
/// Run now, cancel, pause, resume, retry, mark success.
pub const REQUESTS: &str = "requests";
/// Accepted definitions.
pub const CATALOG: &str = "catalog";
/// Key of the record in [`CATALOG`] that holds the cluster's numbers: no job has this name.
pub const CLUSTER_KEY: &str = "#cluster";
/// What concerns a job that another trigger shard owns.
pub const FORWARDS: &str = "forwards";
/// Task wanted, task no longer wanted.
pub const TASKS: &str = "tasks";
/// Task state changes.
pub const OUTCOMES: &str = "outcomes";
/// Agents' sessions, resources and live attempts.
pub const HEARTBEATS: &str = "heartbeats";
/// Agents' numbered task status updates.
pub const STATUS: &str = "status";
/// Launch, kill, acknowledge.
pub const COMMANDS: &str = "commands";
/// Every input and decision of the trigger.
pub const TRIGGER_JOURNAL: &str = "trigger.journal";
/// Every input and decision of the allocator.
pub const ALLOCATOR_JOURNAL: &str = "allocator.journal";
/// The trigger's rows and head.
pub const TRIGGER_CHANGELOG: &str = "trigger.changelog";
/// The allocator's rows and head.
pub const ALLOCATOR_CHANGELOG: &str = "allocator.changelog";
/// Changes of the cluster's state that people decide on.
pub const ADMIN: &str = "admin";
/// Members that may own shards: what they can run, and, by its append time, how right their clocks are.
pub const MEMBERS: &str = "members";
/// All rows of the trigger at some entries of its journal.
pub const TRIGGER_SNAPSHOTS: &str = "trigger.snapshots";
/// All rows of the allocator at some entries of its journal.
pub const ALLOCATOR_SNAPSHOTS: &str = "allocator.snapshots";
/// Current state of every run, for data teams.
pub const RUNS: &str = "runs";
/// Failed, late, recovered.
pub const ALERTS: &str = "alerts";
/// Questions for pieces of tasks' output.
pub const READS: &str = "reads";
/// The pieces that were asked for.
pub const OUTPUT_PIECES: &str = "output";
/// Partitions of `commands` that one cell has: an agent reads one of them, and what it reads is mostly for others (protocol §8.4).
pub const COMMAND_PARTITIONS: u32 = 4;
/// Dead letters that the topic of their own cannot hold: its name would be too long, or it may not be made.
pub const DLQ: &str = "dlq";
/// How long dead letters are kept.
pub const DLQ_MS: i64 = 30 * DAY_MS;
/// Suffix of dead-letter topics.
pub const DLQ_SUFFIX: &str = ".dlq";

/// The partition of `commands` that an agent of a cell reads.
pub fn commands_partition(cell: u32, agent: &AgentId) -> u32 {
    cell * COMMAND_PARTITIONS + partition_of(agent.as_str().as_bytes(), COMMAND_PARTITIONS)
}

/// The trigger shard, of so many, that reads a partition of a user topic (protocol §5.1): it does not depend on members.
pub fn reader(topic: &str, partition: i32, trigger_shards: u32) -> u32 {
    let key = [topic.as_bytes(), &partition.to_be_bytes()].concat();
    partition_of(&key, trigger_shards)
}

/// True if the topic is one of ours (or a dead-letter topic): user events do not go there.
pub fn is_ours(prefix: &str, topic: &str) -> bool {
    topic.starts_with(prefix) || topic.ends_with(DLQ_SUFFIX)
}

/// Checks a topic name by Kafka's rule.
pub fn check_topic_name(topic: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.is_empty() || topic.len() > 249 || topic == "." || topic == ".." || !topic.chars().all(legal) {
        return Err(format!("{topic:?} is not a topic name; use 1 to 249 letters, digits, '.', '_' and '-'"));
    }
    Ok(())
}
