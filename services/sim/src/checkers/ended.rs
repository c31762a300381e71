//! After everything has healed, every run comes to its end, and no process is left behind.

use super::Outcome;
use crate::machine::wall;
use crate::plan::MINUTE;
use orrery_log::TopicPartition;
use orrery_model::messages::{RUN, RunRecord};
use orrery_model::topics;
use std::collections::BTreeMap;

/// Processes of this world run seven minutes at most.
const LONGEST: i64 = 8 * MINUTE;

pub(super) fn check(outcome: &Outcome<'_>) -> Vec<String> {
    let mut runs: BTreeMap<String, RunRecord> = BTreeMap::new();
    for shard in outcome.trigger_shards() {
        let at = TopicPartition::new(&outcome.cluster.topic(topics::RUNS), shard);
        let from = outcome.log.start_offset(&at).unwrap_or_default();
        for record in outcome.log.read(&at, from, usize::MAX).unwrap_or_default().records {
            if let Some(Ok(run)) = record.value.map(|value| RUN.decode(value.as_bytes())) {
                runs.insert(run.run.to_string(), run);
            }
        }
    }
    let due = wall(outcome.plan.faults_until);
    // What the trigger has lost with its rows stands on `runs` for ever as it was.
    let is_kept = |run: &&RunRecord| outcome.history.is_kept(run.created_at.0 - wall(0).0);
    let open = runs.values().filter(|run| !run.state.is_final() && run.created_at < due).filter(is_kept);
    let mut found: Vec<String> = open
        .map(|run| {
            format!(
                "run {} of {} ({}) of {} us is still {} after {} attempts",
                run.run,
                run.job,
                run.cause,
                run.created_at.0 - wall(0).0,
                run.state,
                run.attempts
            )
        })
        .collect();
    let left = outcome.history.starts.iter().filter(|start| start.end.is_none() && start.at_us < outcome.plan.ends - LONGEST);
    found.extend(
        left.map(|start| format!("the process of {} on {} has run since {} us and never ended", start.attempt, start.agent, start.at_us)),
    );
    found.extend(outcome.history.unanswered.iter().map(|attempt| format!("the end of {attempt} was never acknowledged to its agent")));
    found
}
