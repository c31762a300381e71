//! JSON as CEL values: shared, so that a copy costs nothing however large the value is, and maps in the order of their keys,
//! so that iterating over an event's data gives the same everywhere (CEL's own maps iterate in a random order).

use cel::ExecutionError;
use cel::common::traits::{self, Adder, Comparer, Container, Indexer, Iterable, Sizer, Zeroer};
use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt, DYN_TYPE, Type};
use cel::common::value::{Builtin, BuiltinRef, CowVal, Val};
use std::sync::Arc;

/// A value that predicates keep.
pub(crate) type AnyValue = Box<dyn Val>;

/// The JSON value as CEL has it: whole numbers are `int` (beyond 2⁶³ `uint`), others `double`.
pub(crate) fn from_json(json: &serde_json::Value) -> AnyValue {
    use serde_json::Value as Json;
    match json {
        Json::Null => Box::new(CelNull),
        Json::Bool(b) => Box::new(CelBool::from(*b)),
        Json::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(n), _) => Box::new(CelInt::from(n)),
            (None, Some(n)) => Box::new(CelUInt::from(n)),
            (None, None) => Box::new(CelDouble::from(n.as_f64().unwrap_or(f64::NAN))),
        },
        Json::String(text) => string(text),
        Json::Array(items) => shared(CelList::from(items.iter().map(from_json).collect::<Vec<_>>())),
        Json::Object(fields) => map(fields.iter().map(|(key, value)| (key.as_str(), from_json(value)))),
    }
}

/// A text.
pub(crate) fn string(text: &str) -> AnyValue {
    shared(CelString::from(text.to_owned()))
}

/// A whole number.
pub(crate) fn int(n: i64) -> AnyValue {
    Box::new(CelInt::from(n))
}

/// Nothing.
pub(crate) fn null() -> AnyValue {
    Box::new(CelNull)
}

/// A map of these entries; of entries with one key the last counts.
pub(crate) fn map<'k>(entries: impl Iterator<Item = (&'k str, AnyValue)>) -> AnyValue {
    // Looked up, never iterated over: see `keys`.
    let entries: std::collections::HashMap<CelMapKey<'static>, AnyValue> =
        entries.map(|(key, value)| (CelMapKey::String(CelString::from(key.to_owned())), value)).collect();
    let mut names: Vec<String> = entries
        .keys()
        .filter_map(|key| match key {
            CelMapKey::String(name) => Some(name.inner().to_owned()),
            _ => None,
        })
        .collect();
    names.sort_unstable();
    let keys = names.into_iter().map(CelString::from).collect();
    Box::new(Shared { value: Arc::new(CelMap::from(entries)), keys: Some(keys) })
}

fn shared<T: Val + 'static>(value: T) -> AnyValue {
    Box::new(Shared { value: Arc::new(value), keys: None })
}

/// A built-in value behind an `Arc`, which does all that the built-in one does; a map also has its keys in order.
#[derive(Debug, Clone)]
struct Shared {
    value: Arc<dyn Val>,
    keys: Option<Arc<[CelString<'static>]>>,
}

impl Val for Shared {
    fn get_type(&self) -> &Type {
        self.value.get_type()
    }
    fn cel_type() -> &'static Type {
        &DYN_TYPE
    }
    fn as_adder<'b, 'v>(&'b self) -> Option<&'b (dyn Adder + 'v)>
    where
        Self: 'v,
    {
        self.value.as_adder()
    }
    fn as_comparer(&self) -> Option<&dyn Comparer> {
        self.value.as_comparer()
    }
    fn as_container(&self) -> Option<&dyn Container> {
        self.value.as_container()
    }
    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        self.value.as_indexer()
    }
    fn into_indexer<'v>(self: Box<Self>) -> Option<Box<dyn Indexer + 'v>>
    where
        Self: 'v,
    {
        if self.value.as_indexer().is_some() { Some(self) } else { None }
    }
    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        if self.keys.is_some() { Some(self) } else { self.value.as_iterable() }
    }
    fn as_sizer(&self) -> Option<&dyn Sizer> {
        self.value.as_sizer()
    }
    fn as_zeroer(&self) -> Option<&dyn Zeroer> {
        self.value.as_zeroer()
    }
    fn equals(&self, other: &dyn Val) -> bool {
        self.value.equals(other)
    }
    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }
    fn as_builtin<'b, 'v>(&'b self) -> BuiltinRef<'b, 'v>
    where
        Self: 'v,
    {
        self.value.as_builtin()
    }
    fn into_builtin<'v>(self: Box<Self>) -> Option<Builtin<'v>>
    where
        Self: 'v,
    {
        self.value.clone_as_boxed().into_builtin()
    }
}

impl Indexer for Shared {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let indexer = self.value.as_indexer().ok_or_else(|| ExecutionError::no_such_overload("_[_]", Vec::new()))?;
        indexer.get(index)
    }
    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

impl Iterable for Shared {
    fn iter<'b, 'v>(&'b self) -> Box<dyn traits::Iterator<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(Keys(self.keys.as_deref().unwrap_or_default().iter()))
    }
}

struct Keys<'b>(std::slice::Iter<'b, CelString<'static>>);

impl<'b, 'v> traits::Iterator<'b, 'v> for Keys<'b> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        self.0.next().map(|key| key as &dyn Val)
    }
}
