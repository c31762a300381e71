//! A record of a user topic as predicates and templates see it. What they need of it is read at most once, on first use.
//!
//! `data` is the value as JSON; a value that is no JSON is text, and one that is no text is `hex:` and digits. Of a CloudEvent
//! (binary: headers `ce_*`; structured: one JSON object) `data` is its data and `ce` the map of its attributes.

use crate::expr::{Value, json};
use crate::facts::{EventData, Header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use orrery_model::payload::Payload;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// An event and what has been read of it so far; one for all predicates and templates that look at the event.
#[derive(Debug)]
pub struct EventView<'a> {
    event: &'a EventData,
    body: OnceLock<Body>,
    values: [OnceLock<Value>; VARIABLES.len()],
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What expressions may name, in the order of their documentation.
pub const VARIABLES: [&str; 8] = ["key", "headers", "data", "topic", "partition", "offset", "timestamp", "ce"];

#[derive(Debug)]
struct Body {
    data: Value,
    ce: BTreeMap<String, Value>,
    /// True if the data is a text because it is no JSON.
    is_raw: bool,
    bytes: usize,
}

impl<'a> EventView<'a> {
    /// Looks at an event; reads nothing yet.
    pub fn new(event: &'a EventData) -> Self {
        Self { event, body: OnceLock::new(), values: Default::default() }
    }

    /// The record as received.
    pub fn event(&self) -> &'a EventData {
        self.event
    }

    /// The event's data.
    pub fn data(&self) -> &Value {
        &self.body().data
    }

    /// Why the record's value is no JSON, if it is none: then its data is a text.
    pub fn no_json(&self) -> Option<String> {
        let bytes = self.event.value.as_ref().filter(|_| self.body().is_raw)?.as_bytes();
        if bytes.starts_with(BYTE_ORDER_MARK) {
            return Some("it begins with a byte order mark".to_owned());
        }
        let error = serde_json::from_slice::<serde_json::Value>(bytes).err();
        Some(error.map_or_else(|| "it is beyond what is read as JSON".to_owned(), |error| error.to_string()))
    }

    /// The attributes of a CloudEvent; of any other event empty.
    pub fn attributes(&self) -> &BTreeMap<String, Value> {
        &self.body().ce
    }

    /// The key as text: `hex:` and digits where it is no text.
    pub fn key(&self) -> Option<String> {
        self.event.key.as_ref().map(text)
    }

    /// The headers as text; where a name comes twice, the first.
    pub fn headers(&self) -> BTreeMap<&'a str, String> {
        let mut headers = BTreeMap::new();
        for header in &self.event.headers {
            headers.entry(header.name.as_str()).or_insert_with(|| text(&header.value));
        }
        headers
    }

    /// Bytes that were looked through to read the data; none if nobody asked for it.
    pub(crate) fn bytes_read(&self) -> usize {
        self.body.get().map_or(0, |body| body.bytes)
    }

    fn body(&self) -> &Body {
        self.body.get_or_init(|| read_body(self.event))
    }

    /// The value of a variable, by its place in [`VARIABLES`].
    pub(crate) fn value(&self, place: usize) -> &Value {
        self.values[place].get_or_init(|| match VARIABLES[place] {
            "key" => self.key().map_or(Value::Null, |key| Value::text(&key)),
            "headers" => Value::map(self.headers().into_iter().map(|(name, value)| (name, Value::text(&value)))),
            "data" => self.data().clone(),
            "topic" => Value::text(&self.event.topic),
            "partition" => Value::int(self.event.partition.into()),
            "offset" => Value::int(self.event.offset),
            "timestamp" => Value::int(self.event.appended.ms()),
            _ => Value::map(self.attributes().iter().map(|(name, value)| (name.as_str(), value.clone()))),
        })
    }
}

fn text(payload: &Payload) -> String {
    payload.text().map_or_else(|| format!("hex:{}", orrery_model::codec::hex(payload.as_bytes())), str::to_owned)
}

fn read_body(event: &EventData) -> Body {
    let mut ce = BTreeMap::new();
    for header in &event.headers {
        if let Some(name) = header.name.strip_prefix("ce_") {
            ce.entry(name.to_owned()).or_insert_with(|| Value::text(&text(&header.value)));
        }
    }
    let Some(payload) = &event.value else { return Body { data: Value::Null, ce, is_raw: false, bytes: 0 } };
    let read = json::read(payload.as_bytes());
    let is_raw = read.value.is_none();
    let data = match read.value.unwrap_or_else(|| Value::text(&text(payload))) {
        envelope @ Value::Map(_) if ce.is_empty() && is_structured(event, &envelope) => open_envelope(&envelope, &mut ce),
        other => other,
    };
    Body { data, ce, is_raw, bytes: read.bytes }
}

/// What stands as base64 in an envelope is what a record's value would be: JSON, else text, else `hex:` and digits. What is no base64
/// stays as it is.
fn decoded(value: &Value) -> Value {
    let Some(bytes) = value.as_str().and_then(|text| STANDARD.decode(text).ok()) else { return value.clone() };
    json::read(&bytes).value.unwrap_or_else(|| Value::text(&text(&Payload::from(bytes.as_slice()))))
}

/// True for a CloudEvent in structured mode: it says so, or has what each must have.
fn is_structured(event: &EventData, fields: &Value) -> bool {
    let declared = |h: &Header| {
        h.name.eq_ignore_ascii_case("content-type") && h.value.text().is_some_and(|t| t.starts_with("application/cloudevents"))
    };
    let has_text = |name: &str| fields.get(name).is_some_and(|value| value.as_str().is_some());
    event.headers.iter().any(declared) || ["specversion", "id", "source", "type"].into_iter().all(has_text)
}

fn open_envelope(envelope: &Value, ce: &mut BTreeMap<String, Value>) -> Value {
    let Value::Map(fields) = envelope else { return envelope.clone() };
    let mut data = Value::Null;
    for (name, value) in fields.iter() {
        match name.as_str().unwrap_or_default() {
            "data" => data = value.clone(),
            "data_base64" => data = decoded(value),
            name if value.as_str().is_some() => drop(ce.insert(name.to_owned(), value.clone())),
            name => drop(ce.insert(name.to_owned(), Value::text(&value.to_string()))),
        }
    }
    data
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::facts::Header;
    use orrery_model::time::Timestamp;

    /// An event of `orders.paid` with this value and these headers.
    pub(crate) fn event(value: &str, headers: &[(&str, &str)]) -> EventData {
        let headers = headers.iter().map(|(name, value)| Header { name: (*name).into(), value: value.as_bytes().into() }).collect();
        EventData {
            topic: "orders.paid".into(),
            topic_id: String::new(),
            generation: 0,
            partition: 3,
            offset: 42,
            appended: Timestamp::parse("2026-11-21T02:00:00Z").expect("a time"),
            key: Some(b"customer-7".as_slice().into()),
            headers,
            value: Some(value.as_bytes().into()),
        }
    }

    #[test]
    fn bodies_are_read() {
        let structured = r#"{"specversion":"1.0","id":"a","source":"/s","type":"t","n":5,"data":{"x":1}}"#;
        for (value, headers, data, ce) in [
            (r#"{"x":1}"#, &[][..], r#"{"x":1}"#, ""),
            ("plain text", &[], r#""plain text""#, ""),
            ("", &[], r#""""#, ""),
            (r#"{"x":1}"#, &[("ce_type", "t"), ("ce_id", "a")], r#"{"x":1}"#, "id=a type=t"),
            (structured, &[], r#"{"x":1}"#, "id=a n=5 source=/s specversion=1.0 type=t"),
            (r#"{"id":"a","data":[1]}"#, &[("content-type", "application/cloudevents+json")], "[1]", "id=a"),
            (r#"{"id":"a","data_base64":"eyJ4IjoxfQ=="}"#, &[("content-type", "application/cloudevents+json")], r#"{"x":1}"#, "id=a"),
            (r#"{"id":"a","data_base64":"dGV4dA=="}"#, &[("content-type", "application/cloudevents+json")], r#""text""#, "id=a"),
            (r#"{"id":"a","data_base64":"/wA="}"#, &[("content-type", "application/cloudevents+json")], r#""hex:ff00""#, "id=a"),
            (r#"{"id":"a","data_base64":"?"}"#, &[("content-type", "application/cloudevents+json")], r#""?""#, "id=a"),
            (r#"{"id":"a","data":[1]}"#, &[], r#"{"data":[1],"id":"a"}"#, ""),
        ] {
            let event = event(value, headers);
            let view = EventView::new(&event);
            assert_eq!(view.data().to_string(), data);
            assert_eq!(view.attributes().iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap())).collect::<Vec<_>>().join(" "), ce);
        }
        let mut odd = event("", &[("a", "1"), ("a", "2")]);
        odd.value = Some([0xff, 0x00].as_slice().into());
        odd.key = None;
        assert_eq!(EventView::new(&odd).data().as_str(), Some("hex:ff00"));
        assert_eq!(EventView::new(&odd).headers()["a"], "1");
        odd.value = None;
        assert!(matches!(EventView::new(&odd).data(), Value::Null));
        assert_eq!(EventView::new(&odd).key(), None);
    }
}
