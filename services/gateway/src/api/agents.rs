//! Agents.

use crate::App;
use crate::problem::{Answer, Problem};
use crate::views::ViewState;
use axum::Json;
use axum::extract::{Path, State};
use orrery_model::id::AgentId;
use orrery_model::job::did_you_mean;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    let state = app.views.read();
    let items: Vec<Value> = state.agents.keys().map(|agent| view(agent, &state)).collect();
    Json(json!({"count": items.len(), "items": items}))
}

pub(super) async fn get(State(app): State<Arc<App>>, Path(agent): Path<String>) -> Answer<Json<Value>> {
    let agent = AgentId::parse(&agent)?;
    let state = app.views.read();
    if !state.agents.contains_key(&agent) {
        let hint = did_you_mean(agent.as_str(), state.agents.keys().map(AgentId::as_str));
        return Err(Problem::new("not_found", format!("there is no agent {agent}")).hint(hint));
    }
    Ok(Json(view(&agent, &state)))
}

/// An agent: its row, and the tasks that it has.
pub(super) fn view(agent: &AgentId, state: &ViewState) -> Value {
    let Some(row) = state.agents.get(agent) else { return Value::Null };
    let mut used = orrery_model::resources::Resources::default();
    let mut attempts = Vec::new();
    for (attempt, task) in state.tasks_of(agent) {
        used = used.plus(&task.spec.resources);
        attempts.push(json!({"attempt": attempt, "job": task.spec.job, "resources": task.spec.resources}));
    }
    let mut value = serde_json::to_value(row).expect("a row has only text keys");
    value["id"] = agent.as_str().into();
    value["used"] = serde_json::to_value(used).expect("resources have only text keys");
    value["tasks"] = attempts.into();
    value
}
