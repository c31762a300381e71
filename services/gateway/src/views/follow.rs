//! What follows the log into the views.

use super::{Seen, ViewState, Views};
use crate::views::Decided;
use orrery_allocator::rows as allocator_rows;
use orrery_log::{Bell, Log, LogError, TopicPartition, pieces};
use orrery_model::decider::Decider;
use orrery_model::id::{AgentId, AttemptId, JobName, RunId};
use orrery_model::journal::Source;
use orrery_model::messages;
use orrery_model::planted::{Bug, planted};
use orrery_model::record::Record;
use orrery_model::table::RowKey;
use orrery_model::topics;
use orrery_runtime::messages::Cluster;
use orrery_trigger::Trigger;
use std::sync::{Arc, PoisonError};

/// Bytes of one read.
const READ_BYTES: usize = 1 << 20;

/// Takes a record of a partition into the views.
type Take = fn(&mut ViewState, u32, &Record);

/// What is followed, and into what.
const FOLLOWED: [(&str, Take); 3] = [(topics::CATALOG, take_job), (topics::RUNS, take_run), (topics::ALLOCATOR_CHANGELOG, take_row)];

/// Rings for all that is followed.
pub(super) fn bell(log: &Arc<dyn Log>, cluster: &Cluster) -> Arc<Bell> {
    let names: Vec<String> = FOLLOWED
        .iter()
        .map(|(topic, _)| *topic)
        .chain([topics::TRIGGER_JOURNAL, topics::ALLOCATOR_JOURNAL])
        .map(|topic| cluster.topic(topic))
        .collect();
    log.bell(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// How far the views have followed each topic.
pub struct Follower {
    log: Arc<dyn Log>,
    topics: Vec<(TopicPartition, Take, i64)>,
    journals: [Vec<(TopicPartition, i64)>; 2],
}

impl Follower {
    /// Begins at the start of the views' topics and at the journals' present ends.
    pub(super) fn new(log: Arc<dyn Log>, cluster: Cluster) -> Result<Self, LogError> {
        let mut followed = Vec::new();
        for (topic, take) in FOLLOWED {
            for at in partitions(&log, &cluster, topic)? {
                let start = log.start_offset(&at)?;
                followed.push((at, take, start));
            }
        }
        let journal = |topic: &str| -> Result<Vec<(TopicPartition, i64)>, LogError> {
            partitions(&log, &cluster, topic)?.into_iter().map(|at| Ok((at.clone(), log.end_offset(&at)?))).collect()
        };
        let journals = [journal(topics::TRIGGER_JOURNAL)?, journal(topics::ALLOCATOR_JOURNAL)?];
        Ok(Self { log, topics: followed, journals })
    }

    /// Reads what is there; true if there was anything. The journals' ends are asked first: what they decided is then shown
    /// before the answers are given.
    pub fn turn(&mut self, views: &Views) -> Result<bool, LogError> {
        let end =
            |journals: &[(TopicPartition, i64)]| journals.iter().map(|(at, _)| self.log.end_offset(at)).collect::<Result<Vec<_>, _>>();
        let ends = [end(&self.journals[0])?, end(&self.journals[1])?];
        let mut any = false;
        for (at, take, position) in &mut self.topics {
            any |= follow(&*self.log, at, *take, position, views)?;
        }
        for (i, journals) in self.journals.iter_mut().enumerate() {
            for ((at, position), end) in journals.iter_mut().zip(&ends[i]) {
                if i == 0 && views.answers.are_expected() {
                    answer(&*self.log, at, *position, *end, views)?;
                }
                any |= *position < *end;
                *position = *end;
            }
        }
        let newest = |i: usize| self.journals[i].iter().map(|(_, position)| *position).max().unwrap_or(0);
        let seen = Seen { trigger: newest(0), allocator: newest(1), ready: true };
        views.seen.send_if_modified(|old| std::mem::replace(old, seen) != seen);
        Ok(any)
    }
}

fn partitions(log: &Arc<dyn Log>, cluster: &Cluster, topic: &str) -> Result<Vec<TopicPartition>, LogError> {
    let name = cluster.topic(topic);
    let count = log.topic(&name)?.map_or(0, |found| found.partitions);
    Ok((0..count).map(|partition| TopicPartition::new(&name, partition)).collect())
}

/// Reads one topic to its present end; on a gap it goes on behind it, since only the newest of each key is shown.
fn follow(log: &dyn Log, at: &TopicPartition, take: Take, position: &mut i64, views: &Views) -> Result<bool, LogError> {
    let mut any = false;
    loop {
        let fetch = match log.read(at, *position, READ_BYTES) {
            Err(LogError::OutOfRange { start, .. }) if *position < start => {
                *position = start;
                continue;
            }
            other => other?,
        };
        *position = fetch.next;
        if fetch.records.is_empty() {
            return Ok(any);
        }
        any = true;
        let mut state = views.state.write().unwrap_or_else(PoisonError::into_inner);
        fetch.records.iter().for_each(|record| take(&mut state, at.partition, record));
    }
}

/// Gives the decisions of a stretch of the trigger's journal to those who wait for them.
fn answer(log: &dyn Log, at: &TopicPartition, from: i64, end: i64, views: &Views) -> Result<(), LogError> {
    for piece in pieces(log, at, from, end) {
        for record in piece? {
            let Some(Ok(batch)) = record.value.as_ref().map(|value| Trigger::journal().decode(value.as_bytes())) else { continue };
            for entry in batch.entries {
                if let Source::FromRecord { topic, partition, offset, .. } = entry.source {
                    let decided = Decided { position: record.offset + 1, at: entry.at, decisions: entry.decisions };
                    views.answers.decided((topic, partition as u32, offset), decided);
                }
            }
        }
    }
    Ok(())
}

fn text_key(record: &Record) -> Option<&str> {
    record.key.as_ref().and_then(|key| key.text())
}

fn take_job(state: &mut ViewState, _shard: u32, record: &Record) {
    let Some(job) = text_key(record).and_then(|key| JobName::parse(key).ok()) else { return };
    match record.value.as_ref().map(|value| messages::CATALOG.decode(value.as_bytes())) {
        Some(Ok(entry)) => drop(state.jobs.insert(job, entry)),
        Some(Err(error)) => tracing::warn!(%job, %error, "a definition cannot be shown"),
        None if planted(Bug::ShowsDeleted) => {}
        None => drop(state.jobs.remove(&job)),
    }
}

fn take_run(state: &mut ViewState, _shard: u32, record: &Record) {
    match record.value.as_ref().map(|value| messages::RUN.decode(value.as_bytes())) {
        Some(Ok(run)) => state.runs.take(run),
        Some(Err(error)) => tracing::warn!(%error, "a run cannot be shown"),
        None => {
            if let Some(run) = text_key(record).and_then(|key| RunId::parse(key).ok()) {
                state.runs.forget(&run);
            }
        }
    }
}

pub(super) fn take_row(state: &mut ViewState, cell: u32, record: &Record) {
    let Some((table, key)) = record.key.as_ref().and_then(|key| key.as_bytes().split_first()) else { return };
    let value = record.value.as_ref().map(|value| value.as_bytes());
    let view = state.cells.entry(cell).or_default();
    match *table {
        allocator_rows::AGENTS => {
            let Some(agent) = AgentId::from_bytes(key) else { return };
            match value.and_then(|value| allocator_rows::AGENT.decode(value).ok()) {
                Some(row) => drop(view.agents.insert(agent, row)),
                None => drop(view.agents.remove(&agent)),
            }
        }
        allocator_rows::TASKS => {
            let Some(attempt) = AttemptId::from_bytes(key) else { return };
            match value.and_then(|value| allocator_rows::TASK.decode(value).ok()) {
                Some(row) => drop(view.tasks.insert(attempt, row)),
                None => drop(view.tasks.remove(&attempt)),
            }
        }
        _ => {}
    }
}
