//! Journals as tables.

use super::columns::{Scope, TABLES};
use super::files::TableFile;
use super::{ExportError, TableFormat, Written, make_folder};
use crate::entries::{EntryView, Filter, read_entries};
use crate::journals;
use orrery_allocator::Allocator;
use orrery_log::Log;
use orrery_model::decider::Decider;
use orrery_model::time::Timestamp;
use orrery_runtime::messages::Cluster;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

/// Which entries are wanted; what is not set does not matter.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Only this service's.
    pub service: Option<String>,
    /// At or after this time.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

/// Writes the tables `decisions`, `entries` and `runs` of the journals as they are now into this folder. A file that is there
/// already is refused; one has its name only when it is whole.
pub fn export_tables(
    log: &dyn Log,
    cluster: &Cluster,
    wanted: &Wanted,
    folder: &Path,
    format: TableFormat,
) -> Result<Vec<Written>, ExportError> {
    let mut tables = Tables::begin(folder, format)?;
    for of in journals(cluster, wanted.service.as_deref()) {
        tables.read(log, cluster, of, wanted)?;
    }
    tables.finish()
}

/// The tables while they are written.
struct Tables {
    decisions: TableFile,
    entries: TableFile,
    runs: TableFile,
    /// What the trigger last decided of each run, by its id.
    last: BTreeMap<String, Last>,
}

/// The last record of a run, and the entry that has it.
struct Last {
    shard: u32,
    seq: i64,
    /// As text, which is a fifth of the size of a [`Value`].
    record: String,
}

impl Tables {
    fn begin(folder: &Path, format: TableFormat) -> Result<Self, ExportError> {
        make_folder(folder)?;
        let [decisions, entries, runs] = TABLES.map(|table| TableFile::begin(folder, format, table));
        Ok(Self { decisions: decisions?, entries: entries?, runs: runs?, last: BTreeMap::new() })
    }

    /// Reads one journal into the tables.
    fn read(&mut self, log: &dyn Log, cluster: &Cluster, of: (&str, u32), wanted: &Wanted) -> Result<(), ExportError> {
        let filter = Filter { since: wanted.since, ..Filter::default() };
        let mut failed = None;
        read_entries(log, cluster, of, 0, &filter, &mut |view| {
            // Time does not go back in a journal.
            if wanted.until.is_some_and(|until| view.at >= until) {
                return ControlFlow::Break(());
            }
            failed = self.take(&view).err();
            if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        failed.map_or(Ok(()), Err)
    }

    fn take(&mut self, view: &EntryView) -> Result<(), ExportError> {
        let entry = &view.entry;
        let (input, fact) = named(&entry["input"]);
        self.entries.write(&Scope { place: &place_of(view, input, None), entry, fact })?;
        for (item, decision) in entry["decisions"].as_array().into_iter().flatten().enumerate() {
            let (kind, fact) = named(decision);
            self.decisions.write(&Scope { place: &place_of(view, kind, Some(item)), entry, fact })?;
            self.keep_run(view, &fact["record"]);
        }
        Ok(())
    }

    /// A decision about a run carries the run's whole record.
    fn keep_run(&mut self, view: &EntryView, record: &Value) {
        if let Some(run) = record["run"].as_str() {
            let last = Last { shard: view.place.shard, seq: view.seq, record: record.to_string() };
            self.last.insert(run.to_owned(), last);
        }
    }

    fn finish(mut self) -> Result<Vec<Written>, ExportError> {
        for last in std::mem::take(&mut self.last).into_values() {
            let record: Value = serde_json::from_str(&last.record).expect("it was written as JSON just now");
            let place = json!({"shard": last.shard, "seq": last.seq});
            self.runs.write(&Scope { place: &place, entry: &Value::Null, fact: &record })?;
        }
        Ok(vec![self.decisions.finish()?, self.entries.finish()?, self.runs.finish()?])
    }
}

/// Kind and content of an input or a decision.
fn named(fact: &Value) -> (&str, &Value) {
    let first = fact.as_object().and_then(|fields| fields.iter().next());
    first.map_or(("", &Value::Null), |(kind, content)| (kind.as_str(), content))
}

/// What a row says of where it stands. An allocator's shard is its cell.
fn place_of(view: &EntryView, kind: &str, item: Option<usize>) -> Value {
    let cell = (view.service == Allocator::SERVICE).then_some(view.place.shard);
    json!({
        "service": view.service, "shard": view.place.shard, "cell": cell, "offset": view.place.offset,
        "record_item": view.place.item, "item": item, "kind": kind,
    })
}
