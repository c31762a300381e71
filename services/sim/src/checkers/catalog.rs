//! What the inbox says, by the time of its appends, is what the owner's catalogue holds at the end, and what all others have learned.

use super::Outcome;
use orrery_log::TopicPartition;
use orrery_model::job::read_json;
use orrery_model::messages::CatalogEntry;
use orrery_model::payload::Payload;
use orrery_model::time::Timestamp;
use orrery_model::topics;
use orrery_trigger::{Decision, Trigger};
use std::collections::{BTreeMap, BTreeSet};

/// Canonical documents by job; none: a tombstone.
type Documents = BTreeMap<String, Option<String>>;

pub(super) fn check(outcome: &Outcome<'_>) -> Vec<String> {
    let mut owned: BTreeMap<String, CatalogEntry> = BTreeMap::new();
    let mut learned: BTreeMap<u32, BTreeMap<String, CatalogEntry>> = BTreeMap::new();
    let mut refused: BTreeSet<(String, Timestamp)> = BTreeSet::new();
    let mut newest_taken: BTreeMap<String, Timestamp> = BTreeMap::new();
    let mut found = Vec::new();
    for shard in outcome.trigger_shards() {
        let known = learned.entry(shard).or_default();
        for decision in outcome.journal::<Trigger>(shard).flat_map(|entry| &entry.decisions) {
            let taken = match decision {
                Decision::JobDefined { entry, appended, .. } => Some((entry.job.to_string(), *appended)),
                Decision::JobDeleted { job, appended } => Some((job.to_string(), *appended)),
                _ => None,
            };
            if let Some((job, appended)) = taken
                && let Some(by) = newest_taken.insert(job.clone(), appended).filter(|by| *by > appended)
            {
                found.push(format!("{job} follows a record of {appended}, after one of {by}"));
            }
            match decision {
                Decision::JobDefined { entry, .. } | Decision::JobPaused { entry } | Decision::JobResumed { entry } => {
                    owned.insert(entry.job.to_string(), entry.clone());
                }
                Decision::JobDeleted { job, .. } => drop(owned.remove(job.as_str())),
                Decision::DefinitionLearned { entry } => drop(known.insert(entry.job.to_string(), entry.clone())),
                Decision::DefinitionForgotten { job } => drop(known.remove(job.as_str())),
                Decision::Submitted { job, appended } => drop(refused.insert((job.to_string(), *appended))),
                _ => {}
            }
        }
    }
    for (job, records) in inbox(outcome) {
        let Some((appended, documents)) = records.last_key_value() else { continue };
        // A refused one changes nothing; a tombstone that was newer is gone from the inbox after a while.
        let is_newer = |(of, at): &(String, Timestamp)| *of == job && at > appended;
        let was_newer = newest_taken.get(&job).is_some_and(|at| at > appended) || refused.iter().any(is_newer);
        if was_newer || refused.contains(&(job.clone(), *appended)) {
            continue;
        }
        let held = owned.get(&job).map(|entry| entry.document.clone());
        if !documents.values().any(|document| *document == held) {
            found.push(format!("the inbox's newest record for {job} is of {appended}: {documents:?}, but its owner holds {held:?}"));
        }
    }
    for (shard, known) in &learned {
        let others = owned.iter().filter(|(_, entry)| outcome.cluster.owner_of_job(&entry.job) != *shard);
        let others: BTreeMap<&String, &CatalogEntry> = others.collect();
        let known: BTreeMap<&String, &CatalogEntry> = known.iter().collect();
        for job in others.keys().chain(known.keys()).copied().collect::<BTreeSet<_>>() {
            let (held, learned) = (others.get(job), known.get(job));
            if held != learned {
                found.push(format!("trigger/{shard} has learned of {job} {learned:?}, but its owner holds {held:?}"));
            }
        }
    }
    found
}

/// For each job its inbox records by the time of their appends. Of several appended at one moment, any may count.
fn inbox(outcome: &Outcome<'_>) -> BTreeMap<String, BTreeMap<Timestamp, Documents>> {
    let mut inbox: BTreeMap<String, BTreeMap<Timestamp, Documents>> = BTreeMap::new();
    for partition in outcome.trigger_shards() {
        let at = TopicPartition::new(&outcome.cluster.topic(topics::JOBS), partition);
        let from = outcome.log.start_offset(&at).unwrap_or_default();
        for record in outcome.log.read(&at, from, usize::MAX).unwrap_or_default().records {
            let Some(job) = record.key.as_ref().and_then(Payload::text) else { continue };
            let document = record.value.as_ref().map(|value| value.text().and_then(|text| read_json(text).ok()).map(|spec| spec.to_json()));
            // What cannot be read is a dead letter.
            let Some(document) = document.map_or(Some(None), |read| read.map(Some)) else { continue };
            let place = format!("{partition}/{}", record.offset);
            inbox.entry(job.to_owned()).or_default().entry(record.appended).or_default().insert(place, document);
        }
    }
    inbox
}
