//! Which agent will have room for a waiting task first.

use crate::views::{RunFilter, ViewState};
use orrery_allocator::place::Needs;
use orrery_audit::explain::{Room, Running, median_ms, room_at};
use orrery_model::id::JobName;
use orrery_model::messages::{RunRecord, RunState};

/// Runs of a job that say how long it takes.
const SAMPLE: usize = 9;

/// The first agent that is expected to have room for a run's attempt; none where nothing can be told.
pub(super) fn first(state: &ViewState, record: &RunRecord) -> Option<Room> {
    let spec = &state.tasks.get(&record.run.attempt(record.attempts.max(1)))?.spec;
    let needs = Needs::of(spec);
    let candidates = state.candidates();
    let suited = candidates.iter().filter(|candidate| needs.unmet(candidate.attributes).is_none());
    let fits = suited.filter(|candidate| candidate.total.holds(&spec.resources));
    let rooms = fits.filter_map(|candidate| {
        let running = state.tasks_of(candidate.agent).filter_map(|(attempt, task)| {
            let place = task.place.as_ref()?;
            let ends = usual_ms(state, &task.spec.job).map(|ms| place.at.plus_ms(ms));
            Some(Running { run: attempt.split()?.0, resources: task.spec.resources, ends })
        });
        room_at(candidate.agent, &candidate.free(), &spec.resources, &running.collect::<Vec<_>>())
    });
    rooms.min_by_key(|room| (room.at, room.agent.clone()))
}

/// How long the last runs of a job took: their median.
fn usual_ms(state: &ViewState, job: &JobName) -> Option<i64> {
    let filter = RunFilter { job: Some(job.clone()), states: vec![RunState::Succeeded, RunState::Failed], since: None };
    let last = state.runs.page(&filter, None, SAMPLE).ok()?;
    median_ms(last.items.iter().filter_map(|run| run.end.as_ref().map(|end| end.wall_ms)).collect())
}
