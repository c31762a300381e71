//! Every "why": a story from the journals and the views, and the decisions that it follows from as evidence.

pub(super) mod event;
mod reading;
mod rooms;
mod words;

#[cfg(test)]
mod tests;

use super::{agents, input, jobs, runs};
use crate::App;
use crate::problem::{Answer, Problem};
use crate::views::{RunFilter, ViewState};
use axum::Json;
use axum::extract::{Path, Query, State};
use orrery_allocator::place::reasons;
use orrery_audit::EntryView;
use orrery_audit::explain::{Counted, JOINED, JobFacts, RunFacts, Waiting, agent_story, job_story, pending as sum_up, run_story};
use orrery_log::clock;
use orrery_model::id::AgentId;
use orrery_model::job::JobSpec;
use orrery_model::messages::{CatalogEntry, RunRecord, RunState};
use orrery_model::time::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Entries told in one answer.
const ENTRIES: usize = 200;
/// Waiting tasks, and runs that are held, that are summed up.
const SUMMED: usize = 10_000;
/// Around the time asked for, milliseconds.
const AROUND_MS: i64 = 120_000;

type Parameters = Query<BTreeMap<String, String>>;

pub(super) async fn run(State(app): State<Arc<App>>, Path(run): Path<String>, Query(query): Parameters) -> Answer<Json<Value>> {
    let run = input::run_id(&run)?;
    let at = input::time("at", query.get("at"))?;
    let record = runs::known(&app, &run)?;
    let (mut decisions, cut_off) = reading::of_run(&app, &record).await?;
    decisions.retain(|entry| at.is_none_or(|at| entry.at <= at));
    let (spec, counted) = {
        let state = app.views.read();
        let counted = if at.is_none() { count(&state, app.config.cluster.cells, &record) } else { None };
        (definition_of(&state, &record), counted)
    };
    let counted = counted.as_ref();
    let facts = RunFacts { run: &run, entries: &decisions, spec: spec.as_ref(), counted, as_of: as_of(at, &decisions) };
    let story = run_story(&facts);
    if let (None, Some(at)) = (&story, at.filter(|at| *at < record.created_at)) {
        let detail = format!("there was no run {run} at {at}: it was made at {}", record.created_at);
        return Err(Problem::new("not_found", detail));
    }
    // The sentence is of now.
    let why = at.is_none().then(|| words::of_run(&record, counted));
    let waits_for = counted.map_or(&[][..], |counted| counted.reasons.as_slice());
    let waits_in = counted.map(|counted| json!({"cell": counted.cell, "agents": counted.agents}));
    Ok(Json(json!({
        "run": runs::view(&record), "why": why, "waits_for": waits_for, "waits_in": waits_in, "story": story,
        "cut_off": cut_off, "decisions": decisions,
    })))
}

pub(super) async fn job(
    State(app): State<Arc<App>>,
    Path((namespace, name)): Path<(String, String)>,
    Query(query): Parameters,
) -> Answer<Json<Value>> {
    let job = input::job_name(&namespace, &name)?;
    let at = input::time("at", query.get("at"))?;
    let (view, entry, recent, why) = {
        let state = app.views.read();
        let entry = state.jobs.get(&job).ok_or_else(|| jobs::unknown(&job, &state))?;
        let filter = RunFilter { job: Some(job.clone()), ..Default::default() };
        let recent = state.runs.page(&filter, None, 10).map(|page| page.items).unwrap_or_default();
        let why = words::of_job(entry, recent.first());
        (serde_json::to_value(jobs::view(entry, &state)).unwrap_or_default(), entry.clone(), recent, why)
    };
    let since = at.map(|at| at.plus_ms(-AROUND_MS)).or_else(|| recent.last().map(|run| run.created_at));
    let until = at.map(|at| at.plus_ms(AROUND_MS));
    let (decisions, mut cut_off) = reading::of_job(&app, &job, at, (since, until)).await?;
    let (earlier, not_found) = match at.filter(|at| entry.defined_at > *at) {
        Some(at) => reading::definition_before(&app, &job, at).await?,
        None => (None, None),
    };
    cut_off.extend(not_found);
    let around = at.unwrap_or_else(clock::wall);
    let topics = reading::topics(&app, &entry, around).await?;
    let told: Vec<EntryView> = earlier.into_iter().chain(decisions.iter().filter(|entry| entry.service == "trigger").cloned()).collect();
    let until = until.unwrap_or(Timestamp(i64::MAX));
    let story = job_story(&JobFacts { job: &job, entries: &told, entry: &entry, topics: &topics, at: around, until });
    let recent: Vec<Value> = recent.iter().map(runs::view).collect();
    let why = at.is_none().then_some(why);
    Ok(Json(json!({"job": view, "why": why, "recent": recent, "story": story, "cut_off": cut_off, "decisions": decisions})))
}

pub(super) async fn agent(State(app): State<Arc<App>>, Path(agent): Path<String>, Query(query): Parameters) -> Answer<Json<Value>> {
    let agent = AgentId::parse(&agent)?;
    let at = input::time("at", query.get("at"))?;
    let (cell, view) = {
        let state = app.views.read();
        let known = agents::known(&agent, &state)?;
        (known.0, agents::shown(&agent, known))
    };
    let (decisions, mut cut_off) = reading::of_agent(&app, (cell, &agent), at).await?;
    let story = agent_story(&agent, &decisions, as_of(at, &decisions));
    if story.session.iter().any(|line| line.code == JOINED) {
        // From there on it is told whole.
        cut_off.clear();
    }
    Ok(Json(json!({"agent": view, "story": story, "cut_off": cut_off, "decisions": decisions})))
}

pub(super) async fn pending(State(app): State<Arc<App>>) -> Json<Value> {
    let state = app.views.read();
    let agents = state.candidates();
    let mut items = Vec::new();
    let mut waiting = Vec::new();
    for (cell, attempt, task) in state.waiting().take(SUMMED) {
        let spec = &task.spec;
        // Counting over all agents costs what the agents are; beyond those that are listed, the last count of the cell is told.
        let reasons = if items.len() < ENTRIES { reasons(&agents[&cell], spec) } else { task.reasons.clone() };
        waiting.push(Waiting { subject: attempt.to_string(), job: spec.job.to_string(), cell: Some(cell), reasons: reasons.clone() });
        if items.len() < ENTRIES {
            let (job, priority, resources) = (&spec.job, spec.priority, &spec.resources);
            let item = json!({
                "attempt": attempt, "job": job, "cell": cell, "priority": priority, "resources": resources, "reasons": reasons,
            });
            items.push(item);
        }
    }
    let count = state.waiting().count();
    let (held, more_held) = held(&state);
    waiting.extend(held);
    let story = sum_up(&waiting, count > SUMMED || more_held, words::next_of_held);
    Json(json!({"count": count, "items": items, "story": story}))
}

/// Runs that no attempt is wanted of yet: the trigger holds them. True if there may be more of them than were looked at.
fn held(state: &ViewState) -> (Vec<Waiting>, bool) {
    let filter = RunFilter { states: vec![RunState::Waiting], ..Default::default() };
    let Ok(page) = state.runs.page(&filter, None, SUMMED) else { return (Vec::new(), false) };
    let held = page.items.into_iter().filter(|run| state.task(&run.run.attempt(run.attempts.max(1))).is_none());
    let told = |run: RunRecord| {
        let reasons = vec![words::held_reason(&run)?];
        Some(Waiting { subject: run.run.to_string(), job: run.job.to_string(), cell: None, reasons })
    };
    (held.filter_map(told).collect(), page.next.is_some())
}

/// The definition that a run was made by, if it is still the present one.
fn definition_of(state: &ViewState, record: &RunRecord) -> Option<JobSpec> {
    let entry: &CatalogEntry =
        state.jobs.get(&record.job).filter(|entry| entry.version == record.version && entry.defined_at <= record.created_at)?;
    serde_json::from_str(&entry.document).ok()
}

/// Why a run's attempt has no place, counted over the agents of its cell; none where it has one, or none is wanted.
fn count(state: &ViewState, cells: u32, record: &RunRecord) -> Option<Counted> {
    let (cell, view, task) = state.task(&record.run.attempt(record.attempts.max(1)))?;
    if task.place.is_some() {
        return None;
    }
    let agents = view.candidates();
    let reasons = reasons(&agents, &task.spec);
    let room = if reasons.is_empty() { None } else { rooms::first(state, (cell, cells), task) };
    Some(Counted { cell, agents: agents.len(), reasons, room })
}

/// The time asked for, else now; never before what is told.
fn as_of(at: Option<Timestamp>, entries: &[EntryView]) -> Timestamp {
    at.unwrap_or_else(|| entries.iter().map(|entry| entry.at).fold(clock::wall(), Timestamp::max))
}
