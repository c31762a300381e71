//! Anchors: entries that were signed must stand as they were.

use super::Divergence;
use super::deriving::Deriver;
use super::link::At;
use crate::anchors::Anchor;
use orrery_model::decider::Decider;
use orrery_model::journal::Entry;

impl<D: Decider> Deriver<D> {
    /// These are to be found.
    pub(super) fn expect_anchors(&mut self, anchors: impl Iterator<Item = Anchor>) {
        let mut anchors: Vec<Anchor> = anchors.collect();
        anchors.sort_by_key(|anchor| anchor.seq);
        self.anchors = anchors.into();
    }

    /// Compares the anchors of this entry.
    pub(super) fn compare_anchors(&mut self, place: At, entry: &Entry<D::Input, D::Decision>) -> Option<Divergence> {
        while let Some(anchor) = self.anchors.pop_front_if(|anchor| anchor.seq <= entry.seq) {
            if (&anchor.lineage, &anchor.chain) != (&entry.lineage, &entry.chain) {
                let since = self.anchored.map_or_else(String::new, |seq| format!(", behind entry {seq}, which is as it was signed"));
                let what = format!("this entry is not the one that was anchored: it, or one before it, was written again{since}");
                let place = place.named::<D>(self.report.shard);
                let (recorded, derived) = (anchor.chain.into(), entry.chain.clone().into());
                return Some(Divergence { place, seq: entry.seq, what, recorded, derived });
            }
            self.anchored = Some(anchor.seq);
            self.report.anchors += 1;
        }
        None
    }

    /// An anchor of an entry that the journal does not hold.
    pub(super) fn check_last_anchor(&mut self, last: i64) {
        if let Some(anchor) = self.anchors.back() {
            let what = "the journal ends before an entry that was anchored: its end was cut off".to_owned();
            let (recorded, derived) = (anchor.seq.into(), last.into());
            self.report.divergence = Some(Divergence { place: "the end".into(), seq: last, what, recorded, derived });
        }
    }
}
