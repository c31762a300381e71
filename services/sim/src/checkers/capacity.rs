//! No agent's resources are exceeded: by the journal at any decision, and by the processes at any moment.

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
            allocator.apply(entry.at, decision);
            if !matches!(decision, Decision::Placed { .. } | Decision::AgentJoined { .. }) {
                continue;
            }
            let over = allocator.agents().find(|(agent, row)| row.lost.is_none() && !row.total.holds(&allocator.used(agent)));
            if let Some((agent, row)) = over {
                let used = allocator.used(agent);
                found.push(format!("cell {cell}, entry {}: agent {agent} has {:?} and is to give {used:?}", entry.seq, row.total));
            }
        }
    }
    found
}
