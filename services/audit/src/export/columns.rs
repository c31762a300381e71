//! The columns of each table, as lists: a name, a type, where in the JSON of a journal entry its value stands, how it is read.
//!
//! A path begins with a root: `place` is what is known of the row itself, `entry` the whole entry, `fact` the decision, the input
//! or the run's record. The first path that leads to a value counts, so that `job` is found wherever a decision has it.

use orrery_model::time::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// A column of a table.
pub(super) struct Column {
    /// Its name, for ever.
    pub(super) name: &'static str,
    /// Its type.
    pub(super) kind: Kind,
    paths: &'static [&'static str],
    read: fn(&Value) -> Option<Cell>,
}

/// Types of columns. Each cell may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// UTF-8.
    Text,
    /// 64 bits, signed.
    Number,
    /// Microseconds since 1970-01-01T00:00:00Z; in JSON RFC 3339 text.
    Time,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Cell {
    Text(String),
    Number(i64),
    Time(Timestamp),
}

/// What a row is read from.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) place: &'a Value,
    pub(super) entry: &'a Value,
    pub(super) fact: &'a Value,
}

/// One row for each decision.
const DECISIONS: &[Column] = &[
    text("service", &["place/service"]),
    number("shard", &["place/shard"]),
    number("seq", &["entry/seq"]),
    number("item", &["place/item"]),
    number("record_offset", &["place/offset"]),
    time("decided_at", &["entry/at"]),
    number("epoch", &["entry/epoch"]),
    text("actor", &["entry/actor"]),
    text("kind", &["place/kind"]),
    text("job", JOB),
    column("run", Kind::Text, &["fact/run", "fact/record/run", ENDED_RUN, "fact/attempt", "fact/spec/attempt", STATUS_ATTEMPT], run_of),
    text("attempt", &["fact/attempt", "fact/spec/attempt", STATUS_ATTEMPT]),
    text("agent", &["fact/agent", "fact/status/agent", "fact/record/agent"]),
    number("cell", &["fact/cell", "place/cell"]),
    column("event", Kind::Text, &["fact/event", "fact/fire/event", "fact/forward/body/fire_forwarded/fire/event"], event_place),
    text("state", &["fact/record/state"]),
    column("end_kind", Kind::Text, &["fact/status/change/task_ended/end/kind", "fact/kind", "fact/record"], end_kind),
    text("reason", &["fact/reason", "fact/record/reason", "fact/status/change/task_ended/end/reason", "fact/detail"]),
    column("codes", Kind::Text, &["fact/reasons", "fact/code"], codes),
    column("detail", Kind::Text, &["fact"], json),
];

const STATUS_ATTEMPT: &str = "fact/status/attempt";
const ENDED_RUN: &str = "fact/forward/body/end_forwarded/ended/run";
const JOB: &[&str] = &[
    "fact/job",
    "fact/record/job",
    "fact/spec/job",
    "fact/entry/job",
    "fact/fire/job",
    "fact/forward/body/fire_forwarded/fire/job",
    "fact/forward/body/end_forwarded/ended/job",
    "fact/forward/body/tombstone_forwarded/job",
    "fact/forward/body/request_forwarded/job",
];

/// One row for each entry.
const ENTRIES: &[Column] = &[
    text("service", &["place/service"]),
    number("shard", &["place/shard"]),
    number("seq", &["entry/seq"]),
    number("record_offset", &["place/offset"]),
    number("record_item", &["place/record_item"]),
    time("decided_at", &["entry/at"]),
    number("epoch", &["entry/epoch"]),
    text("lineage", &["entry/lineage"]),
    number("logic_version", &["entry/logic_version"]),
    text("tz_version", &["entry/tz_version"]),
    text("actor", &["entry/actor"]),
    text("input", &["place/kind"]),
    column("observed", Kind::Text, &["fact/observation"], first_name),
    text("source_topic", &["entry/source/from_record/topic"]),
    number("source_partition", &["entry/source/from_record/partition"]),
    number("source_offset", &["entry/source/from_record/offset"]),
    column("decisions", Kind::Number, &["entry/decisions"], length),
    column("dropped", Kind::Number, &["entry/dropped"], sum_of_counts),
    text("chain", &["entry/chain"]),
    column("detail", Kind::Text, &["fact"], json),
];

/// One row for each run.
const RUNS: &[Column] = &[
    text("run", &["fact/run"]),
    text("job", &["fact/job"]),
    number("version", &["fact/version"]),
    column("cause_kind", Kind::Text, &["fact/cause"], cause_kind),
    text("cause", &["fact/cause"]),
    text("root", &["fact/root"]),
    time("nominal", &["fact/nominal"]),
    text("state", &["fact/state"]),
    text("reason", &["fact/reason"]),
    number("attempts", &["fact/attempts"]),
    text("agent", &["fact/agent"]),
    time("created_at", &["fact/created_at"]),
    time("started_at", &["fact/started_at"]),
    time("ended_at", &["fact/ended_at"]),
    column("waited_ms", Kind::Number, &["fact"], |run| span(run, "created_at", "started_at")),
    column("ran_ms", Kind::Number, &["fact"], |run| span(run, "started_at", "ended_at")),
    text("end_kind", &["fact/end/kind"]),
    number("exit_code", &["fact/end/code"]),
    number("signal", &["fact/end/signal"]),
    text("end_reason", &["fact/end/reason"]),
    number("wall_ms", &["fact/end/wall_ms"]),
    number("cpu_ms", &["fact/end/cpu_ms"]),
    number("peak_memory", &["fact/end/peak_memory"]),
    time("next_attempt_at", &["fact/next_attempt_at"]),
    time("updated_at", &["fact/updated_at"]),
    number("shard", &["place/shard"]),
    number("seq", &["place/seq"]),
];

/// The tables: name and columns, in order.
pub(super) const TABLES: [(&str, &[Column]); 3] = [("decisions", DECISIONS), ("entries", ENTRIES), ("runs", RUNS)];

impl Column {
    /// This column's value in a row.
    pub(super) fn cell(&self, scope: &Scope<'_>) -> Option<Cell> {
        self.paths.iter().find_map(|path| scope.at(path).and_then(self.read))
    }
}

impl<'a> Scope<'a> {
    fn at(&self, path: &str) -> Option<&'a Value> {
        let (root, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
        let root = match root {
            "place" => self.place,
            "entry" => self.entry,
            _ => self.fact,
        };
        root.pointer(rest).filter(|value| !value.is_null())
    }
}

const fn column(name: &'static str, kind: Kind, paths: &'static [&'static str], read: fn(&Value) -> Option<Cell>) -> Column {
    Column { name, kind, paths, read }
}

const fn text(name: &'static str, paths: &'static [&'static str]) -> Column {
    column(name, Kind::Text, paths, |value| value.as_str().map(|text| Cell::Text(text.into())))
}

const fn number(name: &'static str, paths: &'static [&'static str]) -> Column {
    column(name, Kind::Number, paths, |value| value.as_i64().map(Cell::Number))
}

const fn time(name: &'static str, paths: &'static [&'static str]) -> Column {
    column(name, Kind::Time, paths, |value| moment(value).map(Cell::Time))
}

fn moment(value: &Value) -> Option<Timestamp> {
    Timestamp::parse(value.as_str()?).ok()
}

fn json(value: &Value) -> Option<Cell> {
    Some(Cell::Text(value.to_string()))
}

/// A run's id, or that of an attempt without its number.
fn run_of(value: &Value) -> Option<Cell> {
    value.as_str()?.split('.').next().map(|run| Cell::Text(run.into()))
}

/// An event's place, or that of an event that stands there with its data: `topic[~generation]/partition/offset`.
fn event_place(value: &Value) -> Option<Cell> {
    if let Some(place) = value.as_str() {
        return Some(Cell::Text(place.into()));
    }
    let (generation, partition) = (value["generation"].as_i64()?, value["partition"].as_i64()?);
    let source = orrery_model::messages::source(value["topic"].as_str()?, generation, i32::try_from(partition).ok()?);
    Some(Cell::Text(format!("{source}/{}", value["offset"].as_i64()?)))
}

/// The codes of a list of reasons, or a code alone.
fn codes(value: &Value) -> Option<Cell> {
    if let Some(code) = value.as_str() {
        return Some(Cell::Text(code.into()));
    }
    let codes: Vec<&str> = value.as_array()?.iter().filter_map(|reason| reason["code"].as_str()).collect();
    if codes.is_empty() { None } else { Some(Cell::Text(codes.join(","))) }
}

/// How an attempt ended: a word, or that of a run's record, which keeps the last end while the next attempt goes on.
fn end_kind(value: &Value) -> Option<Cell> {
    let is_over = !value["ended_at"].is_null() || !value["next_attempt_at"].is_null();
    let word = value.as_str().or_else(|| value["end"]["kind"].as_str().filter(|_| is_over))?;
    Some(Cell::Text(word.into()))
}

fn first_name(value: &Value) -> Option<Cell> {
    value.as_object()?.keys().next().map(|name| Cell::Text(name.clone()))
}

fn length(value: &Value) -> Option<Cell> {
    Some(Cell::Number(i64::try_from(value.as_array()?.len()).ok()?))
}

fn sum_of_counts(value: &Value) -> Option<Cell> {
    Some(Cell::Number(value.as_array()?.iter().filter_map(|range| range["count"].as_i64()).sum()))
}

/// `time`, `event`, `after`, `request`: what stands before the colon.
fn cause_kind(value: &Value) -> Option<Cell> {
    value.as_str()?.split_once(':').map(|(kind, _)| Cell::Text(kind.into()))
}

fn span(run: &Value, from: &str, to: &str) -> Option<Cell> {
    Some(Cell::Number(moment(&run[to])?.since_ms(moment(&run[from])?)))
}

#[cfg(test)]
mod tests;
