//! Reads what stories are made of: entries of the right shards, by time, and events around a time. Each reading is bounded.

use super::ENTRIES;
use crate::App;
use crate::problem::Answer;
use orrery_audit::entries::{SKEW_MS, journal_of};
use orrery_audit::explain::{Line, TopicFacts};
use orrery_audit::{EntryView, Filter, Limit, Limits, Place, read_first, read_from, read_some};
use orrery_log::{TopicPartition, pieces};
use orrery_model::id::{AgentId, JobName, RunId};
use orrery_model::job::JobSpec;
use orrery_model::messages::{CatalogEntry, EventData, Header, RunRecord};
use orrery_model::record::Record;
use orrery_model::time::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

/// What a cell decided on a run lies at most so long before what the trigger made of it; milliseconds.
pub(super) const LEAD_MS: i64 = 1_000;

/// What one reading of a journal may come to: where clocks may be apart it begins earlier, and needs more.
pub(super) fn limits(app: &App) -> Limits {
    Limits { entries: ENTRIES, bytes: if app.config.log.shares_clock() { 8 << 20 } else { 32 << 20 } }
}

/// Offsets of a journal that are read back from a time, to find what was in force.
const BACK_OFFSETS: i64 = 5_000;
/// Bytes of the texts of the last entries that are wanted.
const NEWEST_BYTES: usize = 4 << 20;
/// Events of one partition before a time, and at or behind it.
pub(super) const NEAR: i64 = 20;
/// Partitions of one topic that are looked at.
const PARTITIONS: u32 = 64;

/// Entries of several journals by time, and a line for each journal of which not all that matters was read.
pub(super) type Read = (Vec<EntryView>, Vec<Line>);

/// The entries about a run, of its job's shard and of all cells, by time.
pub(super) async fn of_run(app: &Arc<App>, record: &RunRecord) -> Answer<Read> {
    let last = record.ended_at.unwrap_or(record.updated_at).max(record.updated_at);
    let until = record.state.is_final().then(|| last.plus_ms(LEAD_MS + SKEW_MS));
    let owner = app.config.cluster.owner_of_job(&record.job);
    // Where the first reading does not reach what came last, the next one begins there.
    let begins = [
        record.created_at,
        record.started_at.unwrap_or(record.created_at).min(record.updated_at).plus_ms(-LEAD_MS),
        record.updated_at.plus_ms(-LEAD_MS),
    ];
    let begins = begins.map(|begin| begin.max(record.created_at));
    let filter = Filter { run: Some(record.run.to_string()), until, ..Filter::default() };
    let remedy = format!("`orrery audit log --run {}` tells all", record.run);
    blocking(app, move |app| {
        let (mut found, mut cut_off) = (Vec::new(), Vec::new());
        for at in shards(app, owner) {
            let (entries, limit) = read_from(&*app.config.log, &app.config.cluster, at, &begins, limits(app), &filter)?;
            found.extend(entries);
            cut_off.extend(limit.map(|limit| Line::cut_off(at, limit, &remedy)));
        }
        Ok((by_time(found), cut_off))
    })
    .await
}

/// The entries about a job within a range of time, of its shard and of all cells, by time.
pub(super) async fn of_job(
    app: &Arc<App>,
    job: &JobName,
    around: Option<Timestamp>,
    (since, until): (Option<Timestamp>, Option<Timestamp>),
) -> Answer<Read> {
    let owner = app.config.cluster.owner_of_job(job);
    let filter = Filter { job: Some(job.to_string()), since, until, ..Filter::default() };
    let remedy = format!("`orrery audit log --job {job}` tells all");
    blocking(app, move |app| {
        let (mut found, mut cut_off) = (Vec::new(), Vec::new());
        for at in shards(app, owner) {
            let (entries, limit) = match (since, around) {
                // A busy journal has more around a time than one reading holds: what lies at the time itself is read as well.
                (Some(since), Some(around)) => {
                    let begins = [since, around.plus_ms(-LEAD_MS)];
                    read_from(&*app.config.log, &app.config.cluster, at, &begins, limits(app), &filter)?
                }
                _ => first_and_last(app, at, &filter)?,
            };
            found.extend(entries);
            cut_off.extend(limit.map(|limit| Line::cut_off(at, limit, &remedy)));
        }
        Ok((by_time(found), cut_off))
    })
    .await
}

/// The entries that are wanted, at least those that came last; where it is said since when they are wanted, the first ones as well.
fn first_and_last(app: &App, at: (&str, u32), filter: &Filter) -> Answer<(Vec<EntryView>, Option<Limit>)> {
    let last = newest(app, at, None, filter)?;
    let mut found: BTreeMap<Place, EntryView> = last.entries.into_iter().map(|entry| (entry.place.clone(), entry)).collect();
    if filter.since.is_none() {
        return Ok((found.into_values().collect(), None));
    }
    let first = read_first(&*app.config.log, &app.config.cluster, at, 0, limits(app), filter)?;
    found.extend(first.entries.into_iter().map(|entry| (entry.place.clone(), entry)));
    Ok((found.into_values().collect(), first.limit.filter(|_| first.next < last.from)))
}

/// The entry that last defined a job before a time; a line where it was not found in what was read.
pub(super) async fn definition_before(app: &Arc<App>, job: &JobName, at: Timestamp) -> Answer<(Option<EntryView>, Option<Line>)> {
    let owner = app.config.cluster.owner_of_job(job);
    let filter = Filter { job: Some(job.to_string()), kind: Some("job_defined".into()), until: Some(at.plus_ms(1)), ..Filter::default() };
    let remedy = format!("`orrery audit log --job {job} --kind job_defined` tells all definitions");
    blocking(app, move |app| {
        let mut read = newest(app, ("trigger", owner), Some(at), &filter)?;
        let found = read.entries.pop_back();
        let cut_off = read.limit.filter(|_| found.is_none()).map(|limit| Line::cut_off(("trigger", owner), limit, &remedy));
        Ok((found, cut_off))
    })
    .await
}

/// The newest entries about an agent of a cell, up to a time; and, where not all were read, a line that says so.
pub(super) async fn of_agent(app: &Arc<App>, (cell, agent): (u32, &AgentId), at: Option<Timestamp>) -> Answer<Read> {
    let filter = Filter { agent: Some(agent.to_string()), until: at.map(|at| at.plus_ms(1)), ..Filter::default() };
    let then = at.map_or_else(String::new, |at| format!(" --at {at}"));
    let remedy = format!("`orrery audit state{then} agent {agent}` tells how it stood");
    blocking(app, move |app| {
        let read = newest(app, ("allocator", cell), at, &filter)?;
        let cut_off = read.limit.map(|limit| Line::cut_off(("allocator", cell), limit, &remedy));
        Ok((read.entries.into(), cut_off.into_iter().collect()))
    })
    .await
}

/// Records of a job's topics around a time.
pub(super) async fn topics(app: &Arc<App>, entry: &CatalogEntry, around: Timestamp) -> Answer<Vec<TopicFacts>> {
    let spec: Option<JobSpec> = serde_json::from_str(&entry.document).ok();
    let names: BTreeSet<String> = spec.iter().flat_map(|spec| &spec.triggers).filter_map(|trigger| trigger.event.clone()).collect();
    let (job, incarnation) = (entry.job.clone(), entry.incarnation);
    blocking(app, move |app| {
        let read = |name: &String| -> Answer<TopicFacts> {
            let events = events(app, name, around)?;
            let state = app.views.read();
            let run = |event: &EventData| {
                let run = RunId::derive(&job, incarnation, &format!("event:{}", event.place()));
                state.runs.get(&run).map(|_| (event.place(), run.to_string()))
            };
            let runs = events.iter().filter_map(run).collect();
            Ok(TopicFacts { topic: name.clone(), events, runs })
        };
        names.iter().map(read).collect()
    })
    .await
}

fn events(app: &App, name: &str, around: Timestamp) -> Answer<Vec<EventData>> {
    let log = &*app.config.log;
    let Some(topic) = log.topic(name)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for partition in 0..topic.partitions.min(PARTITIONS) {
        let at = TopicPartition::new(name, partition);
        let (start, end) = (log.start_offset(&at)?, log.end_offset(&at)?);
        let middle = log.offset_at(&at, around)?;
        for piece in pieces(log, &at, (middle - NEAR).max(start), (middle + NEAR).min(end)) {
            found.extend(piece?.into_iter().map(|record| event(name, &topic.id, partition, record)));
        }
    }
    Ok(found)
}

/// A record of a user topic. Its generation is not known, and 0.
pub(super) fn event(topic: &str, topic_id: &str, partition: u32, record: Record) -> EventData {
    EventData {
        topic: topic.to_owned(),
        generation: 0,
        partition: partition as i32,
        offset: record.offset,
        appended: record.appended,
        key: record.key,
        headers: record.headers.into_iter().map(|(name, value)| Header { name, value }).collect(),
        value: record.value,
        topic_id: topic_id.to_owned(),
    }
}

/// The journals to read: that of a trigger shard, and those of all cells.
fn shards(app: &App, owner: u32) -> impl Iterator<Item = (&'static str, u32)> {
    std::iter::once(("trigger", owner)).chain((0..app.config.cluster.cells).map(|cell| ("allocator", cell)))
}

/// The last entries that are wanted.
pub(super) struct Newest {
    pub entries: VecDeque<EntryView>,
    /// From this record on these are all.
    pub from: i64,
    /// Why there may be more before it.
    pub limit: Option<Limit>,
}

/// The last entries that are wanted, up to a time, as far back as so many offsets reach.
pub(super) fn newest(app: &App, at: (&str, u32), until: Option<Timestamp>, filter: &Filter) -> Answer<Newest> {
    let (log, journal) = (&*app.config.log, journal_of(&app.config.cluster, at.0, at.1));
    let to = match until {
        Some(until) => log.offset_at(&journal, until)?,
        None => log.end_offset(&journal)?,
    };
    let (start, from) = (log.start_offset(&journal)?, to - BACK_OFFSETS);
    let limit = (from > start).then_some(Limit::Offsets(BACK_OFFSETS));
    let mut read = Newest { entries: VecDeque::new(), from: from.max(start), limit };
    let (mut bytes, mut left_out) = (0, false);
    read_some(log, &app.config.cluster, at, (read.from, usize::MAX), filter, &mut |entry| {
        bytes += text_bytes(&entry.entry);
        read.entries.push_back(entry);
        while read.entries.len() > 1 && (read.entries.len() > ENTRIES || bytes > NEWEST_BYTES) {
            let limit = if bytes > NEWEST_BYTES { Limit::Bytes(NEWEST_BYTES) } else { Limit::Entries(ENTRIES) };
            bytes -= read.entries.pop_front().map_or(0, |first| text_bytes(&first.entry));
            (read.limit, left_out) = (Some(limit), true);
        }
        ControlFlow::Continue(())
    })?;
    if let (true, Some(first)) = (left_out, read.entries.front()) {
        // Others of its record may be left out.
        read.from = first.place.offset + 1;
    }
    Ok(read)
}

/// Bytes of an entry's texts: all else of it is small.
fn text_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(text_bytes).sum(),
        Value::Object(fields) => fields.values().map(text_bytes).sum(),
        _ => 0,
    }
}

pub(super) fn by_time(mut entries: Vec<EntryView>) -> Vec<EntryView> {
    entries.sort_by(|a, b| (a.at, &a.place).cmp(&(b.at, &b.place)));
    entries
}

pub(super) async fn blocking<T: Send + 'static>(app: &Arc<App>, read: impl FnOnce(&App) -> Answer<T> + Send + 'static) -> Answer<T> {
    let reader = app.clone();
    app.admission.read(move || read(&reader)).await?
}
