//! Agents.

use super::paging::{Page, page};
use crate::App;
use crate::problem::{Answer, Problem};
use crate::views::{CellView, ViewState};
use axum::Json;
use axum::extract::{Path, Query, State};
use orrery_allocator::rows::AgentRow;
use orrery_model::id::AgentId;
use orrery_model::job::did_you_mean;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) async fn list(State(app): State<Arc<App>>, Query(query): Query<BTreeMap<String, String>>) -> Answer<Json<Page>> {
    let state = app.views.read();
    // One that two cells know is listed once for each.
    let mut all: BTreeMap<String, (&AgentId, (u32, &CellView, &AgentRow))> = BTreeMap::new();
    for (cell, view) in &state.cells {
        all.extend(view.agents.iter().map(|(agent, row)| (format!("{cell}/{agent}"), (agent, (*cell, view, row)))));
    }
    let named = all.iter().map(|(place, agent)| (place.as_str(), agent));
    page(&query, named, |(agent, known)| shown(agent, *known)).map(Json)
}

pub(super) async fn get(State(app): State<Arc<App>>, Path(agent): Path<String>) -> Answer<Json<Value>> {
    let agent = AgentId::parse(&agent)?;
    let state = app.views.read();
    Ok(Json(shown(&agent, known(&agent, &state)?)))
}

/// An agent's cell, what is known of that, and the agent's row.
pub(super) fn known<'v>(agent: &AgentId, state: &'v ViewState) -> Answer<(u32, &'v CellView, &'v AgentRow)> {
    state.agent(agent).ok_or_else(|| {
        let hint = did_you_mean(agent.as_str(), state.agents().map(|(agent, _)| agent.as_str()));
        Problem::new("not_found", format!("there is no agent {agent}")).hint(hint)
    })
}

/// An agent: its row, its cell, and the tasks that it has.
pub(super) fn shown(agent: &AgentId, (cell, view, row): (u32, &CellView, &AgentRow)) -> Value {
    let mut used = orrery_model::resources::Resources::default();
    let mut attempts = Vec::new();
    for (attempt, task) in view.tasks_of(agent) {
        used = used.plus(&task.spec.resources);
        attempts.push(json!({"attempt": attempt, "job": task.spec.job, "resources": task.spec.resources}));
    }
    let mut value = serde_json::to_value(row).expect("a row has only text keys");
    value["id"] = agent.as_str().into();
    value["cell"] = cell.into();
    value["used"] = serde_json::to_value(used).expect("resources have only text keys");
    value["tasks"] = attempts.into();
    value
}
