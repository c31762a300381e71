//! Which agent will have room for a waiting task first, in the cell that it waits in or in one that it goes on to.

use crate::views::{CellView, RunFilter, ViewState};
use orrery_allocator::place::{Needs, is_hopeless, reasons};
use orrery_allocator::rows::TaskRow;
use orrery_audit::explain::{Outlook, Room, Running, first_room, median_ms, room_at};
use orrery_log::clock;
use orrery_model::id::{AgentId, JobName};
use orrery_model::messages::{RunState, TaskSpec};
use orrery_model::time::Timestamp;
use std::collections::BTreeMap;

/// Runs of a job that say how long it takes.
const SAMPLE: usize = 9;

/// Placed tasks that are looked at: beyond those nothing is expected, rather than that people wait for it.
const LOOKED_AT: usize = 20_000;
/// Jobs whose usual length is looked up.
const JOBS: usize = 50;

/// The first room that is expected for a task that waits in one of so many cells; none where nothing can be told.
pub(super) fn first(state: &ViewState, (cell, cells): (u32, u32), task: &TaskRow) -> Option<Room> {
    let mut look = Look { state, now: clock::wall(), tasks: 0, usual: BTreeMap::new() };
    first_room(task, (cell, cells), look.now, |cell| look.at(cell, &task.spec))
}

/// A look at cells, one after the other.
struct Look<'v> {
    state: &'v ViewState,
    now: Timestamp,
    /// Tasks that were looked at.
    tasks: usize,
    /// How long jobs take, of those that were looked up.
    usual: BTreeMap<&'v JobName, Option<i64>>,
}

impl<'v> Look<'v> {
    /// What a cell has for a task.
    fn at(&mut self, cell: u32, spec: &TaskSpec) -> Outlook {
        let state = self.state;
        let Some(view) = state.cells.get(&cell) else { return Outlook::Hopeless };
        let candidates = view.candidates();
        if is_hopeless(&reasons(&candidates, spec)) {
            return Outlook::Hopeless;
        }
        self.tasks += view.tasks.len();
        if self.tasks > LOOKED_AT {
            return Outlook::Room(None);
        }
        let (running, now, needs) = (self.running(view), self.now, Needs::of(spec));
        let suited = candidates.iter().filter(|candidate| needs.unmet(candidate.attributes).is_none());
        let fits = suited.filter(|candidate| candidate.total.holds(&spec.resources));
        let rooms = fits.filter_map(|candidate| {
            let running = running.get(candidate.agent).map_or(&[][..], Vec::as_slice);
            room_at((cell, candidate.agent), &candidate.free(), &spec.resources, running, now)
        });
        Outlook::Room(rooms.min_by_key(|room| (room.at, room.agent.clone())))
    }

    /// A cell's tasks, by agent, with the times when they are expected to end.
    fn running(&mut self, view: &'v CellView) -> BTreeMap<&'v AgentId, Vec<Running>> {
        let mut running: BTreeMap<&AgentId, Vec<Running>> = BTreeMap::new();
        for (attempt, task) in &view.tasks {
            let (Some(place), Some((run, _))) = (&task.place, attempt.split()) else { continue };
            let ends = self.usual_ms(&task.spec.job).map(|ms| place.at.plus_ms(ms));
            running.entry(&place.agent).or_default().push(Running { run, resources: task.spec.resources, ends });
        }
        running
    }

    /// How long a job takes; none if that is not known, or too many others were looked up.
    fn usual_ms(&mut self, job: &'v JobName) -> Option<i64> {
        let state = self.state;
        let is_known = self.usual.contains_key(job) || self.usual.len() < JOBS;
        if is_known { *self.usual.entry(job).or_insert_with(|| usual_ms(state, job)) } else { None }
    }
}

/// How long the last runs of a job took: their median.
fn usual_ms(state: &ViewState, job: &JobName) -> Option<i64> {
    let filter = RunFilter { job: Some(job.clone()), states: vec![RunState::Succeeded, RunState::Failed], since: None };
    let last = state.runs.page(&filter, None, SAMPLE).ok()?;
    median_ms(last.items.iter().filter_map(|run| run.end.as_ref().map(|end| end.wall_ms)).collect())
}
