//! What is counted for a waiting task: over the agents of its own cell, whatever others have.

use super::count;
use crate::views::ViewState;
use crate::views::tests::{agent_row, task_row};
use orrery_allocator::place::{INSUFFICIENT_CPUS, NEVER_FITS};
use orrery_audit::explain::Counted;
use orrery_log::clock;
use orrery_model::id::{AgentId, AttemptId};
use orrery_model::messages::RunRecord;
use orrery_model::time::Timestamp;
use serde_json::json;

/// How long a run of the job took before, milliseconds.
const TOOK_MS: i64 = 60_000;

fn record(run: &str, state: &str) -> RunRecord {
    let (ended, at) = (state == "succeeded", Timestamp(0));
    let end = ended.then(|| {
        json!({
            "kind": "succeeded", "code": 0, "signal": null, "reason": null, "wall_ms": TOOK_MS, "cpu_ms": 1, "peak_memory": 1,
            "ended_at": at,
        })
    });
    let record = json!({
        "run": run, "job": "shop/receipt", "version": 1, "cause": "request:r", "root": "request:r", "nominal": null, "state": state,
        "reason": null, "attempts": 1, "agent": null, "created_at": at, "started_at": null, "ended_at": null, "end": end,
        "next_attempt_at": null, "updated_at": at,
    });
    serde_json::from_value(record).expect("a record")
}

fn attempt(run: &str) -> AttemptId {
    AttemptId::parse(&format!("{run}.1")).expect("an id")
}

/// Cell 0 has an agent with room; that of cell 1 is full until `other` ends, which began at this time.
fn two_cells(began: Timestamp) -> ViewState {
    let mut state = ViewState::default();
    let agent = |name: &str| AgentId::parse(name).expect("an id");
    state.cells.entry(0).or_default().agents.insert(agent("a-0"), agent_row(8, false));
    let cell = state.cells.entry(1).or_default();
    cell.agents.insert(agent("a-1"), agent_row(4, false));
    cell.tasks.insert(attempt("other"), task_row((&attempt("other"), 0), 4, Some(("a-1", began))));
    state.runs.take(record("earlier", "succeeded"));
    state
}

fn counted(state: &ViewState) -> Counted {
    count(state, 2, &record("run", "waiting")).expect("it waits")
}

#[test]
fn the_agents_of_another_cell_do_not_count() {
    let began = clock::wall();
    let mut state = two_cells(began);
    let waiting = |cpus| task_row((&attempt("run"), 0), cpus, None);
    state.cells.entry(1).or_default().tasks.insert(attempt("run"), waiting(2));
    let told = counted(&state);
    assert_eq!((told.cell, told.agents, told.reasons[0].code.as_str()), (1, 1, INSUFFICIENT_CPUS));
    let room = told.room.expect("the other run ends");
    assert_eq!((room.cell, room.agent.as_str(), room.at), (1, "a-1", began.plus_ms(TOOK_MS)));
    assert_eq!(room.run.map(|run| run.to_string()).as_deref(), Some("other"));
    state.cells.entry(1).or_default().tasks.insert(attempt("run"), waiting(6));
    let told = counted(&state);
    assert_eq!((told.reasons[0].code.as_str(), told.room), (NEVER_FITS, None));
}

#[test]
fn room_of_a_cell_that_it_goes_on_to_counts() {
    let mut state = two_cells(clock::wall());
    let mut task = task_row((&attempt("run"), 0), 6, None);
    task.spec.may_decline = true;
    state.cells.entry(1).or_default().tasks.insert(attempt("run"), task);
    let told = counted(&state);
    assert_eq!((told.cell, told.reasons[0].code.as_str()), (1, NEVER_FITS));
    let room = told.room.expect("cell 0 has room");
    assert_eq!((room.cell, room.agent.as_str(), room.run), (0, "a-0", None));
}

#[test]
fn nothing_is_counted_for_a_task_that_has_a_place_or_that_no_cell_has() {
    let mut state = two_cells(clock::wall());
    assert!(count(&state, 2, &record("run", "waiting")).is_none());
    let placed = task_row((&attempt("run"), 0), 2, Some(("a-0", Timestamp(0))));
    state.cells.entry(0).or_default().tasks.insert(attempt("run"), placed);
    assert!(count(&state, 2, &record("run", "waiting")).is_none());
}
