//! Load that no machine here could run: simulated agents that take every task and never answer, and events in bulk.

use super::site::Site;
use crate::Result;
use crate::clock::{MS, SECOND, monotonic_ns};
use orrery_log::{Log, TopicPartition};
use orrery_model::id::AgentId;
use orrery_model::messages::{HEARTBEAT, Heartbeat, Session};
use orrery_model::record::{NewRecord, Offset, Record};
use orrery_model::resources::{Bytes, MilliCpus, Resources};
use std::collections::BTreeMap;
use std::time::Duration;

/// Records of one append.
const BATCH: usize = 1_000;
/// Bytes of one read.
const READ_BYTES: usize = 4 << 20;
/// Longest wait of one look for more.
const LOOK_EVERY: i64 = 5 * MS;
/// What does not come for so long does not come.
const STUCK_AFTER: i64 = 60 * SECOND;
/// An agent that never speaks again is not lost before the measurement is over.
const LEASE_MS: i64 = 3_600_000;

impl Site {
    /// Agents of a cell register, with room for everything.
    pub(crate) fn simulate_agents(&self, cell: u32, count: usize) -> Result<()> {
        let total = Resources { cpus: MilliCpus(1 << 40), memory: Bytes(1 << 50), disk: Bytes(1 << 50) };
        let register = |n: usize| -> Result<NewRecord> {
            let agent = AgentId::parse(&format!("simulated-{cell}-{n}")).map_err(|e| e.to_string())?;
            let session = Session { counter: 1, boot_id: "simulated".into() };
            let key = Some(agent.as_str().as_bytes().into());
            let (attributes, live) = (Vec::new(), Vec::new());
            let cell_of = i32::try_from(cell).map_err(|e| e.to_string())?;
            let heartbeat = Heartbeat { agent, session, registering: true, cell: cell_of, total, attributes, live, lease_ms: LEASE_MS };
            let value = Some(HEARTBEAT.encode(&heartbeat).as_slice().into());
            Ok(NewRecord { topic: self.cluster.topic("heartbeats"), partition: cell, key, value, headers: Vec::new() })
        };
        self.append((0..count).map(register).collect::<Result<_>>()?).map(drop)
    }

    /// Appends so many events to one partition, in batches.
    pub(crate) fn pour(&self, topic: &str, count: usize, event: impl Fn(usize) -> String) -> Result<()> {
        for first in (0..count).step_by(BATCH) {
            let one = |n| NewRecord { topic: topic.into(), value: Some(event(n).as_bytes().into()), ..NewRecord::default() };
            self.append((first..count.min(first + BATCH)).map(one).collect())?;
        }
        Ok(())
    }

    /// Where the partitions of a topic end.
    pub(crate) fn ends(&self, topic: &str) -> Result<BTreeMap<TopicPartition, Offset>> {
        let found = self.log.topic(topic).map_err(|e| e.to_string())?.ok_or_else(|| format!("there is no topic {topic}"))?;
        let end = |partition| {
            let at = TopicPartition::new(topic, partition);
            let end = self.log.end_offset(&at).map_err(|e| e.to_string())?;
            Ok((at, end))
        };
        (0..found.partitions).map(end).collect()
    }

    /// A reader of all that a topic holds and will hold.
    pub(crate) fn tail(&self, topic: &str) -> Result<Tail<'_>> {
        Ok(self.tail_from(self.ends(topic)?.into_keys().map(|at| (at, 0)).collect()))
    }

    /// A reader of what stands behind these positions.
    pub(crate) fn tail_from(&self, positions: BTreeMap<TopicPartition, Offset>) -> Tail<'_> {
        let topics: Vec<&str> = positions.keys().map(|at| &*at.topic).collect();
        Tail { site: self, bell: self.log.bell(&topics), positions }
    }
}

/// Positions in all partitions of a topic.
pub(crate) struct Tail<'a> {
    site: &'a Site,
    bell: std::sync::Arc<orrery_log::Bell>,
    positions: BTreeMap<TopicPartition, Offset>,
}

impl Tail<'_> {
    /// Reads on, record by record, until the count that `take` returns is reached; an error if it stands still.
    pub(crate) fn until(&mut self, wanted: usize, mut take: impl FnMut(&Record) -> Result<usize>) -> Result<()> {
        let (mut count, mut changed) = (0, monotonic_ns());
        while count < wanted {
            let before = count;
            for (at, position) in &mut self.positions {
                let fetch = self.site.log.read(at, *position, READ_BYTES).map_err(|e| e.to_string())?;
                *position = fetch.next;
                for record in &fetch.records {
                    count = take(record)?;
                }
            }
            if count > before {
                changed = monotonic_ns();
            } else if monotonic_ns() - changed > STUCK_AFTER {
                return Err(format!("{count} of {wanted} have come, and nothing more for {} s", STUCK_AFTER / SECOND));
            } else {
                self.bell.wait(Duration::from_nanos(LOOK_EVERY.unsigned_abs()));
            }
        }
        Ok(())
    }

    /// The same, counting records with a value by key: the newest of each counts.
    pub(crate) fn until_keys(&mut self, wanted: usize) -> Result<()> {
        let mut keys = std::collections::BTreeSet::new();
        self.until(wanted, |record| {
            if record.value.is_some() {
                keys.insert(record.key.as_ref().map(|key| key.as_bytes().to_vec()));
            }
            Ok(keys.len())
        })
    }
}
