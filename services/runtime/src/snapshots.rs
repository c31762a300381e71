//! All rows of a shard at one entry, on the log (§9.6): deriving a range of the journal again begins there.
//!
//! A snapshot is a first record, its rows in pieces of bounded size, and a last record, written one after the other by plain
//! appends beside the shard's transactions. Its writer may die, and another owner may write one at the same time: parts name the
//! entry and the epoch that they are of, and only what is there from its first to its last record counts. Memory is that of one
//! piece, for the writer and for the reader.

use crate::messages::Cluster;
use crate::restore::{AcquireError, each_record};
use crate::rows::Head;
use crate::statehash::StateHash;
use crate::store::{Frozen, StoreError};
use apache_avro::AvroSchema;
use orrery_log::{Log, TopicPartition};
use orrery_model::codec::Codec;
use orrery_model::limits::{PACKED_BYTES, SNAPSHOT_ENTRIES};
use orrery_model::payload::Payload;
use orrery_model::planted::{Bug, planted};
use orrery_model::record::{NewRecord, Offset};
use orrery_model::table::FIRST_DECIDER_TABLE;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};

/// How often snapshots are taken, and in what pieces they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotSetting {
    /// Journal entries between two.
    pub entries: i64,
    /// Bytes of rows in one record.
    pub piece_bytes: usize,
}

impl Default for SnapshotSetting {
    fn default() -> Self {
        Self { entries: SNAPSHOT_ENTRIES, piece_bytes: PACKED_BYTES }
    }
}

impl SnapshotSetting {
    /// True if one is due with the transaction that this head ends.
    pub const fn is_due(&self, head: &Head) -> bool {
        head.last_seq / self.entries > (head.first_seq - 1) / self.entries
    }

    /// True if one is due with the transaction that holds this entry: [`Self::is_due`], seen from the journal.
    pub const fn is_due_at(&self, seq: i64) -> bool {
        seq % self.entries == 0
    }
}

/// One record of a snapshot. Epoch and seq say which snapshot it is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct SnapshotRecord {
    /// Ownership that took it.
    pub epoch: i64,
    /// The entry behind which the rows are as they stand here.
    pub seq: i64,
    /// What it holds.
    pub part: SnapshotPart,
}

/// What a record of a snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
#[serde(rename_all = "snake_case")]
#[avro(repr = "bare_union")]
pub enum SnapshotPart {
    /// The first record.
    Begins {
        /// The head with that entry as its last: lineage, chain, state hash, journal offset, version of the logic, time.
        head: Head,
        /// Number of pieces that follow.
        pieces: i32,
    },
    /// Rows in order of their keys.
    Rows {
        /// Counts the pieces from 0.
        number: i32,
        /// The rows.
        rows: Vec<SnapshotRow>,
    },
    /// The last record.
    Ends {},
}

/// A row of the decider or of the shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct SnapshotRow {
    /// Full key: table tag, then row key.
    pub key: Payload,
    /// The row.
    pub value: Payload,
}

/// Codec of a snapshot's records.
pub static SNAPSHOT: LazyLock<Codec<SnapshotRecord>> = LazyLock::new(|| Codec::new(include_str!("../../../schemas/snapshot.avsc")));

/// The topic partition of a shard's snapshots.
pub fn snapshots_of(cluster: &Cluster, service: &str, shard: u32) -> TopicPartition {
    TopicPartition::new(&cluster.topic(&format!("{service}.snapshots")), shard)
}

/// A snapshot that is being written: its records come one by one, and it is for the caller to append them.
pub struct Snapshot {
    at: TopicPartition,
    head: Head,
    piece_bytes: usize,
    frozen: Box<dyn Frozen>,
    next: Next,
}

/// The next record of a snapshot.
enum Next {
    Begins,
    /// This piece, from this key on.
    Rows(i32, Vec<u8>),
    Nothing,
}

impl Snapshot {
    /// Of a store that was frozen at this head.
    pub fn new(cluster: &Cluster, (service, shard): (&str, u32), head: Head, frozen: Box<dyn Frozen>) -> Self {
        let (at, piece_bytes) = (snapshots_of(cluster, service, shard), cluster.snapshots.piece_bytes);
        Self { at, head, piece_bytes, frozen, next: Next::Begins }
    }

    /// The next record; none behind the last. It does not begin if its rows do not sum up to its head.
    pub fn next_record(&mut self) -> Result<Option<NewRecord>, StoreError> {
        let (part, next) = match &self.next {
            Next::Begins => (self.begins()?, Next::Rows(0, Vec::new())),
            Next::Rows(number, from) => {
                let rows = self.frozen.rows_from(from, self.piece_bytes)?;
                match rows.last() {
                    Some((last, _)) => {
                        let next = Next::Rows(number + 1, behind(last));
                        let row = |(key, value): (Vec<u8>, Vec<u8>)| SnapshotRow { key: Payload(key.into()), value: Payload(value.into()) };
                        (SnapshotPart::Rows { number: *number, rows: rows.into_iter().map(row).collect() }, next)
                    }
                    None => (SnapshotPart::Ends {}, Next::Nothing),
                }
            }
            Next::Nothing => return Ok(None),
        };
        self.next = next;
        let record = SnapshotRecord { epoch: self.head.epoch, seq: self.head.last_seq, part };
        Ok(Some(NewRecord {
            topic: self.at.topic.to_string(),
            partition: self.at.partition,
            value: Some(Payload(SNAPSHOT.encode(&record).into())),
            ..NewRecord::default()
        }))
    }

    fn begins(&self) -> Result<SnapshotPart, StoreError> {
        let (mut pieces, mut hash, mut from) = (0, StateHash::default(), Vec::new());
        loop {
            let rows = self.frozen.rows_from(&from, self.piece_bytes)?;
            let Some((last, _)) = rows.last() else { break };
            from = behind(last);
            pieces += 1;
            rows.iter().for_each(|(key, value)| add(&mut hash, key, value));
        }
        if hash.to_hex() != self.head.state_hash {
            let what = format!("does not sum up to its head at entry {}: no snapshot is taken", self.head.last_seq);
            return Err(StoreError { store: self.at.topic.to_string(), what });
        }
        Ok(SnapshotPart::Begins { head: self.head.clone(), pieces })
    }
}

/// The first key behind this one.
fn behind(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// Adds a row to the state hash, which covers the decider's rows (§9.4).
fn add(hash: &mut StateHash, key: &[u8], value: &[u8]) {
    if let Some((table, key)) = key.split_first()
        && *table >= FIRST_DECIDER_TABLE
    {
        hash.add(*table, key, value);
    }
}

/// A snapshot that is on the log from its first to its last record.
#[derive(Debug, Clone)]
pub struct WholeSnapshot {
    /// The head that it names.
    pub head: Head,
    /// What its rows sum up to; to be trusted, they must do so to the head's state hash.
    pub state_hash: String,
    /// Its records lie within these offsets.
    offsets: RangeInclusive<Offset>,
}

/// One of which the last record was not found yet.
struct Partial {
    snapshot: WholeSnapshot,
    hash: StateHash,
    pieces: i32,
    found: i32,
}

/// All whole snapshots of a shard, as they stand on the log.
pub fn whole_snapshots(log: &Arc<dyn Log>, cluster: &Cluster, of: (&str, u32)) -> Result<Vec<WholeSnapshot>, AcquireError> {
    let mut whole = Vec::new();
    SnapshotReader::new(cluster, of).follow(log, |snapshot| whole.push(snapshot))?;
    Ok(whole)
}

/// Reads a shard's snapshots as they are written.
pub struct SnapshotReader {
    at: TopicPartition,
    /// Where reading goes on; none as long as there is no such topic: a cluster that was made before there were snapshots has none.
    next: Option<Offset>,
    /// By epoch and entry. One that a dead writer left behind stays: its head, and no rows.
    partial: BTreeMap<(i64, i64), Partial>,
}

impl SnapshotReader {
    /// From the first record on.
    pub fn new(cluster: &Cluster, (service, shard): (&str, u32)) -> Self {
        Self { at: snapshots_of(cluster, service, shard), next: None, partial: BTreeMap::new() }
    }

    /// Calls `whole` with each snapshot that has become whole since the last look. After an error it goes on behind what it has read.
    pub fn follow(&mut self, log: &Arc<dyn Log>, mut whole: impl FnMut(WholeSnapshot)) -> Result<(), AcquireError> {
        let refused = |source| AcquireError::Log { doing: "looking for snapshots", source };
        let from = match self.next {
            Some(next) => next,
            None if log.topic(&self.at.topic).map_err(refused)?.is_none() => return Ok(()),
            None => log.start_offset(&self.at).map_err(refused)?,
        };
        let end = log.end_offset(&self.at).map_err(refused)?;
        each_part(log, &self.at, from..=end - 1, |offset, record| {
            self.next = Some(offset + 1);
            take_part(&mut self.partial, offset, record).into_iter().for_each(&mut whole);
            Ok(())
        })?;
        self.next = Some(end.max(from));
        if planted(Bug::TornSnapshot) {
            std::mem::take(&mut self.partial).into_values().for_each(|found| whole(found.ends(end)));
        }
        Ok(())
    }
}

/// One more record; returns the snapshot that it completes, if it does.
fn take_part(partial: &mut BTreeMap<(i64, i64), Partial>, offset: Offset, record: SnapshotRecord) -> Option<WholeSnapshot> {
    let SnapshotRecord { epoch, seq, part } = record;
    let id = (epoch, seq);
    match part {
        SnapshotPart::Begins { head, pieces } => {
            let snapshot = WholeSnapshot { head, state_hash: String::new(), offsets: offset..=offset };
            partial.insert(id, Partial { snapshot, hash: StateHash::default(), pieces, found: 0 });
            None
        }
        SnapshotPart::Rows { number, rows } => {
            if let Some(found) = partial.get_mut(&id).filter(|found| found.found == number) {
                found.found += 1;
                rows.iter().for_each(|row| add(&mut found.hash, row.key.as_bytes(), row.value.as_bytes()));
            }
            None
        }
        SnapshotPart::Ends {} => partial.remove(&id).filter(|found| found.found == found.pieces).map(|found| found.ends(offset)),
    }
}

impl Partial {
    fn ends(self, offset: Offset) -> WholeSnapshot {
        let offsets = *self.snapshot.offsets.start()..=offset;
        WholeSnapshot { state_hash: self.hash.to_hex(), offsets, ..self.snapshot }
    }
}

/// Calls `row` with full key and value of each row of a snapshot, in order of their keys.
pub fn each_row(
    log: &Arc<dyn Log>,
    cluster: &Cluster,
    (service, shard): (&str, u32),
    snapshot: &WholeSnapshot,
    mut row: impl FnMut(&[u8], &[u8]) -> Result<(), String>,
) -> Result<(), AcquireError> {
    let at = snapshots_of(cluster, service, shard);
    let id = (snapshot.head.epoch, snapshot.head.last_seq);
    let mut expected = 0;
    each_part(log, &at, snapshot.offsets.clone(), |_, SnapshotRecord { epoch, seq, part }| match part {
        SnapshotPart::Rows { number, rows } if (epoch, seq) == id && number == expected => {
            expected += 1;
            rows.iter().try_for_each(|found| row(found.key.as_bytes(), found.value.as_bytes()))
        }
        _ => Ok(()),
    })
}

/// Calls `part` with each record of a range of offsets.
fn each_part(
    log: &Arc<dyn Log>,
    at: &TopicPartition,
    offsets: RangeInclusive<Offset>,
    mut part: impl FnMut(Offset, SnapshotRecord) -> Result<(), String>,
) -> Result<(), AcquireError> {
    each_record(log, at, *offsets.start(), offsets.end() + 1, |record| {
        let unreadable = |why: String| AcquireError::Unreadable { topic: at.topic.to_string(), offset: record.offset, why };
        let Some(value) = &record.value else { return Ok(()) };
        let found = SNAPSHOT.decode(value.as_bytes()).map_err(|e| unreadable(e.to_string()))?;
        part(record.offset, found).map_err(unreadable)
    })
}
