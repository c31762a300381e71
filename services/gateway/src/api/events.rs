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
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A user topic that the first event makes: one partition, kept for a week.
const NEW_TOPIC: (u32, Cleanup) = (1, Cleanup::DeleteAfterMs(7 * 86_400_000));
/// Events of one request.
const BATCH: usize = 1_000;
/// Bytes of one request with several events.
const BATCH_BYTES: usize = INPUT_BYTES * 16;
/// A list of CloudEvents, and one of them.
const CLOUD_EVENTS: &str = "application/cloudevents-batch+json";
const CLOUD_EVENT: &str = "application/cloudevents+json";
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
    let media = header_text(&headers, "content-type").unwrap_or_default();
    let batch = Batch::of(&media);
    let _turn = match batch {
        Some(_) => Some(app.admission.batch().await?),
        None => None,
    };
    let bytes = input::body(body, if batch.is_some() { BATCH_BYTES } else { INPUT_BYTES }).await?;
    let values: Vec<&[u8]> = match batch {
        Some(batch) => batch.events(&bytes)?,
        None => vec![&bytes],
    };
    if values.is_empty() || values.len() > BATCH {
        return Err(Problem::new("malformed", format!("there are {} events, allowed are 1 to {BATCH}", values.len())));
    }
    let partitions = partitions(&app, &topic).await?;
    let (key, sent_key) = (query.get("key"), input::key(&headers)?);
    let partition = key.or(sent_key.as_ref()).map_or(0, |key| partition_of(key.as_bytes(), partitions));
    let record = |(index, value): (usize, &&[u8])| NewRecord {
        topic: topic.clone(),
        partition,
        key: key.map(|key| key.as_bytes().into()),
        value: Some((*value).into()),
        headers: kept_headers(&headers, batch.map(|batch| (batch, index))),
    };
    let offsets = app.send(values.iter().enumerate().map(record).collect()).await?;
    let place = |offset: &i64| json!({"topic": topic, "partition": partition, "offset": offset});
    let body: Value = if batch.is_some() { json!({"items": offsets.iter().map(place).collect::<Vec<_>>()}) } else { place(&offsets[0]) };
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

/// Several events in one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Batch {
    /// One on each line.
    Lines,
    /// A list of CloudEvents.
    CloudEvents,
}

impl Batch {
    fn of(media: &str) -> Option<Self> {
        match media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "application/x-ndjson" => Some(Self::Lines),
            CLOUD_EVENTS => Some(Self::CloudEvents),
            _ => None,
        }
    }

    /// Each as it was sent.
    fn events(self, bytes: &[u8]) -> Answer<Vec<&[u8]>> {
        if self == Self::Lines {
            return Ok(bytes.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty()).collect());
        }
        let refused = |why: String| Problem::new("malformed", format!("the body is not a list of CloudEvents: {why}"));
        let events: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(|error| refused(error.to_string()))?;
        for (index, event) in events.iter().enumerate() {
            let read: Result<CloudEvent<'_>, _> = serde_json::from_str(event.get());
            read.map_err(|error| refused(format!("[{index}]: {error}")))?;
        }
        Ok(events.into_iter().map(|event| event.get().as_bytes()).collect())
    }
}

/// What every CloudEvent has.
#[derive(serde::Deserialize)]
#[expect(dead_code, reason = "only that they are there matters")]
struct CloudEvent<'v> {
    #[serde(borrow)]
    specversion: std::borrow::Cow<'v, str>,
    #[serde(borrow)]
    id: std::borrow::Cow<'v, str>,
    #[serde(borrow)]
    source: std::borrow::Cow<'v, str>,
    #[serde(borrow, rename = "type")]
    kind: std::borrow::Cow<'v, str>,
}

async fn partitions(app: &Arc<App>, topic: &str) -> Answer<u32> {
    let topic = topic.to_owned();
    app.writing(move |log| match log.topic(&topic)? {
        Some(found) => Ok(found.partitions),
        None => log.ensure_topic(&topic, NEW_TOPIC.0, NEW_TOPIC.1).map(|made| made.partitions),
    })
    .await
}

/// Headers of the record. CloudEvents in binary mode: `ce-type` becomes `ce_type`, as Kafka's binding has it. An event of a batch has
/// an idempotency key of its own, made of the request's and its place: they are not repeats of each other.
fn kept_headers(headers: &HeaderMap, of_batch: Option<(Batch, usize)>) -> Vec<(String, Payload)> {
    let kept = |name: &str| {
        let cloud_event = name.strip_prefix("ce-").map(|rest| format!("ce_{rest}"));
        cloud_event.or_else(|| KEPT.contains(&name).then(|| name.to_owned()))
    };
    let value = |name: &str, value: &[u8]| match (of_batch, name) {
        (Some((_, index)), "idempotency-key") => [value, format!("/{index}").as_bytes()].concat().as_slice().into(),
        (Some((Batch::CloudEvents, _)), "content-type") => CLOUD_EVENT.as_bytes().into(),
        _ => value.into(),
    };
    headers.iter().filter_map(|(name, bytes)| Some((kept(name.as_str())?, value(name.as_str(), bytes.as_bytes())))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &'static str, value: &'static str, of_batch: Option<(Batch, usize)>) -> String {
        let headers = HeaderMap::from_iter([(name.parse().expect("a name"), value.parse().expect("a value"))]);
        kept_headers(&headers, of_batch)[0].1.text().expect("text").to_owned()
    }

    #[test]
    fn an_event_of_a_batch_has_its_own_key_and_kind() {
        assert_eq!(header("idempotency-key", "k", None), "k");
        assert_eq!(header("idempotency-key", "k", Some((Batch::Lines, 2))), "k/2");
        assert_eq!(header("content-type", CLOUD_EVENTS, Some((Batch::CloudEvents, 0))), CLOUD_EVENT);
        assert_eq!(header("content-type", "application/x-ndjson", Some((Batch::Lines, 0))), "application/x-ndjson");
    }

    #[test]
    fn a_batch_of_cloud_events_is_taken_as_it_was_sent_or_refused_by_place() {
        assert_eq!(Batch::of("application/cloudevents-batch+json; charset=utf-8"), Some(Batch::CloudEvents));
        assert_eq!(Batch::of("application/cloudevents+json"), None);
        let event = r#"{"specversion":"1.0","id":"\u0061","source":"/s","type":"t","data":{"n":340282366920938463463374607431768211457}}"#;
        let body = format!("[{event} , {event}]");
        assert_eq!(Batch::CloudEvents.events(body.as_bytes()).expect("a batch"), [event.as_bytes(); 2]);
        let refused =
            |body: &str| Batch::CloudEvents.events(body.as_bytes()).err().map(|problem| format!("{problem:?}")).unwrap_or_default();
        assert!(refused(event).contains("not a list of CloudEvents"));
        let lacking = refused(&format!("[{event}, {{\"id\": \"1\"}}]"));
        assert!(lacking.contains("[1]: missing field `specversion`"), "{lacking}");
    }
}
