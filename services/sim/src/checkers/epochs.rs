//! Ownerships of a shard have strictly rising epochs, one lineage, and entries without a gap.

use super::{Journalled, Outcome};
use crate::machine::wall;
use orrery_allocator::Allocator;
use orrery_model::journal::Observation;
use orrery_trigger::Trigger;

pub(super) fn check(outcome: &Outcome<'_>) -> Vec<String> {
    outcome.each_shard(of::<Trigger>, of::<Allocator>)
}

fn of<D: Journalled>(outcome: &Outcome<'_>, shard: u32) -> Vec<String> {
    let name = format!("{}/{shard}", D::SERVICE);
    let mut found = Vec::new();
    let (mut epoch, mut seq, mut lineage) = (0, 0, None);
    for (appended, entry) in outcome.timed_journal::<D>(shard) {
        // What was lost with its lineage is not known to the one that follows.
        if outcome.history.salvaged.is_some_and(|at| *appended > wall(at)) && lineage.as_ref() != Some(&entry.lineage) {
            (epoch, seq, lineage) = (0, entry.seq - 1, None);
        }
        if entry.seq != seq + 1 {
            found.push(format!("{name}: entry {} follows {seq}", entry.seq));
        }
        seq = entry.seq;
        let first = *lineage.get_or_insert_with(|| entry.lineage.clone()) == entry.lineage;
        if !first {
            found.push(format!("{name}: entry {seq} has another lineage"));
        }
        match D::observation(&entry.input) {
            Some(Observation::Acquired { epoch: acquired, .. }) if *acquired <= epoch || *acquired != entry.epoch => {
                found.push(format!("{name}: entry {seq} acquires epoch {acquired} after {epoch}"));
            }
            Some(Observation::Acquired { .. }) => {}
            _ if entry.epoch != epoch => found.push(format!("{name}: entry {seq} of epoch {} within {epoch}", entry.epoch)),
            _ => {}
        }
        epoch = entry.epoch;
    }
    if seq == 0 {
        found.push(format!("{name} never decided anything"));
    }
    found
}
