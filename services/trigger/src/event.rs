//! A record of a user topic as predicates and templates see it. What they need of it is read at most once, on first use.
//!
//! `data` is the value as JSON; a value that is no JSON is text, and one that is no text is `hex:` and digits. Of a CloudEvent
//! (binary: headers `ce_*`; structured: one JSON object) `data` is its data and `ce` the map of its attributes.

use crate::facts::EventData;
use crate::values;
use cel::common::value::CowVal;
use orrery_model::payload::Payload;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// An event and what has been read of it so far; one for all predicates and templates that look at the event.
#[derive(Debug)]
pub struct EventView<'a> {
    event: &'a EventData,
    body: OnceLock<Body>,
    values: [OnceLock<values::AnyValue>; VARIABLES.len()],
}

/// What expressions may name, in the order of their documentation.
pub const VARIABLES: [&str; 8] = ["key", "headers", "data", "topic", "partition", "offset", "timestamp", "ce"];

#[derive(Debug)]
struct Body {
    data: Value,
    ce: BTreeMap<String, String>,
    /// Most items in one list or map of it.
    widest: usize,
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

    /// The attributes of a CloudEvent; of any other event empty.
    pub fn attributes(&self) -> &BTreeMap<String, String> {
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

    /// Bytes of key, headers and value.
    pub(crate) fn bytes(&self) -> usize {
        self.event.bytes()
    }

    /// Most items that iterating over one list or map can give.
    pub(crate) fn widest(&self) -> usize {
        self.body().widest.max(self.event.headers.len())
    }

    fn body(&self) -> &Body {
        self.body.get_or_init(|| read_body(self.event))
    }

    fn value(&self, name: &str) -> values::AnyValue {
        match name {
            "key" => self.key().map_or_else(values::null, |key| values::string(&key)),
            "headers" => values::map(self.headers().into_iter().map(|(name, value)| (name, values::string(&value)))),
            "data" => values::from_json(self.data()),
            "topic" => values::string(&self.event.topic),
            "partition" => values::int(self.event.partition.into()),
            "offset" => values::int(self.event.offset),
            "timestamp" => values::int(self.event.appended.ms()),
            _ => values::map(self.attributes().iter().map(|(name, value)| (name.as_str(), values::string(value)))),
        }
    }
}

impl cel::context::VariableResolver for EventView<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let place = VARIABLES.iter().position(|name| *name == variable)?;
        Some(CowVal::Borrowed(self.values[place].get_or_init(|| self.value(variable)).as_ref()))
    }
}

fn text(payload: &Payload) -> String {
    payload.text().map_or_else(|| format!("hex:{}", orrery_model::codec::hex(payload.as_bytes())), str::to_owned)
}

fn read_body(event: &EventData) -> Body {
    let json = event
        .value
        .as_ref()
        .map_or(Value::Null, |value| serde_json::from_slice(value.as_bytes()).unwrap_or_else(|_| Value::String(text(value))));
    let mut ce = BTreeMap::new();
    for header in &event.headers {
        if let Some(name) = header.name.strip_prefix("ce_") {
            ce.entry(name.to_owned()).or_insert_with(|| text(&header.value));
        }
    }
    let data = match json {
        Value::Object(fields) if ce.is_empty() && is_structured(event, &fields) => open_envelope(fields, &mut ce),
        other => other,
    };
    let widest = widest(&data).max(ce.len());
    Body { data, ce, widest }
}

/// True for a CloudEvent in structured mode: it says so, or has what each must have.
fn is_structured(event: &EventData, fields: &Map<String, Value>) -> bool {
    let declared = |h: &crate::facts::Header| {
        h.name.eq_ignore_ascii_case("content-type") && h.value.text().is_some_and(|t| t.starts_with("application/cloudevents"))
    };
    event.headers.iter().any(declared)
        || ["specversion", "id", "source", "type"].iter().all(|name| fields.get(*name).is_some_and(Value::is_string))
}

fn open_envelope(fields: Map<String, Value>, ce: &mut BTreeMap<String, String>) -> Value {
    let mut data = Value::Null;
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("data" | "data_base64", value) => data = value,
            (_, Value::String(text)) => drop(ce.insert(name, text)),
            (_, value) => drop(ce.insert(name, value.to_string())),
        }
    }
    data
}

fn widest(json: &Value) -> usize {
    match json {
        Value::Array(items) => items.iter().map(widest).fold(items.len(), usize::max),
        Value::Object(fields) => fields.values().map(widest).fold(fields.len(), usize::max),
        _ => 0,
    }
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
            (r#"{"id":"a","data":[1]}"#, &[], r#"{"data":[1],"id":"a"}"#, ""),
        ] {
            let event = event(value, headers);
            let view = EventView::new(&event);
            assert_eq!(view.data().to_string(), data);
            assert_eq!(view.attributes().iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" "), ce);
        }
        let mut odd = event("", &[("a", "1"), ("a", "2")]);
        odd.value = Some([0xff, 0x00].as_slice().into());
        odd.key = None;
        assert_eq!(EventView::new(&odd).data(), &Value::String("hex:ff00".into()));
        assert_eq!(EventView::new(&odd).headers()["a"], "1");
        odd.value = None;
        assert_eq!(EventView::new(&odd).data(), &Value::Null);
        assert_eq!(EventView::new(&odd).key(), None);
    }
}
