//! Runs: list, show, wait, cancel, retry, mark.

use super::input::{self, WithReason};
use super::jobs::answer;
use super::position_header;
use crate::App;
use crate::problem::{Answer, Problem};
use crate::views::{RUNS_SHOWN, RunFilter};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use orrery_model::id::{JobName, RunId};
use orrery_model::messages::{Request, RunRecord, RunState};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for a run's end within one request.
const WAIT_MAX_S: u64 = 60;

/// A run, as the API shows it: its record, with its id as `id`.
pub(super) fn view(run: &RunRecord) -> Value {
    let mut value = serde_json::to_value(run).expect("a run has only text keys");
    if let Some(fields) = value.as_object_mut() {
        let id = fields.remove("run").unwrap_or_default();
        fields.insert("id".into(), id);
    }
    value
}

pub(super) async fn list(State(app): State<Arc<App>>, Query(query): Query<BTreeMap<String, String>>) -> Answer<Response> {
    let filter = RunFilter {
        job: query.get("job").map(|job| JobName::with_default_namespace(job)).transpose()?,
        states: query.get("state").map_or(Ok(Vec::new()), |text| states(text))?,
        since: input::time("since", query.get("since"))?,
    };
    let limit = input::limit(query.get("limit"), 100, 1_000)?;
    let state = app.views.read();
    let cursor = query.get("cursor").map(String::as_str);
    let page = state.runs.page(&filter, cursor, limit).map_err(|why| Problem::new("malformed", why))?;
    let items: Vec<Value> = page.items.iter().map(view).collect();
    let mut body = json!({"items": items, "next": page.next});
    if query.get("count").is_some_and(|text| text == "true") {
        body["count"] = state.runs.count(&filter).into();
    }
    Ok((position_header(app.views.seen().trigger), Json(body)).into_response())
}

fn states(text: &str) -> Answer<Vec<RunState>> {
    let read = |word: &str| {
        let words = RunState::ALL.iter().map(|state| state.word());
        RunState::from_word(word.trim()).ok_or_else(|| {
            let all = words.clone().collect::<Vec<_>>().join(", ");
            Problem::new("malformed", format!("state: {word:?} is none of {all}"))
        })
    };
    text.split(',').map(read).collect()
}

pub(super) async fn get(
    State(app): State<Arc<App>>,
    Path(run): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Answer<Response> {
    let run = input::run_id(&run)?;
    if let Some(seconds) = query.get("wait") {
        let seconds: u64 =
            seconds.parse().map_err(|_| Problem::new("malformed", format!("wait: {seconds:?} is not a number of seconds")))?;
        wait_for_end(&app, &run, Duration::from_secs(seconds.min(WAIT_MAX_S))).await;
    }
    let record = known(&app, &run)?;
    Ok((position_header(app.views.seen().trigger), Json(view(&record))).into_response())
}

/// The run's record.
pub(super) fn known(app: &App, run: &RunId) -> Answer<RunRecord> {
    app.views.read().runs.get(run).cloned().ok_or_else(|| unknown(run))
}

/// It may have been there: the journals are kept for longer than what is shown.
fn unknown(run: &RunId) -> Problem {
    let detail = format!("there is no run {run} here: a run is shown for 30 days after its last change, if not more than {RUNS_SHOWN} are");
    let older = "of one that is older the journals tell, or an export of them (--data-dir)";
    let hint = format!("list runs with GET /api/v1/runs; {older}: `orrery audit log --run {run}`");
    Problem::new("not_found", detail).hint(hint)
}

/// Waits until the run has ended, or as long as may be.
pub(super) async fn wait_for_end(app: &App, run: &RunId, at_most: Duration) {
    let mut changes = app.views.changes();
    let ended = async {
        while app.views.read().runs.get(run).is_some_and(|record| !record.state.is_final()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    let _ended_or_late = tokio::time::timeout(at_most, ended).await;
}

pub(super) async fn cancel(State(app): State<Arc<App>>, Path(run): Path<String>, headers: HeaderMap, body: Body) -> Answer<Response> {
    let (run, reason) = (input::run_id(&run)?, input::json::<WithReason>(body).await?.within_limits()?);
    ask(&app, Request::CancelRun { run: run.clone(), reason }, &run, &headers).await
}

pub(super) async fn retry(State(app): State<Arc<App>>, Path(run): Path<String>, headers: HeaderMap) -> Answer<Response> {
    let run = input::run_id(&run)?;
    ask(&app, Request::RetryRun { run: run.clone() }, &run, &headers).await
}

pub(super) async fn mark_success(State(app): State<Arc<App>>, Path(run): Path<String>, headers: HeaderMap) -> Answer<Response> {
    let run = input::run_id(&run)?;
    ask(&app, Request::MarkSuccess { run: run.clone() }, &run, &headers).await
}

async fn ask(app: &Arc<App>, request: Request, run: &RunId, headers: &HeaderMap) -> Answer<Response> {
    let outcome = app.request(request, input::principal(headers)?, input::key(headers)?).await?;
    answer(outcome, |_| app.views.read().runs.get(run).map_or_else(|| json!({"id": run}), view))
}
