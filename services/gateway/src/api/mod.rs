//! The table of all routes: the router and the OpenAPI document are made from it, so that they cannot differ.

mod agents;
mod cluster;
mod decisions;
mod events;
mod explain;
mod input;
mod jobs;
mod logic;
mod logs;
mod openapi;
mod paging;
mod quarantine;
mod runs;

pub(crate) use cluster::ready;

use crate::App;
use crate::admission::{ANSWER_KIB, keep_room};
use crate::guard::guard;
use crate::problem::{Answer, Problem};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post};
use std::net::SocketAddr;
use std::sync::Arc;

/// Begins the paths of the API.
pub const BASE: &str = "/api/v1";
/// Names the trigger journal's position that an answer shows, or that a read wants to see.
pub const POSITION: HeaderName = HeaderName::from_static("orrery-position");

/// One route.
pub(crate) struct Route {
    /// HTTP method.
    pub method: &'static str,
    /// Path, with `{names}`.
    pub path: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// Query parameters: name and meaning.
    pub query: &'static [(&'static str, &'static str)],
    handler: fn() -> MethodRouter<Arc<App>>,
}

macro_rules! routes {
    ($($method:ident $path:literal => $handler:path, $summary:literal $(, $name:literal: $meaning:literal)*;)*) => {
        /// Every route.
        pub(crate) const ROUTES: &[Route] = &[$(Route {
            method: stringify!($method), path: $path, summary: $summary, query: &[$(($name, $meaning)),*], handler: || $method($handler),
        }),*];
    };
}

routes! {
    get "/healthz" => cluster::healthz, "Answers 200 while the process serves";
    get "/readyz" => cluster::readyz, "Answers 200 while all shards are held, the views follow the log, and the log acknowledges what is written; else 503 with the reason";
    get "/metrics" => cluster::metrics, "Metrics in Prometheus' text format";
    get "/api/v1/openapi.json" => openapi::document, "This document";
    get "/api/v1/cluster" => cluster::status, "What the cluster consists of, and how far its parts have come";
    get "/api/v1/cluster/logic" => logic::show, "The members that live, and which versions of the logic they have and are in force";
    post "/api/v1/cluster/logic" => logic::raise, "Raises the logic to the newest version, once all members have it";
    post "/api/v1/quarantine" => quarantine::set_aside,
        "Sets a record aside that a shard cannot decide on: {\"shard\": \"trigger/0\", \"record\": \"orders/0@17\", \"reason\": \"…\"}";
    get "/api/v1/jobs" => jobs::list, "Jobs, by name", "prefix": "only names that begin so",
        "limit": "at most so many, 1 to 1000, default 1000", "cursor": "`next` of the page before";
    post "/api/v1/jobs" => jobs::apply, "Defines a job, or changes it: one document in JSON, YAML or TOML, by Content-Type";
    get "/api/v1/jobs/{name}" => jobs::get_short, "A job, by its name with %2F, or by the name alone in the namespace default";
    delete "/api/v1/jobs/{name}" => jobs::delete_short, "Deletes a job, named as above";
    get "/api/v1/jobs/{namespace}/{name}" => jobs::get, "A job";
    delete "/api/v1/jobs/{namespace}/{name}" => jobs::delete, "Deletes a job and ends its runs";
    post "/api/v1/jobs/{namespace}/{name}/run" => jobs::run, "Runs a job now; the body may hold {\"args\": {\"name\": \"value\"}}";
    post "/api/v1/jobs/{namespace}/{name}/pause" => jobs::pause, "Starts nothing more of a job until it goes on";
    post "/api/v1/jobs/{namespace}/{name}/resume" => jobs::resume, "Lets a paused job go on; missed slots follow its catch_up";
    get "/api/v1/runs" => runs::list, "Runs, newest first", "job": "of this job", "state": "in these states, divided by commas",
        "since": "made at or after this time (RFC 3339)", "limit": "at most so many, 1 to 1000, default 100",
        "cursor": "`next` of the page before", "count": "true: count all that match";
    get "/api/v1/runs/{run}" => runs::get, "A run", "wait": "seconds to wait for its end, at most 60";
    post "/api/v1/runs/{run}/cancel" => runs::cancel, "Ends a run; the body may hold {\"reason\": \"…\"}";
    post "/api/v1/runs/{run}/retry" => runs::retry, "One more attempt for a run that has ended without success";
    post "/api/v1/runs/{run}/mark-success" => runs::mark_success, "Counts a run that has ended without success as succeeded";
    get "/api/v1/runs/{run}/logs" => logs::read, "Output of an attempt", "stream": "stdout (default) or stderr",
        "attempt": "its number, default the last", "from": "first byte; or use the header Range", "limit": "at most so many bytes",
        "follow": "true: go on until the run has ended";
    post "/api/v1/events/{topic}" => events::send, "Appends the body as an event; application/x-ndjson: one event per line; application/cloudevents-batch+json: a list of CloudEvents",
        "key": "the record's key";
    get "/api/v1/agents" => agents::list, "Agents, by cell and name", "limit": "at most so many, 1 to 1000, default 1000",
        "cursor": "`next` of the page before";
    get "/api/v1/agents/{agent}" => agents::get, "An agent and its tasks";
    get "/api/v1/explain/run/{run}" => explain::run, "Why a run is as it is: its cause, its story, and every decision about it",
        "at": "as of this time (RFC 3339)";
    get "/api/v1/explain/job/{namespace}/{name}" => explain::job, "Why a job ran, or did not", "at": "around this time (RFC 3339)";
    get "/api/v1/explain/event/{topic}/{partition}/{offset}" => explain::event::tell,
        "What became of an event: whether it was read, and what each job that watches its topic made of it";
    get "/api/v1/explain/agent/{agent}" => explain::agent, "What happened to an agent", "at": "as of this time (RFC 3339)";
    get "/api/v1/explain/pending" => explain::pending, "Tasks that wait, with all reasons counted";
    get "/api/v1/decisions" => decisions::list, "Journal entries; as text/event-stream they follow, each with its position as id",
        "service": "trigger (default) or allocator", "job": "that speak of this job", "run": "that speak of this run",
        "agent": "that speak of this agent", "topic": "that speak of this topic, or of a record of it",
        "kind": "with a decision or input of this kind", "since": "at or after this time", "until": "before this time",
        "from": "from the record on that the answer before names as `next` (where that has `more`, something is left, even if it has no items), or behind this entry",
        "limit": "at most so many, 1 to 1000, default 100";
}

/// Routes whose answers may be large, and to how many KiB: room is kept for them.
const LARGE: &[(&str, u32)] = &[
    ("/api/v1/cluster", 2 << 10),
    ("/api/v1/jobs", ANSWER_KIB),
    ("/api/v1/runs", ANSWER_KIB),
    ("/api/v1/runs/{run}/logs", 1 << 10),
    ("/api/v1/agents", ANSWER_KIB),
    ("/api/v1/agents/{agent}", 2 << 10),
    ("/api/v1/explain/run/{run}", ANSWER_KIB),
    ("/api/v1/explain/job/{namespace}/{name}", ANSWER_KIB),
    ("/api/v1/explain/event/{topic}/{partition}/{offset}", ANSWER_KIB),
    ("/api/v1/explain/agent/{agent}", ANSWER_KIB),
    ("/api/v1/explain/pending", ANSWER_KIB),
    ("/api/v1/decisions", ANSWER_KIB),
];

/// All routes, guarded.
pub(crate) fn router(app: Arc<App>, address: SocketAddr) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let large = LARGE.iter().find(|(path, _)| route.method == "get" && *path == route.path);
        let handler = (route.handler)();
        let handler = match large {
            Some((_, kib)) => handler.layer(middleware::from_fn_with_state((app.admission.clone(), *kib), keep_room)),
            None => handler,
        };
        router = router.route(route.path, handler);
    }
    router
        .fallback(no_such_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(app.clone(), wait_for_position))
        .layer(middleware::from_fn_with_state((app.clone(), address), guard))
        .with_state(app)
}

/// A read that names a position sees it (§10.1).
async fn wait_for_position(State(app): State<Arc<App>>, request: Request, next: Next) -> Answer<Response> {
    if let Some(position) = request.headers().get(POSITION) {
        let position = position.to_str().ok().and_then(|text| text.parse().ok());
        let position = position.ok_or_else(|| Problem::new("malformed", "Orrery-Position is not a number"))?;
        if !app.views.wait_for(position).await {
            return Err(Problem::new("unavailable", format!("position {position} is not shown yet")).try_this("come again in a second"));
        }
    }
    Ok(next.run(request).await)
}

async fn no_such_route(request: Request) -> Problem {
    let path = request.uri().path().to_owned();
    let hint = orrery_model::job::did_you_mean(&path, ROUTES.iter().map(|route| route.path));
    Problem::new("no_such_route", format!("there is no {path}")).hint(Some(hint.unwrap_or_else(|| format!("see {BASE}/openapi.json"))))
}

async fn wrong_method(request: Request) -> Problem {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    Problem::new("method_not_allowed", format!("{path} does not take {method}")).hint(Some(format!("see {BASE}/openapi.json")))
}

/// The position header of an answer.
pub(crate) fn position_header(position: i64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(POSITION, HeaderValue::from(position));
    headers
}

/// The header's text, where it is set and is text.
pub(crate) fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}
