//! `Shard`: the sans-IO heart. It takes what arrived, hands it to the decider, and returns the transaction to commit.
//!
//! Nothing here waits, reads a clock or knows a log. The memory runs ahead of the log by the transactions not yet committed;
//! when one of them fails, the shard is dropped and acquired again, so nothing uncommitted survives (§2 of restore.rs).

mod logic;
mod positions;
mod quarantine;
mod records;

use crate::membership::logic_of;
use crate::messages::{Cluster, Sender, dead_letter};
use crate::quarantine::Quarantined;
use crate::rows::{self, Head, Mark, Position, full_key};
use crate::stamp::{Now, Stamper};
use crate::statehash::StateHash;
use crate::store::RowBatch;
use orrery_log::LogError;
use orrery_model::decider::{Decider, Decoded, InputTopic, Lease, Poison};
use orrery_model::job::StartFrom;
use orrery_model::journal::{DropReason, Dropped, Entry, Observation, Source};
use orrery_model::limits::{INPUT_BYTES, PACKED_BYTES};
use orrery_model::messages::{LogicVersions, StartPosition};
use orrery_model::planted::{Bug, planted, takes_record};
use orrery_model::record::{MessageId, NewRecord, Record};
use orrery_model::table::Change;
use orrery_model::time::Timestamp;
use orrery_model::topics::{self, topic_of};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Ticks handled in one step: a burst of deadlines is spread over several transactions, each below the log's commit limit.
const TICKS_PER_STEP: usize = 16;
/// Work of one step, of the decider's own counting (100 ns): what is left follows in the next one, which has a later time. One input
/// alone may do more.
const WORK_PER_STEP: u64 = 2_000_000;
/// Only dropped records read: an `Idle` entry after this many …
const IDLE_RECORDS: i64 = 10_000;
/// … or this long, microseconds.
const IDLE_US: i64 = 10_000_000;

/// What reached the shard.
#[derive(Debug, Clone)]
pub enum Arrival {
    /// A record of an input.
    Record {
        /// Full topic name.
        topic: Arc<str>,
        /// Partition.
        partition: u32,
        /// The record.
        record: Record,
    },
    /// Something that the shell saw.
    Observed(Observation),
}

/// Reads a record into inputs, or says why it would be a dead letter: who appends asks this first, and then the shard does.
pub fn decode<D: Decider>(
    cluster: &Cluster,
    topic: &str,
    (partition, generation, id): (u32, i64, &str),
    record: &Record,
) -> Result<Vec<Decoded<D::Input>>, Poison> {
    let bytes = record.bytes();
    let ours = topic.strip_prefix(cluster.prefix.as_str());
    // Our own packed records hold one item at least, which may be larger than the limit by its envelope.
    let limit = if ours.is_some() { INPUT_BYTES + PACKED_BYTES } else { INPUT_BYTES };
    if bytes > limit {
        let reason = format!("the record has {bytes} bytes, over the limit of {limit}; send a reference to the data instead");
        return Err(Poison::new("size", reason));
    }
    D::decode(InputTopic { name: ours.unwrap_or(topic), ours: ours.is_some(), partition, generation, id }, record)
}

/// A transaction to commit: all of it or nothing.
#[derive(Debug)]
pub struct Transaction {
    /// Journal, then changelog rows, the head as their last, then messages.
    pub records: Vec<NewRecord>,
    /// How many of the records are changelog rows, and where they begin.
    pub changelog: std::ops::Range<usize>,
    /// Rows for the store: full key, value or none.
    pub rows: RowBatch,
    /// The head that ends it.
    pub head: Head,
    /// Number of entries.
    pub entries: usize,
}

/// Why a step could not be made; the shard must be dropped and acquired again.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A record does not join the ones before (§1.6).
    #[error("a record of {topic}/{partition} was read from {prev}, but the shard stands at {position}: it is of an earlier ownership")]
    WrongPrev {
        /// Full topic name.
        topic: String,
        /// Partition.
        partition: u32,
        /// Where the record was read from.
        prev: i64,
        /// The position row.
        position: i64,
    },
    /// A record of an input without a position row.
    #[error("{topic}/{partition} is not an input of this shard")]
    NotAnInput {
        /// Full topic name.
        topic: String,
        /// Partition.
        partition: u32,
    },
    /// The log did not say where a topic begins.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A deadline that a tick does not move would be a busy loop.
    #[error("the decider's deadline {deadline} did not move on a tick at {at}")]
    StuckDeadline {
        /// The deadline.
        deadline: Timestamp,
        /// The tick's time.
        at: Timestamp,
    },
    /// The member does not have the version that was raised to (§9.5).
    #[error("the logic was raised to version {version}, and this member has {oldest} to {newest}: install a newer binary")]
    NoLogic {
        /// The version in force from here on.
        version: i32,
        /// Oldest version that the member has.
        oldest: i32,
        /// Newest version that the member has.
        newest: i32,
    },
}

/// One shard in one ownership.
pub struct Shard<D: Decider> {
    decider: D,
    cluster: Cluster,
    sender: Sender,
    stamper: Stamper,
    head: Head,
    hash: StateHash,
    positions: BTreeMap<(Arc<str>, u32), Position>,
    marks: BTreeMap<Vec<u8>, Mark>,
    dropped: Vec<Dropped>,
    dropped_records: i64,
    idle_since_us: i64,
    shell_rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    taken_back: RowBatch,
    renewed: Vec<Lease>,
    ticking: bool,
    /// The versions that the member has.
    logic: LogicVersions,
    /// Rows that changed before the version was raised in the same step.
    changed: Vec<Change>,
    /// Records that are set aside when they come.
    quarantined: Quarantined,
    /// How many records one step takes at most.
    records_per_step: usize,
    /// Inputs of which the last step did not take all, and where that begins.
    left: BTreeMap<(Arc<str>, u32), i64>,
}

/// What restore found: the parts of a shard.
pub struct Restored<D> {
    /// The decider with its rows.
    pub decider: D,
    /// The last head.
    pub head: Head,
    /// Hash over the decider's rows.
    pub hash: StateHash,
    /// Input positions.
    pub positions: BTreeMap<(Arc<str>, u32), Position>,
    /// Message marks.
    pub marks: BTreeMap<Vec<u8>, Mark>,
    /// Positions that the journal is ahead with: their rows are written with the first transaction.
    pub moved: BTreeSet<(Arc<str>, u32)>,
    /// Rows to write first of all, as they were: the changelog holds others for their keys that never came to be.
    pub taken_back: RowBatch,
}

/// Where a topic's partitions begin, asked of the log while a step is made; the answer becomes part of the input.
pub type Starts<'a> = &'a dyn Fn(&str, StartFrom) -> Result<Vec<StartPosition>, LogError>;

impl<D: Decider> Shard<D> {
    /// Takes over what was restored, as `epoch`, at `now`.
    pub fn new(restored: Restored<D>, cluster: Cluster, shard: u32, epoch: i64, now: Now) -> Self {
        let sender = Sender { service: D::SERVICE, shard, lineage: restored.head.lineage.clone(), epoch };
        let mut shard = Self {
            decider: restored.decider,
            cluster,
            sender,
            stamper: Stamper::acquire(restored.head.at, now),
            head: restored.head,
            hash: restored.hash,
            positions: restored.positions,
            marks: restored.marks,
            dropped: Vec::new(),
            dropped_records: 0,
            idle_since_us: now.monotonic_us,
            shell_rows: BTreeMap::new(),
            taken_back: restored.taken_back,
            renewed: Vec::new(),
            ticking: true,
            logic: logic_of::<D>(),
            changed: Vec::new(),
            quarantined: Quarantined::new(),
            records_per_step: usize::MAX,
            left: BTreeMap::new(),
        };
        shard.begin_logic();
        for (topic, partition) in restored.moved {
            if let Some(position) = shard.position(&topic, partition).cloned() {
                shard.move_position(&topic, partition, position);
            }
        }
        shard
    }

    /// Takes what arrived and what is due.
    ///
    /// `again` are messages of earlier entries to send once more, first of all (§1.4).
    pub fn step(
        &mut self,
        now: Now,
        arrivals: Vec<Arrival>,
        starts: Starts<'_>,
        again: Vec<NewRecord>,
    ) -> Result<Option<Transaction>, StepError> {
        let mut step = Step::<D> { at: self.stamper.next(now), starts, entries: Vec::new(), dead: Vec::new(), work: 0 };
        let mut taken = 0;
        for arrival in arrivals {
            match arrival {
                Arrival::Record { topic, partition, record } if step.work >= WORK_PER_STEP || taken >= self.records_per_step => {
                    self.left.entry((topic, partition)).or_insert(record.prev);
                }
                Arrival::Record { topic, partition, record } => {
                    taken += 1;
                    self.take_record(&topic, partition, &record, &mut step)?;
                }
                Arrival::Observed(observation) => self.observe(observation, &mut step),
            }
        }
        self.take_ticks(&mut step)?;
        if self.wants_idle(now, &step) {
            self.observe(Observation::Idle {}, &mut step);
        }
        if step.entries.is_empty() {
            return Ok(None);
        }
        self.idle_since_us = now.monotonic_us;
        Ok(Some(self.transaction(step, again)))
    }

    /// What was dropped is journalled with the position rows that pass it: behind the last entry of a transaction, after a while,
    /// and with dead letters.
    fn wants_idle(&self, now: Now, step: &Step<'_, D>) -> bool {
        if !step.entries.is_empty() {
            return !self.dropped.is_empty();
        }
        let waited = self.dropped_records > 0 && now.monotonic_us - self.idle_since_us >= IDLE_US;
        waited || self.dropped_records >= IDLE_RECORDS || !step.dead.is_empty()
    }

    /// Whether the decider is given ticks: not while something lies unread that its deadlines may depend on.
    pub const fn let_tick(&mut self, ticking: bool) {
        self.ticking = ticking;
    }

    /// Inputs of which the last step did not take all that was read, and where what is left begins.
    pub fn take_left(&mut self) -> BTreeMap<(Arc<str>, u32), i64> {
        std::mem::take(&mut self.left)
    }

    /// Jumps to a wall clock that is far ahead, and is known to be right; what is to be told of that comes first in the next step.
    pub fn follow_clock(&mut self, now: Now) -> Option<Observation> {
        let (from, to) = self.stamper.jump(now)?;
        self.stamper.jumped(to, now);
        Some(Observation::ClockStepped { from, to })
    }

    /// True if the wall clock is far ahead of the shard's time.
    pub fn is_far_behind(&self, now: Now) -> bool {
        self.stamper.jump(now).is_some()
    }

    /// Leases that the last steps' inputs renewed.
    pub fn take_renewed(&mut self) -> Vec<Lease> {
        std::mem::take(&mut self.renewed)
    }

    /// The decider, to look at.
    pub fn decider(&self) -> &D {
        &self.decider
    }

    /// Microseconds until the decider's next deadline can have come; none if it has none.
    pub fn deadline_in_us(&self, now: Now) -> Option<i64> {
        self.decider.next_deadline().filter(|_| self.ticking).map(|deadline| self.stamper.wait_us(deadline, now))
    }

    /// Next offset to read of each input that was ever read.
    pub fn position(&self, topic: &Arc<str>, partition: u32) -> Option<&Position> {
        self.positions.get(&(topic.clone(), partition))
    }

    /// Begins, or goes on, reading an input at `position`; ranges that are skipped are accounted for.
    pub fn set_position(&mut self, topic: &Arc<str>, partition: u32, position: Position) {
        if let Some(old) = self.positions.get(&(topic.clone(), partition))
            && old.generation == position.generation
            && old.offset < position.offset
        {
            let range = (old.offset, position.offset);
            self.drop_range(topic, partition, range, 0, DropReason::BeforeStart);
        }
        self.move_position(topic, partition, position);
    }

    fn move_position(&mut self, topic: &Arc<str>, partition: u32, position: Position) {
        let row = rows::POSITION_ROW.encode(&position);
        if !planted(Bug::PositionUnsaved) {
            self.shell_rows.insert(full_key(rows::POSITIONS, &rows::position_key(topic, partition)), Some(row));
        }
        self.positions.insert((topic.clone(), partition), position);
    }

    /// One record: refuses what does not join, drops repeats, hands the rest to the decider item by item.
    fn take_record(&mut self, topic: &Arc<str>, partition: u32, record: &Record, step: &mut Step<'_, D>) -> Result<(), StepError> {
        let name = || topic.to_string();
        let Some(position) = self.positions.get(&(topic.clone(), partition)).cloned() else {
            return Err(StepError::NotAnInput { topic: name(), partition });
        };
        if record.prev != position.offset && !planted(Bug::NoPrevCheck) {
            return Err(StepError::WrongPrev { topic: name(), partition, prev: record.prev, position: position.offset });
        }
        if topic.strip_prefix(self.cluster.prefix.as_str()) == Some(topics::ADMIN) {
            return self.take_admin((topic, partition), position, record, step);
        }
        if let Some(quarantine) = self.quarantine_of(topic, partition, &position, record.offset) {
            self.set_aside((topic, partition), position, record, &quarantine, step);
            return Ok(());
        }
        takes_record(record.value.as_ref().map_or(&[], |value| value.as_bytes()));
        let behind = record.offset + 1;
        let mut range = (record.prev, behind);
        match self.decode(topic, partition, &position, record) {
            Err(poison) => {
                step.dead.push(dead_letter(topic_of(topic), partition, record, &poison));
                self.drop_range(topic, partition, range, 1, DropReason::Poison);
            }
            Ok(inputs) if inputs.is_empty() => self.drop_range(topic, partition, range, 1, DropReason::NoEffect),
            Ok(inputs) => {
                let sender = record.header(orrery_model::record::ID_HEADER).and_then(MessageId::parse);
                for (item, decoded) in inputs.into_iter().enumerate() {
                    let source = Source::FromRecord {
                        topic: name(),
                        partition: partition as i32,
                        generation: position.generation,
                        offset: record.offset,
                        prev: record.prev,
                        item: item as i32,
                    };
                    if let Some(reason) = self.take_item(sender.as_ref(), (topic, partition), decoded, source, step)? {
                        self.drop_range(topic, partition, range, 1, reason);
                    }
                    // The first item accounts for the record's range; of those behind it only the number is new.
                    range = (behind, behind);
                }
            }
        }
        self.move_position(topic, partition, Position { offset: behind, ..position });
        Ok(())
    }

    fn decode(&self, topic: &str, partition: u32, position: &Position, record: &Record) -> Result<Vec<Decoded<D::Input>>, Poison> {
        decode::<D>(&self.cluster, topic, (partition, position.generation, &position.topic_id), record)
    }

    /// One input of a record; says why it was dropped, if it was.
    fn take_item(
        &mut self,
        sender: Option<&MessageId>,
        input_of: (&Arc<str>, u32),
        decoded: Decoded<D::Input>,
        source: Source,
        step: &mut Step<'_, D>,
    ) -> Result<Option<DropReason>, LogError> {
        let Decoded { place, mut input } = decoded;
        if let (Some(sender), Some((seq, index))) = (sender, place) {
            let mark = Mark { epoch: sender.epoch, seq, index };
            let input = (&**input_of.0, input_of.1);
            let key = rows::mark_key(sender, input);
            match self.marks.get(&key) {
                Some(seen) if *seen >= mark && !planted(Bug::RepeatTaken) => return Ok(Some(DropReason::Repeat)),
                Some(_) => {}
                None => {
                    if let Some(from) = rows::lineage_before(&self.marks, sender, input) {
                        let (service, shard, to) = (sender.service.clone(), sender.shard as i32, sender.lineage.clone());
                        self.observe(Observation::NewLineage { service, shard, from, to }, step);
                    }
                }
            }
            self.shell_rows.insert(full_key(rows::MARKS, &key), Some(rows::MARK_ROW.encode(&mark)));
            self.marks.insert(key, mark);
        }
        let wanted = D::lookups(&input);
        if !wanted.is_empty() {
            let starts = wanted.iter().filter_map(|lookup| lookup.start.map(|from| (step.starts)(&lookup.topic, from)));
            let starts = starts.collect::<Result<Vec<_>, _>>()?.concat();
            D::looked_up(&mut input, starts, wanted.iter().flat_map(|lookup| self.standing_in(&lookup.topic)).collect());
        }
        self.renewed.extend(D::renews(&input));
        Ok((!self.handle(source, input, false, step)).then_some(DropReason::NoEffect))
    }

    fn observe(&mut self, observation: Observation, step: &mut Step<'_, D>) {
        self.handle(Source::Observed {}, D::observed(observation), true, step);
    }

    fn take_ticks(&mut self, step: &mut Step<'_, D>) -> Result<(), StepError> {
        for _ in 0..TICKS_PER_STEP {
            match self.decider.next_deadline() {
                Some(deadline) if self.ticking && deadline <= step.at && step.work < WORK_PER_STEP => {
                    let moved = self.handle(Source::FromTick {}, D::tick(), false, step);
                    if !moved && self.decider.next_deadline().is_some_and(|next| next <= deadline) {
                        return Err(StepError::StuckDeadline { deadline, at: step.at });
                    }
                }
                _ => break,
            }
        }
        Ok(())
    }

    /// Lets the decider decide; an input without effect leaves no entry unless it is to be `kept`.
    fn handle(&mut self, source: Source, input: D::Input, kept: bool, step: &mut Step<'_, D>) -> bool {
        let mut decisions = Vec::new();
        self.decider.handle(step.at, &input, &mut decisions);
        step.work += self.decider.take_work();
        if decisions.is_empty() && !kept {
            return false;
        }
        let seq = self.head.last_seq + 1 + step.entries.len() as i64;
        step.entries.push(Entry {
            lineage: self.sender.lineage.clone(),
            epoch: self.sender.epoch,
            seq,
            at: step.at,
            logic_version: self.head.logic_version,
            tz_version: D::tz_version().into(),
            actor: D::actor(&input).unwrap_or_else(|| D::SERVICE.into()),
            source,
            input,
            dropped: std::mem::take(&mut self.dropped),
            decisions,
            chain: String::new(),
        });
        true
    }

    fn drop_range(&mut self, topic: &str, partition: u32, (from, to): (i64, i64), count: i64, reason: DropReason) {
        self.dropped_records += count;
        metrics::counter!("orrery_dropped_total", "service" => D::SERVICE, "reason" => reason.word()).increment(count.unsigned_abs());
        let partition = partition as i32;
        // Only the partition's last range may grow: its ranges must join in the order in which they stand.
        let last = self.dropped.iter_mut().rev().find(|last| (last.topic.as_str(), last.partition) == (topic, partition));
        if let Some(last) = last.filter(|last| last.reason == reason && last.to == from) {
            last.to = to;
            last.count += count;
            return;
        }
        if planted(Bug::DroppedUntold) {
            return;
        }
        self.dropped.push(Dropped { topic: topic.into(), partition, from, to, count, reason });
    }

    /// Tells the shard where the journal ends after its last commit: the next head names it.
    pub fn journal_ends_at(&mut self, offset: i64) {
        self.head.journal_offset = offset;
    }
}

/// What one step has come to so far.
struct Step<'e, D: Decider> {
    at: Timestamp,
    starts: Starts<'e>,
    entries: Vec<Entry<D::Input, D::Decision>>,
    dead: Vec<NewRecord>,
    /// What the decider did, by its own counting.
    work: u64,
}
