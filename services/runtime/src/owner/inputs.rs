//! The inputs of a shard: which topic partitions it reads, from where, and how much at a time.

use super::{Lost, Setting};
use crate::rows::Position;
use crate::shard::{Arrival, Shard};
use orrery_log::{Bell, Log, LogError, TopicPartition};
use orrery_model::decider::Decider;
use orrery_model::journal::Observation;
use orrery_model::messages::StartPosition;
use orrery_model::payload::Payload;
use orrery_model::record::Record;
use orrery_model::topics;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of one read of one input: many small records, or a few of the largest.
const READ_BYTES: usize = 512 << 10;
/// Records taken into one step, so that a transaction stays well below the log's limits.
const RECORDS_PER_STEP: usize = 512;
/// Bytes of keys and values taken into one step (at least one record), for the same reason: a shard may read many partitions.
const BYTES_PER_STEP: usize = 2 << 20;

/// Positions by topic and partition.
pub(super) type InputEnds = BTreeMap<(Arc<str>, u32), i64>;

/// Inputs being read.
pub(super) struct Inputs {
    log: Arc<dyn Log>,
    cluster: crate::messages::Cluster,
    shard: u32,
    bell: Arc<Bell>,
    reading: BTreeMap<(Arc<str>, u32), i64>,
    subscribed: Option<Vec<StartPosition>>,
    turn: usize,
    missing: bool,
    /// What was seen since the last poll.
    seen: Vec<Observation>,
}

impl Inputs {
    pub(super) fn new(setting: &Setting, bell: Arc<Bell>) -> Self {
        Self {
            log: setting.log.clone(),
            cluster: setting.cluster.clone(),
            shard: setting.shard,
            bell,
            reading: BTreeMap::new(),
            subscribed: None,
            turn: 0,
            missing: false,
            seen: Vec::new(),
        }
    }

    /// Follows what the decider wants to read; true if there is something new to read. Our own inputs begin at the log's start,
    /// user topics where the job says.
    pub(super) fn subscribe<D: Decider>(&mut self, shard: &mut Shard<D>) -> Result<bool, Lost> {
        let wanted = shard.decider().subscriptions();
        if self.subscribed.as_ref() == Some(&wanted) && !self.missing {
            return Ok(false);
        }
        let mut begin: BTreeMap<(Arc<str>, u32), Option<i64>> = BTreeMap::new();
        for input in D::inputs() {
            begin.insert((self.cluster.topic(input).into(), self.shard), None);
        }
        begin.insert((self.cluster.topic(topics::ADMIN).into(), 0), None);
        for input in D::inputs_of_others() {
            let others = (0..self.cluster.trigger_shards).filter(|partition| *partition != self.shard);
            begin.extend(others.map(|partition| ((self.cluster.topic(input).into(), partition), None)));
        }
        for start in &wanted {
            let first = begin.entry((start.topic.as_str().into(), start.partition as u32)).or_insert(Some(start.offset));
            *first = first.map(|offset| offset.min(start.offset));
        }
        let topics: Vec<&str> = begin.keys().map(|(topic, _)| &**topic).collect();
        self.log.ring_for(&topics, &self.bell);
        self.missing = false;
        let old = std::mem::take(&mut self.reading);
        for ((topic, partition), first) in begin {
            let was_reading = old.contains_key(&(topic.clone(), partition));
            self.begin(shard, topic, partition, if was_reading { None } else { first })?;
        }
        self.subscribed = Some(wanted);
        Ok(self.reading.keys().any(|input| !old.contains_key(input)))
    }

    /// True while a topic that is wanted is not there yet.
    pub(super) const fn wait_for_topics(&self) -> bool {
        self.missing
    }

    /// Finds the position of one input; one that is out of range moves, and the gap is reported by [`Inputs::poll`].
    fn begin<D: Decider>(&mut self, shard: &mut Shard<D>, topic: Arc<str>, partition: u32, first: Option<i64>) -> Result<(), Lost> {
        let Some(found) = self.log.topic(&topic)? else {
            self.missing = true; // Looked for again at every turn; the bell rings when it comes.
            return Ok(());
        };
        let at = TopicPartition { topic: topic.clone(), partition };
        let position = match shard.position(&topic, partition).cloned() {
            Some(position) if position.topic_id == found.id => Position { offset: position.offset.max(first.unwrap_or(0)), ..position },
            Some(position) => {
                let generation = position.generation + 1;
                self.seen.push(Observation::TopicRecreated { topic: topic.to_string(), generation });
                Position { offset: 0, topic_id: found.id, generation }
            }
            None => {
                let start = self.log.start_offset(&at)?;
                Position { offset: first.unwrap_or(start).max(start), topic_id: found.id, generation: 0 }
            }
        };
        if shard.position(&topic, partition) != Some(&position) {
            shard.set_position(&topic, partition, position.clone());
        }
        tell_lag::<D>(&self.log, &at, position.offset)?;
        self.reading.insert((topic, partition), position.offset);
        Ok(())
    }

    /// What is readable now, fairly over the inputs, at most one step's worth.
    pub(super) fn poll<D: Decider>(&mut self, shard: &mut Shard<D>, arrivals: &mut Vec<Arrival>) -> Result<(), Lost> {
        arrivals.extend(self.seen.drain(..).map(Arrival::Observed));
        let keys: Vec<(Arc<str>, u32)> = self.reading.keys().cloned().collect();
        self.turn = self.turn.wrapping_add(1);
        let mut room = Room { records: RECORDS_PER_STEP, bytes: BYTES_PER_STEP };
        for i in 0..keys.len() {
            let (topic, partition) = &keys[(i + self.turn) % keys.len()];
            if room.records == 0 || room.bytes == 0 {
                break;
            }
            self.poll_one(shard, (topic, *partition), &mut room, arrivals)?;
        }
        Ok(())
    }

    fn poll_one<D: Decider>(
        &mut self,
        shard: &mut Shard<D>,
        (topic, partition): (&Arc<str>, u32),
        room: &mut Room,
        arrivals: &mut Vec<Arrival>,
    ) -> Result<(), Lost> {
        let at = TopicPartition { topic: topic.clone(), partition };
        let position = self.reading.get_mut(&(topic.clone(), partition)).expect("the keys were taken from this map");
        match self.log.read(&at, *position, READ_BYTES.min(room.bytes)) {
            Ok(fetch) => {
                let any = !fetch.records.is_empty();
                for record in fetch.records.into_iter().take(room.records) {
                    *position = record.offset + 1;
                    room.take(&record);
                    arrivals.push(Arrival::Record { topic: topic.clone(), partition, record });
                }
                // An input without news lags no more than it did: nothing to count in every idle turn.
                if any {
                    tell_lag::<D>(&self.log, &at, *position)?;
                }
                Ok(())
            }
            Err(LogError::OutOfRange { asked, start, end, .. }) => {
                let found = self.log.topic(topic)?;
                let old = shard.position(topic, partition).cloned();
                if let (Some(found), Some(old)) = (&found, &old)
                    && found.id != old.topic_id
                {
                    // Not a gap: the topic was deleted and made again.
                    return self.begin(shard, topic.clone(), partition, None);
                }
                // Records went before they were read. Heartbeats are renewals, and only the newest counts (§3.1).
                let to = if asked < start { start } else { end };
                tracing::warn!(topic = %topic, partition, from = asked, to, "records were gone before they were read");
                *position = to;
                if let Some(old) = old {
                    shard.set_position(topic, partition, Position { offset: to, ..old });
                }
                if !topic.ends_with(orrery_model::topics::HEARTBEATS) {
                    let gap = Observation::Gap { topic: topic.to_string(), partition: partition as i32, from: asked, to };
                    arrivals.push(Arrival::Observed(gap));
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Where the partitions read of these topics end now.
    pub(super) fn ends_of(&self, which: impl Fn(&str) -> bool) -> Result<InputEnds, LogError> {
        let ends = self.reading.keys().filter(|(topic, _)| which(topic)).map(|(topic, partition)| {
            let end = self.log.end_offset(&TopicPartition { topic: topic.clone(), partition: *partition })?;
            Ok(((topic.clone(), *partition), end))
        });
        ends.collect()
    }

    /// True if all has been read up to these ends.
    pub(super) fn stands_behind(&self, ends: &InputEnds) -> bool {
        ends.iter().all(|(input, end)| self.reading.get(input).is_none_or(|position| position >= end))
    }
}

/// What a step still takes.
struct Room {
    records: usize,
    bytes: usize,
}

impl Room {
    fn take(&mut self, record: &Record) {
        let size = |payload: &Option<Payload>| payload.as_ref().map_or(0, |p| p.as_bytes().len());
        self.records -= 1;
        self.bytes = self.bytes.saturating_sub(size(&record.key) + size(&record.value));
    }
}

fn tell_lag<D: Decider>(log: &Arc<dyn Log>, at: &TopicPartition, position: i64) -> Result<(), LogError> {
    let lag = log.end_offset(at)? - position;
    metrics::gauge!("orrery_input_lag", "topic" => at.topic.to_string(), "reader" => D::SERVICE).set(lag as f64);
    Ok(())
}

/// Where every partition of a topic ends now; a topic that is not there yet begins at 0 when it comes.
pub(super) fn topic_ends(log: &Arc<dyn Log>, topic: &str) -> Vec<StartPosition> {
    let partitions = log.topic(topic).ok().flatten().map_or(0, |found| found.partitions);
    let end = |partition: u32| StartPosition {
        topic: topic.into(),
        generation: 0,
        partition: partition as i32,
        offset: log.end_offset(&TopicPartition::new(topic, partition)).unwrap_or(0),
    };
    (0..partitions).map(end).collect()
}
