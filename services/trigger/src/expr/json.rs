//! JSON in and out: an event's data becomes a [`Value`] that keeps every digit, and values become texts that the budget pays for.

use super::budget::{Budget, Exhausted};
use super::eval::{Evaluated, Fault};
use super::number::Number;
use super::value::Value;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::sync::Arc;

/// Digits of a whole number that may not fit into 64 bits.
const LONG_DIGITS: usize = 19;

/// A text that was read as JSON.
pub(crate) struct Read {
    /// The value; none if it is no JSON.
    pub(crate) value: Option<Value>,
    /// Bytes that were looked through: those around a long number once for each list or map that they lie in.
    pub(crate) bytes: usize,
}

pub(crate) fn read(text: &[u8]) -> Read {
    let mut bytes = text.len();
    let value = if has_long_number(text) {
        std::str::from_utf8(text).ok().and_then(|text| read_exactly(text.trim_ascii(), &mut bytes, DEPTH_MAX))
    } else {
        read_plain(text)
    };
    Read { value, bytes }
}

/// Lists and maps within one another; what the library allows.
const DEPTH_MAX: usize = 127;
/// Digits of the largest double: a number with more is none.
const DIGITS_MAX: usize = 309;

fn read_plain(text: &[u8]) -> Option<Value> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Reader.deserialize(&mut reader).ok()?;
    reader.end().ok().map(|()| value)
}

fn has_long_number(text: &[u8]) -> bool {
    text.split(|byte| !byte.is_ascii_digit()).any(|digits| digits.len() >= LONG_DIGITS)
}

/// Divides the outermost list or map, down to the parts that have no long number.
fn read_exactly(text: &str, bytes: &mut usize, depth: usize) -> Option<Value> {
    *bytes += text.len();
    if !has_long_number(text.as_bytes()) {
        return read_plain(text.as_bytes());
    }
    match text.as_bytes().first()? {
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            let depth = depth.checked_sub(1)?;
            Some(Value::List(Arc::new(items.into_iter().map(|item| read_exactly(item.get(), bytes, depth)).collect::<Option<_>>()?)))
        }
        b'{' => {
            let fields: Fields<'_> = serde_json::from_str(text).ok()?;
            let depth = depth.checked_sub(1)?;
            let field = |(name, value): (String, &RawValue)| Some((Value::text(&name), read_exactly(value.get(), bytes, depth)?));
            Some(Value::of_entries(fields.0.into_iter().map(field).collect::<Option<_>>()?))
        }
        b'"' => read_plain(text.as_bytes()),
        _ => long_number(text).map(Value::Number),
    }
}

fn long_number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return serde_json::from_str(text).ok().map(Number::Double);
    }
    let is_number = digits.len() <= DIGITS_MAX && (digits == "0" || !digits.starts_with('0'));
    is_number.then(|| text.parse().ok().and_then(Number::from_i128).unwrap_or_else(|| Number::Large(text.into())))
}

/// The fields of a map in their order, as they are written.
struct Fields<'t>(Vec<(String, &'t RawValue)>);

impl<'de> serde::Deserialize<'de> for Fields<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Fields<'de>, A::Error> {
                let mut found = Vec::new();
                while let Some(field) = fields.next_entry()? {
                    found.push(field);
                }
                Ok(Fields(found))
            }
        }
        reader.deserialize_map(Visit)
    }
}

struct Reader;

impl<'de> DeserializeSeed<'de> for Reader {
    type Value = Value;
    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Value;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E: Error>(self, b: bool) -> Result<Value, E> {
        Ok(Value::Bool(b))
    }
    fn visit_i64<E: Error>(self, n: i64) -> Result<Value, E> {
        Ok(Value::int(n))
    }
    fn visit_u64<E: Error>(self, n: u64) -> Result<Value, E> {
        Ok(Value::Number(i64::try_from(n).map_or(Number::Uint(n), Number::Int)))
    }
    fn visit_f64<E: Error>(self, n: f64) -> Result<Value, E> {
        Ok(Value::Number(Number::Double(n)))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::text(text))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut found = Vec::new();
        while let Some(item) = items.next_element_seed(Self)? {
            found.push(item);
        }
        found.shrink_to_fit();
        Ok(Value::List(Arc::new(found)))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut found = Vec::new();
        while let Some(name) = fields.next_key_seed(Self)? {
            found.push((name, fields.next_value_seed(Self)?));
        }
        Ok(Value::of_entries(found))
    }
}

/// The values as one text: texts as they are, lists and maps as JSON.
pub(crate) fn texts(values: &[&Value], budget: &mut Budget) -> Evaluated {
    let mut out = Writer::new(budget);
    values.iter().try_for_each(|value| out.text(value))?;
    Ok(Value::Text(out.text.into()))
}

/// A text that grows as far as the budget goes.
pub(crate) struct Writer<'b> {
    pub(crate) text: String,
    budget: &'b mut Budget,
}

impl<'b> Writer<'b> {
    pub(crate) const fn new(budget: &'b mut Budget) -> Self {
        Self { text: String::new(), budget }
    }

    /// A text as it is, any other value as JSON.
    pub(crate) fn text(&mut self, value: &Value) -> Result<(), Fault> {
        match value {
            Value::Text(text) => Ok(self.push(text)?),
            Value::Bytes(bytes) => Ok(self.push(&String::from_utf8_lossy(bytes))?),
            Value::Type(name) => Ok(self.push(name)?),
            other => self.json(other),
        }
    }

    /// As JSON, with a space behind each comma and colon, and fields in the order of their names.
    pub(crate) fn json(&mut self, value: &Value) -> Result<(), Fault> {
        match value {
            Value::Undefined | Value::Null => self.push("null")?,
            Value::Bool(b) => self.push(if *b { "true" } else { "false" })?,
            Value::Number(Number::Double(n)) if !n.is_finite() => self.push("null")?,
            Value::Number(n) => self.push(&n.to_string())?,
            Value::Text(text) => self.quoted(text)?,
            Value::Bytes(bytes) => self.quoted(&String::from_utf8_lossy(bytes))?,
            Value::Type(name) => self.quoted(name)?,
            Value::List(items) => {
                self.push("[")?;
                for (i, item) in items.iter().enumerate() {
                    self.push(if i > 0 { ", " } else { "" })?;
                    self.json(item)?;
                }
                self.push("]")?;
            }
            Value::Map(entries) => {
                self.push("{")?;
                for (i, (name, value)) in entries.iter().enumerate() {
                    self.push(if i > 0 { ", " } else { "" })?;
                    match name {
                        Value::Text(name) => self.quoted(name)?,
                        other => {
                            self.push("\"")?;
                            self.json(other)?;
                            self.push("\"")?;
                        }
                    }
                    self.push(": ")?;
                    self.json(value)?;
                }
                self.push("}")?;
            }
        }
        Ok(())
    }

    fn quoted(&mut self, text: &str) -> Result<(), Exhausted> {
        // Six bytes for one, at worst.
        self.budget.grow(text.len())?;
        let quoted = serde_json::to_string(text).expect("a text is JSON");
        self.push(&quoted)
    }

    pub(crate) fn push(&mut self, part: &str) -> Result<(), Exhausted> {
        // The text that grows is copied once for each doubling.
        self.budget.grow(2 * part.len())?;
        self.budget.spend(1)?;
        self.text.push_str(part);
        Ok(())
    }
}
