//! What can be checked of an entry without state: that it follows the one before, by number, owner, time and hash chain.

use super::Divergence;
use crate::batch::Written;
use crate::entries::Place;
use orrery_model::decider::{Decider, Fact};
use orrery_model::journal::Entry;
use orrery_model::time::Timestamp;
use orrery_runtime::chain::{chained, is_chained};

/// What the next entry must follow.
#[derive(Default)]
pub(super) struct Link {
    pub lineage: String,
    pub epoch: i64,
    pub seq: i64,
    pub at: Timestamp,
    pub chain: String,
}

impl Link {
    /// To this entry.
    pub(super) fn of<I: Fact, D: Fact>(entry: &Entry<I, D>) -> Self {
        let mut link = Self::default();
        link.move_to(entry);
        link
    }

    pub(super) fn move_to<I: Fact, D: Fact>(&mut self, entry: &Entry<I, D>) {
        self.lineage.clone_from(&entry.lineage);
        self.chain.clone_from(&entry.chain);
        (self.epoch, self.seq, self.at) = (entry.epoch, entry.seq, entry.at);
    }
}

/// What is wrong with an entry, seen from the one before; none before the first.
pub(super) fn check_link<D: Decider>(
    previous: Option<&Link>,
    (shard, place): (u32, At),
    entry: &Entry<D::Input, D::Decision>,
    written: Written<'_>,
) -> Option<Divergence> {
    let fault = |what: &str, recorded: serde_json::Value, derived: serde_json::Value| {
        Some(Divergence { place: place.named::<D>(shard), seq: entry.seq, what: what.into(), recorded, derived })
    };
    match previous {
        None if entry.seq != 1 => return fault("the journal does not begin with entry 1", entry.seq.into(), 1.into()),
        Some(link) if link.lineage != entry.lineage => {
            return fault("another lineage", entry.lineage.clone().into(), link.lineage.clone().into());
        }
        Some(link) if link.seq.checked_add(1) != Some(entry.seq) => {
            return fault("entries are missing or repeated", entry.seq.into(), link.seq.saturating_add(1).into());
        }
        Some(link) if link.epoch > entry.epoch => return fault("an older owner wrote later", entry.epoch.into(), link.epoch.into()),
        Some(link) if link.at > entry.at => return fault("time went back", entry.at.to_string().into(), link.at.to_string().into()),
        _ => {}
    }
    let before = previous.map_or("", |link| &link.chain);
    if written.is_some_and(|(header, bytes)| is_chained(header, before, bytes)) {
        return None;
    }
    let derived = chained(D::journal(), before, entry.clone()).chain;
    let what = "the hash chain is broken: this entry or the one before was altered";
    if derived == entry.chain { None } else { fault(what, entry.chain.clone().into(), derived.into()) }
}

/// An entry's place in its journal; most of them are never named.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub offset: i64,
    pub item: usize,
}

impl At {
    pub(super) fn named<D: Decider>(self, shard: u32) -> String {
        Place { service: D::SERVICE.into(), shard, offset: self.offset, item: self.item }.to_string()
    }
}
