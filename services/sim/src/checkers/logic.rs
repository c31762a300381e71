//! A shard decides by one version of its logic until it takes the record that raises it, and by the next from there on (protocol §9.5).

use super::{Journalled, Outcome};
use orrery_allocator::Allocator;
use orrery_model::journal::Observation;
use orrery_trigger::Trigger;

pub(super) fn check(outcome: &Outcome<'_>) -> Vec<String> {
    outcome.each_shard(of_shard::<Trigger>, of_shard::<Allocator>)
}

fn of_shard<D: Journalled>(outcome: &Outcome<'_>, shard: u32) -> Vec<String> {
    let mut in_force = *D::LOGIC_VERSIONS.start();
    for entry in outcome.journal::<D>(shard) {
        if let Some(Observation::LogicSwitched { from, to, .. }) = D::observation(&entry.input) {
            if *from != in_force || to <= from {
                return vec![format!(
                    "entry {} of {}/{shard} switches from {from} to {to}, in force was {in_force}",
                    entry.seq,
                    D::SERVICE
                )];
            }
            in_force = *to;
        }
        if entry.logic_version != in_force {
            let by = entry.logic_version;
            return vec![format!("entry {} of {}/{shard} was decided by version {by}, in force was {in_force}", entry.seq, D::SERVICE)];
        }
    }
    let never = outcome.history.raised && in_force != *D::LOGIC_VERSIONS.end();
    never.then(|| format!("{}/{shard} still decides by version {in_force}", D::SERVICE)).into_iter().collect()
}
