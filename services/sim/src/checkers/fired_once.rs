//! Nothing accepted is lost: each (job, event), (job, slot) and request makes exactly one run, and no event before a job's start does.

use super::Outcome;
use crate::history::Accepted;
use crate::machine::wall;
use crate::plan::MINUTE;
use crate::world::load::{FIRED_BY, LATE, SLOT_MINUTES, TOPIC};
use orrery_model::messages::{EventData, StartPosition};
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
    /// Causes of runs.
    runs: BTreeMap<(Life, String), u32>,
}

pub(super) fn check(outcome: &Outcome<'_>) -> Vec<String> {
    let told = told(outcome);
    let twice = told.runs.iter().filter(|(_, count)| **count > 1);
    let mut found: Vec<String> = twice.map(|(((job, _), cause), count)| format!("{job} was fired {count} times by {cause}")).collect();
    let causes: BTreeSet<(&str, &str)> = told.runs.keys().map(|((job, _), cause)| (job.as_str(), cause.as_str())).collect();
    let mut want = |job: &str, cause: &str| {
        if !causes.contains(&(job, cause)) {
            found.push(format!("{job} was never fired by {cause}"));
        }
    };
    for (_, accepted) in &outcome.history.accepted {
        if let Accepted::Request { job, key } = accepted {
            want(job, &format!("request:*/{key}"));
        }
    }
    let every = SLOT_MINUTES * MINUTE;
    let mut slot = every;
    while slot < outcome.plan.faults_until {
        want("default/minutes", &format!("time:{}", wall(slot)));
        slot += every;
    }
    found.extend(events(outcome, &told));
    found
}

fn told(outcome: &Outcome<'_>) -> Told {
    let mut told = Told::default();
    for shard in outcome.trigger_shards() {
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

/// Events by what was accepted: a record that was sent twice is one event.
fn events(outcome: &Outcome<'_>, told: &Told) -> Vec<String> {
    let mut found = Vec::new();
    let history = outcome.history;
    let mut numbers: BTreeMap<Place, i64> = BTreeMap::new();
    let mut first: BTreeMap<i64, Place> = BTreeMap::new();
    for (_, accepted) in &history.accepted {
        if let Accepted::Event { partition, offset, number, generation, .. } = accepted {
            numbers.insert((*generation, *partition, *offset), *number);
            first.entry(*number).or_insert((*generation, *partition, *offset));
        }
    }
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
        let place = told.events.get(name).and_then(|e| Some((generation(&e.topic_id)?, e.partition as u32, e.offset)));
        let Some((place, number)) = place.and_then(|place| Some((place, *numbers.get(&place)?))) else {
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
        for (number, place) in first.iter().filter(|(number, _)| *number % divisor == 0) {
            // What nobody had read when its topic was deleted is gone; what was to be read again for one job, too.
            let is_gone = history.deleted.get(&(place.0, place.1)).is_some_and(|read| is_late || place.2 >= *read);
            let counts = start(&life, *place).is_some_and(|start| place.2 >= start);
            if counts && !is_gone && !fired.contains_key(&(&life, *number)) {
                found.push(format!("{job} (life {incarnation}) was never fired by event {number} at {place:?}"));
            }
        }
    }
    found
}
