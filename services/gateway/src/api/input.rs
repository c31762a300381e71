//! What comes with a request: bodies within their limits, principals, keys, names.

use crate::problem::{Answer, Problem};
use axum::body::{Body, Bytes, to_bytes};
use axum::http::HeaderMap;
use orrery_model::id::{JobName, Principal, RunId};
use orrery_model::messages::EnvVar;
use orrery_model::time::Timestamp;
use orrery_trigger::decode::KEY_MAX;
use serde::de::DeserializeOwned;

/// Reads a body of at most `limit` bytes.
pub(super) async fn body(body: Body, limit: usize) -> Answer<Bytes> {
    to_bytes(body, limit).await.map_err(|_| {
        Problem::new("too_large", format!("the body is larger than {limit} bytes, or ended early"))
            .try_this("send a reference to the data instead")
    })
}

/// Reads a small JSON body; an empty one is the default.
pub(super) async fn json<T: DeserializeOwned + Default>(from: Body) -> Answer<T> {
    let bytes = body(from, 64 << 10).await?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    serde_json::from_slice(&bytes).map_err(|e| Problem::new("malformed", format!("the body is not the JSON wanted here: {e}")))
}

/// Who asks, by the header `Orrery-Principal`.
pub(super) fn principal(headers: &HeaderMap) -> Answer<Option<Principal>> {
    match super::header_text(headers, "orrery-principal") {
        Some(text) => Ok(Some(Principal::parse(&text)?)),
        None => Ok(None),
    }
}

/// The header `Idempotency-Key`.
pub(super) fn key(headers: &HeaderMap) -> Answer<Option<String>> {
    match super::header_text(headers, "idempotency-key") {
        Some(key) if key.is_empty() || key.len() > KEY_MAX => {
            Err(Problem::new("malformed", format!("Idempotency-Key has {} characters, allowed are 1 to {KEY_MAX}", key.len())))
        }
        key => Ok(key),
    }
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

/// A reason, as the API takes it.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WithReason {
    pub reason: Option<String>,
}
