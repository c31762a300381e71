//! Views of several cells, and rows made by hand for the tests of what is told from them.

use super::ViewState;
use super::follow::take_row;
use orrery_allocator::rows::{AGENT, AGENTS, AgentRow, TASK, TASKS, TaskRow};
use orrery_model::id::{AgentId, AttemptId};
use orrery_model::payload::Payload;
use orrery_model::record::Record;
use orrery_model::table::RowKey;
use orrery_model::time::Timestamp;
use serde_json::json;

/// An agent with so many CPUs.
pub(crate) fn agent_row(cpus: i64, lost: bool) -> AgentRow {
    let lost = lost.then(|| json!({"at": Timestamp(0), "reason": "it is of another cell"}));
    let row = json!({
        "session": {"counter": 1, "boot_id": "b"}, "total": {"cpus": cpus, "memory": 0, "disk": 0}, "attributes": [], "lease_ms": 60_000,
        "joined_at": Timestamp(0), "lost": lost, "answered_at": Timestamp(0), "reacked_at": Timestamp(0), "reacked": 0,
    });
    serde_json::from_value(row).expect("a row")
}

/// A task that asks for so many CPUs; placed on an agent at a time, or waiting.
pub(crate) fn task_row((attempt, hop): (&AttemptId, i32), cpus: i64, place: Option<(&str, Timestamp)>) -> TaskRow {
    let spec = json!({
        "attempt": attempt, "job": "shop/receipt", "version": 1, "hop": hop, "may_decline": false, "role": "*", "principal": null,
        "priority": 50, "resources": {"cpus": cpus, "memory": 0, "disk": 0}, "constraints": [], "argv": ["true"], "env": [],
        "user": null, "limits": [], "timeout_ms": null, "grace_ms": 1000, "event": null, "avoid": null,
    });
    let session = json!({"counter": 1, "boot_id": "b"});
    let place = place.map(|(agent, at)| json!({"agent": agent, "session": session, "at": at, "seq": 1, "running": true, "adrift": false}));
    let row = json!({"spec": spec, "order": 1, "wanted_at": Timestamp(0), "reasons": [], "place": place, "unwanted": null});
    serde_json::from_value(row).expect("a row")
}

fn take(state: &mut ViewState, cell: u32, table: u8, key: &impl RowKey, value: Option<Vec<u8>>) {
    let key = [&[table][..], &key.to_bytes()].concat();
    let payload = |bytes: Vec<u8>| Payload::from(bytes.as_slice());
    let (key, value) = (Some(payload(key)), value.map(payload));
    take_row(state, cell, &Record { offset: 0, prev: 0, appended: Timestamp(0), key, value, headers: Vec::new() });
}

#[test]
fn a_task_that_was_handed_on_is_shown_whichever_cell_is_read_first() {
    let attempt = AttemptId::parse("r.1").expect("an id");
    let row = |hop| Some(TASK.encode(&task_row((&attempt, hop), 1, None)));
    for order in [[0, 1], [1, 0]] {
        let mut state = ViewState::default();
        for cell in order {
            let hop = i32::try_from(cell).expect("a small number");
            take(&mut state, cell, TASKS, &attempt, row(hop));
        }
        // Both have it as long as the first cell's deletion was not read.
        assert_eq!(state.task(&attempt).map(|(cell, ..)| cell), Some(1));
        take(&mut state, 0, TASKS, &attempt, None);
        assert_eq!(state.task(&attempt).map(|(cell, ..)| cell), Some(1));
        assert_eq!((state.task_count(), state.waiting().next().map(|(cell, ..)| cell)), (1, Some(1)));
    }
}

#[test]
fn an_agent_belongs_to_the_cell_that_it_has_joined() {
    let agent = AgentId::parse("a-1").expect("an id");
    for (joined, refused) in [(0, 1), (1, 0)] {
        let mut state = ViewState::default();
        take(&mut state, refused, AGENTS, &agent, Some(AGENT.encode(&agent_row(0, true))));
        take(&mut state, joined, AGENTS, &agent, Some(AGENT.encode(&agent_row(4, false))));
        assert_eq!(state.agent(&agent).map(|(cell, ..)| cell), Some(joined));
        let candidates = state.candidates();
        assert_eq!((candidates[&joined].len(), candidates[&refused].len(), state.lost_agents()), (1, 0, 1));
    }
}
