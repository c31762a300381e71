//! From log records to inputs.

use crate::facts::{EventData, Header, Input};
use orrery_model::codec::CodecError;
use orrery_model::decider::{Decoded, InputTopic, Poison};
use orrery_model::id::{JobName, Principal};
use orrery_model::messages::{CATALOG, FORWARDS, Forward, ForwardBody, OUTCOMES, Origin, REQUEST};
use orrery_model::payload::Payload;
use orrery_model::record::Record;
use orrery_model::topics::{self, reread_of};

/// Header of an inbox record: who sends the definition.
pub const PRINCIPAL_HEADER: &str = "orrery-principal";
/// Longest idempotency key.
pub const KEY_MAX: usize = 128;

pub(crate) fn decode(topic: InputTopic<'_>, record: &Record) -> Result<Vec<Decoded<Input>>, Poison> {
    match (topic.ours, topic.name) {
        (true, topics::JOBS) => job(topic, record).map(|input| vec![Decoded::plain(input)]),
        (true, topics::REQUESTS) => request(topic, record).map(|input| vec![Decoded::plain(input)]),
        (true, topics::OUTCOMES) => outcomes(record),
        (true, topics::FORWARDS) => forwards(record),
        (true, topics::CATALOG) if record.key.as_ref().is_some_and(|key| key.as_bytes() == topics::CLUSTER_KEY.as_bytes()) => {
            Ok(Vec::new())
        }
        (true, topics::CATALOG) => definition(record).map(|input| vec![Decoded::plain(input)]),
        (true, other) => Err(Poison::new("decode", format!("the trigger does not read {other}"))),
        (false, name) => match reread_of(name) {
            None => Ok(vec![Decoded::plain(Input::EventArrived { event: event(topic, record) })]),
            Some((name, job)) => {
                let job = JobName::parse(job).map_err(|e| Poison::new("decode", format!("name of a re-read: {e}")))?;
                Ok(vec![Decoded::plain(Input::EventReread { job, event: event(InputTopic { name, ..topic }, record) })])
            }
        },
    }
}

fn job(topic: InputTopic<'_>, record: &Record) -> Result<Input, Poison> {
    let (origin, appended) = (origin(topic, record), record.appended);
    let principal = match record.header(PRINCIPAL_HEADER) {
        Some(text) => Some(Principal::parse(text).map_err(|e| Poison::new("validate", format!("header {PRINCIPAL_HEADER}: {e}")))?),
        None => None,
    };
    let Some(value) = &record.value else {
        let key = record.key.as_ref().and_then(Payload::text).unwrap_or_default();
        let job = JobName::with_default_namespace(key).map_err(|e| Poison::new("validate", format!("key of a tombstone: {e}")))?;
        return Ok(Input::JobWithdrawn { job, principal, origin, appended });
    };
    let text = value.text().ok_or_else(|| Poison::new("decode", "the value is not UTF-8; send the job document as JSON"))?;
    let document = orrery_model::job::read_json(text).map_err(|e| Poison::new("decode", e.to_string()))?.to_json();
    Ok(Input::JobSubmitted { document, principal, starts: Vec::new(), origin, appended, read: Vec::new() })
}

/// Where a record of one of our topics stands.
fn origin(topic: InputTopic<'_>, record: &Record) -> Origin {
    let InputTopic { name, partition, generation, .. } = topic;
    Origin { topic: name.to_owned(), partition: partition as i32, generation, offset: record.offset }
}

fn request(topic: InputTopic<'_>, record: &Record) -> Result<Input, Poison> {
    let value = record.value.as_ref().ok_or_else(|| Poison::new("decode", "a request has a value"))?;
    let asked = REQUEST.decode_or_json(value.as_bytes()).map_err(|e: CodecError| Poison::new("decode", e.to_string()))?;
    if let Some(key) = &asked.idempotency_key
        && (key.is_empty() || key.len() > KEY_MAX || key.chars().any(char::is_control))
    {
        return Err(Poison::new("validate", format!("idempotency_key {key:?} is not 1 to {KEY_MAX} printable characters")));
    }
    // A key that is no job's name leads nowhere, and does no harm.
    let job = record.key.as_ref().and_then(Payload::text).and_then(|key| JobName::with_default_namespace(key).ok());
    Ok(Input::Requested { asked, job, origin: origin(topic, record) })
}

fn forwards(record: &Record) -> Result<Vec<Decoded<Input>>, Poison> {
    let value = record.value.as_ref().ok_or_else(|| Poison::new("decode", "a forward has a value"))?;
    let packed = FORWARDS.decode(value.as_bytes()).map_err(|e| Poison::new("decode", e.to_string()))?;
    Ok(Decoded::items(packed, |Forward { origin, body, .. }| match body {
        ForwardBody::DefinitionForwarded { document, principal, appended } => {
            Input::JobSubmitted { document, principal, starts: Vec::new(), origin, appended, read: Vec::new() }
        }
        ForwardBody::TombstoneForwarded { job, principal, appended } => Input::JobWithdrawn { job, principal, origin, appended },
        ForwardBody::RequestForwarded { asked, job } => Input::Requested { asked, job, origin },
        ForwardBody::EndForwarded { ended } => Input::EndArrived { ended, origin },
        ForwardBody::FireForwarded { fire } => Input::FireArrived { fire },
    }))
}

fn definition(record: &Record) -> Result<Input, Poison> {
    let key = record.key.as_ref().and_then(Payload::text).unwrap_or_default();
    let job = JobName::parse(key).map_err(|e| Poison::new("validate", format!("key of a definition: {e}")))?;
    let read = |value: &Payload| CATALOG.decode(value.as_bytes()).map_err(|e| Poison::new("decode", e.to_string()));
    Ok(Input::CatalogArrived { job, entry: record.value.as_ref().map(read).transpose()?, read: Vec::new() })
}

fn outcomes(record: &Record) -> Result<Vec<Decoded<Input>>, Poison> {
    let value = record.value.as_ref().ok_or_else(|| Poison::new("decode", "an outcome has a value"))?;
    let packed = OUTCOMES.decode(value.as_bytes()).map_err(|e| Poison::new("decode", e.to_string()))?;
    Ok(Decoded::items(packed, |outcome| Input::OutcomeArrived { outcome }))
}

fn event(topic: InputTopic<'_>, record: &Record) -> EventData {
    EventData {
        topic: topic.name.to_owned(),
        generation: topic.generation,
        partition: topic.partition as i32,
        offset: record.offset,
        appended: record.appended,
        key: record.key.clone(),
        headers: record.headers.iter().map(|(name, value)| Header { name: name.clone(), value: value.clone() }).collect(),
        value: record.value.clone(),
        topic_id: topic.id.to_owned(),
    }
}
