//! Snapshots: where verifying a range begins, and what is compared on the way (§9.6).

use super::Divergence;
use super::deriving::Deriver;
use super::reading::Link;
use crate::AuditError;
use orrery_log::{Log, TopicPartition};
use orrery_model::decider::Decider;
use orrery_model::journal::Entry;
use orrery_model::table::FIRST_DECIDER_TABLE;
use orrery_model::time::Timestamp;
use orrery_runtime::messages::Cluster;
use orrery_runtime::restore::AcquireError;
use orrery_runtime::rows::{POSITION_ROW, POSITIONS, read_position_key};
use orrery_runtime::snapshots::{WholeSnapshot, each_row, snapshots_of, whole_snapshots};
use std::collections::VecDeque;
use std::sync::Arc;

/// The whole snapshots of a shard, by their entries.
pub(super) fn find<D: Decider>(log: &Arc<dyn Log>, cluster: &Cluster, shard: u32) -> Result<VecDeque<WholeSnapshot>, AuditError> {
    let mut found = whole_snapshots(log, cluster, (D::SERVICE, shard)).map_err(|error| unread::<D>(cluster, shard, error))?;
    found.sort_by_key(|snapshot| (snapshot.head.last_seq, snapshot.head.epoch));
    Ok(found.into())
}

/// Offset of the first journal record behind an entry, by halves: offsets in snapshots are of the log that they were taken on.
pub(crate) fn offset_behind<D: Decider>(log: &Arc<dyn Log>, journal: &TopicPartition, seq: i64) -> Result<i64, AuditError> {
    let refused = AuditError::of_log(journal);
    let (mut from, mut to) = (log.start_offset(journal).map_err(refused)?, log.end_offset(journal).map_err(refused)?);
    while from < to {
        let middle = from + (to - from) / 2;
        let fetch = log.read(journal, middle, 1).map_err(refused)?;
        let Some(record) = fetch.records.first() else {
            to = middle;
            continue;
        };
        let value = record.value.as_ref().ok_or_else(|| AuditError::unreadable(journal, record.offset, "it has no value"))?;
        let batch = D::journal().decode(value.as_bytes()).map_err(|e| AuditError::unreadable(journal, record.offset, e))?;
        match batch.entries.first() {
            Some(entry) if entry.seq > seq => to = middle,
            _ => from = record.offset + 1,
        }
    }
    Ok(from)
}

/// Loads the newest whole snapshot that is wanted, by its last entry's number and time; returns that number. What does not sum up
/// is no snapshot.
pub(crate) fn load_newest<D: Decider>(
    log: &Arc<dyn Log>,
    cluster: &Cluster,
    shard: u32,
    wanted: &dyn Fn(i64, Timestamp) -> bool,
    into: &mut D,
) -> Result<Option<i64>, AuditError> {
    let all = find::<D>(log, cluster, shard)?;
    let sound = |snapshot: &&WholeSnapshot| snapshot.state_hash == snapshot.head.state_hash;
    let Some(snapshot) = all.iter().filter(sound).rfind(|snapshot| wanted(snapshot.head.last_seq, snapshot.head.at)) else {
        return Ok(None);
    };
    load(log, cluster, shard, snapshot, into, |_, _, _| Ok(()))?;
    Ok(Some(snapshot.head.last_seq))
}

/// Loads the decider's rows of a snapshot; `seen` is shown each row, those of the shell too: table, key, value.
fn load<D: Decider>(
    log: &Arc<dyn Log>,
    cluster: &Cluster,
    shard: u32,
    snapshot: &WholeSnapshot,
    into: &mut D,
    mut seen: impl FnMut(u8, &[u8], &[u8]) -> Result<(), String>,
) -> Result<(), AuditError> {
    each_row(log, cluster, (D::SERVICE, shard), snapshot, |key, value| {
        let Some((table, key)) = key.split_first() else { return Ok(()) };
        seen(*table, key, value)?;
        if *table >= FIRST_DECIDER_TABLE { into.load(*table, key, value).map_err(|e| e.to_string()) } else { Ok(()) }
    })
    .map_err(|error| unread::<D>(cluster, shard, error))?;
    into.loaded();
    Ok(())
}

impl<D: Decider> Deriver<D> {
    /// Takes a snapshot's rows for what the entries up to it lead to; returns what the next entry must follow. A snapshot that does
    /// not sum up is a divergence.
    pub(super) fn begin_at(&mut self, log: &Arc<dyn Log>, cluster: &Cluster, snapshot: &WholeSnapshot) -> Result<Link, AuditError> {
        let (shard, head) = (self.report.shard, &snapshot.head);
        load(log, cluster, shard, snapshot, &mut self.decider, |table, key, value| {
            if table >= FIRST_DECIDER_TABLE {
                self.hash.add(table, key, value);
            } else if table == POSITIONS {
                let (topic, partition) = read_position_key(key).ok_or("the key of a position cannot be read")?;
                let position = POSITION_ROW.decode(value).map_err(|e| e.to_string())?;
                self.joins.stands_at(topic, partition as i32, position.generation, position.offset);
            }
            Ok(())
        })?;
        self.report.after = head.last_seq;
        self.report.from = Some(head.at);
        let derived = self.hash.to_hex();
        if derived != head.state_hash {
            self.report.divergence = Some(differs(snapshot, "its rows do not sum up to its state hash", &head.state_hash, &derived));
        } else if self.head.as_ref().is_some_and(|last| last.last_seq == head.last_seq) {
            self.compare_head(format!("the snapshot at entry {}", head.last_seq));
        }
        let (lineage, chain) = (head.lineage.clone(), head.chain.clone());
        Ok(Link { lineage, epoch: head.epoch, seq: head.last_seq, at: head.at, chain })
    }

    /// Compares the snapshots that were taken at this entry, which was derived just now.
    pub(super) fn compare_snapshots(&mut self, entry: &Entry<D::Input, D::Decision>) -> Option<Divergence> {
        while let Some(snapshot) = self.snapshots.pop_front_if(|snapshot| snapshot.head.last_seq <= entry.seq) {
            let (head, derived) = (&snapshot.head, self.hash_now());
            self.report.snapshots += 1;
            let at = (head.at.to_string(), entry.at.to_string());
            let fields = [
                ("its rows are not what the entries lead to", &snapshot.state_hash, &derived),
                ("its head's state hash is not what the entries lead to", &head.state_hash, &derived),
                ("its hash chain is not the journal's", &head.chain, &entry.chain),
                ("its lineage is not the journal's", &head.lineage, &entry.lineage),
                ("its time is not the journal's", &at.0, &at.1),
            ];
            if let Some((what, recorded, derived)) = fields.into_iter().find(|(_, recorded, derived)| recorded != derived) {
                return Some(differs(&snapshot, what, recorded, derived));
            }
        }
        None
    }

    /// A snapshot of entries that the journal does not hold.
    pub(super) fn check_last_snapshot(&mut self, last: i64) {
        if let Some(snapshot) = self.snapshots.back() {
            let (what, last) = ("the journal ends before its entry: entries are missing", last.to_string());
            self.report.divergence = Some(differs(snapshot, what, &snapshot.head.last_seq.to_string(), &last));
        }
    }
}

fn differs(snapshot: &WholeSnapshot, what: &str, recorded: &str, derived: &str) -> Divergence {
    let seq = snapshot.head.last_seq;
    let place = format!("the snapshot of epoch {} at entry {seq}", snapshot.head.epoch);
    Divergence { place, seq, what: format!("the snapshot is wrong: {what}"), recorded: recorded.into(), derived: derived.into() }
}

fn unread<D: Decider>(cluster: &Cluster, shard: u32, error: AcquireError) -> AuditError {
    let topic = snapshots_of(cluster, D::SERVICE, shard).topic.to_string();
    match error {
        AcquireError::Log { source, .. } => AuditError::Log { topic, source },
        AcquireError::Unreadable { topic, offset, why } => AuditError::Unreadable { topic, offset, why },
        other => AuditError::Unreadable { topic, offset: 0, why: other.to_string() },
    }
}
