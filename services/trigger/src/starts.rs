//! Where events begin to count for a job (protocol §5.2), and what is read again for it.
//!
//! An event fires if it lies at or behind the job's start, whatever its reader knew when it passed. So a reader that learns of a
//! start before its own position reads what lies between again, for that job alone, and shows it no other event of that partition
//! until this is done: the owner keeps the highest offset fired, and a later event would hide an earlier one.

use crate::facts::Input;
use crate::state::Trigger;
use orrery_model::decider::Lookup;
use orrery_model::id::JobName;
use orrery_model::job::{JobSpec, StartFrom};
use orrery_model::messages::{CatalogEntry, EventData, StartPosition};
use orrery_model::planted::{Bug, planted};
use orrery_model::topics::{reread_name, topic_of};
use std::collections::BTreeMap;

/// First offset of a topic partition that fires a job. A partition that is not named was not there when the job was defined, and a
/// topic of another id was made anew since: both count from 0.
pub(crate) fn start_in(entry: &CatalogEntry, topic: &str, partition: i32, topic_id: &str) -> i64 {
    let named = entry.starts.iter().find(|start| start.topic == topic && start.partition == partition);
    named.filter(|start| start.topic_id == topic_id).map_or(0, |start| start.offset)
}

/// True if an event at this place may fire.
pub fn is_behind_start(entry: &CatalogEntry, event: &EventData) -> bool {
    event.offset >= start_in(entry, &event.topic, event.partition, &event.topic_id)
}

/// Topics whose starts or positions a definition needs.
pub(crate) fn lookups(input: &Input) -> Vec<Lookup> {
    let (document, is_new) = match input {
        Input::JobSubmitted { document, .. } => (document, true),
        Input::CatalogArrived { entry: Some(entry), .. } => (&entry.document, false),
        _ => return Vec::new(),
    };
    let Ok(spec) = serde_json::from_str::<JobSpec>(document) else { return Vec::new() };
    let topics: BTreeMap<&String, StartFrom> =
        spec.triggers.iter().filter_map(|trigger| Some((trigger.event.as_ref()?, trigger.from.unwrap_or_default()))).collect();
    topics.into_iter().map(|(topic, from)| Lookup { topic: topic.clone(), start: is_new.then_some(from) }).collect()
}

impl Trigger {
    /// The lowest offset of a topic partition that fires any job, if this shard reads it.
    pub(crate) fn lowest_start(&self, topic: &str, partition: i32, topic_id: &str) -> Option<i64> {
        if self.reader(topic, partition) != self.shards().shard && !planted(Bug::ReadByTwo) {
            return None;
        }
        let entries = self.index.by_topic.get(topic)?.jobs().iter().filter_map(|job| self.definition(job));
        entries.map(|entry| start_in(entry, topic, partition, topic_id)).min()
    }

    /// True while an earlier part of this topic partition is read again for the job.
    pub(crate) fn is_rereading(&self, job: &JobName, source: &str) -> bool {
        !self.rereads.is_empty() && self.rereads.get(&(job.clone(), source.to_owned())).is_some()
    }

    /// What must be read again for a definition, given the one that was known before and where this shard stands.
    pub(crate) fn unread(&self, old: Option<&CatalogEntry>, entry: &CatalogEntry, read: &[StartPosition]) -> Vec<StartPosition> {
        let old = old.filter(|old| old.incarnation == entry.incarnation);
        let here = self.shards().shard;
        let unread = |at: &&StartPosition| {
            let start = |entry: &CatalogEntry| start_in(entry, &at.topic, at.partition, &at.topic_id);
            // A start that was known before has been kept ever since.
            let is_kept = old.is_some_and(|old| reads(old, &at.topic) && start(old) == start(entry));
            start(entry) < at.offset && !is_kept && self.reader(&at.topic, at.partition) == here
        };
        let name = |topic: &str| reread_name(topic, &entry.job, entry.incarnation, entry.version);
        let from = |at: &StartPosition| {
            let offset = start_in(entry, &at.topic, at.partition, &at.topic_id);
            StartPosition { topic: name(&at.topic), offset, ..at.clone() }
        };
        read.iter().filter(unread).map(from).collect()
    }

    /// A definition has changed: what is read again for topics that it does not name any more, or for an earlier life, ends.
    pub(crate) fn keep_rereads(&mut self, job: &JobName, old: Option<&CatalogEntry>, new: Option<&CatalogEntry>) {
        let same_life = old.zip(new).is_some_and(|(old, new)| old.incarnation == new.incarnation);
        let over = |from: &StartPosition| !same_life || new.is_none_or(|new| !reads(new, topic_of(&from.topic)));
        let of_job = self.rereads.range((job.clone(), String::new())..).take_while(|((of, _), _)| of == job);
        let over: Vec<_> = of_job.filter(|(_, from)| over(from)).map(|(key, _)| key.clone()).collect();
        for key in over {
            self.rereads.remove(&key);
        }
    }

    pub(crate) fn begin_reread(&mut self, job: &JobName, from: &StartPosition) {
        self.rereads.insert((job.clone(), source_of(from)), from.clone());
    }

    /// One job's re-read is done, or, with none named, the topic partition's generation is gone for all.
    pub(crate) fn end_reread(&mut self, job: Option<&JobName>, source: &str) {
        let over = |(of, at): &(JobName, String)| at == source && job.is_none_or(|job| job == of);
        let over: Vec<_> = self.rereads.iter().map(|(key, _)| key).filter(|key| over(key)).cloned().collect();
        for key in over {
            self.rereads.remove(&key);
        }
    }
}

/// Names the topic partition of a re-read as [`EventData::source`] does.
pub(crate) fn source_of(from: &StartPosition) -> String {
    orrery_model::messages::source(topic_of(&from.topic), from.generation, from.partition)
}

/// True if a definition names this topic.
pub(crate) fn reads(entry: &CatalogEntry, topic: &str) -> bool {
    let spec = serde_json::from_str::<JobSpec>(&entry.document);
    spec.is_ok_and(|spec| spec.triggers.iter().any(|trigger| trigger.event.as_deref() == Some(topic)))
}
