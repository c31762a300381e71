//! Values of expressions: shared, so that a copy costs nothing however large the value is, and maps in the order of their keys.

use super::budget::{Budget, Exhausted};
use super::number::{self, Number};
use std::cmp::Ordering;
use std::sync::Arc;

/// A value.
#[derive(Debug, Clone)]
pub enum Value {
    /// What a template names and is not there.
    Undefined,
    /// JSON's null.
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(Arc<str>),
    /// Bytes that are no text.
    Bytes(Arc<[u8]>),
    /// A list.
    List(Arc<Vec<Value>>),
    /// Keys, which are no lists and no maps, each once and ascending, with their values.
    Map(Arc<Vec<(Value, Value)>>),
    /// The name of a type.
    Type(&'static str),
}

/// Bytes of one item of a list, with room to grow.
pub(crate) const ITEM_BYTES: usize = 2 * size_of::<Value>();

impl Value {
    /// A text.
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// A whole number.
    pub const fn int(n: i64) -> Self {
        Self::Number(Number::Int(n))
    }

    /// A map of these entries; of entries with one name the last counts.
    pub fn map<'k>(entries: impl IntoIterator<Item = (&'k str, Self)>) -> Self {
        Self::of_entries(entries.into_iter().map(|(name, value)| (Self::text(name), value)).collect())
    }

    /// A map of these entries; of entries with one key the last counts.
    pub(crate) fn of_entries(mut entries: Vec<(Self, Self)>) -> Self {
        entries.sort_by(|(a, _), (b, _)| by_key(a, b));
        let mut once: Vec<(Self, Self)> = Vec::with_capacity(entries.len());
        for entry in entries {
            match once.last_mut() {
                Some(last) if by_key(&last.0, &entry.0).is_eq() => last.1 = entry.1,
                _ => once.push(entry),
            }
        }
        Self::Map(Arc::new(once))
    }

    /// The value of a map's field.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Map(entries) = self else { return None };
        let by_name = |(key, _): &(Self, Self)| match key {
            Self::Text(key) => (**key).cmp(name),
            other => rank(other).cmp(&TEXT_RANK),
        };
        entries.binary_search_by(by_name).ok().map(|at| &entries[at].1)
    }

    /// The value of a map's key of any type.
    pub(crate) fn at_key(&self, key: &Self, budget: &mut Budget) -> Result<Option<&Self>, Exhausted> {
        let Self::Map(entries) = self else { return Ok(None) };
        budget.look(key.as_str().map_or(0, str::len) * (entries.len() + 1).ilog2() as usize)?;
        Ok(entries.binary_search_by(|(known, _)| by_key(known, key)).ok().map(|at| &entries[at].1))
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The whole number, if it is one and not larger than 2⁶³.
    pub const fn as_i64(&self) -> Option<i64> {
        if let Self::Number(Number::Int(n)) = self { Some(*n) } else { None }
    }

    /// False of zero, of nothing and of what is empty, as scripts have it.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Undefined | Self::Null => false,
            Self::Bool(b) => *b,
            Self::Number(n) => !n.is_zero(),
            Self::Text(text) => !text.is_empty(),
            Self::Bytes(bytes) => !bytes.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(entries) => !entries.is_empty(),
            Self::Type(_) => true,
        }
    }

    /// What kind of value it is, for errors.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Undefined => "nothing",
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Type(_) => "a type",
        }
    }

    /// The name of its type in CEL.
    pub(crate) const fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined | Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Number(Number::Int(_)) => "int",
            Self::Number(Number::Uint(_)) => "uint",
            Self::Number(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Type(_) => "type",
        }
    }

    /// Equal in value: numbers across their kinds, lists and maps item by item, values of different types never.
    pub(crate) fn equals(&self, other: &Self, budget: &mut Budget) -> Result<bool, Exhausted> {
        budget.spend(1)?;
        Ok(match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => {
                budget.look(a.bytes() + b.bytes())?;
                number::compare(a, b) == Some(Ordering::Equal)
            }
            (Self::Text(a), Self::Text(b)) => {
                budget.look(a.len().min(b.len()))?;
                a == b
            }
            (Self::Bytes(a), Self::Bytes(b)) => {
                budget.look(a.len().min(b.len()))?;
                a == b
            }
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::List(a), Self::List(b)) if a.len() == b.len() => {
                for (a, b) in a.iter().zip(&**b) {
                    if !a.equals(b, budget)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Self::Map(a), Self::Map(b)) if a.len() == b.len() => {
                for ((key, a), (other, b)) in a.iter().zip(&**b) {
                    if !key.equals(other, budget)? || !a.equals(b, budget)? {
                        return Ok(false);
                    }
                }
                true
            }
            _ => false,
        })
    }

    /// The order of two numbers, texts, truths or bytes; none of other values.
    pub(crate) fn order(&self, other: &Self, budget: &mut Budget) -> Result<Option<Ordering>, Exhausted> {
        Ok(match (self, other) {
            (Self::Number(a), Self::Number(b)) => {
                budget.look(a.bytes() + b.bytes())?;
                number::compare(a, b)
            }
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => {
                budget.look(a.len().min(b.len()))?;
                Some(a.cmp(b))
            }
            (Self::Bytes(a), Self::Bytes(b)) => {
                budget.look(a.len().min(b.len()))?;
                Some(a.cmp(b))
            }
            _ => None,
        })
    }

    /// True if a list has the item, a map the key, a text the part.
    pub(crate) fn has(&self, wanted: &Self, budget: &mut Budget) -> Result<Option<bool>, Exhausted> {
        match (self, wanted) {
            (Self::List(items), _) => {
                for item in items.iter() {
                    if item.equals(wanted, budget)? {
                        return Ok(Some(true));
                    }
                }
                Ok(Some(false))
            }
            (Self::Map(_), _) => Ok(Some(self.at_key(wanted, budget)?.is_some())),
            (Self::Text(text), Self::Text(part)) => {
                budget.look(text.len())?;
                Ok(Some(text.contains(&**part)))
            }
            _ => Ok(None),
        }
    }
}

/// As JSON.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let items = |f: &mut std::fmt::Formatter<'_>, between: usize| f.write_str(if between > 0 { "," } else { "" });
        match self {
            Self::Undefined | Self::Null => f.write_str("null"),
            Self::Bool(b) => b.fmt(f),
            Self::Number(n) => n.fmt(f),
            Self::Text(text) => f.write_str(&serde_json::to_string(&**text).expect("a text is JSON")),
            Self::Bytes(bytes) => f.write_str(&serde_json::to_string(&String::from_utf8_lossy(bytes)).expect("a text is JSON")),
            Self::Type(name) => f.write_str(name),
            Self::List(list) => {
                f.write_str("[")?;
                list.iter().enumerate().try_for_each(|(i, item)| items(f, i).and_then(|()| item.fmt(f)))?;
                f.write_str("]")
            }
            Self::Map(entries) => {
                f.write_str("{")?;
                entries.iter().enumerate().try_for_each(|(i, (key, value))| {
                    items(f, i).and_then(|()| key.fmt(f)).and_then(|()| f.write_str(":")).and_then(|()| value.fmt(f))
                })?;
                f.write_str("}")
            }
        }
    }
}

const TEXT_RANK: u8 = 2;

const fn rank(key: &Value) -> u8 {
    match key {
        Value::Bool(_) => 0,
        Value::Number(_) => 1,
        Value::Text(_) => TEXT_RANK,
        _ => 3,
    }
}

/// The order of a map's keys: of one type by their value, else by type.
fn by_key(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => number::compare(a, b).unwrap_or(Ordering::Equal),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)),
    }
}
