//! Reads what stories are made of: entries of the right shards, by time, and events around a time. Each reading is bounded.

use super::ENTRIES;
use crate::App;
use crate::problem::Answer;
use orrery_audit::entries::{SKEW_MS, journal_of};
use orrery_audit::explain::TopicFacts;
use orrery_audit::{EntryView, Filter, read_some};
use orrery_log::{TopicPartition, pieces};
use orrery_model::id::{AgentId, JobName, RunId};
use orrery_model::job::JobSpec;
use orrery_model::messages::{CatalogEntry, EventData, Header, RunRecord};
use orrery_model::record::Record;
use orrery_model::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

/// What a cell decided on a run lies at most so long before what the trigger made of it; milliseconds.
pub(super) const LEAD_MS: i64 = 1_000;

/// Bytes of a journal that one reading looks at: where clocks may be apart it begins earlier, and needs more.
pub(super) fn reach(app: &App) -> usize {
    if app.config.log.shares_clock() { 8 << 20 } else { 32 << 20 }
}

/// Journal records read back from a time, to find what was in force.
const BACK_RECORDS: i64 = 5_000;
/// Events of one partition before a time, and at or behind it.
pub(super) const NEAR: i64 = 20;
/// Partitions of one topic that are looked at.
const PARTITIONS: u32 = 64;

/// The entries about a run, of its job's shard and of all cells, by time.
pub(super) async fn of_run(app: &Arc<App>, record: &RunRecord) -> Answer<Vec<EntryView>> {
    let last = record.ended_at.unwrap_or(record.updated_at).max(record.updated_at);
    let until = record.state.is_final().then(|| last.plus_ms(LEAD_MS + SKEW_MS));
    let owner = app.config.cluster.owner_of_job(&record.job);
    let record_created = record.created_at;
    let (run, begins) = (
        record.run.clone(),
        [
            record.created_at,
            record.started_at.unwrap_or(record.created_at).min(record.updated_at).plus_ms(-LEAD_MS),
            record.updated_at.plus_ms(-LEAD_MS),
        ],
    );
    blocking(app, move |app| {
        let mut found = BTreeMap::new();
        for (service, shard) in shards(app, Some(owner)) {
            // Where the first reading does not reach what came last, the next one begins there.
            for begin in begins {
                let since = Some(begin.max(record_created));
                let filter = Filter { run: Some(run.to_string()), since, until, ..Filter::default() };
                let (entries, whole) = oldest(app, (service, shard), 0, &filter)?;
                found.extend(entries.into_iter().map(|entry| (entry.place.clone(), entry)));
                if whole {
                    break;
                }
            }
        }
        Ok(by_time(found.into_values().collect()))
    })
    .await
}

/// The entries about a job within a range of time, of its shard and of all cells, by time.
pub(super) async fn of_job(
    app: &Arc<App>,
    job: &JobName,
    around: Option<Timestamp>,
    (since, until): (Option<Timestamp>, Option<Timestamp>),
) -> Answer<Vec<EntryView>> {
    let owner = app.config.cluster.owner_of_job(job);
    let filter = Filter { job: Some(job.to_string()), since, until, ..Filter::default() };
    blocking(app, move |app| {
        let mut found = BTreeMap::new();
        for at in shards(app, Some(owner)) {
            // A busy journal has more around a time than one reading holds: what lies at the time itself is read as well, and
            // without a time, what came last.
            let near = around.map(|around| Filter { since: Some(around.plus_ms(-LEAD_MS)), ..filter.clone() });
            let back = back_from(app, at, filter.until)?;
            let mut entries = match &near {
                Some(near) => oldest(app, at, 0, near)?.0,
                None => newest(app, at, back, &filter)?.into(),
            };
            entries.extend(oldest(app, at, if filter.since.is_none() { back } else { 0 }, &filter)?.0);
            found.extend(entries.into_iter().map(|entry| (entry.place.clone(), entry)));
        }
        Ok(by_time(found.into_values().collect()))
    })
    .await
}

/// The entry that last defined a job before a time.
pub(super) async fn definition_before(app: &Arc<App>, job: &JobName, at: Timestamp) -> Answer<Option<EntryView>> {
    let owner = app.config.cluster.owner_of_job(job);
    let filter = Filter { job: Some(job.to_string()), kind: Some("job_defined".into()), until: Some(at.plus_ms(1)), ..Filter::default() };
    blocking(app, move |app| {
        let from = back_from(app, ("trigger", owner), Some(at))?;
        Ok(newest(app, ("trigger", owner), from, &filter)?.pop_back())
    })
    .await
}

/// The newest entries about an agent, up to a time, of all cells, by time.
pub(super) async fn of_agent(app: &Arc<App>, agent: &AgentId, at: Option<Timestamp>) -> Answer<Vec<EntryView>> {
    let filter = Filter { agent: Some(agent.to_string()), until: at.map(|at| at.plus_ms(1)), ..Filter::default() };
    blocking(app, move |app| {
        let mut found = Vec::new();
        for place in shards(app, None) {
            let from = back_from(app, place, at)?;
            found.extend(newest(app, place, from, &filter)?);
        }
        let mut found = by_time(found);
        found.drain(..found.len().saturating_sub(ENTRIES));
        Ok(found)
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
fn shards(app: &App, owner: Option<u32>) -> Vec<(&'static str, u32)> {
    let cells = (0..app.config.cluster.cells).map(|cell| ("allocator", cell));
    owner.map(|owner| ("trigger", owner)).into_iter().chain(cells).collect()
}

/// The first entries that are wanted, and whether these are all.
fn oldest(app: &App, at: (&str, u32), from: i64, filter: &Filter) -> Answer<(Vec<EntryView>, bool)> {
    let mut found = Vec::new();
    let end = app.config.log.end_offset(&journal_of(&app.config.cluster, at.0, at.1))?;
    let read = read_some(&*app.config.log, &app.config.cluster, at, (from, reach(app)), filter, &mut |entry| {
        found.push(entry);
        if found.len() >= ENTRIES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok((found, read >= end))
}

/// The last entries that are wanted, from a place on that lies not far before the end.
pub(super) fn newest(app: &App, at: (&str, u32), from: i64, filter: &Filter) -> Answer<VecDeque<EntryView>> {
    let mut found = VecDeque::new();
    read_some(&*app.config.log, &app.config.cluster, at, (from, usize::MAX), filter, &mut |entry| {
        found.push_back(entry);
        if found.len() > ENTRIES {
            found.pop_front();
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// Where to begin, to read what came last before a time.
pub(super) fn back_from(app: &App, (service, shard): (&str, u32), until: Option<Timestamp>) -> Answer<i64> {
    let journal = journal_of(&app.config.cluster, service, shard);
    let to = match until {
        Some(until) => app.config.log.offset_at(&journal, until)?,
        None => app.config.log.end_offset(&journal)?,
    };
    Ok((to - BACK_RECORDS).max(0))
}

pub(super) fn by_time(mut entries: Vec<EntryView>) -> Vec<EntryView> {
    entries.sort_by(|a, b| (a.at, &a.place).cmp(&(b.at, &b.place)));
    entries
}

pub(super) async fn blocking<T: Send + 'static>(app: &Arc<App>, read: impl FnOnce(&App) -> Answer<T> + Send + 'static) -> Answer<T> {
    let app = app.clone();
    tokio::task::spawn_blocking(move || read(&app)).await?
}
