//! The inputs of a shard: which topic partitions it reads, from where, and how much at a time.

use super::{Lost, Setting};
use crate::rows::Position;
use crate::shard::{Arrival, Shard};
use orrery_log::{Bell, Log, LogError, Topic, TopicPartition};
use orrery_model::decider::Decider;
use orrery_model::job::StartFrom;
use orrery_model::journal::Observation;
use orrery_model::messages::StartPosition;
use orrery_model::payload::Payload;
use orrery_model::planted::{Bug, planted};
use orrery_model::record::Record;
use orrery_model::topics::{self, reread_of, topic_of};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of one read of one input: many small records, or a few of the largest.
const READ_BYTES: usize = 512 << 10;
/// Records taken into one step, so that a transaction stays well below the log's limits.
const RECORDS_PER_STEP: usize = 1_024;
/// Bytes of keys and values taken into one step (at least one record), for the same reason: a shard may read many partitions.
const BYTES_PER_STEP: usize = 2 << 20;

/// Re-reads that are read on in one poll, so that many of them do not keep a shard from its topics.
const REREADS_PER_POLL: usize = 16;

/// Positions by topic and partition.
pub(super) type InputEnds = BTreeMap<(Arc<str>, u32), i64>;

/// Inputs being read.
pub(super) struct Inputs {
    log: Arc<dyn Log>,
    cluster: crate::messages::Cluster,
    shard: u32,
    bell: Arc<Bell>,
    reading: BTreeMap<(Arc<str>, u32), i64>,
    /// Where inputs are known to hold no record up to, if that is further than they were read.
    clear_to: InputEnds,
    /// What the log has lost of inputs, where it has lost anything.
    lost: BTreeMap<(Arc<str>, u32), Vec<Range<i64>>>,
    /// What the decider wanted when it was last asked: topics, and re-reads.
    subscribed: Option<(Vec<String>, Vec<StartPosition>)>,
    /// How many partitions the user topics that are wanted had when they were last looked at.
    partitions: BTreeMap<Arc<str>, u32>,
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
            clear_to: InputEnds::new(),
            lost: BTreeMap::new(),
            subscribed: None,
            partitions: BTreeMap::new(),
            turn: 0,
            missing: false,
            seen: Vec::new(),
        }
    }

    /// Follows what the decider wants to read; true if there is something new to read. Our own inputs begin at the log's start,
    /// user topics and re-reads where the decider says.
    pub(super) fn subscribe<D: Decider>(&mut self, shard: &mut Shard<D>) -> Result<bool, Lost> {
        let wanted = (shard.decider().subscriptions(), shard.decider().rereads());
        if self.subscribed.as_ref() == Some(&wanted) && !self.missing {
            return Ok(false);
        }
        let ours = D::inputs().iter().map(|input| (*input, self.shard)).chain(D::inputs_of_others().iter().flat_map(|input| {
            let others = (0..self.cluster.trigger_shards).filter(|partition| *partition != self.shard);
            others.map(|partition| (*input, partition))
        }));
        let ours = ours.chain([(topics::ADMIN, 0)]);
        let ours: Vec<(Arc<str>, u32)> = ours.map(|(input, partition)| (self.cluster.topic(input).into(), partition)).collect();
        let topics: Vec<&str> = ours.iter().map(|(topic, _)| &**topic).chain(wanted.0.iter().map(String::as_str)).collect();
        self.log.ring_for(&topics, &self.bell);
        self.missing = false;
        self.partitions.clear();
        let old = std::mem::take(&mut self.reading);
        for (topic, partition) in ours {
            self.begin(shard, topic, partition)?;
        }
        for topic in &wanted.0 {
            let Some(found) = self.log.topic(topic)? else {
                self.missing = true; // Looked for again at every turn; the bell rings when it comes.
                continue;
            };
            self.partitions.insert(topic.as_str().into(), found.partitions);
            let reads = |partition: &u32| shard.decider().reads_from(topic, *partition as i32, &found.id).is_some();
            for partition in (0..found.partitions).filter(reads).collect::<Vec<_>>() {
                // What is read already goes on where it stands, whatever another job would need.
                match old.get(&(topic.as_str().into(), partition)) {
                    Some(position) => drop(self.reading.insert((topic.as_str().into(), partition), *position)),
                    None => self.begin(shard, topic.as_str().into(), partition)?,
                }
            }
        }
        for start in &wanted.1 {
            self.begin_reread(shard, start);
        }
        shard.forget_rereads(|(name, partition)| {
            wanted.1.iter().any(|start| *start.topic == **name && start.partition as u32 == *partition)
        });
        self.subscribed = Some(wanted);
        let new = self.reading.iter().filter(|(input, _)| !old.contains_key(*input) && reread_of(&input.0).is_none());
        let new: Vec<_> = new.map(|((topic, partition), from)| (TopicPartition::new(topic, *partition), *from)).collect();
        self.log.expect_reads(&new);
        Ok(self.reading.keys().any(|input| !old.contains_key(input)))
    }

    /// True while a topic that is wanted is not there yet.
    pub(super) const fn wait_for_topics(&self) -> bool {
        self.missing
    }

    /// Finds the position of one input; one that is out of range moves, and the gap is reported by [`Inputs::poll`].
    fn begin<D: Decider>(&mut self, shard: &mut Shard<D>, topic: Arc<str>, partition: u32) -> Result<(), Lost> {
        let Some(found) = self.log.topic(&topic)? else {
            self.missing = true; // Looked for again at every turn; the bell rings when it comes.
            return Ok(());
        };
        if partition >= found.partitions && !self.is_ours(&topic) {
            return Ok(()); // The topic was made again with fewer; should it get more, that is seen.
        }
        let first = if self.is_ours(&topic) { None } else { shard.decider().reads_from(&topic, partition as i32, &found.id) };
        let position = match shard.position(&topic, partition).cloned() {
            Some(position) if position.topic_id == found.id || planted(Bug::OldGeneration) => {
                Position { offset: position.offset.max(first.unwrap_or(0)), topic_id: found.id, ..position }
            }
            Some(position) => {
                let (generation, topic_id) = (position.generation + 1, found.id);
                let (topic, partition, id) = (topic.to_string(), partition as i32, topic_id.clone());
                self.seen.push(Observation::TopicRecreated { topic, generation, partition, topic_id: id });
                Position { offset: 0, topic_id, generation }
            }
            None => {
                let start = self.log.start_offset(&TopicPartition { topic: topic.clone(), partition })?;
                Position { offset: first.unwrap_or(start).max(start), topic_id: found.id, generation: 0 }
            }
        };
        if shard.position(&topic, partition) != Some(&position) {
            shard.set_position(&topic, partition, position.clone());
        }
        self.clear_to.remove(&(topic.clone(), partition));
        let lost = self.log.lost(&TopicPartition { topic: topic.clone(), partition })?;
        if !lost.is_empty() {
            self.lost.insert((topic.clone(), partition), lost);
        }
        self.reading.insert((topic, partition), position.offset);
        Ok(())
    }

    /// A re-read begins at its start, which may be gone: it is told as a gap then. It waits for its topic to be read, and does not
    /// begin in one that was made anew: the decider hears of that next.
    fn begin_reread<D: Decider>(&mut self, shard: &mut Shard<D>, start: &StartPosition) {
        let (name, partition): (Arc<str>, u32) = (start.topic.as_str().into(), start.partition as u32);
        let read = shard.position(&topic_of(&name).into(), partition).cloned();
        let Some(read) = read.filter(|read| read.generation == start.generation) else {
            self.missing = true;
            return;
        };
        let offset = shard.position(&name, partition).map_or(start.offset, |position| position.offset);
        let position = Position { offset, ..read };
        if shard.position(&name, partition) != Some(&position) {
            shard.set_position(&name, partition, position);
        }
        self.reading.insert((name, partition), offset);
    }

    /// What was seen since it was last asked.
    pub(super) fn take_seen(&mut self) -> Vec<Observation> {
        std::mem::take(&mut self.seen)
    }

    /// Re-reads that stand where their topic partitions do. Asked before polling, when all that was read has been taken.
    fn caught_up(&self) -> impl Iterator<Item = Observation> {
        let rereads = self.reading.iter().filter_map(|((name, partition), at)| Some((reread_of(name)?.0, name, *partition, at)));
        let done = rereads.filter(|(topic, _, partition, at)| self.reading.get(&((*topic).into(), *partition)) == Some(*at));
        done.map(|(_, name, partition, _)| Observation::CaughtUp { topic: name.to_string(), partition: partition as i32 })
    }

    /// What is readable now, fairly over the inputs, at most one step's worth; true if there was as much, or so much of one input
    /// that more of it lies behind: records may be large.
    pub(super) fn poll<D: Decider>(&mut self, shard: &mut Shard<D>, arrivals: &mut Vec<Arrival>) -> Result<bool, Lost> {
        let seen = self.take_seen().into_iter().chain(self.caught_up());
        arrivals.extend(seen.map(Arrival::Observed));
        let keys: Vec<(Arc<str>, u32)> = self.reading.keys().cloned().collect();
        let mut rereads = 0;
        self.turn = self.turn.wrapping_add(1);
        let mut room = Room { records: RECORDS_PER_STEP, bytes: BYTES_PER_STEP };
        let mut more = false;
        for i in 0..keys.len() {
            let (topic, partition) = &keys[(i + self.turn) % keys.len()];
            if room.is_full() {
                break;
            }
            let before = room.bytes;
            if is_held_back(shard, topic, *partition) {
                continue;
            }
            if reread_of(topic).is_none() {
                self.poll_one(shard, (topic, *partition), &mut room, arrivals)?;
            } else if rereads < REREADS_PER_POLL {
                rereads += 1;
                self.poll_reread(shard, (topic, *partition), &mut room, arrivals)?;
            }
            more |= before - room.bytes >= READ_BYTES / 2;
        }
        Ok(more || room.is_full())
    }

    /// Reads what was read and not taken again; true if there is any.
    pub(super) fn go_back(&mut self, left: InputEnds) -> bool {
        let any = !left.is_empty();
        self.reading.extend(left);
        any
    }

    fn poll_one<D: Decider>(
        &mut self,
        shard: &mut Shard<D>,
        (topic, partition): (&Arc<str>, u32),
        room: &mut Room,
        arrivals: &mut Vec<Arrival>,
    ) -> Result<(), Lost> {
        let at = TopicPartition { topic: topic.clone(), partition };
        let Some(position) = self.reading.get(&(topic.clone(), partition)) else { return Ok(()) };
        match self.log.read(&at, *position, READ_BYTES.min(room.bytes)) {
            Ok(fetch) => {
                let any = !fetch.records.is_empty();
                if any && !self.is_ours(topic) && self.is_another(shard, topic, partition)? {
                    return self.begin_anew(shard, &at, arrivals);
                }
                let lost = self.next_lost(topic, partition, *position);
                let position = self.reading.get_mut(&(topic.clone(), partition)).expect("it was there before the read");
                let before = lost.as_ref().map_or(i64::MAX, |lost| lost.start);
                let mut readable = fetch.records.into_iter().take_while(|record| record.offset < before).peekable();
                if let Some(lost) = lost.filter(|_| readable.peek().is_none()) {
                    let gap = (*position, lost.end);
                    self.pass_gap(shard, (topic, partition), gap, arrivals);
                    return Ok(());
                }
                for record in readable.take(room.records) {
                    *position = record.offset + 1;
                    room.take(&record);
                    arrivals.push(Arrival::Record { topic: topic.clone(), partition, record });
                }
                if !any && fetch.next > *position {
                    self.clear_to.insert((topic.clone(), partition), fetch.next);
                }
                Ok(())
            }
            Err(LogError::OutOfRange { .. } | LogError::TailLost { .. }) if self.is_another(shard, topic, partition)? => {
                self.begin_anew(shard, &at, arrivals)
            }
            Err(LogError::OutOfRange { asked, end, .. }) if asked > end && !self.is_ours(topic) => {
                self.lose_tail(shard, &at, (asked, end), arrivals);
                Ok(())
            }
            Err(LogError::TailLost { asked, .. }) if !self.is_ours(topic) => {
                self.lose_tail(shard, &at, (asked, asked), arrivals);
                Ok(())
            }
            Err(LogError::OutOfRange { asked, start, end, .. }) => {
                let to = if asked < start { start } else { end };
                self.pass_gap(shard, (topic, partition), (asked, to), arrivals);
                Ok(())
            }
            // A user topic may go; if it comes again, it is another one.
            Err(LogError::NoSuchPartition { .. }) if !self.is_ours(topic) => {
                self.reading.remove(&(topic.clone(), partition));
                self.missing = true;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The next range at or behind a position whose records were lost.
    fn next_lost(&self, topic: &Arc<str>, partition: u32, position: i64) -> Option<Range<i64>> {
        let lost = self.lost.get(&(topic.clone(), partition))?;
        lost.iter().find(|range| range.end > position && !range.is_empty()).cloned()
    }

    /// True for the cluster's own topics, which nobody deletes while it lives.
    fn is_ours(&self, topic: &str) -> bool {
        topic.starts_with(&self.cluster.prefix)
    }

    /// True if the topic is not the one that was read so far: what was just read is of another generation (§5.4). Asked after the
    /// read: an id that is still there was there before.
    fn is_another<D: Decider>(&self, shard: &Shard<D>, name: &Arc<str>, partition: u32) -> Result<bool, LogError> {
        Ok(differs(shard, name, partition, self.log.topic(topic_of(name))?.as_ref()))
    }

    /// Begins at the new topic's start. What is seen goes with the position's move, one transaction holds both; and before all that
    /// was read with it, as a definition is told where the shard stands.
    fn begin_anew<D: Decider>(&mut self, shard: &mut Shard<D>, at: &TopicPartition, arrivals: &mut Vec<Arrival>) -> Result<(), Lost> {
        self.restart(shard, &at.topic, at.partition)?;
        arrivals.splice(0..0, self.take_seen().into_iter().map(Arrival::Observed));
        Ok(())
    }

    /// Goes on at a partition's end that has gone back: as another generation, since its offsets are given anew. What is seen goes with
    /// the position's move, before all that was read with it.
    fn lose_tail<D: Decider>(&mut self, shard: &mut Shard<D>, at: &TopicPartition, (from, to): (i64, i64), arrivals: &mut Vec<Arrival>) {
        let Some(old) = shard.position(&at.topic, at.partition).cloned() else { return };
        let generation = old.generation + 1;
        self.reading.insert((at.topic.clone(), at.partition), to);
        self.clear_to.remove(&(at.topic.clone(), at.partition));
        shard.set_position(&at.topic, at.partition, Position { offset: to, generation, ..old });
        let (topic, partition) = (at.topic.to_string(), at.partition as i32);
        tracing::error!(topic, partition, from, to, "a partition has lost its tail");
        arrivals.insert(0, Arrival::Observed(Observation::TailLost { topic, generation, partition, from, to }));
    }

    /// Reads a topic from where it begins now; what is seen of that is told by the next [`Self::take_seen`].
    fn restart<D: Decider>(&mut self, shard: &mut Shard<D>, topic: &Arc<str>, partition: u32) -> Result<(), Lost> {
        self.reading.remove(&(topic.clone(), partition));
        self.begin(shard, topic.clone(), partition)
    }

    /// Finds user topics that were made again and have not grown past where the old ones were read: a read brings nothing of them; and
    /// those that have more partitions than before. What is seen is told by the next poll.
    pub(super) fn find_made_again<D: Decider>(&mut self, shard: &mut Shard<D>) -> Result<(), Lost> {
        for (topic, known) in self.partitions.clone() {
            let found = self.log.topic(&topic)?;
            self.missing |= found.as_ref().is_some_and(|found| found.partitions != known);
            for partition in 0..known {
                let is_read = self.reading.contains_key(&(topic.clone(), partition));
                if is_read && differs(shard, &topic, partition, found.as_ref()) {
                    self.restart(shard, &topic, partition)?;
                }
            }
        }
        Ok(())
    }

    /// Records went before they were read. Heartbeats are renewals, and only the newest counts (§3.1).
    fn pass_gap<D: Decider>(
        &mut self,
        shard: &mut Shard<D>,
        (topic, partition): (&Arc<str>, u32),
        (from, to): (i64, i64),
        arrivals: &mut Vec<Arrival>,
    ) {
        tracing::warn!(topic = %topic, partition, from, to, "records were gone before they were read");
        self.reading.insert((topic.clone(), partition), to);
        if let Some(old) = shard.position(topic, partition).cloned() {
            shard.set_position(topic, partition, Position { offset: to, ..old });
        }
        if !topic.ends_with(orrery_model::topics::HEARTBEATS) {
            let gap = Observation::Gap { topic: topic.to_string(), partition: partition as i32, from, to };
            arrivals.push(Arrival::Observed(gap));
        }
    }

    /// Reads a re-read on, at most to where its topic partition is read.
    fn poll_reread<D: Decider>(
        &mut self,
        shard: &mut Shard<D>,
        (name, partition): (&Arc<str>, u32),
        room: &mut Room,
        arrivals: &mut Vec<Arrival>,
    ) -> Result<(), Lost> {
        let at = TopicPartition::new(topic_of(name), partition);
        let limit = self.reading.get(&(at.topic.clone(), partition)).copied();
        let Some(from) = self.reading.get(&(name.clone(), partition)).copied() else { return Ok(()) };
        let Some(limit) = limit.filter(|limit| *limit > from) else { return Ok(()) };
        match self.log.read(&at, from, READ_BYTES.min(room.bytes)) {
            // Its topic is another one: who reads that finds out, and the re-read ends.
            Ok(_) if self.is_another(shard, name, partition)? => Ok(()),
            Ok(fetch) => {
                let position = self.reading.get_mut(&(name.clone(), partition)).expect("it was there before the read");
                let mut left = fetch.records.into_iter().take_while(|record| record.offset < limit).take(room.records).peekable();
                if left.peek().is_none() {
                    // Nothing lies between: offsets have gaps.
                    *position = limit;
                    if let Some(old) = shard.position(name, partition).cloned() {
                        shard.set_position(name, partition, Position { offset: limit, ..old });
                    }
                    return Ok(());
                }
                for record in left {
                    *position = record.offset + 1;
                    room.take(&record);
                    arrivals.push(Arrival::Record { topic: name.clone(), partition, record });
                }
                Ok(())
            }
            Err(LogError::OutOfRange { asked, start, .. }) if asked < start => {
                self.pass_gap(shard, (name, partition), (asked, start.min(limit)), arrivals);
                Ok(())
            }
            // Its topic is gone, or another one.
            Err(LogError::OutOfRange { .. } | LogError::NoSuchPartition { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells how far each input was read, and how far it is behind.
    pub(super) fn tell_lag<D: Decider>(&self) -> Result<(), LogError> {
        let mut positions = Vec::new();
        for ((topic, partition), end) in self.ends_of(|_| true)? {
            let read = self.reading.get(&(topic.clone(), partition)).copied().unwrap_or(end);
            let read = read.max(self.clear_to.get(&(topic.clone(), partition)).copied().unwrap_or(read));
            let labels = [("topic", topic.to_string()), ("partition", partition.to_string()), ("reader", D::SERVICE.to_owned())];
            metrics::gauge!("orrery_input_lag", &labels).set((end - read).max(0) as f64);
            if reread_of(&topic).is_none() {
                positions.push((TopicPartition { topic, partition }, read));
            }
        }
        self.log.tell_positions(D::SERVICE, &positions);
        Ok(())
    }

    /// Where the partitions read of these topics end now.
    pub(super) fn ends_of(&self, which: impl Fn(&str) -> bool) -> Result<InputEnds, LogError> {
        let ends = self.reading.keys().filter(|(topic, _)| which(topic)).filter_map(|(topic, partition)| {
            match self.log.end_offset(&TopicPartition { topic: topic_of(topic).into(), partition: *partition }) {
                Ok(end) => Some(Ok(((topic.clone(), *partition), end))),
                // A user topic may go, or be made again with fewer partitions: reading it finds that out.
                Err(LogError::NoSuchPartition { .. }) if !self.is_ours(topic) => None,
                Err(error) => Some(Err(error)),
            }
        });
        ends.collect()
    }

    /// True if all has been read up to these ends.
    pub(super) fn stands_behind(&self, ends: &InputEnds) -> bool {
        let is_behind = |input, end| self.reading.get(input).is_none_or(|position| position >= end);
        ends.iter().all(|(input, end)| is_behind(input, end) || self.clear_to.get(input).is_some_and(|clear| clear >= end))
    }
}

/// What lies behind an event that is not shown to all jobs yet would only wait in the shard's rows.
fn is_held_back<D: Decider>(shard: &Shard<D>, topic: &Arc<str>, partition: u32) -> bool {
    let position = shard.position(topic, partition);
    position.is_some_and(|position| shard.decider().holds_back(topic, position.generation, partition as i32))
}

/// True if a topic as it is now is not the one that was read so far.
fn differs<D: Decider>(shard: &Shard<D>, name: &Arc<str>, partition: u32, found: Option<&Topic>) -> bool {
    let read = shard.position(name, partition);
    read.is_some_and(|read| found.is_none_or(|found| found.id != read.topic_id)) && !planted(Bug::OldGeneration)
}

/// What a step still takes.
struct Room {
    records: usize,
    bytes: usize,
}

impl Room {
    const fn is_full(&self) -> bool {
        self.records == 0 || self.bytes == 0
    }

    fn take(&mut self, record: &Record) {
        let size = |payload: &Option<Payload>| payload.as_ref().map_or(0, |p| p.as_bytes().len());
        self.records -= 1;
        self.bytes = self.bytes.saturating_sub(size(&record.key) + size(&record.value));
    }
}

/// Where every partition of a topic begins to count; a topic that is not there yet begins at 0 when it comes.
pub(super) fn topic_starts(log: &Arc<dyn Log>, topic: &str, from: StartFrom) -> Result<Vec<StartPosition>, LogError> {
    let Some(found) = log.topic(topic)? else { return Ok(Vec::new()) };
    let start = |partition: u32| {
        let at = TopicPartition::new(topic, partition);
        let offset = match from {
            StartFrom::Earliest => log.start_offset(&at),
            StartFrom::Latest => log.end_offset(&at),
            StartFrom::At(time) => log.offset_at(&at, time),
        }?;
        let (topic, topic_id, partition) = (topic.to_owned(), found.id.clone(), partition as i32);
        Ok(StartPosition { topic, generation: 0, partition, offset, topic_id })
    };
    (0..found.partitions).map(start).collect()
}
