//! What comes with a request: bodies within their limits, principals, keys, names.

use crate::problem::{Answer, Problem};
use axum::body::{Body, Bytes, to_bytes};
use axum::http::HeaderMap;
use http_body_util::LengthLimitError;
use orrery_model::id::{JobName, Principal, RunId};
use orrery_model::limits::INPUT_BYTES;
use orrery_model::messages::EnvVar;
use orrery_model::time::Timestamp;
use orrery_trigger::decode::KEY_MAX;
use serde::de::DeserializeOwned;
use std::error::Error as _;
use std::time::Duration;

/// How long a body may take to arrive.
const BODY_WAIT: Duration = Duration::from_secs(60);

/// Reads a body of at most `limit` bytes.
pub(super) async fn body(body: Body, limit: usize) -> Answer<Bytes> {
    let slow = |_| {
        let detail = format!("the body was not there within {} s", BODY_WAIT.as_secs());
        Problem::new("too_slow", detail).try_this("send it again, at once")
    };
    let unread = |error: axum::Error| match error.source() {
        Some(source) if source.is::<LengthLimitError>() => {
            Problem::new("too_large", format!("the body is larger than {limit} bytes")).try_this("send a reference to the data instead")
        }
        _ => Problem::new("malformed", format!("the body does not come to the end that its head promises: {error}")),
    };
    tokio::time::timeout(BODY_WAIT, to_bytes(body, limit)).await.map_err(slow)?.map_err(unread)
}

/// Reads a JSON body, no larger than the record that it leads to may be; an empty one is the default.
pub(super) async fn json<T: DeserializeOwned + Default>(from: Body) -> Answer<T> {
    let bytes = body(from, INPUT_BYTES).await?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    serde_json::from_slice(&bytes).map_err(|e| Problem::new("malformed", format!("the body is not the JSON wanted here: {e}")))
}

/// Who asks, by the header `Orrery-Principal`.
pub(super) fn principal(headers: &HeaderMap) -> Answer<Option<Principal>> {
    Ok(told_once(headers, "orrery-principal")?.map(Principal::parse).transpose()?)
}

/// The header `Idempotency-Key`.
pub(super) fn key(headers: &HeaderMap) -> Answer<Option<String>> {
    match told_once(headers, "idempotency-key")? {
        Some(key) if key.is_empty() || key.len() > KEY_MAX => {
            Err(Problem::new("malformed", format!("Idempotency-Key has {} characters, allowed are 1 to {KEY_MAX}", key.len())))
        }
        key => Ok(key.map(str::to_owned)),
    }
}

/// A header that changes what is done: one that cannot be read is not as good as none.
fn told_once<'h>(headers: &'h HeaderMap, name: &str) -> Answer<Option<&'h str>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::new("malformed", format!("{name} comes more than once")).try_this("send it once"));
    }
    let text = value.to_str().ok().filter(|text| !text.chars().any(char::is_control));
    let unreadable = || {
        let detail = format!("{name}: {:?} is not printable ASCII text", String::from_utf8_lossy(value.as_bytes()));
        Problem::new("malformed", detail).try_this("encode it, for example as hexadecimal digits")
    };
    text.map(Some).ok_or_else(unreadable)
}

/// A job's name from two segments of a path.
pub(super) fn job_name(namespace: &str, name: &str) -> Answer<JobName> {
    Ok(JobName::parse(&format!("{namespace}/{name}"))?)
}

/// A run's id.
pub(super) fn run_id(text: &str) -> Answer<RunId> {
    Ok(RunId::parse(text)?)
}

/// A time in a query.
pub(super) fn time(name: &str, text: Option<&String>) -> Answer<Option<Timestamp>> {
    text.map(|text| Timestamp::parse(text).map_err(|why| Problem::new("malformed", format!("{name}: {why}")))).transpose()
}

/// A number in a query, within a range.
pub(super) fn limit(text: Option<&String>, default: usize, most: usize) -> Answer<usize> {
    let Some(text) = text else { return Ok(default) };
    match text.parse() {
        Ok(n) if (1..=most).contains(&n) => Ok(n),
        _ => Err(Problem::new("malformed", format!("limit: {text:?} is not a number from 1 to {most}"))),
    }
}

/// Arguments of a run, as the API takes them.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RunArgs {
    args: std::collections::BTreeMap<String, String>,
}

impl RunArgs {
    pub(super) fn into_vars(self) -> Vec<EnvVar> {
        self.args.into_iter().map(|(name, value)| EnvVar { name, value }).collect()
    }
}

/// The longest reason, bytes: it stands in the run's record, and wherever that is shown.
const REASON_MAX: usize = 4 << 10;

/// A reason, as the API takes it.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WithReason {
    reason: Option<String>,
}

impl WithReason {
    pub(super) fn within_limits(self) -> Answer<Option<String>> {
        match self.reason {
            Some(reason) if reason.len() > REASON_MAX => {
                Err(Problem::new("too_large", format!("reason: it has {} bytes, allowed are {REASON_MAX}", reason.len())))
            }
            reason => Ok(reason),
        }
    }
}
