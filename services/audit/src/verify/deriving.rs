//! Deriving decisions again, entry by entry, and comparing what they lead to with heads, snapshots and anchors.

use super::joins::Joins;
use super::link::{At, Link, check_link};
use super::snapshots::Snapshots;
use super::{Divergence, Report, Stretch};
use crate::anchors::Anchor;
use crate::batch::each_written;
use orrery_model::decider::Decider;
use orrery_model::journal::{Entry, Observation};
use orrery_runtime::rows::Head;
use orrery_runtime::snapshots::SnapshotSetting;
use orrery_runtime::statehash::StateHash;
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// Rows that changed are followed at least this often: they are many, and each is looked for when it changes.
const FOLLOWED_EVERY: i64 = 10_000;

pub(super) struct Deriver<D: Decider> {
    pub decider: D,
    pub joins: Joins,
    pub hash: StateHash,
    decisions: Vec<D::Decision>,
    /// The changelog's last head: what the rows are to sum up to.
    pub head: Option<Head>,
    pub snapshots: Snapshots,
    /// Those that are still to be compared.
    pub anchors: VecDeque<Anchor>,
    /// The last entry that stands as an anchor says.
    pub anchored: Option<i64>,
    pub report: Report,
}

impl<D: Decider> Deriver<D> {
    pub(super) fn new(shard: u32, setting: SnapshotSetting) -> Self {
        let report = Report {
            service: D::SERVICE,
            shard,
            after: 0,
            entries: 0,
            decisions: 0,
            applied_only: 0,
            unverified: Vec::new(),
            snapshots: 0,
            anchors: 0,
            anchors_before: 0,
            from: None,
            to: None,
            state_hash: "not compared: the journal has no entry that the changelog's head names".into(),
            divergence: None,
        };
        Self {
            decider: D::default(),
            joins: Joins::default(),
            hash: StateHash::default(),
            decisions: Vec::new(),
            head: None,
            snapshots: Snapshots::new(setting),
            anchors: VecDeque::new(),
            anchored: None,
            report,
        }
    }

    /// Derives the entries of one record of the journal again, up to the first divergence; `previous` is the entry before.
    pub(super) fn record(&mut self, (offset, value): (i64, &[u8]), previous: &mut Option<Link>) -> Result<(), String> {
        let read = each_written::<D, _>(value, |item, entry, written| {
            let place = At { offset, item };
            let fault = check_link::<D>(previous.as_ref(), (self.report.shard, place), &entry, written);
            previous.get_or_insert_default().move_to(&entry);
            self.report.divergence = self.entry(place, &entry, fault);
            if self.report.divergence.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if read.is_continue() {
            self.remember();
        }
        Ok(())
    }

    fn entry(&mut self, place: At, entry: &Entry<D::Input, D::Decision>, fault: Option<Divergence>) -> Option<Divergence> {
        self.report.from = self.report.from.or(Some(entry.at));
        self.report.to = Some(entry.at);
        let shard = self.report.shard;
        let at =
            |what: String, recorded, derived| Some(Divergence { place: place.named::<D>(shard), seq: entry.seq, what, recorded, derived });
        if fault.is_some() {
            return fault;
        }
        if let Some(anchored) = self.compare_anchors(place, entry) {
            return Some(anchored);
        }
        let joined = self.joins.follow(&entry.source, &entry.dropped, D::observation(&entry.input));
        let joined = joined.and_then(|()| D::read_positions(&entry.input).iter().try_for_each(|read| self.joins.stands(read)));
        if let Err((what, recorded, derived)) = joined {
            return at(what, recorded, derived);
        }
        entry.decisions.iter().filter_map(D::begins).for_each(|start| self.joins.begin(start));
        self.report.entries += 1;
        if self.report.entries % FOLLOWED_EVERY == 0 {
            self.follow_changes();
        }
        self.report.decisions += entry.decisions.len() as i64;
        if !D::LOGIC_VERSIONS.contains(&entry.logic_version) || entry.tz_version != D::tz_version() {
            self.apply_only(entry);
            return self.compare_rows(place, entry);
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
            return self.compare_rows(place, entry);
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
    pub(super) fn hash_now(&mut self) -> String {
        self.follow_changes();
        self.hash.to_hex()
    }

    fn follow_changes(&mut self) {
        let mut changes = Vec::new();
        self.decider.take_changes(&mut changes);
        changes.iter().for_each(|change| self.hash.follow(change));
    }

    /// Number of the last entry that was derived.
    pub(super) const fn last_seq(&self) -> i64 {
        self.report.after + self.report.entries
    }

    /// What snapshots and anchors name must be in the journal.
    pub(super) fn check_begun(&mut self) {
        let last = self.last_seq();
        self.check_last_snapshot(last);
        self.check_last_anchor(last);
    }

    /// A journal that grows does not become shorter.
    pub(super) fn ends_early(&mut self, read: i64, end: i64) {
        let what = "the journal ends before what was read of it: it was cut off, or made anew".to_owned();
        let (recorded, derived) = (end.into(), read.into());
        self.report.divergence = Some(Divergence { place: "the end".into(), seq: self.last_seq(), what, recorded, derived });
    }

    /// So must what the head names.
    pub(super) fn check_end(&mut self) {
        let last = self.last_seq();
        self.check_begun();
        if let Some(head) = self.head.as_ref().filter(|head| head.last_seq > last) {
            let what = "the journal ends before the entry that the changelog's head names: entries are missing".to_owned();
            let (recorded, derived) = (head.last_seq.into(), last.into());
            self.report.divergence = Some(Divergence { place: "the end".into(), seq: last, what, recorded, derived });
        }
    }

    /// The rows behind an entry are what the changelog's head and snapshots say.
    fn compare_rows(&mut self, place: At, entry: &Entry<D::Input, D::Decision>) -> Option<Divergence> {
        if self.head.as_ref().is_some_and(|head| head.last_seq == entry.seq) {
            self.compare_head(place.named::<D>(self.report.shard));
        }
        self.await_snapshot(entry);
        let diverged = self.report.divergence.take();
        diverged.or_else(|| self.compare_snapshots(entry))
    }

    /// A head that names the entry that was derived last.
    pub(super) fn compare_head_if_there(&mut self, last: i64) {
        if last > 0 && self.head.as_ref().is_some_and(|head| head.last_seq == last) {
            self.compare_head("the last entry".into());
        }
    }

    pub(super) fn compare_head(&mut self, place: String) {
        let derived = self.hash_now();
        let Some(head) = &self.head else { return };
        if derived == head.state_hash {
            self.report.state_hash = "equal".into();
        } else {
            let what = "the rows do not sum up to the state hash of the changelog's head".to_owned();
            let (recorded, derived) = (head.state_hash.clone().into(), derived.into());
            self.report.divergence = Some(Divergence { place, seq: head.last_seq, what, recorded, derived });
        }
    }
}
