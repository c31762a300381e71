//! Events near a time, and why each fired a job or did not.

use super::job::JobFacts;
use super::reading::decisions;
use super::{Mark, codes};
use crate::Place;
use orrery_model::job::Trigger;
use orrery_model::messages::{CatalogEntry, EventData};
use orrery_model::time::Timestamp;
use orrery_trigger::event::EventView;
use orrery_trigger::predicate::trace::{Clause, trace};
use orrery_trigger::starts::is_behind_start;
use serde::Serialize;
use std::collections::BTreeMap;

/// Events told for one trigger, those nearest to the time.
const SHOWN: usize = 10;
/// Header of a record that may be sent more than once.
pub(super) const KEY_HEADER: &str = "idempotency-key";

/// What was read of a topic.
#[derive(Debug, Clone)]
pub struct TopicFacts {
    /// Its full name.
    pub topic: String,
    /// Records around the time asked about, of all partitions. Their generation is not known, and 0.
    pub events: Vec<EventData>,
    /// Runs that they are known to have made, whenever that was: by the event's place.
    pub runs: BTreeMap<String, String>,
}

/// The events of one trigger.
#[derive(Debug, Clone, Serialize)]
pub struct TopicStory {
    /// Which of the job's triggers, from 0.
    pub trigger: usize,
    /// Full name of its topic.
    pub topic: String,
    /// Its predicate.
    pub when: Option<String>,
    /// The events nearest to the time, by time.
    pub events: Vec<NearEvent>,
}

/// What became of one event near the time.
#[derive(Debug, Clone, Serialize)]
pub struct NearEvent {
    /// Its place: topic, partition, offset.
    pub event: String,
    /// When it was appended.
    pub appended: Timestamp,
    /// From the time asked about, milliseconds: below zero it came before.
    pub distance_ms: i64,
    /// Good if it fired.
    pub mark: Mark,
    /// Stable code.
    pub code: &'static str,
    /// In words.
    pub text: String,
    /// The run that it made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Evidence: the entry that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// How the predicate came to its result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<Clause>,
}

/// A run that an event has made.
struct Fired {
    event: String,
    run: String,
    place: Place,
}

/// Tells what became of the events of one trigger.
pub(super) fn topic_story(
    facts: &JobFacts<'_>,
    entry: &CatalogEntry,
    (number, trigger): (usize, &Trigger),
    topic: &TopicFacts,
) -> TopicStory {
    let fired = fired(facts);
    let mut nearest: Vec<&EventData> = topic.events.iter().collect();
    nearest.sort_by_key(|event| (event.appended.since_ms(facts.at).unsigned_abs(), event.partition, event.offset));
    nearest.truncate(SHOWN);
    nearest.sort_by_key(|event| (event.appended, event.partition, event.offset));
    let tell = |event: &&EventData| {
        let (code, text, trace) = judge(entry, trigger, event, topic, &fired);
        let made = fired.iter().find(|fired| is_of(&fired.event, event));
        NearEvent {
            event: event.place(),
            appended: event.appended,
            distance_ms: event.appended.since_ms(facts.at),
            mark: if code == codes::TRIGGER_MATCH { Mark::Good } else { Mark::Bad },
            code,
            text,
            run: made.map(|made| made.run.clone()).or_else(|| topic.runs.get(&event.place()).cloned()),
            place: made.map(|made| made.place.clone()),
            trace,
        }
    };
    let events = nearest.iter().map(tell).collect();
    TopicStory { trigger: number, topic: topic.topic.clone(), when: trigger.when.clone(), events }
}

/// The runs of the job that events have made.
fn fired(facts: &JobFacts<'_>) -> Vec<Fired> {
    let made = decisions(facts.entries, facts.until)
        .filter(|decided| decided.kind == "run_created" && decided.fields["record"]["job"].as_str() == Some(facts.job.as_str()));
    made.filter_map(|decided| {
        let run = decided.fields["record"]["run"].as_str()?.to_owned();
        Some(Fired { event: decided.text("event")?.to_owned(), run, place: decided.entry.place.clone() })
    })
    .collect()
}

/// The first of the rules that an event must keep which it does not; in the order in which the trigger asks.
fn judge(
    entry: &CatalogEntry,
    trigger: &Trigger,
    event: &EventData,
    topic: &TopicFacts,
    fired: &[Fired],
) -> (&'static str, String, Option<Clause>) {
    let view = EventView::new(event);
    let traced = traced(trigger, &view);
    let made = fired.iter().find(|fired| is_of(&fired.event, event)).map(|made| &made.run);
    if let Some(run) = made.or_else(|| topic.runs.get(&event.place())) {
        return (codes::TRIGGER_MATCH, format!("it matched, and made run {run}"), traced);
    }
    if let Some((code, why)) = unseen(entry, event, &topic.events).or_else(|| missed(traced.as_ref(), &view)) {
        return (code, why, traced);
    }
    match fired.iter().find(|fired| lies_behind(&fired.event, event)) {
        Some(later) => (codes::BEHIND_FIRED, format!("it lies before {}, which has fired the job", later.event), traced),
        None => (codes::NOT_DECIDED, "it matches now; no decision about it was found around that time".into(), traced),
    }
}

/// How the predicate of a trigger comes to its result on an event; none if it has none.
pub(super) fn traced(trigger: &Trigger, view: &EventView<'_>) -> Option<Clause> {
    trace(trigger.when.as_ref()?, view).ok()
}

/// The rule by which an event is not shown to a job, if there is one: its code, and in words. `others` may have its key.
pub(super) fn unseen(entry: &CatalogEntry, event: &EventData, others: &[EventData]) -> Option<(&'static str, String)> {
    if let Some(first) = first_of_key(event, others) {
        return Some((codes::DUPLICATE_EVENT, format!("it has the idempotency key of {}, which counts", first.place())));
    }
    let text = "it lies before the place where its topic begins to count for this job";
    (!is_behind_start(entry, event)).then(|| (codes::BEFORE_START, text.to_owned()))
}

/// Why a predicate kept an event from firing, if it did: the code, and in words.
pub(super) fn missed(traced: Option<&Clause>, view: &EventView<'_>) -> Option<(&'static str, String)> {
    let clause = traced.filter(|clause| clause.result != Some(true))?;
    let why = clause.failing().into_iter().map(Clause::in_words).collect::<Vec<_>>().join("; ");
    match (&clause.error, view.no_json()) {
        (None, _) => Some((codes::NO_TRIGGER_MATCH, why)),
        (Some(_), None) => Some((codes::PREDICATE_FAILED, why)),
        (Some(_), Some(not_json)) => {
            Some((codes::NOT_JSON, format!("{why}; its value is no JSON ({not_json}), so that `data` is its text")))
        }
    }
}

/// An earlier record of the same key: sent again, an event fires nothing more.
fn first_of_key<'e>(event: &EventData, all: &'e [EventData]) -> Option<&'e EventData> {
    let key = event.header(KEY_HEADER)?;
    let is_earlier = |other: &&EventData| (other.appended, other.offset) < (event.appended, event.offset);
    all.iter().filter(is_earlier).find(|other| other.header(KEY_HEADER) == Some(key))
}

/// Topic, partition and offset of a place such as `orders.paid~1/0/5`, whatever the generation.
pub(super) fn parts(place: &str) -> Option<(&str, i32, i64)> {
    let (source, offset) = place.rsplit_once('/')?;
    let (topic, partition) = source.rsplit_once('/')?;
    Some((topic.split('~').next()?, partition.parse().ok()?, offset.parse().ok()?))
}

fn is_of(place: &str, event: &EventData) -> bool {
    parts(place) == Some((event.topic.as_str(), event.partition, event.offset))
}

fn lies_behind(place: &str, event: &EventData) -> bool {
    parts(place).is_some_and(|(topic, partition, offset)| topic == event.topic && partition == event.partition && offset > event.offset)
}
