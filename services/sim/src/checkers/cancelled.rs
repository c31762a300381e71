//! A run whose attempt is unwanted is sent to no cell any more.

use super::Outcome;
use orrery_model::id::RunId;
use orrery_model::messages::RunState;
use orrery_trigger::{Decision, Trigger};
use std::collections::BTreeMap;

pub(super) fn check(outcome: &Outcome<'_>) -> Vec<String> {
    outcome.trigger_shards().flat_map(|shard| of(outcome, shard)).collect()
}

fn of(outcome: &Outcome<'_>, shard: u32) -> Vec<String> {
    let mut unwanted: BTreeMap<&RunId, (i64, RunState)> = BTreeMap::new();
    let mut found = Vec::new();
    for entry in outcome.journal::<Trigger>(shard) {
        for decision in &entry.decisions {
            match decision {
                Decision::AttemptUnwanted { record, leads_to, .. } => drop(unwanted.insert(&record.run, (entry.seq, *leads_to))),
                Decision::AttemptWanted { record, cell, .. } => {
                    if let Some((since, state)) = unwanted.get(&record.run) {
                        let (run, job, seq) = (&record.run, &record.job, entry.seq);
                        found.push(format!(
                            "run {run} of {job} was to be {state} from entry {since} on; entry {seq} sends it to cell {cell}"
                        ));
                    }
                }
                _ => {}
            }
        }
    }
    found
}
