//! Nothing accepted is lost: each (job, event), (job, slot) and request makes exactly one run, and no event before a job's start does.

use super::Outcome;
use crate::history::{Accepted, History};
use crate::machine::wall;
use crate::plan::MINUTE;
use crate::world::load::{FIRED_BY, LATE, SLOT_MINUTES, TOPIC};
use orrery_model::decider::Decider;
use orrery_model::journal::Observation;
use orrery_model::messages::{EventData, StartPosition};
use orrery_model::topics::reread_of;
use orrery_trigger::{Decision, Trigger};
use std::collections::{BTreeMap, BTreeSet};

/// A job in one of its lives.
type Life = (String, i64);
/// Generation of the data team's topic as the world counts it, partition, offset.
type Place = (usize, u32, i64);

/// What the trigger's journals say.
#[derive(Default)]
struct Told {
    /// Where each life of a job begins to count, as its owner recorded it.
    starts: BTreeMap<Life, Vec<StartPosition>>,
    /// The jobs that are there at the end, each in its last life.
    there: BTreeMap<String, i64>,
    /// Events by the name that causes have.
    events: BTreeMap<String, EventData>,
    /// Events that were set aside: input, partition, offset.
    aside: BTreeSet<(String, u32, i64)>,
    /// Causes of runs.
    runs: BTreeMap<(Life, String), u32>,
}

impl Told {
    /// True if an event was set aside when it came, or when it was read again for this job.
    fn is_aside(&self, job: &str, (_, partition, offset): Place) -> bool {
        self.aside.iter().any(|(input, of, at)| (*of, *at) == (partition, offset) && reread_of(input).is_none_or(|(_, of)| of == job))
    }
}

pub(super) fn check(outcome: &Outcome<'_>) -> Vec<String> {
    let told = told(outcome);
    let is_kept = |at| outcome.history.is_kept(at);
    let twice = told.runs.iter().filter(|(_, count)| **count > 1 && is_kept(0));
    let mut found: Vec<String> = twice.map(|(((job, _), cause), count)| format!("{job} was fired {count} times by {cause}")).collect();
    let causes: BTreeSet<(&str, &str)> = told.runs.keys().map(|((job, _), cause)| (job.as_str(), cause.as_str())).collect();
    let mut want = |job: &str, cause: &str| {
        if !causes.contains(&(job, cause)) {
            found.push(format!("{job} was never fired by {cause}"));
        }
    };
    // A request that is sent twice is one: what came of its first copy may be lost.
    let mut requests = BTreeSet::new();
    for (at, accepted) in &outcome.history.accepted {
        if let Accepted::Request { job, key } = accepted
            && requests.insert((job, key))
            && is_kept(*at)
        {
            want(job, &format!("request:*/{key}"));
        }
    }
    let every = SLOT_MINUTES * MINUTE;
    let mut slot = every;
    while slot < outcome.plan.faults_until {
        if is_kept(slot) {
            want("default/minutes", &format!("time:{}", wall(slot)));
        }
        slot += every;
    }
    found.extend(events(outcome, &told));
    found
}

fn told(outcome: &Outcome<'_>) -> Told {
    let mut told = Told::default();
    for shard in outcome.trigger_shards() {
        for entry in outcome.journal::<Trigger>(shard) {
            if let Some(Observation::RecordQuarantined { topic, partition, offset, .. }) = Trigger::observation(&entry.input) {
                told.aside.insert((topic.clone(), *partition as u32, *offset));
            }
        }
        for decision in outcome.journal::<Trigger>(shard).flat_map(|entry| &entry.decisions) {
            match decision {
                Decision::JobDefined { entry, .. } => {
                    told.starts.entry((entry.job.to_string(), entry.incarnation)).or_insert_with(|| entry.starts.clone());
                    told.there.insert(entry.job.to_string(), entry.incarnation);
                }
                Decision::JobDeleted { job, .. } => drop(told.there.remove(job.as_str())),
                Decision::EventKept { event } => drop(told.events.insert(event.place(), event.clone())),
                Decision::RunCreated { record, incarnation, .. } => {
                    *told.runs.entry(((record.job.to_string(), *incarnation), record.cause.clone())).or_default() += 1;
                }
                _ => {}
            }
        }
    }
    told
}

/// What was sent to the data team's topic.
struct Sent {
    /// Each record, and the number of its event.
    numbers: BTreeSet<(Place, i64)>,
    /// By the event's number when its first record was accepted, and where that stands; of those that no salvage lost.
    first: BTreeMap<i64, (i64, Place)>,
}

fn sent(history: &History) -> Sent {
    let (mut numbers, mut first) = (BTreeSet::new(), BTreeMap::new());
    for (at, accepted) in &history.accepted {
        if let Accepted::Event { partition, offset, number, generation, .. } = accepted {
            let place = (*generation, *partition, *offset);
            numbers.insert((place, *number));
            first.entry(*number).or_insert((*at, place));
        }
    }
    first.retain(|_, (at, _)| history.is_kept(*at));
    Sent { numbers, first }
}

/// Events by what was accepted: a record that was sent twice is one event.
fn events(outcome: &Outcome<'_>, told: &Told) -> Vec<String> {
    let mut found = Vec::new();
    let history = outcome.history;
    let Sent { numbers, first } = sent(history);
    let generation = |id: &str| history.topics.iter().position(|topic| topic == id);
    let start = |life: &Life, (of, partition, _): Place| {
        let named = told.starts.get(life)?.iter().find(|start| start.topic == TOPIC && start.partition as u32 == partition);
        // Of a generation that was made later everything counts, of an earlier one nothing.
        named.map_or(Some(0), |start| match generation(&start.topic_id)?.cmp(&of) {
            std::cmp::Ordering::Less => Some(0),
            std::cmp::Ordering::Equal => Some(start.offset),
            std::cmp::Ordering::Greater => Some(i64::MAX),
        })
    };
    let mut fired: BTreeMap<(&Life, i64), &str> = BTreeMap::new();
    for (life, cause) in told.runs.keys() {
        let Some(name) = cause.strip_prefix("event:") else { continue };
        let sent = told.events.get(name).and_then(|e| {
            let place = (generation(&e.topic_id)?, e.partition as u32, e.offset);
            Some((place, number_of(e)?))
        });
        let Some((place, number)) = sent.filter(|sent| numbers.contains(sent)) else {
            // The entry that kept it may be lost with a salvage.
            if history.salvaged.is_some() && !told.events.contains_key(name) {
                continue;
            }
            found.push(format!("{} was fired by {cause}, which nobody has sent", life.0));
            continue;
        };
        if start(life, place).is_none_or(|start| place.2 < start) {
            found.push(format!("{} (life {}) was fired by {cause}, which lies before its start", life.0, life.1));
        }
        if let Some(other) = fired.insert((life, number), cause) {
            found.push(format!("{} was fired by {other} and by {cause}, which are one event sent twice", life.0));
        }
    }
    for (job, divisor) in FIRED_BY.iter().chain(&LATE) {
        let job = format!("default/{job}");
        let Some(incarnation) = told.there.get(&job) else { continue };
        let life = (job.clone(), *incarnation);
        let is_late = LATE.iter().any(|(late, _)| job.ends_with(late));
        for (number, (_, place)) in first.iter().filter(|(number, _)| *number % divisor == 0) {
            // What nobody had read when its topic was deleted is gone; what was to be read again for one job, too.
            let is_gone = history.deleted.get(&(place.0, place.1)).is_some_and(|read| is_late || place.2 >= *read);
            let is_aside = history.by_hand.contains(place) && told.is_aside(&job, *place);
            let counts = start(&life, *place).is_some_and(|start| place.2 >= start);
            if counts && !is_gone && !is_aside && !fired.contains_key(&(&life, *number)) {
                found.push(format!("{job} (life {incarnation}) was never fired by event {number} at {place:?}"));
            }
        }
    }
    found
}

/// Which event it is, as it says itself.
fn number_of(event: &EventData) -> Option<i64> {
    let value: serde_json::Value = serde_json::from_str(event.value.as_ref()?.text()?).ok()?;
    value["n"].as_i64()
}
