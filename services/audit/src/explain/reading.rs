//! Entries as JSON, read as far as stories need them: what cannot be read is left out, as a story is told for people.

use crate::EntryView;
use orrery_model::messages::{End, Reason, RunRecord};
use orrery_model::time::{Timestamp, format_span_ms};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A decision: its kind and its fields.
pub(super) struct Decided<'e> {
    pub entry: &'e EntryView,
    pub kind: &'e str,
    pub fields: &'e Value,
}

/// All decisions of entries up to a time, in order.
pub(super) fn decisions<'e>(entries: &'e [EntryView], until: Timestamp) -> impl Iterator<Item = Decided<'e>> {
    entries.iter().filter(move |entry| entry.at <= until).flat_map(|entry| {
        let all = entry.entry["decisions"].as_array().into_iter().flatten();
        all.filter_map(|decision| decision.as_object()?.iter().next()).map(move |(kind, fields)| Decided { entry, kind, fields })
    })
}

impl<'e> Decided<'e> {
    /// A field's text.
    pub(super) fn text(&self, name: &str) -> Option<&'e str> {
        self.fields[name].as_str()
    }

    /// A field's number.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.fields[name].as_i64()
    }

    /// A field's time.
    pub(super) fn time(&self, name: &str) -> Option<Timestamp> {
        Timestamp::parse(self.text(name)?).ok()
    }

    /// The run's record that it carries.
    pub(super) fn record(&self) -> Option<RunRecord> {
        self.read("record")
    }

    /// The reasons that it carries.
    pub(super) fn reasons(&self) -> Vec<Reason> {
        self.read("reasons").unwrap_or_default()
    }

    /// The attempt that it is about.
    pub(super) fn attempt(&self) -> Option<&'e str> {
        let names = [&self.fields["attempt"], &self.fields["spec"]["attempt"], &self.fields["status"]["attempt"]];
        names.into_iter().find_map(Value::as_str)
    }

    /// A field as its type.
    pub(super) fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        T::deserialize(self.fields.get(name)?).ok()
    }
}

/// A span between two points, as people say it: to the second, from ten seconds on.
pub(super) fn span(from: Timestamp, to: Timestamp) -> String {
    let ms = to.since_ms(from).max(0);
    format_span_ms(if ms >= 10_000 { ms - ms % 1_000 } else { ms })
}

/// How long an attempt ran, as the end of a sentence; nothing where nobody saw its end.
pub(super) fn took(end: &End) -> String {
    if end.wall_ms > 0 { format!(" after {}", format_span_ms(end.wall_ms)) } else { String::new() }
}
