//! A job that is paused or deleted starts by no schedule. What the log took while nobody owned the shard counts before any deadline
//! does: the new owner reads it first.

use super::Outcome;
use crate::history::Accepted;
use crate::machine::wall;
use crate::plan::SECOND;
use orrery_model::journal::{Entry, Observation, Source};
use orrery_model::time::Timestamp;
use orrery_trigger::{Decision, Input, Trigger};
use std::collections::{BTreeMap, BTreeSet};

/// From asking where the inputs end to the entry that begins an ownership; more if the commit is very slow, but then the first turn
/// reads what came meanwhile.
const ACQUIRING: i64 = 10 * SECOND;

pub(super) fn check(outcome: &Outcome<'_>) -> Vec<String> {
    outcome.trigger_shards().flat_map(|shard| of_shard(outcome, shard)).collect()
}

#[derive(Default)]
struct Seen {
    /// Position behind what was read of each topic.
    read: BTreeMap<String, i64>,
    stopped: BTreeSet<String>,
    /// When the present ownership began.
    began: Timestamp,
}

fn of_shard(outcome: &Outcome<'_>, shard: u32) -> Vec<String> {
    let mut seen = Seen::default();
    let mut found = Vec::new();
    for &(appended, ref entry) in outcome.timed_journal::<Trigger>(shard) {
        seen.reads(shard, appended, entry);
        for decision in &entry.decisions {
            match decision {
                Decision::JobPaused { entry } => drop(seen.stopped.insert(entry.job.to_string())),
                Decision::JobDeleted { job, .. } => drop(seen.stopped.insert(job.to_string())),
                Decision::JobResumed { entry } | Decision::JobDefined { entry, .. } => drop(seen.stopped.remove(&entry.job.to_string())),
                Decision::RunCreated { record, .. } if record.nominal.is_some() => {
                    let job = record.job.to_string();
                    let why = if seen.stopped.contains(&job) { Some("is stopped".to_owned()) } else { seen.unread_stop(outcome, &job) };
                    found.extend(why.map(|why| format!("entry {} of trigger/{shard} runs {}, but {job} {why}", entry.seq, record.cause)));
                }
                _ => {}
            }
        }
    }
    found
}

impl Seen {
    fn reads(&mut self, shard: u32, appended: Timestamp, entry: &Entry<Input, Decision>) {
        let mut to = |topic: &str, partition: i32, to: i64| {
            if partition == shard as i32 {
                self.read.insert(topic.to_owned(), to);
            }
        };
        entry.dropped.iter().for_each(|range| to(&range.topic, range.partition, range.to));
        if let Source::FromRecord { topic, partition, offset, .. } = &entry.source {
            to(topic, *partition, offset + 1);
        }
        if let Input::ShellObserved { observation: Observation::Acquired { .. } } = &entry.input {
            self.began = appended;
        }
    }

    /// A stop of this job that had been taken by the log before this ownership began, and is not read yet.
    fn unread_stop(&self, outcome: &Outcome<'_>, job: &str) -> Option<String> {
        outcome.history.accepted.iter().find_map(|(at, accepted)| match accepted {
            Accepted::Switched { job: of, on: false, topic, offset, .. } if of == job => {
                let unread = *offset >= self.read.get(topic).copied().unwrap_or(0);
                let before = wall(at + ACQUIRING) < self.began;
                (unread && before).then(|| format!("was stopped by {topic} {offset} before this ownership began, and that is unread"))
            }
            _ => None,
        })
    }
}
