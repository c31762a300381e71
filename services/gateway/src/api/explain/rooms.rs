//! Which agent will have room for a waiting task first.

use crate::views::{RunFilter, ViewState};
use orrery_allocator::place::Needs;
use orrery_audit::explain::{Room, Running, median_ms, room_at};
use orrery_log::clock;
use orrery_model::id::{AgentId, JobName};
use orrery_model::messages::{RunRecord, RunState};
use std::collections::BTreeMap;

/// Runs of a job that say how long it takes.
const SAMPLE: usize = 9;

/// Placed tasks that are looked at: beyond those nothing is expected, rather than that people wait for it.
const LOOKED_AT: usize = 20_000;
/// Jobs whose usual length is looked up.
const JOBS: usize = 50;

/// The first agent that is expected to have room for a run's attempt; none where nothing can be told.
pub(super) fn first(state: &ViewState, record: &RunRecord) -> Option<Room> {
    let spec = &state.tasks.get(&record.run.attempt(record.attempts.max(1)))?.spec;
    if state.tasks.len() > LOOKED_AT {
        return None;
    }
    let mut usual: BTreeMap<&JobName, Option<i64>> = BTreeMap::new();
    let mut running: BTreeMap<&AgentId, Vec<Running>> = BTreeMap::new();
    for (attempt, task) in &state.tasks {
        let (Some(place), Some((run, _))) = (&task.place, attempt.split()) else { continue };
        let is_known = usual.contains_key(&task.spec.job) || usual.len() < JOBS;
        let ms = if is_known { *usual.entry(&task.spec.job).or_insert_with(|| usual_ms(state, &task.spec.job)) } else { None };
        let ends = ms.map(|ms| place.at.plus_ms(ms));
        running.entry(&place.agent).or_default().push(Running { run, resources: task.spec.resources, ends });
    }
    let needs = Needs::of(spec);
    let candidates = state.candidates();
    let suited = candidates.iter().filter(|candidate| needs.unmet(candidate.attributes).is_none());
    let fits = suited.filter(|candidate| candidate.total.holds(&spec.resources));
    let rooms = fits.filter_map(|candidate| {
        let running = running.get(candidate.agent).map_or(&[][..], Vec::as_slice);
        room_at(candidate.agent, &candidate.free(), &spec.resources, running)
    });
    // One that should have come already says nothing.
    let now = clock::wall();
    rooms.filter(|room| room.at > now).min_by_key(|room| (room.at, room.agent.clone()))
}

/// How long the last runs of a job took: their median.
fn usual_ms(state: &ViewState, job: &JobName) -> Option<i64> {
    let filter = RunFilter { job: Some(job.clone()), states: vec![RunState::Succeeded, RunState::Failed], since: None };
    let last = state.runs.page(&filter, None, SAMPLE).ok()?;
    median_ms(last.items.iter().filter_map(|run| run.end.as_ref().map(|end| end.wall_ms)).collect())
}
