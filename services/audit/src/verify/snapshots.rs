//! Snapshots: where verifying a range begins, and what is compared on the way (§9.6).
//!
//! One is whole some time after its entry was committed. Who verifies a journal of long ago finds it before its entry; who follows a
//! journal has derived the entry by then, and compares it with what was remembered there.

use super::deriving::Deriver;
use super::link::Link;
use super::{Divergence, Verifier};
use crate::AuditError;
use orrery_log::{Log, TopicPartition};
use orrery_model::decider::Decider;
use orrery_model::journal::{Entry, Observation};
use orrery_model::table::FIRST_DECIDER_TABLE;
use orrery_model::time::Timestamp;
use orrery_runtime::messages::Cluster;
use orrery_runtime::restore::AcquireError;
use orrery_runtime::rows::{POSITION_ROW, POSITIONS, read_position_key};
use orrery_runtime::snapshots::{SnapshotSetting, WholeSnapshot, each_row, snapshots_of, whole_snapshots};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

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
    let mut all = whole_snapshots(log, cluster, (D::SERVICE, shard)).map_err(|error| unread::<D>(cluster, shard, error))?;
    all.sort_by_key(order);
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

/// Snapshots stand by their entries; of one entry, by who took them.
const fn order(snapshot: &WholeSnapshot) -> (i64, i64) {
    (snapshot.head.last_seq, snapshot.head.epoch)
}

/// What is known of a journal's snapshots while it is verified.
pub(super) struct Snapshots {
    /// Says where they are taken.
    setting: SnapshotSetting,
    /// Found, and not compared yet; in their order.
    pending: VecDeque<WholeSnapshot>,
    /// What is wrong with one of another lineage than its entry, unless the journal goes on in that lineage: before and behind a
    /// salvage entries have the same numbers.
    of_other: Option<Divergence>,
    /// The last entry that one named when verifying began.
    named_at_begin: i64,
    /// Time of the last transaction behind which one was due.
    due: Option<Timestamp>,
    /// The last entry that was derived, if it has that time.
    may_be_last: Option<Link>,
    /// By its number, what each entry leads to that one may still be of.
    derived: BTreeMap<i64, Derived>,
}

impl Snapshots {
    pub(super) const fn new(setting: SnapshotSetting) -> Self {
        Self {
            setting,
            pending: VecDeque::new(),
            of_other: None,
            named_at_begin: 0,
            due: None,
            may_be_last: None,
            derived: BTreeMap::new(),
        }
    }

    /// The journal must hold the entries of all that were found by now.
    pub(super) fn must_be_there(&mut self) {
        self.named_at_begin = self.pending.back().map_or(0, |snapshot| snapshot.head.last_seq);
    }

    /// Takes out the next one that is to be compared, if it is of this entry or of one before.
    pub(super) fn next_up_to(&mut self, seq: i64) -> Option<WholeSnapshot> {
        self.pending.pop_front_if(|snapshot| snapshot.head.last_seq <= seq)
    }

    /// The last one that was there when verifying began, if it was not compared yet.
    fn last_of_begin(&self) -> Option<&WholeSnapshot> {
        self.pending.iter().rfind(|snapshot| snapshot.head.last_seq <= self.named_at_begin)
    }
}

/// What the entries up to one lead to; a snapshot that was taken there says the same.
pub(super) struct Derived {
    link: Link,
    state_hash: String,
}

impl Derived {
    fn compare(&self, snapshot: &WholeSnapshot) -> Option<Divergence> {
        let (head, Self { link, state_hash }) = (&snapshot.head, self);
        let at = (head.at.to_string(), link.at.to_string());
        let fields = [
            ("its lineage is not the journal's", &head.lineage, &link.lineage),
            ("its rows are not what the entries lead to", &snapshot.state_hash, state_hash),
            ("its head's state hash is not what the entries lead to", &head.state_hash, state_hash),
            ("its hash chain is not the journal's", &head.chain, &link.chain),
            ("its time is not the journal's", &at.0, &at.1),
        ];
        let (what, recorded, derived) = fields.into_iter().find(|(_, recorded, derived)| recorded != derived)?;
        Some(differs(snapshot, what, recorded, derived))
    }
}

impl<D: Decider> Verifier<D> {
    /// Takes the snapshots that have become whole since the last look.
    pub(super) fn follow_snapshots(&mut self) -> Result<(), AuditError> {
        let deriver = &mut self.deriver;
        let followed = self.snapshots.follow(&self.log, |snapshot| deriver.take_snapshot(snapshot));
        followed.map_err(|error| unread::<D>(&self.cluster, self.journal.partition, error))
    }
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

    /// One that was found: compared at once if its entry was derived before, else when that is.
    fn take_snapshot(&mut self, snapshot: WholeSnapshot) {
        let seq = snapshot.head.last_seq;
        if seq > self.last_seq() {
            let place = self.snapshots.pending.partition_point(|other| order(other) <= order(&snapshot));
            self.snapshots.pending.insert(place, snapshot);
        } else if let Some(derived) = self.snapshots.derived.get(&seq) {
            self.report.snapshots += 1;
            let diverged = derived.compare(&snapshot);
            self.report.divergence = self.report.divergence.take().or(diverged);
        } else if seq > self.report.after {
            // Of a member that takes them at other entries: another version, or nobody's.
            let (service, shard) = (D::SERVICE, self.report.shard);
            tracing::warn!(service, shard, seq, "a snapshot is of an entry at which none was due: only `orrery audit verify` compares it");
        }
    }

    /// Compares the snapshots that were taken at this entry, which was derived just now.
    pub(super) fn compare_snapshots(&mut self, entry: &Entry<D::Input, D::Decision>) -> Option<Divergence> {
        while let Some(snapshot) = self.snapshots.next_up_to(entry.seq) {
            let diverged = self.derived_at(Link::of(entry)).compare(&snapshot);
            if snapshot.head.lineage != entry.lineage {
                self.snapshots.of_other = self.snapshots.of_other.take().or(diverged);
                continue;
            }
            self.report.snapshots += 1;
            if diverged.is_some() {
                return diverged;
            }
        }
        None
    }

    /// Snapshots are taken behind transactions: of the last entry of one that holds an entry at which one is due. All entries of a
    /// transaction have its time, and no record of the journal holds those of two: so it is the last entry of a record, with the
    /// time of that entry.
    pub(super) fn await_snapshot(&mut self, entry: &Entry<D::Input, D::Decision>) {
        let is_switched = matches!(D::observation(&entry.input), Some(Observation::LogicSwitched { .. }));
        let snapshots = &mut self.snapshots;
        if is_switched || snapshots.setting.is_due_at(entry.seq) {
            snapshots.due = Some(entry.at);
        }
        snapshots.may_be_last = (snapshots.due == Some(entry.at)).then(|| Link::of(entry));
    }

    /// A record of the journal ends: what a snapshot of its last entry must say is remembered, if one may come. This is never
    /// forgotten: some 300 bytes for each million entries.
    pub(super) fn remember(&mut self) {
        if let Some(link) = self.snapshots.may_be_last.take() {
            let derived = self.derived_at(link);
            self.snapshots.derived.insert(derived.link.seq, derived);
        }
    }

    /// At the entry that was derived last.
    fn derived_at(&mut self, link: Link) -> Derived {
        Derived { link, state_hash: self.hash_now() }
    }

    /// A snapshot of a lineage, or of entries, that the journal does not hold. Those that came since verifying began may be ahead of what can be read
    /// of it: on Kafka a commit is seen in one partition before it is in another.
    pub(super) fn check_last_snapshot(&mut self, last: i64) {
        self.report.divergence = self.snapshots.of_other.take();
        if self.report.divergence.is_some() {
            return;
        }
        if let Some(snapshot) = self.snapshots.last_of_begin() {
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
