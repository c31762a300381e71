//! The gateway shows what was decided: every run, task and agent as the journals have them, and no job that is gone.

use super::Outcome;
use orrery_allocator::Allocator;
use orrery_model::decider::{Decider, Message};
use orrery_model::id::{JobName, RunId};
use orrery_model::messages::{CatalogEntry, RunRecord};
use orrery_trigger::Trigger;
use std::collections::BTreeMap;

pub(super) fn check(outcome: &Outcome<'_>) -> Vec<String> {
    let Some(views) = &outcome.shown else { return vec!["there is no gateway".into()] };
    let state = views.read();
    let mut found = Vec::new();
    let (jobs, runs) = published(outcome);
    if state.jobs != jobs {
        let names = |jobs: &BTreeMap<JobName, CatalogEntry>| jobs.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        found.push(format!("jobs are {}, and shown {}, or differ in what they are", names(&jobs), names(&state.jobs)));
    }
    let differs = runs.values().filter(|record| state.runs.get(&record.run) != Some(record));
    found.extend(differs.map(|record| format!("run {} of {} is not shown as it is, {}", record.run, record.job, record.state)));
    let (mut agents, mut tasks) = (0, 0);
    for cell in outcome.cells() {
        let mut allocator = Allocator::default();
        for entry in outcome.journal::<Allocator>(cell) {
            entry.decisions.iter().for_each(|decision| allocator.apply(entry.at, decision));
        }
        let shown = state.cells.get(&cell);
        let wrong = allocator.agents().filter(|(agent, row)| shown.and_then(|shown| shown.agents.get(*agent)) != Some(*row));
        found.extend(wrong.map(|(agent, _)| format!("agent {agent} is not shown as it is")));
        let wrong = allocator.tasks().filter(|(attempt, row)| shown.and_then(|shown| shown.tasks.get(*attempt)) != Some(*row));
        found.extend(wrong.map(|(attempt, _)| format!("task {attempt} is not shown as it is")));
        (agents, tasks) = (agents + allocator.agents().count(), tasks + allocator.tasks().count());
    }
    let shown = (state.agents().count(), state.task_count());
    if shown != (agents, tasks) {
        found.push(format!("{} agents and {} tasks are shown; there are {agents} and {tasks}", shown.0, shown.1));
    }
    found
}

/// The last of each job and run that the trigger shards have published, by their decisions.
fn published(outcome: &Outcome<'_>) -> (BTreeMap<JobName, CatalogEntry>, BTreeMap<RunId, RunRecord>) {
    let (mut jobs, mut runs, mut messages) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for entry in outcome.trigger_shards().flat_map(|shard| outcome.journal::<Trigger>(shard)) {
        entry.decisions.iter().for_each(|decision| Trigger::messages(entry.at, decision, &mut messages));
        for message in messages.drain(..) {
            match message {
                Message::Catalog(job, Some(entry)) => drop(jobs.insert(job, *entry)),
                Message::Catalog(job, None) => drop(jobs.remove(&job)),
                Message::Run(record) => drop(runs.insert(record.run.clone(), *record)),
                _ => {}
            }
        }
    }
    (jobs, runs)
}
