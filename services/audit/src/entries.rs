//! Journal entries for readers: where they stand, and their content as JSON.

use crate::AuditError;
use crate::batch::each_written;
use memchr::memmem::Finder;
use orrery_allocator::Allocator;
use orrery_log::{Log, TopicPartition, pieces};
use orrery_model::decider::Decider;
use orrery_model::time::Timestamp;
use orrery_runtime::messages::Cluster;
use orrery_trigger::Trigger;
use serde::Serialize;
use serde_json::Value;
use std::ops::ControlFlow;

/// Where an entry stands: `trigger/0@1234.5`, that is service, shard, offset of its record, place in the record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// `trigger` or `allocator`.
    pub service: String,
    /// Shard.
    pub shard: u32,
    /// Offset of the journal record.
    pub offset: i64,
    /// Which of the record's entries, from 0.
    pub item: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}@{}.{}", self.service, self.shard, self.offset, self.item)
    }
}

impl Serialize for Place {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl std::str::FromStr for Place {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is not the place of a journal entry, such as trigger/0@1234.5");
        let (shard, offset) = text.split_once('@').ok_or_else(refused)?;
        let (service, shard) = shard.split_once('/').ok_or_else(refused)?;
        let (offset, item) = offset.split_once('.').unwrap_or((offset, "0"));
        Ok(Self {
            service: service.into(),
            shard: shard.parse().map_err(|_| refused())?,
            offset: offset.parse().map_err(|_| refused())?,
            item: item.parse().map_err(|_| refused())?,
        })
    }
}

/// One entry, for readers.
#[derive(Debug, Clone, Serialize)]
pub struct EntryView {
    /// Where it stands.
    pub place: Place,
    /// `trigger` or `allocator`.
    pub service: &'static str,
    /// Number in the shard's journal.
    pub seq: i64,
    /// The input's time.
    pub at: Timestamp,
    /// Kinds of its decisions; of its input where it has none.
    pub kinds: Vec<String>,
    /// All of it.
    pub entry: Value,
}

/// Of records that speak of nothing that is wanted, one in so many is read all the same: it says how late it is.
const LOOK_AT_TIME: usize = 64;
/// So far two clocks of a cluster may be apart, milliseconds: one that is off by more than 2 s does not own (§7.1).
pub const SKEW_MS: i64 = 5_000;

/// Which entries are wanted; what is not set does not matter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Entries that speak of this job.
    pub job: Option<String>,
    /// Entries that speak of this run or an attempt of it.
    pub run: Option<String>,
    /// Entries that speak of this agent.
    pub agent: Option<String>,
    /// Entries that speak of this topic, or of a record of it.
    pub topic: Option<String>,
    /// Entries with a decision or an input of this kind (`run_created`, `event_arrived`).
    pub kind: Option<String>,
    /// Entries at or after this time.
    pub since: Option<Timestamp>,
    /// Entries before this time.
    pub until: Option<Timestamp>,
}

impl Filter {
    fn takes(&self, view: &EntryView) -> bool {
        if self.since.is_some_and(|since| view.at < since) || self.until.is_some_and(|until| view.at >= until) {
            return false;
        }
        if let Some(kind) = &self.kind
            && !view.kinds.contains(kind)
            && view.entry["input"].get(kind).is_none()
        {
            return false;
        }
        let names = [&self.job, &self.agent];
        names.into_iter().flatten().all(|name| mentions(&view.entry, &|text| text == name))
            && self.run.as_ref().is_none_or(|run| mentions(&view.entry, &|text| speaks_of_run(text, run)))
            && self.topic.as_ref().is_none_or(|topic| mentions(&view.entry, &|text| speaks_of_topic(text, topic)))
    }
}

/// A run id stands alone, before the number of an attempt, or within the cause of a dependent run.
fn speaks_of_run(text: &str, run: &str) -> bool {
    text == run || text.strip_prefix(run).is_some_and(|rest| rest.starts_with('.')) || (text.starts_with("after:") && text.contains(run))
}

/// A topic's name stands alone, begins the place of a record (`orders.paid/0/5`, `orders.paid~1/0/5`), or that of a re-read.
fn speaks_of_topic(text: &str, topic: &str) -> bool {
    text.strip_prefix(topic).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '~', '#']))
}

fn mentions(value: &Value, wanted: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => wanted(text),
        Value::Array(items) => items.iter().any(|item| mentions(item, wanted)),
        Value::Object(fields) => fields.iter().any(|(name, field)| name != "document" && mentions(field, wanted)),
        _ => false,
    }
}

/// Finds the names of a filter in bytes.
struct Sieve<'f> {
    names: Vec<Finder<'f>>,
}

impl<'f> Sieve<'f> {
    fn new(filter: &'f Filter) -> Self {
        let names = [&filter.job, &filter.run, &filter.agent, &filter.topic];
        Self { names: names.into_iter().flatten().map(Finder::new).collect() }
    }

    /// False for a record, or an entry, that certainly speaks of nothing that is wanted: names stand in it as they are written.
    fn may_take(&self, bytes: &[u8]) -> bool {
        self.names.iter().all(|name| name.find(bytes).is_some())
    }
}

/// Calls `found` with the wanted entries of a journal, from the record at `from` on, in order, until it breaks or the end that
/// was there at the start; returns the position to go on from.
pub fn read_entries(
    log: &dyn Log,
    cluster: &Cluster,
    (service, shard): (&str, u32),
    from: i64,
    filter: &Filter,
    found: &mut dyn FnMut(EntryView) -> ControlFlow<()>,
) -> Result<i64, AuditError> {
    read_some(log, cluster, (service, shard), (from, usize::MAX), filter, found)
}

/// The entry at a place.
pub fn entry_at(log: &dyn Log, cluster: &Cluster, place: &Place) -> Result<EntryView, AuditError> {
    let mut found = None;
    read_entries(log, cluster, (&place.service, place.shard), place.offset, &Filter::default(), &mut |view| {
        let is_behind = view.place > *place;
        found = (view.place == *place).then_some(view);
        if is_behind || found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    found.ok_or_else(|| AuditError::NoSuchEntry(place.to_string()))
}

/// Does so as far as so many bytes of the journal reach.
pub fn read_some(
    log: &dyn Log,
    cluster: &Cluster,
    (service, shard): (&str, u32),
    range: (i64, usize),
    filter: &Filter,
    found: &mut dyn FnMut(EntryView) -> ControlFlow<()>,
) -> Result<i64, AuditError> {
    match service {
        Trigger::SERVICE => read_as::<Trigger>(log, cluster, shard, range, filter, found),
        Allocator::SERVICE => read_as::<Allocator>(log, cluster, shard, range, filter, found),
        other => Err(AuditError::NoSuchService(other.into())),
    }
}

/// The journal of a service's shard.
pub fn journal_of(cluster: &Cluster, service: &str, shard: u32) -> TopicPartition {
    TopicPartition::new(&cluster.topic(&format!("{service}.journal")), shard)
}

/// The first record of a journal that may hold an entry of this time or later.
pub(crate) fn begin_of(log: &dyn Log, journal: &TopicPartition, since: Timestamp) -> Result<i64, AuditError> {
    // Where append times are of another clock, an entry's own time may lie behind them.
    let since = if log.shares_clock() { since } else { since.plus_ms(-SKEW_MS) };
    log.offset_at(journal, since).map_err(AuditError::of_log(journal))
}

fn read_as<D: Decider>(
    log: &dyn Log,
    cluster: &Cluster,
    shard: u32,
    (from, bytes_max): (i64, usize),
    filter: &Filter,
    found: &mut dyn FnMut(EntryView) -> ControlFlow<()>,
) -> Result<i64, AuditError> {
    let journal = journal_of(cluster, D::SERVICE, shard);
    let refused = AuditError::of_log(&journal);
    let end = log.end_offset(&journal).map_err(refused)?;
    let mut position = from.max(log.start_offset(&journal).map_err(refused)?);
    if let Some(since) = filter.since {
        position = position.max(begin_of(log, &journal, since)?);
    }
    let sieve = Sieve::new(filter);
    let (mut bytes, mut records) = (0usize, 0usize);
    for piece in pieces(log, &journal, position, end) {
        for record in piece.map_err(refused)? {
            let Some(value) = &record.value else { continue };
            if bytes > bytes_max {
                return Ok(record.offset);
            }
            (bytes, records) = (bytes.saturating_add(value.as_bytes().len()), records + 1);
            if !sieve.may_take(value.as_bytes()) && !records.is_multiple_of(LOOK_AT_TIME) {
                position = record.offset + 1;
                continue;
            }
            position = record.offset + 1;
            let read = each_written::<D, _>(value.as_bytes(), |item, entry, written| {
                // A shard's time never goes back.
                if filter.until.is_some_and(|until| entry.at >= until) {
                    return ControlFlow::Break(position.max(end));
                }
                let is_early = filter.since.is_some_and(|since| entry.at < since);
                if is_early || written.is_some_and(|(_, bytes)| !sieve.may_take(bytes)) {
                    return ControlFlow::Continue(());
                }
                let place = Place { service: D::SERVICE.into(), shard, offset: record.offset, item };
                let view = view::<D>(&place, &entry);
                if filter.takes(&view) && found(view).is_break() { ControlFlow::Break(position) } else { ControlFlow::Continue(()) }
            });
            if let ControlFlow::Break(next) = read.map_err(|why| AuditError::unreadable(&journal, record.offset, why))? {
                return Ok(next);
            }
        }
    }
    Ok(position.max(end))
}

fn view<D: Decider>(place: &Place, entry: &orrery_model::journal::Entry<D::Input, D::Decision>) -> EntryView {
    let value = serde_json::to_value(entry).expect("an entry has only text keys");
    let kind = |value: &Value| value.as_object().and_then(|fields| fields.keys().next().cloned());
    let mut kinds: Vec<String> = value["decisions"].as_array().into_iter().flatten().filter_map(kind).collect();
    kinds.dedup();
    if kinds.is_empty() {
        kinds.extend(kind(&value["input"]));
    }
    EntryView { place: place.clone(), service: D::SERVICE, seq: entry.seq, at: entry.at, kinds, entry: value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_back() {
        for text in ["trigger/0@1234.5", "allocator/3@0.0"] {
            assert_eq!(text.parse::<Place>().expect(text).to_string(), text);
        }
        assert!("trigger/0".parse::<Place>().is_err());
    }

    #[test]
    fn a_run_is_found_wherever_it_stands() {
        let run = "abcdefghij234567";
        let of = |text: &str| mentions(&serde_json::json!({"a": [{"b": text}]}), &|text| speaks_of_run(text, run));
        assert!(of(run) && of("abcdefghij234567.2") && of("after:abcdefghij234567+zzz"));
        assert!(!of("abcdefghij234567x") && !of("request:jobs/0/1"));
    }

    #[test]
    fn a_topic_is_found_by_its_records_and_not_by_its_beginning() {
        for text in ["orders.paid", "orders.paid/0/5", "orders.paid~1/0/5", "orders.paid#shop/receipt#1.1"] {
            assert!(speaks_of_topic(text, "orders.paid"), "{text}");
        }
        assert!(!speaks_of_topic("orders.paid.late", "orders.paid") && !speaks_of_topic("event:orders.paid/0/5", "orders.paid"));
    }
}
