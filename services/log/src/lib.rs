//! The message log: one small port, its implementations, and one conformance suite for all of them.
//!
//! What every implementation promises is written at [`Log`] and checked by [`conformance`].

pub mod bells;
pub mod clock;
pub mod conformance;
pub mod embedded;
pub mod kafka;
mod pending;

use orrery_model::record::{NewRecord, Offset, Record};
use orrery_model::time::Timestamp;
use orrery_model::topics::Cleanup;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A topic as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Full name.
    pub name: String,
    /// Identity: a topic deleted and made again has another one.
    pub id: String,
    /// Number of partitions, fixed.
    pub partitions: u32,
    /// How it forgets.
    pub cleanup: Cleanup,
}

/// A place in a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// Full topic name.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: u32,
}

impl TopicPartition {
    /// Partition `partition` of `topic`.
    pub fn new(topic: &str, partition: u32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

/// What a read delivered.
#[derive(Debug, Clone, Default)]
pub struct Fetch {
    /// Committed records, ascending.
    pub records: Vec<Record>,
    /// Position to read from next: behind the last record; if there was none, as asked or behind offsets that no record has.
    pub next: Offset,
}

/// How a commit went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commit {
    /// Durable and readable: the offsets of the records, in the order given.
    Committed(Vec<Offset>),
    /// A newer writer of this transactional id exists; nothing was written and nothing ever will be by this one.
    Fenced,
    /// Nobody knows yet. The writer must not be used again; a new one resolves it.
    Unknown(String),
}

/// Why the log refused.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No such topic or partition.
    #[error("topic {topic} has no partition {partition}")]
    NoSuchPartition {
        /// Full topic name.
        topic: String,
        /// Partition asked for.
        partition: u32,
    },
    /// The topic exists otherwise.
    #[error("topic {topic} exists with {existing} partitions, not {wanted}; the number is fixed when a topic is made")]
    TopicDiffers {
        /// Full topic name.
        topic: String,
        /// Partitions that it has.
        existing: u32,
        /// Partitions asked for.
        wanted: u32,
    },
    /// The position lies before the log's start or behind its end.
    #[error("offset {asked} of {topic}/{partition} is out of range; the log holds {start} to {end}")]
    OutOfRange {
        /// Full topic name.
        topic: String,
        /// Partition.
        partition: u32,
        /// Position asked for.
        asked: Offset,
        /// First position.
        start: Offset,
        /// Position behind the last record.
        end: Offset,
    },
    /// A partition has lost its last records, or others stand in their place: what was read up to the position is not what is there.
    #[error("{topic}/{partition} was read up to offset {asked}, and its tail is not what it was: a broker has lost records")]
    TailLost {
        /// Full topic name.
        topic: String,
        /// Partition.
        partition: u32,
        /// Position asked for. The log goes beyond it again.
        asked: Offset,
    },
    /// Records were written that nobody may read yet.
    #[error(
        "a transaction is open in {topic}/{partition}: readers see it up to {stable}, it was written up to {written}; find whose it is \
         and end it (kafka-transactions.sh find-hanging, abort), or wait for its timeout"
    )]
    OpenTransaction {
        /// Full topic name.
        topic: String,
        /// Partition.
        partition: u32,
        /// What may be read ends here.
        stable: Offset,
        /// What was written ends here.
        written: Offset,
    },
    /// A record is too large for the log.
    #[error("a record of {bytes} bytes for {topic} is over the limit of {limit}")]
    TooLarge {
        /// Full topic name.
        topic: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A commit is too large for the log.
    #[error("a commit of {bytes} bytes is over the limit of {limit}; divide it")]
    CommitTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A topic of this name or size cannot be made.
    #[error("{why}")]
    BadTopic {
        /// Field, value and remedy.
        why: String,
    },
    /// The log was opened to be read only.
    #[error("the log was opened read-only; write through the process that has it open")]
    ReadOnly,
    /// The log's folder cannot be opened.
    #[error("the log in {path} cannot be opened: {why}; check the path, its owner and its permissions")]
    CannotOpen {
        /// The folder.
        path: String,
        /// What the system said.
        why: String,
    },
    /// Another process holds the log's folder.
    #[error("{path} is in use by another orrery (process {holder}); stop it, or choose another --data-dir")]
    InUse {
        /// The folder.
        path: String,
        /// Its process id, or "unknown".
        holder: String,
    },
    /// Writing failed; the log takes nothing more until it is opened again (protocol §10.2).
    #[error("the log stopped after a failed write: {why}; free space or repair the disk, then start again")]
    Poisoned {
        /// First failure.
        why: String,
    },
    /// The log's servers do not answer, or not now. Waiting may help: it is tried again.
    #[error("the log cannot be reached, {why}; it is tried again")]
    Unreachable {
        /// What was asked for, and what came of it.
        why: String,
    },
    /// A setting of the log is wrong.
    #[error("setting {name}: {why}")]
    BadSetting {
        /// Its name.
        name: String,
        /// What is wrong, and the remedy.
        why: String,
    },
    /// What is stored cannot be read.
    #[error("the log in {path} is damaged: {why}; restore it from a copy, or start once with --salvage to go on with what can be read")]
    Damaged {
        /// The folder.
        path: String,
        /// What was found.
        why: String,
    },
}

/// The port. All calls are synchronous and may be made from any thread.
///
/// * A commit is atomic over all its topics and partitions: readers see all of it or nothing, and one writer's commits in their
///   order. Commits of two writers may stand in one order here and in the other there.
/// * What a reader has seen it will always see again, at the same offset, until cleanup; offsets ascend with gaps.
/// * A commit or append that returned is durable: it survives kill -9 and power loss.
/// * After [`Log::fence`] returned, nothing of an earlier writer of the same transactional id becomes readable any more.
pub trait Log: Send + Sync {
    /// Makes the topic if it is missing; refuses one with another number of partitions.
    fn ensure_topic(&self, name: &str, partitions: u32, cleanup: Cleanup) -> Result<Topic, LogError>;
    /// The topic, if it exists.
    fn topic(&self, name: &str) -> Result<Option<Topic>, LogError>;
    /// All topics, by name.
    fn topics(&self) -> Result<Vec<Topic>, LogError>;
    /// Deletes a topic and its records; made again it gets another id.
    fn delete_topic(&self, name: &str) -> Result<(), LogError>;
    /// A new writer of this transactional id; every earlier one is fenced from now on.
    fn fence(&self, transactional_id: &str) -> Result<Box<dyn Writer>, LogError>;
    /// Writes records without a transaction, all or none, exactly once even if the implementation must repeat itself.
    fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Offset>, LogError>;
    /// Committed records from a position, at least one if there is one before an end that was told or written here, then as many as
    /// `max_bytes` hold. Does not wait for what nobody has written yet. Where no record lies at or behind the position, what is
    /// delivered may still lead on: `next` is a position that no record lies before. A partition that has lost its tail ends before
    /// the position ([`LogError::OutOfRange`]), or has grown past it again: that is told once ([`LogError::TailLost`]), if the log
    /// noticed.
    fn read(&self, at: &TopicPartition, from: Offset, max_bytes: usize) -> Result<Fetch, LogError>;
    /// Says which reads will come, so that a log that has to fetch fetches for all of them at once.
    fn expect_reads(&self, _from: &[(TopicPartition, Offset)]) {}
    /// Says how far a reader has come, for people and their tools: nothing reads on from there.
    fn tell_positions(&self, _reader: &str, _positions: &[(TopicPartition, Offset)]) {}
    /// First position that is still there.
    fn start_offset(&self, at: &TopicPartition) -> Result<Offset, LogError>;
    /// A position behind the last committed record; offsets that no record has may lie between.
    fn end_offset(&self, at: &TopicPartition) -> Result<Offset, LogError>;
    /// The end, of a partition that nobody else writes to: refused while a transaction is open there, which hides from readers
    /// whatever was committed behind its first record (protocol §9.2). Ask behind a fence, which ends one's own.
    fn settled_end(&self, at: &TopicPartition) -> Result<Offset, LogError> {
        self.end_offset(at)
    }
    /// Position of the first record appended at this time or later; the end if there is none.
    fn offset_at(&self, at: &TopicPartition, time: Timestamp) -> Result<Offset, LogError>;
    /// True if append times come from this machine's own wall clock: they say nothing about whether it is right.
    fn shares_clock(&self) -> bool {
        false
    }
    /// What time it is for those who decide by this log: the wall clock's, unless the log knows better.
    fn wall(&self) -> Timestamp {
        clock::wall()
    }
    /// True while the wall clock is not believed ([`Self::trouble`] says why): what is due by it waits.
    fn holds_ticks(&self) -> bool {
        false
    }
    /// How long the oldest write of this process has waited for its acknowledgement; zero while none is under way. A hung disk or
    /// broker shows here, whoever waits for it.
    fn unacknowledged(&self) -> Duration {
        Duration::ZERO
    }
    /// Asks the log for a sign of life that takes the way of a write as far as it goes without a record, for who would know whether
    /// a log that nobody writes to still takes anything. While it is under way it counts as [`Self::unacknowledged`].
    fn probe(&self) -> Result<(), LogError> {
        Ok(())
    }
    /// What is wrong with a log that still goes on, such as damage that was found: somebody has to see to it.
    fn trouble(&self) -> Option<String> {
        None
    }
    /// Ranges of a partition whose records were lost, in order: by damage, whose salvage was asked for. A salvage tells of every
    /// partition, of one that lost nothing by an empty range at its end then: whoever stands before it remembers what the log may not.
    fn lost(&self, _at: &TopicPartition) -> Result<Vec<Range<Offset>>, LogError> {
        Ok(Vec::new())
    }
    /// Rings this bell from now on whenever records become readable in partitions of these topics that this process reads, and when
    /// a topic that did not exist is made. It is held weakly; rung-for topics add up over calls. Asked before the first read,
    /// nothing is missed.
    fn ring_for(&self, topics: &[&str], bell: &Arc<Bell>);
    /// A new bell for these topics.
    fn bell(&self, topics: &[&str]) -> Arc<Bell> {
        let bell = Arc::new(Bell::default());
        self.ring_for(topics, &bell);
        bell
    }
}

/// Bytes of one read of [`pieces`].
const PIECE_BYTES: usize = 4 << 20;

/// The records of a range, piece by piece. It ends at a position, not at a record (protocol §9.2).
pub fn pieces<'a>(
    log: &'a dyn Log,
    at: &'a TopicPartition,
    from: Offset,
    end: Offset,
) -> impl Iterator<Item = Result<Vec<Record>, LogError>> + 'a {
    let mut position = from;
    std::iter::from_fn(move || {
        if position >= end {
            return None;
        }
        let fetch = match log.read(at, position, PIECE_BYTES) {
            Ok(fetch) => fetch,
            Err(error) => {
                position = end;
                return Some(Err(error));
            }
        };
        // Where a read leads nowhere there is nothing: compaction may leave no record before the end.
        position = if fetch.next > position { fetch.next } else { end };
        let mut records = fetch.records;
        records.truncate(records.partition_point(|record| record.offset < end));
        Some(Ok(records))
    })
}

/// Commits for one transactional id. Dropping it commits nothing.
pub trait Writer: Send {
    /// Writes all records or none. Only [`Commit::Committed`] leaves the writer usable.
    fn commit(&mut self, records: Vec<NewRecord>) -> Result<Commit, LogError>;
}

/// Wakes one waiter when there is something new. Rings are remembered, so none is lost between looking and waiting.
#[derive(Debug, Default)]
pub struct Bell {
    state: Mutex<BellState>,
    signal: Condvar,
}

#[derive(Debug, Default)]
struct BellState {
    rung: bool,
    /// To wake nobody costs a call of the system.
    waiting: usize,
}

impl Bell {
    /// Wakes the waiter, or the next one to wait.
    pub fn ring(&self) {
        let mut state = self.lock();
        state.rung = true;
        if state.waiting > 0 {
            self.signal.notify_all();
        }
    }

    /// True if it rang since the last look.
    pub fn has_rung(&self) -> bool {
        std::mem::take(&mut self.lock().rung)
    }

    /// Waits for a ring, at most this long; true if it rang.
    pub fn wait(&self, at_most: Duration) -> bool {
        let mut state = self.lock();
        state.waiting += 1;
        let waited = self.signal.wait_timeout_while(state, at_most, |state| !state.rung);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        std::mem::take(&mut state.rung)
    }

    fn lock(&self) -> MutexGuard<'_, BellState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
