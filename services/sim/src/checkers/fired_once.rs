//! Nothing accepted is lost: each (job, event), (job, slot) and request makes exactly one run.

use super::Outcome;
use crate::history::Accepted;
use crate::machine::wall;
use crate::plan::MINUTE;
use crate::world::load::{FIRED_BY, SLOT_MINUTES};
use orrery_trigger::{Decision, Trigger};
use std::collections::BTreeMap;

pub(super) fn check(outcome: &Outcome<'_>) -> Vec<String> {
    let mut runs: BTreeMap<(String, String), u32> = BTreeMap::new();
    for shard in outcome.trigger_shards() {
        for entry in outcome.journal::<Trigger>(shard) {
            for decision in &entry.decisions {
                if let Decision::RunCreated { record, .. } = decision {
                    *runs.entry((record.job.to_string(), record.cause.clone())).or_default() += 1;
                }
            }
        }
    }
    let twice = runs.iter().filter(|(_, count)| **count > 1);
    let mut found: Vec<String> = twice.map(|((job, cause), count)| format!("{job} was fired {count} times by {cause}")).collect();
    let mut want = |job: &str, cause: String| {
        if !runs.contains_key(&(job.to_owned(), cause.clone())) {
            found.push(format!("{job} was never fired by {cause}"));
        }
    };
    for (_, accepted) in &outcome.history.accepted {
        match accepted {
            Accepted::Event { topic, partition, offset, number } => {
                for (job, divisor) in FIRED_BY {
                    if number % divisor == 0 {
                        want(&format!("default/{job}"), format!("event:{topic}/{partition}/{offset}"));
                    }
                }
            }
            Accepted::Request { job, key } => want(job, format!("request:*/{key}")),
            Accepted::Switched { .. } => {}
        }
    }
    let every = SLOT_MINUTES * MINUTE;
    let mut slot = every;
    while slot < outcome.plan.faults_until {
        want("default/minutes", format!("time:{}", wall(slot)));
        slot += every;
    }
    found
}
