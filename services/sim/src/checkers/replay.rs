//! Every decision can be derived again from its input, byte for byte, and nothing was left out: `audit verify`.

use super::Outcome;
use orrery_allocator::Allocator;
use orrery_audit::Begin;
use orrery_audit::verify::{Divergence, verify_from};
use orrery_model::decider::Decider;
use orrery_trigger::Trigger;

pub(super) fn check(outcome: &Outcome<'_>) -> Vec<String> {
    outcome.each_shard(of::<Trigger>, of::<Allocator>)
}

fn of<D: Decider>(outcome: &Outcome<'_>, shard: u32) -> Vec<String> {
    // The whole journal with all snapshots on its way, then what lies behind the last one as it is verified without the rest.
    let found = |from| match verify_from::<D>(&outcome.log, outcome.cluster, shard, &Begin { seq: from, ..Begin::default() }) {
        Err(error) => vec![format!("{}/{shard} cannot be verified: {error}", D::SERVICE)],
        // A salvage is told as what it is: the history begins anew there, and what was lost cannot be verified.
        Ok(report) => {
            let told = |divergence: &Divergence| outcome.history.salvaged.is_some() && divergence.what == "another lineage";
            report.divergence.filter(|divergence| !told(divergence)).map(|divergence| format!("{divergence:?}")).into_iter().collect()
        }
    };
    [0, i64::MAX].into_iter().flat_map(found).collect()
}
