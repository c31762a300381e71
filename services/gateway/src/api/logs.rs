//! Output of attempts: by range, or followed until the run has ended.

use super::input;
use super::{header_text, runs};
use crate::App;
use crate::outputs::{OutputError, Wanted};
use crate::problem::{Answer, Problem};
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use orrery_agent::{LogChunk, ReadLogError, Stream};
use orrery_model::id::{AgentId, AttemptId, RunId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of one answer.
const CHUNK: usize = 1 << 20;
/// Bytes of one piece while following: what is held for one who does not read.
const PIECE: usize = 256 << 10;
/// How often a followed output is looked at: it grows without a record on the log.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

pub(super) async fn read(
    State(app): State<Arc<App>>,
    Path(run): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Answer<Response> {
    let run = input::run_id(&run)?;
    let record = runs::known(&app, &run)?;
    let attempt = match query.get("attempt") {
        Some(text) => text.parse().map_err(|_| Problem::new("malformed", format!("attempt: {text:?} is not a number")))?,
        None => record.attempts.max(1),
    };
    let stream = match query.get("stream").map_or("stdout", String::as_str) {
        "stdout" => Stream::Stdout,
        "stderr" => Stream::Stderr,
        other => return Err(Problem::new("malformed", format!("stream: {other:?} is neither stdout nor stderr"))),
    };
    // Where an earlier attempt ran is not shown.
    let agent = record.agent.filter(|_| attempt == record.attempts);
    let output = Output { app, run: run.clone(), attempt: run.attempt(attempt), agent, stream };
    let (from, to) = range(&query, &headers)?;
    if query.get("follow").is_some_and(|text| text == "true") {
        return Ok(output.follow(from));
    }
    let chunk = output.read(from, to.map_or(CHUNK, |to| ((to - from.min(to)) as usize).min(CHUNK))).await?;
    Ok(answer(chunk, from, headers.contains_key(header::RANGE)))
}

/// First byte, and the one behind the last if that is named.
fn range(query: &BTreeMap<String, String>, headers: &HeaderMap) -> Answer<(u64, Option<u64>)> {
    if let Some(text) = header_text(headers, "range") {
        let refused = || Problem::new("malformed", format!("Range: {text:?} is not bytes=first-last"));
        let (first, last) = text.strip_prefix("bytes=").and_then(|rest| rest.split_once('-')).ok_or_else(refused)?;
        let first: u64 = first.parse().map_err(|_| refused())?;
        let last: Option<u64> = if last.is_empty() { None } else { Some(last.parse().map_err(|_| refused())?) };
        return Ok((first, last.map(|last| last.saturating_add(1))));
    }
    let number = |name: &str| {
        let number = query
            .get(name)
            .map(|text| text.parse::<u64>().map_err(|_| Problem::new("malformed", format!("{name}: {text:?} is not a number"))));
        number.transpose()
    };
    let from = number("from")?.unwrap_or(0);
    Ok((from, number("limit")?.map(|limit| from.saturating_add(limit))))
}

fn answer(chunk: LogChunk, asked: u64, ranged: bool) -> Response {
    let LogChunk { from, bytes, start, end } = chunk;
    if ranged && asked >= end && end > 0 {
        return Problem::new("range", format!("the output ends at {end}")).into_response();
    }
    let last = from + bytes.len() as u64;
    let partial = ranged && !bytes.is_empty();
    let mut response = (if partial { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK }, bytes).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    for (name, value) in [("orrery-log-from", from), ("orrery-log-next", last), ("orrery-log-start", start), ("orrery-log-end", end)] {
        headers.insert(name, HeaderValue::from(value));
    }
    if partial && let Ok(value) = HeaderValue::from_str(&format!("bytes {from}-{}/{end}", last - 1)) {
        headers.insert(header::CONTENT_RANGE, value);
    }
    response
}

struct Output {
    app: Arc<App>,
    run: RunId,
    attempt: AttemptId,
    agent: Option<AgentId>,
    stream: Stream,
}

impl Output {
    /// What is there; an attempt without output has an empty one.
    async fn read(&self, from: u64, max: usize) -> Answer<LogChunk> {
        let (app, attempt, agent) = (self.app.clone(), self.attempt.clone(), self.agent.clone());
        let wanted = Wanted { attempt, agent, stream: self.stream, from, max };
        match tokio::task::spawn_blocking(move || (app.config.read_output)(&wanted)).await? {
            Ok(chunk) => Ok(chunk),
            Err(OutputError::Read(ReadLogError::NoOutput { .. })) => Ok(LogChunk { from, bytes: Vec::new(), start: 0, end: 0 }),
            Err(error) => Err(Problem::new("unavailable", error.to_string())),
        }
    }

    /// Streams the output until the run has ended and all of it was sent.
    fn follow(self, from: u64) -> Response {
        let body = Body::from_stream(stream::unfold((self, from), |(output, from)| async move {
            loop {
                // Asked before the output is read: what an ended run wrote is all there.
                let ended = output.app.views.read().runs.get(&output.run).is_none_or(|run| run.state.is_final());
                let chunk = output.read(from, PIECE).await.ok()?;
                if !chunk.bytes.is_empty() {
                    let next = chunk.from + chunk.bytes.len() as u64;
                    return Some((Ok::<Bytes, std::convert::Infallible>(chunk.bytes.into()), (output, next)));
                }
                if ended {
                    return None;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }));
        ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
    }
}
