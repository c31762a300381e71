//! The thin thread around a shard: polls inputs, waits, steps, and hands transactions to a committer.
//!
//! The committer commits, then writes the store, while the next batch is handled (§10.3). On anything unclean the shard's
//! memory is dropped and the shard is acquired again with a jittered back-off; a panic of the decider is treated the same way,
//! so that an input is never skipped silently. An owner that was fenced gives the shard up.

mod committer;
mod inputs;

use crate::leases::Leases;
use crate::messages::Cluster;
use crate::restore::{AcquireError, Acquired, Target, acquire, acquired_observation};
use crate::shard::{Arrival, Shard, StepError, Transaction};
use crate::stamp::Now;
use committer::Committer;
use inputs::{InputEnds, Inputs};
use orrery_log::{Bell, Log, LogError, clock};
use orrery_model::decider::Decider;
use orrery_model::journal::Observation;
use orrery_model::record::NewRecord;
use orrery_model::topics;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// First back-off after a failure; doubles …
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// … up to this (§1.5).
const BACKOFF_MOST: Duration = Duration::from_secs(10);
/// Longest wait without looking around.
const WAIT_MOST: Duration = Duration::from_secs(1);

/// What a shard's thread needs.
pub struct ShardConfig {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The cluster's numbers.
    pub cluster: Cluster,
    /// Shard number.
    pub shard: u32,
    /// Folder of the local store.
    pub folder: PathBuf,
    /// This member's name, for `Acquired`.
    pub member: String,
    /// Draws a lineage for a shard that is new.
    pub draw_lineage: fn() -> String,
}

/// A running shard.
pub struct ShardHandle {
    stop: Arc<AtomicBool>,
    bell: Arc<Bell>,
    ready: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ShardHandle {
    /// True once the shard has been acquired (and while it is held).
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
    /// True once the thread has ended by itself: another owner has fenced this one, and the shard is not acquired again.
    pub fn is_given_up(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
    /// Ends the thread after the transaction under way.
    pub fn stop(mut self) {
        self.end();
    }
    fn end(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.bell.ring();
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

impl Drop for ShardHandle {
    fn drop(&mut self) {
        self.end();
    }
}

/// Why an ownership ended.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the shard could not be acquired: {0}")]
    NotAcquired(#[from] AcquireError),
    #[error(transparent)]
    Step(#[from] StepError),
    #[error("the log refused: {0}")]
    Log(#[from] LogError),
    #[error("another owner has fenced this one")]
    Fenced,
    #[error("a commit was not clean: {0}")]
    Unclean(String),
}

/// Starts a decider's shard on its own thread.
pub fn start<D: Decider>(config: ShardConfig) -> Result<ShardHandle, LogError> {
    let bell = config.log.bell(&[]);
    let (stop, ready) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let thread = std::thread::Builder::new()
        .name(format!("{}-{}", D::SERVICE, config.shard))
        .spawn({
            let (stop, ready, bell) = (stop.clone(), ready.clone(), bell.clone());
            move || supervise::<D>(&config, &stop, &ready, &bell)
        })
        .map_err(|e| LogError::Poisoned { why: format!("no thread for a shard: {e}") })?;
    Ok(ShardHandle { stop, bell, ready, thread: Some(thread) })
}

/// Owns the shard again and again until stopped.
fn supervise<D: Decider>(config: &ShardConfig, stop: &AtomicBool, ready: &AtomicBool, bell: &Arc<Bell>) {
    let mut backoff = BACKOFF_FIRST;
    while !stop.load(Ordering::Acquire) {
        let began = clock::monotonic();
        let owned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| own::<D>(config, stop, ready, bell)));
        ready.store(false, Ordering::Release);
        match owned {
            Ok(Ok(())) => return,
            // Two believers would fence each other for ever: the shard is started again by a newer assignment (§1.5).
            Ok(Err(Lost::Fenced)) => {
                tracing::error!(service = D::SERVICE, shard = config.shard, "another owner has fenced this one; the shard is given up");
                return;
            }
            Ok(Err(lost)) => tracing::error!(service = D::SERVICE, shard = config.shard, %lost, "the shard is given up and acquired again"),
            Err(_panic) => tracing::error!(service = D::SERVICE, shard = config.shard, "the decider panicked; the shard is acquired again"),
        }
        metrics::counter!("orrery_shard_restarts_total", "service" => D::SERVICE).increment(1);
        if began.elapsed() > BACKOFF_MOST {
            backoff = BACKOFF_FIRST;
        }
        let until = clock::monotonic() + jittered(backoff);
        while !stop.load(Ordering::Acquire) && clock::monotonic() < until {
            bell.wait(until.saturating_duration_since(clock::monotonic()));
        }
        backoff = (backoff * 2).min(BACKOFF_MOST);
    }
}

/// Between half and all of the back-off, by the clock's low bits: two members must not retry in step.
fn jittered(backoff: Duration) -> Duration {
    backoff / 2 + backoff * ((clock::wall().0 & 0xff) as u32) / 512
}

/// One ownership, from acquisition to stop or loss.
fn own<D: Decider>(config: &ShardConfig, stop: &AtomicBool, ready: &AtomicBool, bell: &Arc<Bell>) -> Result<(), Lost> {
    let began = clock::monotonic();
    let now = || Now { wall: clock::wall(), monotonic_us: began.elapsed().as_micros() as i64 };
    let lineage = (config.draw_lineage)();
    let target = Target {
        log: &config.log,
        cluster: &config.cluster,
        shard: config.shard,
        folder: &config.folder,
        fresh_lineage: &lineage,
        now: clock::wall(),
    };
    let Acquired { writer, store, restored, again, resend_from, .. } = acquire::<D>(&target)?;
    let epoch = restored.head.epoch + 1;
    let mut owner = Owner::<D> {
        inputs: Inputs::new(config, bell.clone()),
        shard: Shard::new(restored, config.cluster.clone(), config.shard, epoch, now()),
        committer: Committer::start(config, writer, store, D::SERVICE, bell.clone()),
        leases: Leases::default(),
        asked: None,
        config,
    };
    // The first head keeps the journal offset of the head before it: a crash now must find the entries to send again, too.
    for lease in owner.shard.decider().leases() {
        owner.leases.renew(lease, now().monotonic_us);
    }
    owner.inputs.subscribe(&mut owner.shard)?;
    let acquired = Arrival::Observed(acquired_observation(&config.cluster, config.shard, epoch, &config.member, resend_from));
    owner.step(now(), vec![acquired], again)?;
    owner.committer.settle()?;
    ready.store(true, Ordering::Release);
    tracing::info!(service = D::SERVICE, shard = config.shard, epoch, ms = began.elapsed().as_millis() as u64, "acquired");
    while !stop.load(Ordering::Acquire) {
        owner.turn(&now, bell)?;
    }
    owner.committer.settle()
}

/// Everything that one ownership holds.
struct Owner<'c, D: Decider> {
    shard: Shard<D>,
    inputs: Inputs,
    committer: Committer,
    leases: Leases,
    /// When a lease was found to have run out, and where the heartbeats ended then.
    asked: Option<(i64, InputEnds)>,
    config: &'c ShardConfig,
}

impl<D: Decider> Owner<'_, D> {
    /// Polls once and steps; waits if there was nothing.
    fn turn(&mut self, now: &impl Fn() -> Now, bell: &Bell) -> Result<(), Lost> {
        let expired = self.expired_leases(now().monotonic_us)?;
        let mut arrivals: Vec<Arrival> = expired.into_iter().map(Arrival::Observed).collect();
        self.inputs.poll(&mut self.shard, &mut arrivals)?;
        let nothing = arrivals.is_empty();
        let stepped = self.step(now(), arrivals, Vec::new())?;
        let more = self.inputs.subscribe(&mut self.shard)?;
        if nothing && !stepped && !more {
            self.committer.check()?;
            bell.wait(self.wait_for(now()));
        }
        Ok(())
    }

    /// Steps and hands the transaction to the committer; true if there was one.
    fn step(&mut self, now: Now, arrivals: Vec<Arrival>, again: Vec<NewRecord>) -> Result<bool, Lost> {
        let began = clock::monotonic();
        if let Some(end) = self.committer.journal_end() {
            self.shard.journal_ends_at(end);
        }
        let log = &self.config.log;
        let ends = |topic: &str| inputs::topic_ends(log, topic);
        let transaction = self.shard.step(now, arrivals, &ends, again)?;
        for lease in self.shard.take_renewed() {
            self.leases.renew(lease, now.monotonic_us);
        }
        let Some(transaction) = transaction else { return Ok(false) };
        count::<D>(&transaction, began.elapsed());
        self.committer.hand_over(transaction)?;
        Ok(true)
    }

    /// Leases that ran out, once the heartbeats have been taken up to an end that was asked for afterwards (§7.2). Called before
    /// polling, when everything that was read has been taken.
    fn expired_leases(&mut self, now_us: i64) -> Result<Vec<Observation>, Lost> {
        if self.leases.next_deadline_us().is_none_or(|deadline| deadline > now_us) {
            self.asked = None;
            return Ok(Vec::new());
        }
        let asked = self.asked.take();
        let (asked_us, ends) = asked.map_or_else(|| Ok((now_us, self.inputs.ends_of(topics::HEARTBEATS)?)), Ok::<_, Lost>)?;
        if self.inputs.stands_behind(&ends) {
            return Ok(self.leases.take_expired(asked_us));
        }
        self.asked = Some((asked_us, ends));
        Ok(Vec::new())
    }

    fn wait_for(&self, now: Now) -> Duration {
        let deadline_us = self.shard.deadline_in_us(now);
        let lease_us = self.leases.next_deadline_us().map(|deadline| deadline - now.monotonic_us);
        let us = deadline_us.into_iter().chain(lease_us).min().unwrap_or(i64::MAX).max(0);
        Duration::from_micros(us.unsigned_abs()).min(WAIT_MOST)
    }
}

fn count<D: Decider>(transaction: &Transaction, took: Duration) {
    metrics::histogram!("orrery_decision_seconds", "service" => D::SERVICE).record(took.as_secs_f64() / transaction.entries.max(1) as f64);
}
