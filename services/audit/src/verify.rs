//! Re-derives every decision of a journal from the recorded inputs, and compares.
//!
//! Four things are proved for each entry: it follows the one before (seq, epoch, time, hash chain), nothing was left out between
//! their inputs (positions join), the same input leads to the same decisions, and at the end the rows sum up to the head's state
//! hash; at snapshots (§9.6) to theirs. Signed anchors prove besides that nobody wrote the whole journal again, nor cut off its
//! end. A range is verified from a snapshot on. A [`Verifier`] goes on where it stands as journal and snapshots grow.

mod anchored;
mod deriving;
mod joins;
mod link;
mod snapshots;

use crate::AuditError;
use crate::anchors::{Anchor, SigningKey};
use crate::entries::journal_of;
use deriving::Deriver;
use link::Link;
use orrery_allocator::Allocator;
use orrery_log::{Log, TopicPartition, pieces};
use orrery_model::decider::Decider;
use orrery_model::time::Timestamp;
use orrery_runtime::messages::Cluster;
use orrery_runtime::rows::{HEAD, HEAD_ROW, Head};
use orrery_runtime::snapshots::SnapshotReader;
use orrery_trigger::Trigger;
use serde::Serialize;
pub(crate) use snapshots::{load_newest, offset_behind};
use std::sync::Arc;

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
    /// Anchors whose entries stand as they were signed.
    pub anchors: i64,
    /// Anchors of entries before the snapshot with which verifying began: nothing is said of them.
    pub anchors_before: i64,
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
    /// Where, see [`crate::Place`].
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

/// Where verifying begins, and what is known from elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Begin {
    /// The newest whole snapshot at or before this entry is where it begins; 0 is the first entry.
    pub seq: i64,
    /// Anchors, of whichever journals.
    pub anchors: Vec<Anchor>,
}

/// Verifies one shard's whole journal as it is now.
pub fn verify<D: Decider>(log: &Arc<dyn Log>, cluster: &Cluster, shard: u32) -> Result<Report, AuditError> {
    verify_from::<D>(log, cluster, shard, &Begin::default())
}

/// Verifies a shard's journal as it is now, from a snapshot on if one is early enough.
pub fn verify_from<D: Decider>(log: &Arc<dyn Log>, cluster: &Cluster, shard: u32, begin: &Begin) -> Result<Report, AuditError> {
    let mut verifier = Verifier::<D>::begin(log, cluster, shard, begin)?;
    verifier.advance(i64::MAX)?;
    verifier.check_end();
    Ok(verifier.deriver.report)
}

/// Begins with all journals of a cluster, or those of one service.
pub fn verifiers(log: &Arc<dyn Log>, cluster: &Cluster, service: Option<&str>, begin: &Begin) -> Result<Vec<Box<dyn Verify>>, AuditError> {
    let shards = |name: &str, count: u32| 0..if service.is_none_or(|service| service == name) { count } else { 0 };
    let mut all: Vec<Box<dyn Verify>> = Vec::new();
    for shard in shards(Trigger::SERVICE, cluster.trigger_shards) {
        all.push(Box::new(Verifier::<Trigger>::begin(log, cluster, shard, begin)?));
    }
    for cell in shards(Allocator::SERVICE, cluster.cells) {
        all.push(Box::new(Verifier::<Allocator>::begin(log, cluster, cell, begin)?));
    }
    Ok(all)
}

/// Goes on with all of them side by side, each by so many offsets; what each came to, in their order.
pub fn advance_all<'a>(all: impl Iterator<Item = &'a mut Box<dyn Verify>>, offsets: i64) -> Vec<Result<(), AuditError>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = all.map(|verifier| scope.spawn(move || verifier.advance(offsets))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// Verifies all journals of a cluster side by side, or those of one service, as [`verify_from`] does each.
pub fn verify_all(log: &Arc<dyn Log>, cluster: &Cluster, service: Option<&str>, begin: &Begin) -> Result<Vec<Report>, AuditError> {
    Ok(verified(log, cluster, service, begin)?.iter().map(|verifier| verifier.report().clone()).collect())
}

/// The same, for those who want more of them than a report.
pub fn verified(log: &Arc<dyn Log>, cluster: &Cluster, service: Option<&str>, begin: &Begin) -> Result<Vec<Box<dyn Verify>>, AuditError> {
    let mut all = verifiers(log, cluster, service, begin)?;
    advance_all(all.iter_mut(), i64::MAX).into_iter().collect::<Result<(), _>>()?;
    all.iter_mut().for_each(|verifier| verifier.check_end());
    Ok(all)
}

/// A journal of either service that is being verified.
pub trait Verify: Send {
    /// Verifies what the journal has by now, up to the first divergence, but no more than so many offsets.
    fn advance(&mut self, offsets: i64) -> Result<(), AuditError>;
    /// True if the last look has left nothing unread.
    fn is_at_end(&self) -> bool;
    /// What it came to so far.
    fn report(&self) -> &Report;
    /// Number of the last verified entry.
    fn last_seq(&self) -> i64;
    /// Number of the last committed entry, by the changelog as it was last looked at.
    fn committed_seq(&self) -> i64;
    /// The journal was read to its end: snapshots and anchors that were known when it began must be there.
    fn check_begun(&mut self);
    /// The journal is not to grow: what heads, snapshots and anchors name must be there.
    fn check_end(&mut self);
    /// Signs the last verified entry; none if there is none, or the journal has diverged.
    fn sign(&self, key: &SigningKey) -> Option<Anchor>;
}

/// One journal, and how far it is verified.
pub struct Verifier<D: Decider> {
    log: Arc<dyn Log>,
    cluster: Cluster,
    journal: TopicPartition,
    changelog: TopicPartition,
    snapshots: SnapshotReader,
    /// Where reading goes on in journal and changelog.
    next: i64,
    next_row: i64,
    /// The journal's end at the last look.
    end: i64,
    previous: Option<Link>,
    deriver: Deriver<D>,
}

impl<D: Decider> Verifier<D> {
    /// Begins with the first entry, or with a snapshot.
    pub fn begin(log: &Arc<dyn Log>, cluster: &Cluster, shard: u32, begin: &Begin) -> Result<Self, AuditError> {
        let journal = journal_of(cluster, D::SERVICE, shard);
        let changelog = TopicPartition::new(&cluster.topic(&format!("{}.changelog", D::SERVICE)), shard);
        let start = |at: &TopicPartition| log.start_offset(at).map_err(AuditError::of_log(at));
        let (next, next_row) = (start(&journal)?, start(&changelog)?);
        let mut verifier = Self {
            log: log.clone(),
            cluster: cluster.clone(),
            journal,
            changelog,
            snapshots: SnapshotReader::new(cluster, (D::SERVICE, shard)),
            next,
            next_row,
            end: next,
            previous: None,
            deriver: Deriver::new(shard, cluster.snapshots),
        };
        verifier.follow_snapshots()?;
        verifier.deriver.snapshots.must_be_there();
        verifier.follow_head()?;
        verifier.begin_at_snapshot(begin.seq)?;
        let after = verifier.deriver.report.after;
        let mine = begin.anchors.iter().filter(|anchor| anchor.is_of(&cluster.prefix, D::SERVICE, shard));
        let (early, expected): (Vec<&Anchor>, Vec<&Anchor>) = mine.partition(|anchor| anchor.seq <= after);
        verifier.deriver.report.anchors_before = early.len() as i64;
        verifier.deriver.expect_anchors(expected.into_iter().cloned());
        Ok(verifier)
    }

    fn begin_at_snapshot(&mut self, seq: i64) -> Result<(), AuditError> {
        let mut begin = None;
        while let Some(snapshot) = self.deriver.snapshots.next_up_to(seq) {
            begin = Some(snapshot);
        }
        let Some(snapshot) = begin else { return Ok(()) };
        self.previous = Some(self.deriver.begin_at(&self.log, &self.cluster, &snapshot)?);
        self.next = snapshots::offset_behind::<D>(&self.log, &self.journal, snapshot.head.last_seq)?;
        Ok(())
    }

    /// The changelog's last head by now: what the rows are to sum up to.
    fn follow_head(&mut self) -> Result<(), AuditError> {
        let refused = AuditError::of_log(&self.changelog);
        let end = self.log.end_offset(&self.changelog).map_err(refused)?;
        let mut last = None;
        for piece in pieces(&*self.log, &self.changelog, self.next_row, end) {
            let is_head = |record: &orrery_model::record::Record| record.key.as_ref().is_some_and(|key| key.as_bytes() == [HEAD]);
            last = piece.map_err(refused)?.into_iter().rfind(is_head).or(last);
        }
        self.next_row = end;
        if let Some(record) = last
            && let Some(value) = &record.value
        {
            let head = HEAD_ROW.decode(value.as_bytes());
            self.deriver.head = Some(head.map_err(|e| AuditError::unreadable(&self.changelog, record.offset, e))?);
        }
        Ok(())
    }
}

impl<D: Decider> Verify for Verifier<D> {
    fn advance(&mut self, offsets: i64) -> Result<(), AuditError> {
        if self.deriver.report.divergence.is_some() {
            return Ok(());
        }
        // The head and the snapshots first: the journal then has every entry that they name.
        self.follow_head()?;
        self.follow_snapshots()?;
        self.deriver.compare_head_if_there(self.last_seq());
        self.end = self.log.end_offset(&self.journal).map_err(AuditError::of_log(&self.journal))?;
        if self.end < self.next {
            self.deriver.ends_early(self.next, self.end);
        }
        if self.next >= self.end || self.deriver.report.divergence.is_some() {
            return Ok(());
        }
        let end = self.end.min(self.next.saturating_add(offsets));
        for piece in pieces(&*self.log, &self.journal, self.next, end) {
            for record in piece.map_err(AuditError::of_log(&self.journal))? {
                let Some(value) = &record.value else { continue };
                let derived = self.deriver.record((record.offset, value.as_bytes()), &mut self.previous);
                derived.map_err(|why| AuditError::unreadable(&self.journal, record.offset, why))?;
                if self.deriver.report.divergence.is_some() {
                    return Ok(());
                }
                self.next = record.offset + 1;
            }
        }
        self.next = end;
        Ok(())
    }

    fn is_at_end(&self) -> bool {
        self.next >= self.end || self.deriver.report.divergence.is_some()
    }

    fn report(&self) -> &Report {
        &self.deriver.report
    }

    fn last_seq(&self) -> i64 {
        self.deriver.last_seq()
    }

    fn committed_seq(&self) -> i64 {
        self.deriver.head.as_ref().map_or(0, |head: &Head| head.last_seq)
    }

    fn check_begun(&mut self) {
        if self.deriver.report.divergence.is_none() {
            self.deriver.check_begun();
        }
    }

    fn check_end(&mut self) {
        if self.deriver.report.divergence.is_none() {
            self.deriver.check_end();
        }
    }

    fn sign(&self, key: &SigningKey) -> Option<Anchor> {
        let link = self.previous.as_ref().filter(|_| self.deriver.report.divergence.is_none())?;
        Some(key.sign(Anchor {
            prefix: self.cluster.prefix.clone(),
            service: D::SERVICE.into(),
            shard: self.journal.partition,
            lineage: link.lineage.clone(),
            seq: link.seq,
            chain: link.chain.clone(),
            at: link.at,
            ..Anchor::default()
        }))
    }
}
