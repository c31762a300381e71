//! Every "why": assembled from the views and the journals, in words first.

use super::{agents, input, jobs, runs};
use crate::App;
use crate::problem::{Answer, Problem};
use axum::Json;
use axum::extract::{Path, Query, State};
use orrery_allocator::place::reasons;
use orrery_audit::{EntryView, Filter, read_entries};
use orrery_model::id::AgentId;
use orrery_model::messages::{RunRecord, RunState};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Entries told in one answer.
const ENTRIES: usize = 200;
/// Around the time asked for, milliseconds.
const AROUND_MS: i64 = 120_000;

pub(super) async fn run(State(app): State<Arc<App>>, Path(run): Path<String>) -> Answer<Json<Value>> {
    let run = input::run_id(&run)?;
    let record = runs::known(&app, &run)?;
    let filter = Filter { run: Some(run.to_string()), since: Some(record.created_at), ..Filter::default() };
    let decisions = both_journals(&app, filter).await?;
    let waits = waiting_reasons(&app, &record);
    let why = in_words(&record, &waits);
    Ok(Json(json!({"run": runs::view(&record), "why": why, "waits_for": waits, "decisions": decisions})))
}

pub(super) async fn job(
    State(app): State<Arc<App>>,
    Path((namespace, name)): Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Answer<Json<Value>> {
    let job = input::job_name(&namespace, &name)?;
    let at = input::time("at", query.get("at"))?;
    let (view, next, paused, recent) = {
        let state = app.views.read();
        let entry = state.jobs.get(&job).ok_or_else(|| jobs::unknown(&job, &state))?;
        let filter = crate::views::RunFilter { job: Some(job.clone()), ..Default::default() };
        let recent = state.runs.page(&filter, None, 10).map(|page| page.items).unwrap_or_default();
        (serde_json::to_value(jobs::view(entry, &state)).unwrap_or_default(), entry.next_due, entry.paused, recent)
    };
    let (since, until) = match at {
        Some(at) => (Some(at.plus_ms(-AROUND_MS)), Some(at.plus_ms(AROUND_MS))),
        None => (recent.last().map(|run| run.created_at), None),
    };
    let filter = Filter { job: Some(job.to_string()), since, until, ..Filter::default() };
    let decisions = both_journals(&app, filter).await?;
    let why = match (paused, next, recent.first()) {
        (true, ..) => "It is paused: nothing more starts until it is resumed.".to_owned(),
        (false, _, Some(last)) => format!("Its last run {} is {}{}.", last.run, last.state.word(), because(last.reason.as_ref())),
        (false, Some(next), None) => format!("It has not run yet; it is due at {next}."),
        (false, None, None) => "It has not run yet, and no schedule says when: it waits for events, other jobs or a request.".to_owned(),
    };
    Ok(Json(json!({"job": view, "why": why, "recent": recent.iter().map(runs::view).collect::<Vec<_>>(), "decisions": decisions})))
}

pub(super) async fn agent(State(app): State<Arc<App>>, Path(agent): Path<String>) -> Answer<Json<Value>> {
    let agent = AgentId::parse(&agent)?;
    let view = agents::view(&agent, &app.views.read());
    if view.is_null() {
        return Err(Problem::new("not_found", format!("there is no agent {agent}")));
    }
    let filter = Filter { agent: Some(agent.to_string()), ..Filter::default() };
    let decisions = newest(&app, "allocator", filter).await?;
    Ok(Json(json!({"agent": view, "decisions": decisions})))
}

pub(super) async fn pending(State(app): State<Arc<App>>) -> Json<Value> {
    let state = app.views.read();
    let agents = state.candidates();
    let told = state.waiting().take(ENTRIES).map(|(attempt, task)| {
        let reasons = reasons(&agents, &task.spec);
        json!({"attempt": attempt, "job": task.spec.job, "priority": task.spec.priority, "resources": task.spec.resources, "reasons": reasons})
    });
    let items: Vec<Value> = told.collect();
    let count = state.waiting().count();
    Json(json!({"count": count, "items": items}))
}

/// Why a run's attempt has no place, counted over the agents; empty where it has one, or none is wanted.
fn waiting_reasons(app: &App, record: &RunRecord) -> Value {
    let state = app.views.read();
    let task = state.tasks.get(&record.run.attempt(record.attempts.max(1))).filter(|task| task.place.is_none());
    let reasons = task.map(|task| reasons(&state.candidates(), &task.spec));
    serde_json::to_value(reasons.unwrap_or_default()).unwrap_or_default()
}

fn because(reason: Option<&String>) -> String {
    reason.map_or_else(String::new, |reason| format!(", because {reason}"))
}

fn in_words(record: &RunRecord, waits: &Value) -> String {
    let cause = match record.cause.split_once(':') {
        Some(("time", nominal)) => format!("Its schedule was due at {nominal}."),
        Some(("event", place)) => format!("The event {place} matched its trigger."),
        Some(("after", parents)) => format!("The runs {} that it comes after have ended.", parents.replace('+', ", ")),
        Some(("request", id)) => format!("Somebody asked for it ({id})."),
        _ => record.cause.clone(),
    };
    let agent = record.agent.as_ref().map_or_else(String::new, |agent| format!(" on {agent}"));
    let state = match record.state {
        RunState::Waiting => {
            let reasons = waits.as_array().into_iter().flatten().filter_map(|reason| reason["detail"].as_str());
            let told = reasons.collect::<Vec<_>>().join("; ");
            let why = record.reason.clone().into_iter().chain((!told.is_empty()).then_some(told)).collect::<Vec<_>>().join("; ");
            format!("It waits{}.", because((!why.is_empty()).then_some(&why)))
        }
        RunState::Starting => format!("It is about to start{agent}."),
        RunState::Running => format!("It runs{agent}."),
        state => {
            let attempts = if record.attempts == 1 { "one attempt".to_owned() } else { format!("{} attempts", record.attempts) };
            format!("It is {}{agent}, after {attempts}{}.", state.word(), because(record.reason.as_ref()))
        }
    };
    format!("{cause} {state}")
}

/// What both journals say, by time.
async fn both_journals(app: &Arc<App>, filter: Filter) -> Answer<Vec<EntryView>> {
    let mut all = oldest(app, "trigger", filter.clone()).await?;
    all.extend(oldest(app, "allocator", filter).await?);
    all.sort_by_key(|view| view.at);
    Ok(all)
}

async fn oldest(app: &Arc<App>, service: &'static str, filter: Filter) -> Answer<Vec<EntryView>> {
    read(app, service, filter, |all, view| {
        all.push(view);
        if all.len() >= ENTRIES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .await
}

async fn newest(app: &Arc<App>, service: &'static str, filter: Filter) -> Answer<Vec<EntryView>> {
    read(app, service, filter, |all, view| {
        all.push(view);
        if all.len() > ENTRIES {
            all.remove(0);
        }
        ControlFlow::Continue(())
    })
    .await
}

async fn read(
    app: &Arc<App>,
    service: &'static str,
    filter: Filter,
    take: fn(&mut Vec<EntryView>, EntryView) -> ControlFlow<()>,
) -> Answer<Vec<EntryView>> {
    let app = app.clone();
    let read = move || {
        let mut all = Vec::new();
        read_entries(&*app.config.log, &app.config.cluster, (service, 0), 0, &filter, &mut |view| take(&mut all, view))?;
        Ok::<_, Problem>(all)
    };
    tokio::task::spawn_blocking(read).await?
}
