//! A broker, a cluster on it, and a data team's client.

use crate::Result;
use crate::clock::{MS, SECOND, monotonic_ns};
use crate::home::small_job;
use crate::stamp::Stamps;
use orrery_log::Log;
use orrery_log::kafka::{KafkaConfig, KafkaLog};
use orrery_model::record::{NewRecord, Offset};
use orrery_model::topics::Cleanup;
use orrery_tests::cluster::Cluster;
use orrery_tests::kafka::Kafka;
use serde_json::{Value, json};
use std::sync::Arc;

/// Topic of the stamped events.
const STAMPED: &str = "bench-stamps";
/// An event before which a job was defined may not have fired it: another one is sent after this.
const TRY_AGAIN: i64 = 500 * MS;
/// Longest wait for the first start.
const READY_WITHIN: i64 = 60 * SECOND;

/// Dropping it ends everything that it started.
pub(crate) struct Site {
    pub(crate) cluster: Cluster,
    pub(crate) log: Arc<KafkaLog>,
    _kafka: Kafka,
}

impl Site {
    /// One broker, and the topics of a cluster; nothing of the cluster runs.
    pub(crate) fn start(shards: u32, cells: u32) -> Result<Self> {
        let kafka = Kafka::start(1);
        let cluster = Cluster::make(&kafka.bootstrap(), shards, cells);
        let log = KafkaLog::open(KafkaConfig::new(&kafka.bootstrap(), &cluster.prefix)).map_err(|e| e.to_string())?;
        Ok(Self { cluster, log, _kafka: kafka })
    }

    /// One trigger, one allocator, and an agent for each cell.
    pub(crate) fn serve(&mut self, cells: u32) {
        self.cluster.start("trigger", "trigger", &[]);
        self.cluster.start("allocator", "allocator", &[]);
        for cell in 0..cells {
            self.cluster.start(&format!("agent-{cell}"), "agent", &[("ORRERY_CELL", &cell.to_string())]);
        }
    }

    /// A topic of a data team's.
    pub(crate) fn make_topic(&self, name: &str, partitions: u32) -> Result<()> {
        self.log.ensure_topic(name, partitions, Cleanup::Forever).map(drop).map_err(|e| e.to_string())
    }

    /// Produces a job document.
    pub(crate) fn define(&self, job: Value) -> Result<()> {
        self.define_all(std::iter::once(job))
    }

    /// Produces job documents.
    pub(crate) fn define_all(&self, jobs: impl Iterator<Item = Value>) -> Result<()> {
        let record = |job: Value| {
            let key = job["name"].as_str().map(|name| name.as_bytes().into());
            NewRecord { topic: self.cluster.topic("jobs"), key, value: Some(job.to_string().as_bytes().into()), ..NewRecord::default() }
        };
        let records: Vec<NewRecord> = jobs.map(record).collect();
        records.chunks(1_000).try_for_each(|some| self.append(some.to_vec()).map(drop))
    }

    /// Produces one record, and waits until the broker has acknowledged it.
    pub(crate) fn produce(&self, topic: &str, partition: u32, value: &Value) -> Result<()> {
        self.append(vec![NewRecord {
            topic: topic.into(),
            partition,
            value: Some(value.to_string().as_bytes().into()),
            ..NewRecord::default()
        }])
        .map(drop)
    }

    pub(crate) fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Offset>> {
        self.log.append(records).map_err(|e| e.to_string())
    }

    /// Defines a job that stamps each event of [`Self::stamp`], and waits until every partition's events have started something.
    pub(crate) fn define_stamping(&self, stamps: &Stamps, partitions: u32) -> Result<()> {
        self.make_topic(STAMPED, partitions)?;
        self.define(small_job("stamps", &json!({"event": STAMPED}), &stamps.command("{{ event.data.n }}")))?;
        let until = monotonic_ns() + READY_WITHIN;
        for partition in 0..partitions {
            loop {
                self.produce(STAMPED, partition, &json!({"n": "first"}))?;
                if stamps.next(monotonic_ns() + TRY_AGAIN)?.is_some() {
                    break;
                }
                if monotonic_ns() > until {
                    return Err(format!("no event of {STAMPED}/{partition} has started anything"));
                }
            }
        }
        // Those that were sent twice stamp twice.
        while stamps.next(monotonic_ns() + 2 * SECOND)?.is_some() {}
        Ok(())
    }

    /// Sends the event of a number.
    pub(crate) fn stamp(&self, n: usize, partitions: u32) -> Result<()> {
        let partition = u32::try_from(n % partitions as usize).unwrap_or(0);
        self.produce(STAMPED, partition, &json!({"n": n.to_string()}))
    }
}
