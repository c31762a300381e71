//! Events: records for user topics.

use super::{header_text, input};
use crate::App;
use crate::problem::{Answer, Problem};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use orrery_model::limits::INPUT_BYTES;
use orrery_model::murmur2::partition_of;
use orrery_model::payload::Payload;
use orrery_model::record::NewRecord;
use orrery_model::topics::{Cleanup, check_topic_name, is_ours};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A user topic that the first event makes: one partition, kept for a week.
const NEW_TOPIC: (u32, Cleanup) = (1, Cleanup::DeleteAfterMs(7 * 86_400_000));
/// Events of one request.
const BATCH: usize = 1_000;
/// Request headers that become record headers.
const KEPT: [&str; 3] = ["content-type", "idempotency-key", "traceparent"];

pub(super) async fn send(
    State(app): State<Arc<App>>,
    Path(topic): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    check_topic_name(&topic).map_err(|why| Problem::new("invalid", why))?;
    if is_ours(&app.config.cluster.prefix, &topic) {
        let detail = format!("{topic} is a topic of Orrery itself; events go to topics of your own");
        return Err(Problem::new("reserved_topic", detail).try_this("choose a name without this prefix, and not ending in .dlq"));
    }
    let batch = header_text(&headers, "content-type").is_some_and(|media| media.starts_with("application/x-ndjson"));
    let bytes = input::body(body, if batch { INPUT_BYTES * 16 } else { INPUT_BYTES }).await?;
    let values: Vec<&[u8]> =
        if batch { bytes.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty()).collect() } else { vec![&bytes] };
    if values.is_empty() || values.len() > BATCH {
        return Err(Problem::new("malformed", format!("there are {} events, allowed are 1 to {BATCH}", values.len())));
    }
    let partitions = partitions(&app, &topic).await?;
    let (key, sent_key) = (query.get("key"), input::key(&headers)?);
    let partition = key.or(sent_key.as_ref()).map_or(0, |key| partition_of(key.as_bytes(), partitions));
    let kept = kept_headers(&headers);
    let record = |value: &[u8]| NewRecord {
        topic: topic.clone(),
        partition,
        key: key.map(|key| key.as_bytes().into()),
        value: Some(value.into()),
        headers: kept.clone(),
    };
    let offsets = app.append(values.into_iter().map(record).collect()).await?;
    let place = |offset: &i64| json!({"topic": topic, "partition": partition, "offset": offset});
    let body: Value = if batch { json!({"items": offsets.iter().map(place).collect::<Vec<_>>()}) } else { place(&offsets[0]) };
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

async fn partitions(app: &Arc<App>, topic: &str) -> Answer<u32> {
    let (app, topic) = (app.clone(), topic.to_owned());
    let found = tokio::task::spawn_blocking(move || match app.config.log.topic(&topic)? {
        Some(found) => Ok(found.partitions),
        None => app.config.log.ensure_topic(&topic, NEW_TOPIC.0, NEW_TOPIC.1).map(|made| made.partitions),
    });
    Ok(found.await??)
}

/// CloudEvents in binary mode: `ce-type` becomes `ce_type`, as Kafka's binding has it.
fn kept_headers(headers: &HeaderMap) -> Vec<(String, Payload)> {
    let kept = |name: &str| {
        let cloud_event = name.strip_prefix("ce-").map(|rest| format!("ce_{rest}"));
        cloud_event.or_else(|| KEPT.contains(&name).then(|| name.to_owned()))
    };
    headers.iter().filter_map(|(name, value)| Some((kept(name.as_str())?, value.as_bytes().into()))).collect()
}
