//! Re-derives every decision of a journal from the recorded inputs, and compares.
//!
//! Four things are proved for each entry: it follows the one before (seq, epoch, time, hash chain), nothing was left out between
//! their inputs (positions join), the same input leads to the same decisions, and at the end the rows sum up to the head's state
//! hash; at snapshots (§9.6) to theirs. A range is verified from a snapshot on. Reading and hashing go on ahead of re-deriving on a thread of their own.

mod joins;
mod snapshots;

use crate::AuditError;
use crate::entries::{Place, journal_of};
use joins::Joins;
use orrery_allocator::Allocator;
use orrery_log::{Log, TopicPartition, pieces};
use orrery_model::codec::{Codec, HEADER_LEN, read_long};
use orrery_model::decider::{Decider, Fact};
use orrery_model::journal::{Entry, Observation};
use orrery_model::time::Timestamp;
use orrery_runtime::chain::{chained, is_chained};
use orrery_runtime::messages::Cluster;
use orrery_runtime::rows::{HEAD, HEAD_ROW, Head};
use orrery_runtime::snapshots::WholeSnapshot;
use orrery_runtime::statehash::StateHash;
use orrery_trigger::Trigger;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Batches that reading may be ahead.
const AHEAD: usize = 64;

/// What verifying a journal came to.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// `trigger` or `allocator`.
    pub service: &'static str,
    /// Shard.
    pub shard: u32,
    /// Entry of the snapshot behind which verifying began; 0: with the first entry.
    pub after: i64,
    /// Entries compared.
    pub entries: i64,
    /// Decisions compared.
    pub decisions: i64,
    /// Entries applied only, because their logic version is not compiled in.
    pub applied_only: i64,
    /// Where these are.
    pub unverified: Vec<Stretch>,
    /// Snapshots compared with the rows that were derived.
    pub snapshots: i64,
    /// First and last time.
    pub from: Option<Timestamp>,
    /// See `from`.
    pub to: Option<Timestamp>,
    /// What the state hash was compared with: `equal`, or why it could not be.
    pub state_hash: String,
    /// The first divergence, if there is one.
    pub divergence: Option<Divergence>,
}

/// Entries in a row that one version decided on which is not compiled in: applied, not verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stretch {
    /// First entry.
    pub from_seq: i64,
    /// Last entry.
    pub to_seq: i64,
    /// Version of the logic.
    pub logic_version: i32,
    /// Version of the time zone database.
    pub tz_version: String,
}

/// The first place where recorded and derived part.
#[derive(Debug, Clone, Serialize)]
pub struct Divergence {
    /// Where, see [`Place`].
    pub place: String,
    /// Entry number.
    pub seq: i64,
    /// What does not agree, in words.
    pub what: String,
    /// As recorded.
    pub recorded: serde_json::Value,
    /// As derived here.
    pub derived: serde_json::Value,
}

/// An entry's place in its journal; most of them are never named.
#[derive(Clone, Copy)]
struct At {
    offset: i64,
    item: usize,
}

impl At {
    fn named<D: Decider>(self, shard: u32) -> String {
        Place { service: D::SERVICE.into(), shard, offset: self.offset, item: self.item }.to_string()
    }
}

/// An entry with its place, after its chain was checked.
struct Checked<D: Decider> {
    place: At,
    entry: Entry<D::Input, D::Decision>,
    fault: Option<Divergence>,
}

/// Verifies one shard's whole journal as it is now.
pub fn verify<D: Decider>(log: &Arc<dyn Log>, cluster: &Cluster, shard: u32) -> Result<Report, AuditError> {
    verify_from::<D>(log, cluster, shard, 0)
}

/// Verifies a shard's journal from the newest whole snapshot at or before this entry on; from the first entry if there is none.
pub fn verify_from<D: Decider>(log: &Arc<dyn Log>, cluster: &Cluster, shard: u32, seq: i64) -> Result<Report, AuditError> {
    let journal = journal_of(cluster, D::SERVICE, shard);
    let head = last_head(log, &TopicPartition::new(&cluster.topic(&format!("{}.changelog", D::SERVICE)), shard))?;
    let mut deriver = Deriver::<D>::new(shard, head.as_ref(), snapshots::find::<D>(log, cluster, shard)?);
    let mut begin = None;
    while let Some(snapshot) = deriver.snapshots.pop_front_if(|snapshot| snapshot.head.last_seq <= seq) {
        begin = Some(snapshot);
    }
    let mut previous = None;
    let mut from = log.start_offset(&journal).map_err(|source| AuditError::Log { topic: journal.topic.to_string(), source })?;
    if let Some(snapshot) = &begin {
        previous = Some(deriver.begin_at(log, cluster, snapshot)?);
        from = snapshots::offset_behind::<D>(log, &journal, snapshot.head.last_seq)?;
    }
    if deriver.report.divergence.is_some() {
        return Ok(deriver.report);
    }
    let (batches, checked) = sync_channel::<Result<Vec<Checked<D>>, AuditError>>(AHEAD);
    std::thread::scope(|scope| {
        scope.spawn(|| read_and_check::<D>(log, &journal, (from, previous), batches));
        derive(checked, deriver)
    })
}

/// Verifies all journals of a cluster side by side, or those of one service, as [`verify_from`] does each.
pub fn verify_all(log: &Arc<dyn Log>, cluster: &Cluster, service: Option<&str>, seq: i64) -> Result<Vec<Report>, AuditError> {
    let wanted = |name: &str| service.is_none_or(|service| service == name);
    let shards = |name: &str, count: u32| 0..if wanted(name) { count } else { 0 };
    std::thread::scope(|scope| {
        let triggers =
            shards(Trigger::SERVICE, cluster.trigger_shards).map(|n| scope.spawn(move || verify_from::<Trigger>(log, cluster, n, seq)));
        let cells = shards(Allocator::SERVICE, cluster.cells).map(|n| scope.spawn(move || verify_from::<Allocator>(log, cluster, n, seq)));
        let threads: Vec<_> = triggers.chain(cells).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// Reads the journal and checks what needs no state: continuity and chain.
fn read_and_check<D: Decider>(
    log: &Arc<dyn Log>,
    journal: &TopicPartition,
    (from, mut previous): (i64, Option<Link>),
    batches: SyncSender<Result<Vec<Checked<D>>, AuditError>>,
) {
    let items = D::journal().items().expect("a journal record is a list of entries");
    let mut fallible = || -> Result<(), AuditError> {
        let refused = |source| AuditError::Log { topic: journal.topic.to_string(), source };
        let end = log.end_offset(journal).map_err(refused)?;
        for piece in pieces(&**log, journal, from, end) {
            for record in piece.map_err(refused)? {
                let Some(value) = &record.value else { continue };
                let read = read_batch::<D>(&items, &mut previous, (journal.partition, record.offset), value.as_bytes());
                let checked =
                    read.map_err(|why| AuditError::Unreadable { topic: journal.topic.to_string(), offset: record.offset, why })?;
                if batches.send(Ok(checked)).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    };
    if let Err(error) = fallible() {
        let _receiver_gone = batches.send(Err(error));
    }
}

/// Reads a record's entries one by one, so that each can be checked as the bytes that it was written as.
fn read_batch<D: Decider>(
    items: &Codec<Entry<D::Input, D::Decision>>,
    previous: &mut Option<Link>,
    (shard, offset): (u32, i64),
    value: &[u8],
) -> Result<Vec<Checked<D>>, String> {
    let Some((header, mut rest)) = value.split_first_chunk::<HEADER_LEN>() else { return Err("it is too short".into()) };
    let count = read_long(&mut rest).filter(|count| *count >= 0);
    let Some(count) = count.filter(|_| D::journal().wrote(header)) else {
        // Another schema, or a list written in another way: read as a whole, or refused with the reason.
        let batch = D::journal().decode(value).map_err(|e| e.to_string())?;
        let check = |(item, entry)| check_link::<D>(previous, shard, At { offset, item }, entry, None);
        return Ok(batch.entries.into_iter().enumerate().map(check).collect());
    };
    let mut checked = Vec::new();
    for item in 0..count as usize {
        let before = rest;
        let entry = items.read_datum(&mut rest).map_err(|e| e.to_string())?;
        let written = Some((header, &before[..before.len() - rest.len()]));
        checked.push(check_link::<D>(previous, shard, At { offset, item }, entry, written));
    }
    if rest == [0] || (count == 0 && rest.is_empty()) { Ok(checked) } else { Err("something is left over behind its entries".into()) }
}

/// What the next entry must follow.
#[derive(Default)]
struct Link {
    lineage: String,
    epoch: i64,
    seq: i64,
    at: Timestamp,
    chain: String,
}

impl Link {
    fn move_to<I: Fact, D: Fact>(&mut self, entry: &Entry<I, D>) {
        self.lineage.clone_from(&entry.lineage);
        self.chain.clone_from(&entry.chain);
        (self.epoch, self.seq, self.at) = (entry.epoch, entry.seq, entry.at);
    }
}

fn check_link<D: Decider>(
    previous: &mut Option<Link>,
    shard: u32,
    place: At,
    entry: Entry<D::Input, D::Decision>,
    written: Option<(&[u8; HEADER_LEN], &[u8])>,
) -> Checked<D> {
    let before = previous.as_ref().map_or("", |link| &link.chain);
    let is_proved = written.is_some_and(|(header, bytes)| is_chained(header, before, bytes));
    let recorded = if is_proved { None } else { Some(entry.chain.clone()) };
    let entry = if is_proved { entry } else { chained(D::journal(), before, entry) };
    let fault = |what: &str, recorded: serde_json::Value, derived: serde_json::Value| {
        Some(Divergence { place: place.named::<D>(shard), seq: entry.seq, what: what.into(), recorded, derived })
    };
    let wrong = match previous {
        None if entry.seq != 1 => fault("the journal does not begin with entry 1", entry.seq.into(), 1.into()),
        Some(link) if link.lineage != entry.lineage => fault("another lineage", entry.lineage.clone().into(), link.lineage.clone().into()),
        Some(link) if link.seq + 1 != entry.seq => fault("entries are missing or repeated", entry.seq.into(), (link.seq + 1).into()),
        Some(link) if link.epoch > entry.epoch => fault("an older owner wrote later", entry.epoch.into(), link.epoch.into()),
        Some(link) if link.at > entry.at => fault("time went back", entry.at.to_string().into(), link.at.to_string().into()),
        _ => recorded.filter(|recorded| *recorded != entry.chain).and_then(|recorded| {
            fault("the hash chain is broken: this entry or the one before was altered", recorded.into(), entry.chain.clone().into())
        }),
    };
    previous.get_or_insert_default().move_to(&entry);
    Checked { place, entry, fault: wrong }
}

/// Re-derives the decisions, entry by entry, up to the first divergence. It owns its end of the channel: a reader that is ahead must
/// not wait for somebody who takes no more.
fn derive<D: Decider>(batches: Receiver<Result<Vec<Checked<D>>, AuditError>>, mut deriver: Deriver<'_, D>) -> Result<Report, AuditError> {
    while let Ok(batch) = batches.recv() {
        for checked in batch? {
            deriver.report.divergence = deriver.entry(checked);
            if deriver.report.divergence.is_some() {
                return Ok(deriver.report);
            }
        }
    }
    deriver.check_end();
    Ok(deriver.report)
}

struct Deriver<'h, D: Decider> {
    decider: D,
    joins: Joins,
    hash: StateHash,
    decisions: Vec<D::Decision>,
    head: Option<&'h Head>,
    /// Those that are still to be compared.
    snapshots: VecDeque<WholeSnapshot>,
    report: Report,
}

impl<'h, D: Decider> Deriver<'h, D> {
    fn new(shard: u32, head: Option<&'h Head>, snapshots: VecDeque<WholeSnapshot>) -> Self {
        let report = Report {
            service: D::SERVICE,
            shard,
            after: 0,
            entries: 0,
            decisions: 0,
            applied_only: 0,
            unverified: Vec::new(),
            snapshots: 0,
            from: None,
            to: None,
            state_hash: "not compared: the journal has no entry that the changelog's head names".into(),
            divergence: None,
        };
        let (decider, joins, hash) = (D::default(), Joins::default(), StateHash::default());
        Self { decider, joins, hash, decisions: Vec::new(), head, snapshots, report }
    }

    fn entry(&mut self, checked: Checked<D>) -> Option<Divergence> {
        let Checked { place, entry, fault } = checked;
        self.report.from = self.report.from.or(Some(entry.at));
        self.report.to = Some(entry.at);
        let shard = self.report.shard;
        let at =
            |what: String, recorded, derived| Some(Divergence { place: place.named::<D>(shard), seq: entry.seq, what, recorded, derived });
        if fault.is_some() {
            return fault;
        }
        let joined = self.joins.follow(&entry.source, &entry.dropped, D::observation(&entry.input));
        let joined = joined.and_then(|()| D::read_positions(&entry.input).iter().try_for_each(|read| self.joins.stands(read)));
        if let Err((what, recorded, derived)) = joined {
            return at(what, recorded, derived);
        }
        entry.decisions.iter().filter_map(D::begins).for_each(|start| self.joins.begin(start));
        self.report.entries += 1;
        self.report.decisions += entry.decisions.len() as i64;
        if !D::LOGIC_VERSIONS.contains(&entry.logic_version) || entry.tz_version != D::tz_version() {
            self.apply_only(&entry);
            return self.compare_rows(place, &entry);
        }
        if let Some(Observation::LogicSwitched { hash_before, .. }) = D::observation(&entry.input) {
            let derived = self.hash_now();
            if *hash_before != derived {
                let what = "the rows do not sum up to the state hash at which the logic version was raised".to_owned();
                return at(what, hash_before.clone().into(), derived.into());
            }
        }
        self.decider.decide_by(entry.logic_version);
        self.decisions.clear();
        self.decider.handle(entry.at, &entry.input, &mut self.decisions);
        if self.decisions == entry.decisions {
            return self.compare_rows(place, &entry);
        }
        let json = |decisions: &[D::Decision]| serde_json::to_value(decisions).expect("decisions have only text keys");
        at("the input leads to other decisions".into(), json(&entry.decisions), json(&self.decisions))
    }

    fn apply_only(&mut self, entry: &Entry<D::Input, D::Decision>) {
        self.report.applied_only += 1;
        entry.decisions.iter().for_each(|decision| self.decider.apply(entry.at, decision));
        let (seq, version, tz) = (entry.seq, entry.logic_version, &entry.tz_version);
        let last = self.report.unverified.last_mut();
        match last.filter(|last| last.to_seq + 1 == seq && last.logic_version == version && last.tz_version == *tz) {
            Some(last) => last.to_seq = seq,
            None => {
                let (logic_version, tz_version) = (version, tz.clone());
                self.report.unverified.push(Stretch { from_seq: seq, to_seq: seq, logic_version, tz_version });
            }
        }
    }

    /// The state hash of what was derived so far.
    fn hash_now(&mut self) -> String {
        let mut changes = Vec::new();
        self.decider.take_changes(&mut changes);
        changes.iter().for_each(|change| self.hash.follow(change));
        self.hash.to_hex()
    }

    /// What the changelog says was committed must be in the journal.
    fn check_end(&mut self) {
        let last = self.report.after + self.report.entries;
        self.check_last_snapshot(last);
        if let Some(head) = self.head.filter(|head| head.last_seq > last) {
            let what = "the journal ends before the entry that the changelog's head names: entries are missing".to_owned();
            let (recorded, derived) = (head.last_seq.into(), last.into());
            self.report.divergence = Some(Divergence { place: "the end".into(), seq: last, what, recorded, derived });
        }
    }

    /// The rows behind an entry are what the changelog's head and snapshots say.
    fn compare_rows(&mut self, place: At, entry: &Entry<D::Input, D::Decision>) -> Option<Divergence> {
        if self.head.is_some_and(|head| head.last_seq == entry.seq) {
            self.compare_head(place.named::<D>(self.report.shard));
        }
        let diverged = self.report.divergence.take();
        diverged.or_else(|| self.compare_snapshots(entry))
    }

    fn compare_head(&mut self, place: String) {
        let (Some(head), derived) = (self.head, self.hash_now()) else { return };
        if derived == head.state_hash {
            self.report.state_hash = "equal".into();
        } else {
            let what = "the rows do not sum up to the state hash of the changelog's head".to_owned();
            let (recorded, derived) = (head.state_hash.clone().into(), derived.into());
            self.report.divergence = Some(Divergence { place, seq: head.last_seq, what, recorded, derived });
        }
    }
}

/// The changelog's last head: what the rows are to sum up to.
fn last_head(log: &Arc<dyn Log>, changelog: &TopicPartition) -> Result<Option<Head>, AuditError> {
    let refused = |source| AuditError::Log { topic: changelog.topic.to_string(), source };
    let (start, end) = (log.start_offset(changelog).map_err(refused)?, log.end_offset(changelog).map_err(refused)?);
    let mut found = None;
    for piece in pieces(&**log, changelog, start, end) {
        for record in piece.map_err(refused)? {
            if let (Some(key), Some(value)) = (&record.key, &record.value)
                && key.as_bytes() == [HEAD]
            {
                let unreadable = |e: orrery_model::codec::CodecError| AuditError::Unreadable {
                    topic: changelog.topic.to_string(),
                    offset: record.offset,
                    why: e.to_string(),
                };
                found = Some(HEAD_ROW.decode(value.as_bytes()).map_err(unreadable)?);
            }
        }
    }
    Ok(found)
}
