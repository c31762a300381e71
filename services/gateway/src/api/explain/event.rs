//! One event: its topic says what it is, the journal of the shard that reads its partition whether it was read, and the journals of
//! the shards that own the jobs which it matches what became of that.

use super::reading;
use crate::App;
use crate::problem::{Answer, Problem};
use crate::views::{RunFilter, ViewState};
use axum::Json;
use axum::extract::{Path, State};
use orrery_audit::entries::{SKEW_MS, journal_of};
use orrery_audit::explain::{EventFacts, EventPlace, Line, Trail, Watcher, event_story};
use orrery_audit::{EntryView, Filter, Limit, read_some};
use orrery_log::{TopicPartition, pieces};
use orrery_model::id::{JobName, RunId};
use orrery_model::job::{JobSpec, did_you_mean};
use orrery_model::messages::{CatalogEntry, EventData, RunRecord};
use orrery_model::time::Timestamp;
use orrery_model::topics::{DLQ_SUFFIX, is_ours};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Jobs that are told of; those that the event has fired come first.
const JOBS: usize = 100;
/// Runs of a job among which one of a later event is looked for.
const LATER: usize = 50;

/// A job's definition, and what it says.
type Definition = (CatalogEntry, JobSpec);

pub(in crate::api) async fn tell(
    State(app): State<Arc<App>>,
    Path((topic, partition, offset)): Path<(String, String, String)>,
) -> Answer<Json<Value>> {
    let place = format!("{topic}/{partition}/{offset}").parse::<EventPlace>();
    let place = place.map_err(|why| Problem::new("malformed", why))?;
    reading::blocking(&app, move |app| told(app, &place)).await.map(Json)
}

fn told(app: &App, place: &EventPlace) -> Answer<Value> {
    let mut found = find(app, place)?;
    let definitions = watching(app, &place.topic);
    let reader = app.config.cluster.reader_of(&place.topic, place.partition);
    let (mut trail, limit) = follow_reader(app, reader, place, found.event.as_ref(), &definitions)?;
    // The topic does not say which of its generations it is; the journal does.
    let kept = trail.event();
    let generation = kept.as_ref().map_or(0, |event| event.generation);
    found.event.iter_mut().chain(&mut found.before).for_each(|event| event.generation = generation);
    let event = found.event.or(kept);
    let (watchers, others) = watchers(app, &trail, (place, event.as_ref()), definitions);
    let limits = follow_owners(app, &mut trail, &watchers)?;
    let limits = limit.into_iter().map(|limit| (reader, limit)).chain(limits);
    let since = event.as_ref().map_or_else(String::new, |event| format!(" --since {}", event.appended));
    let remedy = format!("`orrery audit log --service trigger{since}` tells all");
    let cut_off: Vec<Line> = limits.map(|(shard, limit)| Line::cut_off(("trigger", shard), limit, &remedy)).collect();
    let story = event_story(&EventFacts {
        place,
        event: event.as_ref(),
        before: &found.before,
        start: found.start,
        reader,
        trail: &trail,
        watchers: &watchers,
        others,
    });
    Ok(json!({"event": event, "story": story, "cut_off": cut_off, "decisions": reading::by_time(trail.into_entries())}))
}

/// What a topic has of an event.
struct Found {
    /// None where the topic no longer has it.
    event: Option<EventData>,
    /// What lies shortly before it in its partition.
    before: Vec<EventData>,
    /// First offset that the partition still has.
    start: i64,
}

/// Reads an event from its topic. A place where none was, or is yet, is refused.
fn find(app: &App, place: &EventPlace) -> Answer<Found> {
    let EventPlace { topic, partition, offset } = place;
    let log = &*app.config.log;
    if is_ours(&app.config.cluster.prefix, topic) {
        return Err(reserved(place));
    }
    let Some(known) = log.topic(topic)? else { return Err(no_such_topic(app, topic)) };
    if *partition >= known.partitions {
        let last = known.partitions.saturating_sub(1);
        let detail = format!("{topic} has no partition {partition}: it has {}", known.partitions);
        return Err(Problem::new("not_found", detail).hint(format!("name one from 0 to {last}")));
    }
    let at = TopicPartition::new(topic, *partition);
    let (start, end) = (log.start_offset(&at)?, log.end_offset(&at)?);
    if *offset >= end {
        let detail = format!("offset {offset} of {topic}/{partition} lies beyond its end: the next event will be at {end} or behind it");
        let hint = "`orrery event send` prints where the event stands that it sends, a run's cause where the one stands that fired it";
        return Err(Problem::new("not_found", detail).try_this(hint));
    }
    if *offset < start {
        return Ok(Found { event: None, before: Vec::new(), start });
    }
    let mut before = Vec::new();
    for piece in pieces(log, &at, (offset - reading::NEAR).max(start), offset + 1) {
        before.extend(piece?.into_iter().map(|record| reading::event(topic, &known.id, *partition, record)));
    }
    match before.pop_if(|last| last.offset == *offset) {
        Some(event) => Ok(Found { event: Some(event), before, start }),
        None => {
            let next = log.read(&at, *offset, 1)?.records.first().map(|record| format!("{topic}/{partition}@{}", record.offset));
            let detail = format!("there is no event at offset {offset} of {topic}/{partition}: offsets have gaps");
            Err(Problem::new("not_found", detail).hint(next.map(|next| format!("the next one is {next}"))))
        }
    }
}

fn reserved(place: &EventPlace) -> Problem {
    let EventPlace { topic, partition, offset } = place;
    let hint = if topic.ends_with(DLQ_SUFFIX) {
        format!("what is wrong with a dead letter: `orrery dlq show {topic}/{partition}@{offset}`")
    } else {
        "what became of its records is in the journals: `orrery audit log`".to_owned()
    };
    Problem::new("reserved_topic", format!("{topic} is a topic of Orrery itself, which no job watches")).hint(hint)
}

/// No such topic, with the one that was probably meant.
fn no_such_topic(app: &App, topic: &str) -> Problem {
    let topics = app.config.log.topics().unwrap_or_default();
    let of_users = topics.iter().map(|topic| topic.name.as_str()).filter(|name| !is_ours(&app.config.cluster.prefix, name));
    let hint = did_you_mean(topic, of_users).unwrap_or_else(|| format!("its first event makes it: `orrery event send {topic}`"));
    Problem::new("not_found", format!("there is no topic {topic}")).hint(hint)
}

/// The definitions that watch a topic. A document is read only if the topic's name stands in it, and outside of the lock.
fn watching(app: &App, topic: &str) -> Vec<Definition> {
    let named: Vec<CatalogEntry> = {
        let state = app.views.read();
        state.jobs.values().filter(|entry| entry.document.contains(topic)).cloned().collect()
    };
    let watches = |entry: CatalogEntry| {
        let spec: JobSpec = serde_json::from_str(&entry.document).ok()?;
        let any = spec.triggers.iter().any(|trigger| trigger.event.as_deref() == Some(topic));
        any.then_some((entry, spec))
    };
    named.into_iter().filter_map(watches).collect()
}

/// Follows an event through the journal of the shard that reads its partition: from when it was appended on, and, where that is
/// not known any more or lies too far back, from when it made a run. Else the last entries say how far its partition was read. Tells
/// the limit that a reading ended at before it was known what became of the event.
fn follow_reader(
    app: &App,
    reader: u32,
    place: &EventPlace,
    event: Option<&EventData>,
    definitions: &[Definition],
) -> Answer<(Trail, Option<Limit>)> {
    let mut trail = Trail::new(place.clone());
    let appended = event.map(|event| event.appended);
    let made = {
        let (state, name) = (app.views.read(), place.to_string());
        definitions.iter().filter_map(|(entry, _)| run_of(&state, entry, &name, appended)).map(|run| run.created_at).min()
    };
    let mut limit = None;
    for since in appended.into_iter().chain(made) {
        if !trail.is_accounted_for() {
            limit = limit.or(follow(app, reader, since, &mut trail, &Trail::is_settled)?);
        }
    }
    if !trail.is_accounted_for() {
        let last = reading::newest(app, ("trigger", reader), None, &of_topic(place))?;
        for entry in last.entries {
            trail.take(entry);
        }
        // Where it was read from a time on, that reading has said whether it was cut off.
        limit = if appended.or(made).is_some() { limit } else { last.limit };
    }
    let limit = limit.filter(|_| !trail.is_settled());
    Ok((trail, limit))
}

/// Follows an event to the owners of jobs, as far as its reader's journal does not say what became of it there. Tells which of their
/// journals were not read far enough.
fn follow_owners(app: &App, trail: &mut Trail, watchers: &[Watcher]) -> Answer<Vec<(u32, Limit)>> {
    let mut open: BTreeMap<u32, (Timestamp, Vec<&JobName>)> = BTreeMap::new();
    for watcher in watchers.iter().filter(|watcher| !trail.is_decided(&watcher.job)) {
        let made = watcher.run.as_ref().map(|run| run.created_at);
        let Some(since) = made.or_else(|| trail.forwarded_at(&watcher.job)) else { continue };
        let (first, jobs) = open.entry(watcher.owner).or_insert((since, Vec::new()));
        *first = since.min(*first);
        jobs.push(&watcher.job);
    }
    let mut limits = Vec::new();
    for (shard, (since, jobs)) in open {
        let limit = follow(app, shard, since, trail, &|trail: &Trail| jobs.iter().all(|job| trail.is_decided(job)))?;
        limits.extend(limit.map(|limit| (shard, limit)));
    }
    Ok(limits)
}

/// Takes in what a trigger shard's journal says of an event, from a time on, until that is enough; or up to the limit that it tells.
fn follow(app: &App, shard: u32, since: Timestamp, trail: &mut Trail, is_enough: &dyn Fn(&Trail) -> bool) -> Answer<Option<Limit>> {
    let (log, cluster, limits) = (&*app.config.log, &app.config.cluster, reading::limits(app));
    // Both the event and the entries have the log's append times: where these are of several machines, they may be apart.
    let lead = if log.shares_clock() { reading::LEAD_MS } else { SKEW_MS };
    let journal = journal_of(cluster, "trigger", shard);
    let (from, end) = (log.offset_at(&journal, since.plus_ms(-lead))?, log.end_offset(&journal)?);
    let filter = of_topic(trail.place());
    let read = read_some(log, cluster, ("trigger", shard), (from, limits.bytes), &filter, &mut |entry: EntryView| {
        let is_done = trail.take(entry) && (is_enough(trail) || trail.entries().len() >= limits.entries);
        if is_done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    let is_full = trail.entries().len() >= limits.entries;
    let limit = if is_full { Limit::Entries(limits.entries) } else { Limit::Bytes(limits.bytes) };
    Ok((read < end && !is_enough(trail)).then_some(limit))
}

fn of_topic(place: &EventPlace) -> Filter {
    Filter { topic: Some(place.topic.clone()), ..Filter::default() }
}

/// The jobs that watch the topic, and those that the event has fired whatever they watch now; how many are left out. Of an event that
/// nobody has any more only jobs that it is known to have fired are told.
fn watchers(
    app: &App,
    trail: &Trail,
    (place, event): (&EventPlace, Option<&EventData>),
    definitions: Vec<Definition>,
) -> (Vec<Watcher>, usize) {
    let name = event.map_or_else(|| place.to_string(), EventData::place);
    let (state, cluster, decided) = (app.views.read(), &app.config.cluster, trail.jobs());
    let known: BTreeSet<JobName> = definitions.iter().map(|(entry, _)| entry.job.clone()).collect();
    let made = |job: &JobName| {
        // Most jobs were not decided on: their decisions are not looked for.
        let made = decided.contains(job).then(|| trail.run_of(job)).flatten()?;
        state.runs.get(&made.run).cloned()
    };
    let watcher = |(entry, spec): Definition| {
        let run = run_of(&state, &entry, &name, event.map(|event| event.appended)).or_else(|| made(&entry.job));
        let (job, owner) = (entry.job.clone(), cluster.owner_of_job(&entry.job));
        Watcher { job, definition: Some((entry, spec)), owner, run, later: None }
    };
    let mut watchers: Vec<Watcher> = definitions.into_iter().map(watcher).collect();
    watchers.extend(decided.difference(&known).map(|job| {
        let (owner, run) = (cluster.owner_of_job(job), made(job));
        Watcher { job: job.clone(), definition: None, owner, run, later: None }
    }));
    let all = watchers.len();
    let is_told = |watcher: &Watcher| watcher.run.is_some() || decided.contains(&watcher.job);
    watchers.retain(|watcher| event.is_some() || is_told(watcher));
    watchers.sort_by_cached_key(|watcher| (!is_told(watcher), watcher.job.clone()));
    watchers.truncate(JOBS);
    if let (Some(event), Some(read_at)) = (event, trail.read_at()) {
        for watcher in watchers.iter_mut().filter(|watcher| watcher.run.is_none()) {
            watcher.later = later(&state, &watcher.job, place, (event.appended, read_at));
        }
    }
    let others = all - watchers.len();
    (watchers, others)
}

/// The run that an event makes of a job, if it is known. One that is older than the event is of another that had its place, before
/// the topic was made again.
fn run_of(state: &ViewState, entry: &CatalogEntry, event: &str, appended: Option<Timestamp>) -> Option<RunRecord> {
    let run = state.runs.get(&RunId::derive(&entry.job, entry.incarnation, &format!("event:{event}")))?;
    appended.is_none_or(|appended| run.created_at >= appended.plus_ms(-SKEW_MS)).then(|| run.clone())
}

/// A run that a later event of the partition had made of a job when this one was read.
fn later(state: &ViewState, job: &JobName, place: &EventPlace, (appended, read_at): (Timestamp, Timestamp)) -> Option<RunRecord> {
    let filter = RunFilter { job: Some(job.clone()), since: Some(appended), ..Default::default() };
    let runs = state.runs.page(&filter, None, LATER).ok()?.items;
    let is_later =
        |run: &RunRecord| run.created_at < read_at && run.cause.strip_prefix("event:").is_some_and(|event| place.lies_before(event));
    runs.into_iter().find(is_later)
}
