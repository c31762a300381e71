//! One ownership of a shard, from acquisition to stop or loss: polls inputs, steps, hands transactions over.
//!
//! No thread and no waiting: [`driver`](crate::driver) turns it on a thread, the simulator in simulated time. Everything that an
//! ownership holds is dropped with it, so that nothing of it is left for the next one (§1.6).

mod claim;
mod inputs;

pub use claim::Claim;

use crate::leases::Leases;
use crate::messages::Cluster;
use crate::restore::{AcquireError, Acquired, Target, acquire, acquired_observation};
use crate::shard::{Arrival, Shard, StepError, Transaction};
use crate::stamp::Now;
use crate::store::{OpenStore, Store};
use inputs::{InputEnds, Inputs};
use orrery_log::{Bell, Log, LogError, Writer, clock};
use orrery_model::decider::Decider;
use orrery_model::job::StartFrom;
use orrery_model::journal::Observation;
use orrery_model::planted::{Bug, planted};
use orrery_model::record::NewRecord;
use orrery_model::topics;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait without looking around.
const WAIT_MOST: Duration = Duration::from_secs(1);

/// Why an ownership ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Lost {
    /// It did not begin.
    #[error("the shard could not be acquired: {0}")]
    NotAcquired(Arc<AcquireError>),
    /// A step could not be made.
    #[error(transparent)]
    Step(Arc<StepError>),
    /// The log refused.
    #[error("the log refused: {0}")]
    Log(Arc<LogError>),
    /// A newer owner exists.
    #[error("another owner has fenced this one")]
    Fenced,
    /// Nobody knows what was committed, or the writer may not be used again.
    #[error("a commit was not clean: {0}")]
    Unclean(String),
}

impl From<AcquireError> for Lost {
    fn from(error: AcquireError) -> Self {
        Self::NotAcquired(Arc::new(error))
    }
}
impl From<StepError> for Lost {
    fn from(error: StepError) -> Self {
        Self::Step(Arc::new(error))
    }
}
impl From<LogError> for Lost {
    fn from(error: LogError) -> Self {
        Self::Log(Arc::new(error))
    }
}

/// Where an owner's transactions go. They are committed in order, one at a time.
pub trait Commits {
    /// Takes a transaction to commit.
    fn hand_over(&mut self, transaction: Transaction) -> Result<(), Lost>;
    /// An error if a commit has failed.
    fn check(&self) -> Result<(), Lost>;
    /// The journal's end after the last commit of this ownership, if there was one.
    fn journal_end(&self) -> Option<i64>;
}

/// Which shard is owned, by whom, and where.
#[derive(Clone)]
pub struct Setting {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The cluster's numbers.
    pub cluster: Cluster,
    /// Shard number.
    pub shard: u32,
    /// This member's name, for `Acquired`.
    pub member: String,
    /// Assignment generation that it is owned by.
    pub generation: i64,
}

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Something was read or decided: turn again.
    Went,
    /// Nothing to do for so long, unless something arrives.
    Idle(Duration),
}

/// Everything that one ownership holds.
pub struct Owner<D: Decider, C> {
    shard: Shard<D>,
    inputs: Inputs,
    commits: C,
    leases: Leases,
    /// When a lease was found to have run out, and where the heartbeats ended then.
    asked: Option<(i64, InputEnds)>,
    log: Arc<dyn Log>,
}

impl<D: Decider, C: Commits> Owner<D, C> {
    /// Fences, restores, and hands over the transaction that begins the ownership. Nothing may be read before that one is
    /// committed (§1.1): the caller waits for it, then turns.
    pub fn acquire(
        setting: &Setting,
        fresh_lineage: &str,
        now: Now,
        open_store: OpenStore<'_>,
        bell: &Arc<Bell>,
        commits: impl FnOnce(Box<dyn Writer>, Box<dyn Store>) -> C,
    ) -> Result<Self, Lost> {
        let Setting { log, cluster, shard, member, generation } = setting;
        let target = Target { log, cluster, shard: *shard, open_store, fresh_lineage, now: now.wall };
        let Acquired { writer, store, restored, again, resend_from } = acquire::<D>(&target)?;
        let epoch = restored.head.epoch + 1;
        let mut owner = Self {
            inputs: Inputs::new(setting, bell.clone()),
            shard: Shard::new(restored, cluster.clone(), *shard, epoch, now),
            commits: commits(writer, store),
            leases: Leases::default(),
            asked: None,
            log: log.clone(),
        };
        for lease in owner.shard.decider().leases() {
            owner.leases.renew(lease, now.monotonic_us);
        }
        owner.inputs.subscribe(&mut owner.shard)?;
        // The first head keeps the journal offset of the head before it: a crash now must find the entries to send again, too.
        let acquired = acquired_observation(cluster.shards(*shard), epoch, member, *generation, resend_from);
        let seen = std::iter::once(acquired).chain(owner.inputs.take_seen());
        owner.step(now, seen.map(Arrival::Observed).collect(), again)?;
        Ok(owner)
    }

    /// Polls once and steps.
    pub fn turn(&mut self, now: &dyn Fn() -> Now) -> Result<Turn, Lost> {
        let expired = self.expired_leases(now().monotonic_us)?;
        let mut arrivals: Vec<Arrival> = expired.into_iter().map(Arrival::Observed).collect();
        self.inputs.poll(&mut self.shard, &mut arrivals)?;
        let nothing = arrivals.is_empty();
        let stepped = self.step(now(), arrivals, Vec::new())?;
        let more = self.inputs.subscribe(&mut self.shard)?;
        if nothing && !stepped && !more {
            self.commits.check()?;
            return Ok(Turn::Idle(self.wait_for(now())));
        }
        Ok(Turn::Went)
    }

    /// The decider, to look at.
    pub fn decider(&self) -> &D {
        self.shard.decider()
    }

    /// Where its transactions go.
    pub fn commits(&mut self) -> &mut C {
        &mut self.commits
    }

    /// Steps and hands the transaction over; true if there was one.
    fn step(&mut self, now: Now, arrivals: Vec<Arrival>, again: Vec<NewRecord>) -> Result<bool, Lost> {
        let began = clock::monotonic();
        if let Some(end) = self.commits.journal_end() {
            self.shard.journal_ends_at(end);
        }
        let log = &self.log;
        let starts = |topic: &str, from: StartFrom| inputs::topic_starts(log, topic, from);
        let transaction = self.shard.step(now, arrivals, &starts, again)?;
        for lease in self.shard.take_renewed() {
            self.leases.renew(lease, now.monotonic_us);
        }
        let Some(transaction) = transaction else { return Ok(false) };
        count::<D>(&transaction, began.elapsed());
        self.commits.hand_over(transaction)?;
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
        if self.inputs.stands_behind(&ends) || planted(Bug::LeaseUnread) {
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
