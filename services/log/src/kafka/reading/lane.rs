//! One consumer and its windows, filled by a thread of its own.

use super::window::Window;
use super::{Bells, Ends};
use crate::kafka::native::{self, Met, Polled};
use crate::kafka::reaper::Reaped;
use crate::kafka::{REQUEST_TIMEOUT, places};
use crate::{Fetch, TopicPartition, clock};
use orrery_model::record::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use rdkafka::{ClientConfig, Offset as Place, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait of the lane's thread: it looks around after this.
const POLL: Duration = Duration::from_millis(250);
/// Records taken from the library before readers are woken.
const TAKEN_AT_ONCE: usize = 256;
/// Longest wait of a reader for records that are known to be there.
const PATIENCE: Duration = Duration::from_secs(10);
/// A partition that failed so often in a row is told to its reader: what is tried again at once is tried for ever.
const TRIES: u32 = 5;
/// A window that nobody reads for so long is given up.
const IDLE: Duration = Duration::from_secs(60);

pub(super) struct Lane {
    consumer: Reaped<BaseConsumer<DefaultConsumerContext>>,
    state: Mutex<State>,
    changed: Condvar,
    bells: Arc<Bells>,
    ends: Arc<Ends>,
    stopped: AtomicBool,
    /// Topics whose leaders the library has been told, and of how many partitions.
    known: Mutex<BTreeMap<String, u32>>,
}

#[derive(Default)]
struct State {
    windows: BTreeMap<TopicPartition, Window>,
    /// Counts what the lane's thread has polled and taken.
    round: u64,
    /// Partitions that were given up, and the round in which: until that one is over, something fetched for the old window may
    /// still be in the thread's hand, and a new one must not take it for its own.
    given_up: BTreeMap<TopicPartition, u64>,
    /// Partitions that failed and brought nothing since, and how often.
    failing: BTreeMap<TopicPartition, (u32, KafkaError)>,
}

impl Lane {
    pub(super) fn start(client: &ClientConfig, bells: &Arc<Bells>, ends: &Arc<Ends>) -> Result<Arc<Self>, KafkaError> {
        let lane = Arc::new(Self {
            consumer: Reaped::new(client.create_with_context(DefaultConsumerContext)?),
            state: Mutex::default(),
            changed: Condvar::new(),
            bells: bells.clone(),
            ends: ends.clone(),
            stopped: AtomicBool::new(false),
            known: Mutex::default(),
        });
        native::tell_by_tracing(lane.consumer.client());
        let filled = lane.clone();
        let fill = move || {
            let (mut swept, mut troubles) = (clock::monotonic(), 0);
            while !filled.stopped.load(Ordering::Acquire) {
                // What is there already is taken with what was waited for: readers are woken once for all of it.
                let mut polled: Vec<Polled> = native::poll(filled.consumer.client(), POLL).into_iter().collect();
                while (1..TAKEN_AT_ONCE).contains(&polled.len())
                    && let Some(more) = native::poll(filled.consumer.client(), Duration::ZERO)
                {
                    polled.push(more);
                }
                let troubles_now = native::troubles(filled.consumer.client());
                if std::mem::replace(&mut troubles, troubles_now) != troubles_now {
                    // What was polled with it may come from brokers that were away.
                    filled.doubt();
                    continue;
                }
                filled.take(polled);
                if swept.elapsed() > POLL {
                    swept = clock::monotonic();
                    filled.sweep(swept);
                }
            }
        };
        let spawned = std::thread::Builder::new().name("kafka-lane".into()).spawn(fill);
        spawned.map_err(|error| KafkaError::ClientCreation(format!("no thread: {error}")))?;
        Ok(lane)
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// When the partition's window was last read; none if it has none of this generation.
    pub(super) fn last_read(&self, (at, generation): (&TopicPartition, u64)) -> Option<Instant> {
        self.state().windows.get(at).filter(|window| window.generation == generation).map(|window| window.read_at)
    }

    /// True if a read from here is answered by a window of this lane.
    pub(super) fn holds(&self, (at, generation): (&TopicPartition, u64), from: Offset) -> bool {
        self.state().windows.get(at).is_some_and(|window| window.generation == generation && window.holds(from))
    }

    /// Begins a window, in the place of the one that there was.
    pub(super) fn begin(&self, (at, generation): (&TopicPartition, u64), from: Offset) -> Result<(), KafkaError> {
        let failing = self.state().failing.get(at).cloned();
        if let Some((TRIES.., error)) = failing {
            self.state().failing.remove(at);
            return Err(error);
        }
        self.find_leader(at, failing.is_some())?;
        let mut state = self.state();
        self.give_up(&mut state, at);
        let waits = |state: &mut State| state.given_up.contains_key(at);
        let mut state = self.changed.wait_timeout_while(state, PATIENCE, waits).unwrap_or_else(PoisonError::into_inner).0;
        if state.windows.contains_key(at) {
            return Ok(()); // Somebody else was faster; whoever reads sees whether that helps.
        }
        self.consumer.incremental_assign(&list(at, Some(from))?)?;
        state.windows.insert(at.clone(), Window::new(generation, from, clock::monotonic()));
        Ok(())
    }

    /// The library looks for the leaders of a topic that is new to it once a second, but at once when it is asked. All topics are
    /// asked for first: an answer may have to wait for a fetch that is under way. Of what has failed the leader may be another one.
    fn find_leader(&self, at: &TopicPartition, anew: bool) -> Result<(), KafkaError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if anew {
            known.remove(&*at.topic);
        }
        for asked in [None, Some(&*at.topic)] {
            if known.get(&*at.topic).is_some_and(|partitions| at.partition < *partitions) || (asked.is_none() && !known.is_empty()) {
                continue;
            }
            let found = self.consumer.fetch_metadata(asked, REQUEST_TIMEOUT)?;
            let partitions = |topic: &MetadataTopic| u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX);
            known.extend(found.topics().iter().map(|topic| (topic.name().to_owned(), partitions(topic))));
        }
        Ok(())
    }

    /// Reads from the partition's window; none if it does not hold the position, or is of another topic of that name. Waits while nothing was fetched yet, and for
    /// records that are known to lie before `end`.
    pub(super) fn read(
        &self,
        (at, generation): (&TopicPartition, u64),
        from: Offset,
        max_bytes: usize,
        end: Offset,
    ) -> Option<Result<Fetch, KafkaError>> {
        let deadline = clock::monotonic() + PATIENCE;
        let mut state = self.state();
        loop {
            let window = state.windows.get_mut(at).filter(|window| window.generation == generation && window.holds(from))?;
            let comes = window.next() == from && (from < end || !window.met_end);
            if !comes {
                let fetch = window.read(from, max_bytes, clock::monotonic());
                if window.paused && window.has_room() {
                    window.paused = false;
                    if let Err(error) = list(at, None).and_then(|paused| self.consumer.resume(&paused)) {
                        self.give_up(&mut state, at);
                        return Some(Err(error));
                    }
                }
                return Some(Ok(fetch));
            }
            let left = deadline.saturating_duration_since(clock::monotonic());
            if left.is_zero() {
                return Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut)));
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Gives up what nobody reads.
    fn sweep(&self, now: Instant) {
        let mut state = self.state();
        let is_idle = |window: &Window| now.saturating_duration_since(window.read_at) > IDLE;
        let gone: Vec<TopicPartition> = state.windows.iter().filter(|(_, window)| is_idle(window)).map(|(at, _)| at.clone()).collect();
        gone.iter().for_each(|at| self.give_up(&mut state, at));
        drop(state);
        self.changed.notify_all();
    }

    fn give_up(&self, state: &mut State, at: &TopicPartition) {
        if state.windows.remove(at).is_none() {
            return;
        }
        state.given_up.insert(at.clone(), state.round);
        if let Err(error) = list(at, None).and_then(|one| self.consumer.incremental_unassign(&one)) {
            tracing::warn!(%error, topic = %at.topic, at.partition, "a partition was not given up");
        }
    }

    /// Brokers were away: each window is fetched again from its last record on, to see whether that is still there.
    fn doubt(&self) {
        let mut state = self.state();
        let doubted = state.windows.iter_mut().map(|(at, window)| (at.clone(), window.doubt()));
        let doubted: Vec<(TopicPartition, Offset)> = doubted.collect();
        let assigned = places(doubted.iter().map(|(at, last)| (at, Place::Offset(*last)))).and_then(|all| {
            self.consumer.incremental_unassign(&all)?;
            self.consumer.incremental_assign(&all)?;
            self.consumer.resume(&all)
        });
        if let Err(error) = assigned {
            tracing::warn!(%error, "windows are begun anew after brokers were away");
            doubted.iter().for_each(|(at, _)| self.give_up(&mut state, at));
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Takes what was polled, and ends the round.
    fn take(&self, polled: Vec<Polled>) {
        let mut state = self.state();
        let mut rings: BTreeSet<Arc<str>> = BTreeSet::new();
        for Polled { topic, partition, met } in polled {
            let at = TopicPartition::new(&topic, partition);
            if self.take_one(&mut state, &at, met) {
                rings.insert(at.topic);
            }
        }
        let round = state.round;
        state.given_up.retain(|_, given_up| *given_up > round);
        state.round += 1;
        drop(state);
        self.changed.notify_all();
        rings.iter().for_each(|topic| self.bells.ring(topic));
    }

    /// True if there is something new to read.
    fn take_one(&self, state: &mut State, at: &TopicPartition, met: Met) -> bool {
        let Some(window) = state.windows.get_mut(at) else { return false };
        if !matches!(met, Met::Failed(_)) {
            state.failing.remove(at);
        }
        match met {
            Met::Record(record) => {
                if !window.push(record) {
                    return self.fail(state, at, KafkaError::MessageConsumption(RDKafkaErrorCode::LogTruncation));
                }
                if window.is_full() && !window.paused {
                    window.paused = list(at, None).and_then(|full| self.consumer.pause(&full)).is_ok();
                }
                true
            }
            Met::End(end) => {
                let moved = end > window.next();
                if window.meet_end(end) {
                    moved
                } else {
                    self.fail(state, at, KafkaError::MessageConsumption(RDKafkaErrorCode::LogTruncation))
                }
            }
            Met::Failed(error) => self.fail(state, at, error),
        }
    }

    /// Whoever reads next finds out what is left of a partition that failed: the topic may be gone, or its first records, or the last.
    fn fail(&self, state: &mut State, at: &TopicPartition, error: KafkaError) -> bool {
        let Some(window) = state.windows.get(at) else { return false };
        tracing::debug!(%error, topic = %at.topic, at.partition, "a partition is read anew");
        if let Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::LogTruncation) = error.rdkafka_error_code() {
            self.ends.tear((at, window.generation), window.last_seen());
        }
        let times = state.failing.get(at).map_or(0, |(times, _)| *times);
        state.failing.insert(at.clone(), (times + 1, error));
        self.give_up(state, at);
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn list(at: &TopicPartition, from: Option<Offset>) -> Result<TopicPartitionList, KafkaError> {
    places(std::iter::once((at, from.map_or(Place::Invalid, Place::Offset))))
}
