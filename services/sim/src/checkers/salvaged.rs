//! A shard goes on after a salvage, and as another lineage: what it said in the one before may come again as something else.

use super::{Journalled, Outcome};
use crate::machine::wall;
use orrery_allocator::Allocator;
use orrery_trigger::Trigger;
use std::collections::BTreeSet;

pub(super) fn check(outcome: &Outcome<'_>) -> Vec<String> {
    let Some(salvaged) = outcome.history.salvaged.map(wall) else { return Vec::new() };
    outcome.each_shard(|o, shard| of::<Trigger>(o, shard, salvaged), |o, cell| of::<Allocator>(o, cell, salvaged))
}

fn of<D: Journalled>(outcome: &Outcome<'_>, shard: u32, salvaged: orrery_model::time::Timestamp) -> Vec<String> {
    let journal = outcome.timed_journal::<D>(shard);
    let behind = journal.partition_point(|(appended, _)| *appended <= salvaged);
    let lineages = |of: &[super::Timed<D>]| of.iter().map(|(_, entry)| entry.lineage.clone()).collect::<BTreeSet<_>>();
    let (before, after) = (lineages(&journal[..behind]), lineages(&journal[behind..]));
    if after.is_empty() {
        return vec![format!("{}/{shard} has decided nothing since the log was salvaged", D::SERVICE)];
    }
    let same = before.intersection(&after).map(|lineage| format!("{}/{shard} goes on in lineage {lineage} after a salvage", D::SERVICE));
    same.collect()
}
