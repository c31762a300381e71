//! No agent is given more than it has, at any position of its cell's journal.

use super::Outcome;
use orrery_allocator::{Allocator, Decision};
use orrery_model::decider::Decider;

pub(super) fn check(outcome: &Outcome<'_>) -> Vec<String> {
    outcome.cells().flat_map(|cell| of(outcome, cell)).collect()
}

fn of(outcome: &Outcome<'_>, cell: u32) -> Vec<String> {
    let mut allocator = Allocator::default();
    let mut found = Vec::new();
    for entry in outcome.journal::<Allocator>(cell) {
        for decision in &entry.decisions {
            let new = matches!(decision, Decision::Placed { spec, .. } if allocator.tasks().all(|(a, row)| *a != spec.attempt || row.place.is_none()));
            allocator.apply(entry.at, decision);
            // An agent may shrink below what it gives already; then it is given nothing more.
            let (true, Decision::Placed { agent, .. }) = (new, decision) else { continue };
            let total = allocator.agents().find(|(known, _)| *known == agent).map(|(_, row)| row.total);
            let used = allocator.used(agent);
            if !total.is_some_and(|total| total.holds(&used)) {
                found.push(format!("cell {cell}, entry {}: agent {agent} has {total:?} and is to give {used:?}", entry.seq));
            }
        }
    }
    found
}
