//! Every "why": a story from the journals and the views, and the decisions that it follows from as evidence.

pub(super) mod event;
mod reading;
mod rooms;
mod words;

use super::{agents, input, jobs, runs};
use crate::App;
use crate::problem::{Answer, Problem};
use crate::views::{RunFilter, ViewState};
use axum::Json;
use axum::extract::{Path, Query, State};
use orrery_allocator::place::reasons;
use orrery_audit::EntryView;
use orrery_audit::explain::{JobFacts, RunFacts, Waiting, agent_story, job_story, pending as sum_up, run_story};
use orrery_log::clock;
use orrery_model::id::AgentId;
use orrery_model::job::JobSpec;
use orrery_model::messages::{CatalogEntry, Reason, RunRecord, RunState};
use orrery_model::time::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Entries told in one answer.
const ENTRIES: usize = 200;
/// Waiting tasks and runs that are summed up.
const SUMMED: usize = 10_000;
/// Around the time asked for, milliseconds.
const AROUND_MS: i64 = 120_000;

type Parameters = Query<BTreeMap<String, String>>;

pub(super) async fn run(State(app): State<Arc<App>>, Path(run): Path<String>, Query(query): Parameters) -> Answer<Json<Value>> {
    let run = input::run_id(&run)?;
    let at = input::time("at", query.get("at"))?;
    let record = runs::known(&app, &run)?;
    let mut decisions = reading::of_run(&app, &record).await?;
    decisions.retain(|entry| at.is_none_or(|at| entry.at <= at));
    let (spec, waits, room) = {
        let state = app.views.read();
        let waits = if at.is_none() { waiting_reasons(&app, &state, &record) } else { Vec::new() };
        let room = (!waits.is_empty() && counts_here(&app)).then(|| rooms::first(&state, &record)).flatten();
        (definition_of(&state, &record), waits, room)
    };
    let as_of = as_of(at, &decisions);
    let facts = RunFacts { run: &run, entries: &decisions, spec: spec.as_ref(), reasons: &waits, room: room.as_ref(), as_of };
    let story = run_story(&facts);
    if let (None, Some(at)) = (&story, at.filter(|at| *at < record.created_at)) {
        let detail = format!("there was no run {run} at {at}: it was made at {}", record.created_at);
        return Err(Problem::new("not_found", detail));
    }
    // The sentence is of now.
    let why = at.is_none().then(|| words::of_run(&record, &waits));
    let told = json!({"run": runs::view(&record), "why": why, "waits_for": waits, "story": story, "decisions": decisions});
    Ok(Json(told))
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
    let decisions = reading::of_job(&app, &job, at, (since, until)).await?;
    let earlier = match at.filter(|at| entry.defined_at > *at) {
        Some(at) => reading::definition_before(&app, &job, at).await?,
        None => None,
    };
    let around = at.unwrap_or_else(clock::wall);
    let topics = reading::topics(&app, &entry, around).await?;
    let told: Vec<EntryView> = earlier.into_iter().chain(decisions.iter().filter(|entry| entry.service == "trigger").cloned()).collect();
    let until = until.unwrap_or(Timestamp(i64::MAX));
    let story = job_story(&JobFacts { job: &job, entries: &told, entry: &entry, topics: &topics, at: around, until });
    let recent: Vec<Value> = recent.iter().map(runs::view).collect();
    let why = at.is_none().then_some(why);
    Ok(Json(json!({"job": view, "why": why, "recent": recent, "story": story, "decisions": decisions})))
}

pub(super) async fn agent(State(app): State<Arc<App>>, Path(agent): Path<String>, Query(query): Parameters) -> Answer<Json<Value>> {
    let agent = AgentId::parse(&agent)?;
    let at = input::time("at", query.get("at"))?;
    let view = agents::view(&agent, &app.views.read());
    if view.is_null() {
        return Err(Problem::new("not_found", format!("there is no agent {agent}")));
    }
    let decisions = reading::of_agent(&app, &agent, at).await?;
    let story = agent_story(&agent, &decisions, as_of(at, &decisions));
    Ok(Json(json!({"agent": view, "story": story, "decisions": decisions})))
}

pub(super) async fn pending(State(app): State<Arc<App>>) -> Json<Value> {
    let state = app.views.read();
    let (agents, counts) = (state.candidates(), counts_here(&app));
    let mut items = Vec::new();
    let mut waiting = Vec::new();
    for (attempt, task) in state.waiting().take(SUMMED) {
        let spec = &task.spec;
        // Counting over all agents costs what the agents are; beyond those that are listed, the last count of the cell is told.
        let reasons = if counts && items.len() < ENTRIES { reasons(&agents, spec) } else { task.reasons.clone() };
        waiting.push(Waiting { subject: attempt.to_string(), job: spec.job.to_string(), reasons: reasons.clone() });
        if items.len() < ENTRIES {
            let (job, priority, resources) = (&spec.job, spec.priority, &spec.resources);
            items.push(json!({"attempt": attempt, "job": job, "priority": priority, "resources": resources, "reasons": reasons}));
        }
    }
    waiting.extend(held(&state));
    let story = sum_up(&waiting, words::next_of_held);
    Json(json!({"count": state.waiting().count(), "items": items, "story": story}))
}

/// Runs that no attempt is wanted of yet: the trigger holds them.
fn held(state: &ViewState) -> Vec<Waiting> {
    let filter = RunFilter { states: vec![RunState::Waiting], ..Default::default() };
    let runs = state.runs.page(&filter, None, SUMMED).map(|page| page.items).unwrap_or_default();
    let held = runs.into_iter().filter(|run| !state.tasks.contains_key(&run.run.attempt(run.attempts.max(1))));
    let told = |run: RunRecord| {
        let reasons = vec![words::held_reason(&run)?];
        Some(Waiting { subject: run.run.to_string(), job: run.job.to_string(), reasons })
    };
    held.filter_map(told).collect()
}

/// The definition that a run was made by, if it is still the present one.
fn definition_of(state: &ViewState, record: &RunRecord) -> Option<JobSpec> {
    let entry: &CatalogEntry =
        state.jobs.get(&record.job).filter(|entry| entry.version == record.version && entry.defined_at <= record.created_at)?;
    serde_json::from_str(&entry.document).ok()
}

/// Why a run's attempt has no place, counted over the agents; empty where it has one, or none is wanted.
fn waiting_reasons(app: &App, state: &ViewState, record: &RunRecord) -> Vec<Reason> {
    let task = state.tasks.get(&record.run.attempt(record.attempts.max(1))).filter(|task| task.place.is_none());
    task.map(|task| if counts_here(app) { reasons(&state.candidates(), &task.spec) } else { task.reasons.clone() }).unwrap_or_default()
}

/// True where all agents are of one cell: else a task's own cell has counted, and the views do not say which agents are of it.
fn counts_here(app: &App) -> bool {
    app.config.cluster.cells == 1
}

/// The time asked for, else now; never before what is told.
fn as_of(at: Option<Timestamp>, entries: &[EntryView]) -> Timestamp {
    at.unwrap_or_else(|| entries.iter().map(|entry| entry.at).fold(clock::wall(), Timestamp::max))
}
