//! What really happened, noted by the world itself: the oracle of the checkers.

use crate::plan::MINUTE;
use orrery_model::id::{AgentId, AttemptId};
use orrery_model::messages::EndKind;
use orrery_model::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// One process.
#[derive(Debug, Clone)]
pub struct Start {
    /// Which attempt.
    pub attempt: AttemptId,
    /// On which agent's machine.
    pub agent: String,
    /// When, microseconds of true time.
    pub at_us: i64,
    /// Its end; none while it runs.
    pub end: Option<(i64, EndKind)>,
}

/// A record that the log has accepted from somebody outside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Accepted {
    /// An event.
    Event {
        /// Topic.
        topic: String,
        /// Partition.
        partition: u32,
        /// Offset.
        offset: i64,
        /// The number in its data: a record that is sent twice has the same.
        number: i64,
        /// Which of the topic's generations took it: its place in [`History::topics`].
        generation: usize,
    },
    /// A record that kills whoever decides on it.
    Deadly {
        /// Full topic name.
        topic: String,
        /// Partition.
        partition: u32,
        /// Offset.
        offset: i64,
        /// As of an event; of no meaning on a topic of ours.
        generation: usize,
    },
    /// A request to run a job, by its idempotency key.
    Request {
        /// Which job.
        job: String,
        /// The key.
        key: String,
    },
    /// A job is to start nothing more, or to go on.
    Switched {
        /// Which job.
        job: String,
        /// It goes on.
        on: bool,
        /// Full name of the topic where this was said.
        topic: String,
        /// Partition: the number of the shard that owns the job.
        partition: u32,
        /// Offset.
        offset: i64,
    },
}

/// A heartbeat that the log has accepted.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Whose.
    pub agent: AgentId,
    /// Counter of the session that it speaks for.
    pub session: i64,
    /// How long the allocator is to wait for the next one, milliseconds.
    pub lease_ms: i64,
    /// When, by the log's clock, which is what leases are judged by.
    pub at: Timestamp,
}

/// Everything noted, in order.
#[derive(Debug, Default)]
pub struct History {
    /// Processes.
    pub starts: Vec<Start>,
    /// Records.
    pub accepted: Vec<(i64, Accepted)>,
    /// Heartbeats.
    pub heard: Vec<Heard>,
    /// Faults that struck, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// A trace of what happened, for people.
    pub trace: Vec<String>,
    /// When members were killed by something else than what they read, microseconds of true time.
    pub kills: Vec<i64>,
    /// Shards that stopped for a reason that needs a person.
    pub stopped: Vec<String>,
    /// Attempts that ended before everything healed, and whose end nobody has acknowledged to their agent at the end.
    pub unanswered: Vec<AttemptId>,
    /// The version of the logic was raised.
    pub raised: bool,
    /// Acquisitions, and of these the ones that found a store to go on with.
    pub acquired: (u64, u64),
    /// Ids of the data team's topic, one for each time that it was made.
    pub topics: Vec<String>,
    /// How far a generation and its partition had been read, by what was committed, when it was deleted: what lay behind is gone.
    pub deleted: BTreeMap<(usize, u32), i64>,
    /// Events that somebody has set aside: generation, partition, offset.
    pub by_hand: BTreeSet<(usize, u32, i64)>,
    /// When the log was salvaged first, by its own time.
    pub salvaged: Option<i64>,
}

impl History {
    /// False for what came before a salvage, or with it: its effect may be lost, or come twice.
    pub fn is_kept(&self, at_us: i64) -> bool {
        self.salvaged.is_none_or(|salvaged| at_us > salvaged + MINUTE)
    }

    /// A process starts; by what is returned its end is told.
    pub fn started(&mut self, attempt: &AttemptId, agent: &str, at_us: i64) -> usize {
        self.starts.push(Start { attempt: attempt.clone(), agent: agent.into(), at_us, end: None });
        self.starts.len() - 1
    }

    /// It ends.
    pub fn ended(&mut self, start: usize, kind: EndKind, at_us: i64) {
        self.starts[start].end = Some((at_us, kind));
    }
}
