//! Jobs: define, show, run, pause, delete.

use super::input::{self, RunArgs};
use super::paging::{Page, page};
use super::{header_text, position_header};
use crate::App;
use crate::append::Outcome;
use crate::problem::{Answer, Problem};
use crate::views::ViewState;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use orrery_log::clock;
use orrery_model::id::{JobName, RunId};
use orrery_model::job::{Format, JobSpec, did_you_mean, read_documents};
use orrery_model::limits::JOB_BYTES;
use orrery_model::messages::{CatalogEntry, Request};
use orrery_model::time::Timestamp;
use orrery_trigger::Decision;
use orrery_trigger::check::warnings;
use orrery_trigger::schedule::Schedule;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A job, as the API shows it.
#[derive(Debug, Serialize)]
pub(super) struct JobView {
    name: JobName,
    version: i64,
    incarnation: i64,
    paused: bool,
    defined_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<orrery_model::id::Principal>,
    /// For each trigger since when the job has it: an interval without a start begins then.
    since: Vec<Timestamp>,
    /// Next due time of any of its schedules; none while paused.
    next: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_run: Option<Value>,
    /// What of it is taken, but probably not meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    spec: Value,
}

pub(super) fn view(entry: &CatalogEntry, state: &ViewState) -> JobView {
    let filter = crate::views::RunFilter { job: Some(entry.job.clone()), ..Default::default() };
    let last = state.runs.page(&filter, None, 1).ok().and_then(|page| page.items.into_iter().next());
    let spec: Option<JobSpec> = serde_json::from_str(&entry.document).ok();
    JobView {
        name: entry.job.clone(),
        version: entry.version,
        incarnation: entry.incarnation,
        paused: entry.paused,
        defined_at: entry.defined_at,
        principal: entry.principal.clone(),
        since: entry.since.clone(),
        next: spec.as_ref().and_then(|spec| next_due(spec, entry)).filter(|_| !entry.paused),
        last_run: last.map(|run| json!({"run": run.run, "state": run.state, "created_at": run.created_at})),
        warnings: spec.iter().flat_map(|spec| warnings(spec, entry.defined_at)).map(|warning| warning.to_string()).collect(),
        spec: serde_json::from_str(&entry.document).unwrap_or_default(),
    }
}

fn next_due(spec: &JobSpec, entry: &CatalogEntry) -> Option<Timestamp> {
    let triggers = spec.triggers.iter().enumerate();
    let schedules = triggers.filter_map(|(i, trigger)| Schedule::compile(trigger, entry.since(i)).ok().flatten());
    schedules.filter_map(|schedule| schedule.next_after(clock::wall())).min()
}

pub(super) async fn list(State(app): State<Arc<App>>, Query(query): Query<BTreeMap<String, String>>) -> Answer<Json<Page>> {
    let state = app.views.read();
    let prefix = query.get("prefix").map_or("", String::as_str);
    let wanted = state.jobs.iter().map(|(job, entry)| (job.as_str(), entry)).filter(|(job, _)| job.starts_with(prefix));
    page(&query, wanted, |entry| view(entry, &state)).map(Json)
}

pub(super) async fn get(State(app): State<Arc<App>>, Path((namespace, name)): Path<(String, String)>) -> Answer<Response> {
    show(&app, &input::job_name(&namespace, &name)?)
}

pub(super) async fn get_short(State(app): State<Arc<App>>, Path(name): Path<String>) -> Answer<Response> {
    show(&app, &JobName::with_default_namespace(&name)?)
}

fn show(app: &App, job: &JobName) -> Answer<Response> {
    let state = app.views.read();
    let entry = state.jobs.get(job).ok_or_else(|| unknown(job, &state))?;
    Ok((position_header(app.views.seen().trigger), Json(view(entry, &state))).into_response())
}

/// No such job, with the one that was probably meant.
pub(super) fn unknown(job: &JobName, state: &ViewState) -> Problem {
    let hint = did_you_mean(job.as_str(), state.jobs.keys().map(JobName::as_str));
    Problem::new("not_found", format!("there is no job {job}")).hint(hint)
}

pub(super) async fn apply(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Answer<Response> {
    let bytes = input::body(body, JOB_BYTES * 2).await?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Problem::new("malformed", "the document is not UTF-8"))?;
    let mut documents = read_documents(text, format(&headers)).map_err(|e| Problem::new("invalid", e.to_string()))?;
    let spec = match (documents.pop(), documents.len()) {
        (Some(spec), 0) => spec,
        (_, n) => {
            return Err(Problem::new("malformed", format!("there are {} documents; send one at a time", if n == 0 { 0 } else { n + 1 })));
        }
    };
    let principal = input::principal(&headers)?;
    let record = app.inbox_record(&spec.name, Some(&spec.to_json()), principal.as_ref());
    match app.decide(record).await? {
        Outcome::Accepted { topic, partition, offset } => Ok(accepted(&topic, partition, offset)),
        Outcome::Decided(decided) => {
            let entry = decided.decisions.iter().find_map(|decision| match decision {
                Decision::JobDefined { entry, .. } => Some(entry),
                _ => None,
            });
            let entry = entry.ok_or_else(|| Problem::new("internal", "a definition was decided without being accepted or refused"))?;
            let new = entry.version == 1 && entry.defined_at == decided.at;
            let status = if new { StatusCode::CREATED } else { StatusCode::OK };
            Ok((status, position_header(decided.position), Json(view(entry, &app.views.read()))).into_response())
        }
    }
}

fn format(headers: &HeaderMap) -> Format {
    let media = header_text(headers, "content-type").unwrap_or_default();
    match media.split(';').next().unwrap_or_default().trim() {
        "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" => Format::Yaml,
        "application/toml" | "text/toml" => Format::Toml,
        _ => Format::Json,
    }
}

pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer<Response> {
    withdraw(&app, &input::job_name(&namespace, &name)?, &headers).await
}

pub(super) async fn delete_short(State(app): State<Arc<App>>, Path(name): Path<String>, headers: HeaderMap) -> Answer<Response> {
    withdraw(&app, &JobName::with_default_namespace(&name)?, &headers).await
}

async fn withdraw(app: &Arc<App>, job: &JobName, headers: &HeaderMap) -> Answer<Response> {
    let principal = input::principal(headers)?;
    let record = app.inbox_record(job, None, principal.as_ref());
    answer(app.decide(record).await?, |_| json!({"deleted": job}))
}

pub(super) async fn run(
    State(app): State<Arc<App>>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    let job = input::job_name(&namespace, &name)?;
    let args = input::json::<RunArgs>(body).await?.into_vars();
    let outcome = app.request(Request::RunJob { job, args }, input::principal(&headers)?, input::key(&headers)?).await?;
    let response = answer(outcome, |answer| {
        let run = RunId::parse(answer).ok();
        let state = app.views.read();
        run.and_then(|run| state.runs.get(&run).map(super::runs::view)).unwrap_or_else(|| json!({"id": answer}))
    })?;
    Ok(if response.status() == StatusCode::OK { (StatusCode::CREATED, response).into_response() } else { response })
}

pub(super) async fn pause(
    State(app): State<Arc<App>>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer<Response> {
    let job = input::job_name(&namespace, &name)?;
    let outcome = app.request(Request::PauseJob { job: job.clone() }, input::principal(&headers)?, input::key(&headers)?).await?;
    answer(outcome, |_| json!({"name": job, "paused": true}))
}

pub(super) async fn resume(
    State(app): State<Arc<App>>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer<Response> {
    let job = input::job_name(&namespace, &name)?;
    let outcome = app.request(Request::ResumeJob { job: job.clone() }, input::principal(&headers)?, input::key(&headers)?).await?;
    answer(outcome, |_| json!({"name": job, "paused": false}))
}

/// The answer to a granted request; `show` gets the run id or job name that the decision names.
pub(super) fn answer(outcome: Outcome, show: impl FnOnce(&str) -> Value) -> Answer<Response> {
    match outcome {
        Outcome::Accepted { topic, partition, offset } => Ok(accepted(&topic, partition, offset)),
        Outcome::Decided(decided) => {
            let answer = decided.decisions.iter().find_map(|decision| match decision {
                Decision::Answered { answer, .. } | Decision::AnsweredBefore { answer, .. } => Some(answer.clone()),
                _ => None,
            });
            Ok((position_header(decided.position), Json(show(answer.as_deref().unwrap_or_default()))).into_response())
        }
    }
}

/// Durable, but not decided yet: where it stands.
pub(super) fn accepted(topic: &str, partition: u32, offset: i64) -> Response {
    (StatusCode::ACCEPTED, Json(json!({"topic": topic, "partition": partition, "offset": offset}))).into_response()
}
