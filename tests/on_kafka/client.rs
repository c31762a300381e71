//! A data team's client: produces jobs and events as JSON, reads results from `runs`.

use orrery_log::kafka::{KafkaConfig, KafkaLog};
use orrery_log::{Bell, Log, LogError, TopicPartition, clock};
use orrery_model::messages::{RUN, RunRecord};
use orrery_model::record::{NewRecord, Offset};
use orrery_model::topics::Cleanup;
use orrery_tests::cluster::Cluster;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for anything that must come.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Client {
    log: Arc<KafkaLog>,
    bell: Arc<Bell>,
    jobs: String,
    positions: BTreeMap<TopicPartition, Offset>,
    /// The newest record of each run, by its cause.
    pub(crate) runs: BTreeMap<String, RunRecord>,
}

impl Client {
    pub(crate) fn new(bootstrap: &str, cluster: &Cluster) -> Self {
        let log = KafkaLog::open(KafkaConfig::new(bootstrap, &cluster.prefix)).unwrap();
        let runs = cluster.topic("runs");
        let partitions = log.topic(&runs).unwrap().unwrap().partitions;
        let positions = (0..partitions).map(|partition| (TopicPartition::new(&runs, partition), 0)).collect();
        Self { bell: log.bell(&[&runs]), log, jobs: cluster.topic("jobs"), positions, runs: BTreeMap::new() }
    }

    /// A topic of the data team's own.
    pub(crate) fn make_topic(&self, name: &str, partitions: u32) {
        self.log.ensure_topic(name, partitions, Cleanup::Forever).unwrap();
    }

    /// Deletes a topic and makes it again.
    pub(crate) fn remake_topic(&mut self, name: &str, partitions: u32) {
        self.log.delete_topic(name).unwrap();
        let log = self.log.clone();
        // A deletion is answered before every broker has heard of it.
        self.wait("the topic's end", |_| matches!(log.topic(name), Ok(None)));
        self.wait("the topic's begin", |_| log.ensure_topic(name, partitions, Cleanup::Forever).is_ok());
    }

    /// Produces a job document, to a partition that some partitioner chose.
    pub(crate) fn define(&self, job: &Value, partition: u32) {
        let key = job["name"].as_str().unwrap();
        self.produce(&self.jobs, partition, Some(key), &job.to_string());
    }

    /// Produces a record, and returns its cause once the brokers have acknowledged it.
    pub(crate) fn produce(&self, topic: &str, partition: u32, key: Option<&str>, value: &str) -> String {
        let (key, value) = (key.map(|key| key.as_bytes().into()), Some(value.as_bytes().into()));
        let record = NewRecord { topic: topic.into(), partition, key, value, headers: Vec::new() };
        loop {
            match self.log.append(vec![record.clone()]) {
                Ok(offsets) => return format!("event:{topic}/{partition}/{}", offsets[0]),
                // Whether it was written nobody knows: what counts is what was acknowledged.
                Err(LogError::Unreachable { why }) => {
                    println!("produced again: {why}");
                    self.bell.wait(Duration::from_millis(200));
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    /// Reads what is new on `runs`.
    pub(crate) fn look(&mut self) {
        for (at, position) in &mut self.positions {
            let fetch = match self.log.read(at, *position, 4 << 20) {
                Ok(fetch) => fetch,
                Err(LogError::Unreachable { why }) => {
                    println!("looked for nothing: {why}");
                    continue;
                }
                Err(other) => panic!("{other}"),
            };
            *position = fetch.next;
            for record in fetch.records {
                let Some(value) = record.value else { continue };
                let run = RUN.decode(value.as_bytes()).unwrap();
                self.runs.insert(run.cause.clone(), run);
            }
        }
    }

    /// Looks again and again until it is so.
    pub(crate) fn wait(&mut self, what: &str, is_so: impl FnMut(&Self) -> bool) {
        let came = self.comes(is_so);
        assert!(came, "{what} did not come; {} runs: {:#?}", self.runs.len(), self.runs.values().last());
    }

    /// The same; false if it did not come.
    pub(crate) fn comes(&mut self, mut is_so: impl FnMut(&Self) -> bool) -> bool {
        let deadline = clock::monotonic() + PATIENCE;
        loop {
            self.look();
            if is_so(self) {
                return true;
            }
            if clock::monotonic() >= deadline {
                return false;
            }
            self.bell.wait(Duration::from_millis(200));
        }
    }

    /// True if the run of a cause has ended.
    pub(crate) fn has_ended(&self, cause: &str) -> bool {
        self.runs.get(cause).is_some_and(|run| run.ended_at.is_some())
    }
}
