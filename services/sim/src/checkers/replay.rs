//! Every decision can be derived again from its input, byte for byte, and nothing was left out: `audit verify`.

use super::Outcome;
use orrery_allocator::Allocator;
use orrery_audit::verify::verify;
use orrery_model::decider::Decider;
use orrery_trigger::Trigger;

pub(super) fn check(outcome: &Outcome<'_>) -> Vec<String> {
    outcome.each_shard(of::<Trigger>, of::<Allocator>)
}

fn of<D: Decider>(outcome: &Outcome<'_>, shard: u32) -> Vec<String> {
    match verify::<D>(&outcome.log, outcome.cluster, shard) {
        Err(error) => vec![format!("{}/{shard} cannot be verified: {error}", D::SERVICE)],
        Ok(report) => report.divergence.map(|divergence| format!("{divergence:?}")).into_iter().collect(),
    }
}
