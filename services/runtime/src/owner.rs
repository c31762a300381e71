//! One ownership of a shard, from acquisition to stop or loss: polls inputs, steps, hands transactions over.
//!
//! No thread and no waiting: [`driver`](crate::driver) turns it on a thread, the simulator in simulated time. Everything that an
//! ownership holds is dropped with it, so that nothing of it is left for the next one (§1.6).

mod claim;
mod inputs;

pub use claim::Claim;

use crate::leases::Leases;
use crate::membership::{ANNOUNCE_EVERY, CLOCK_OFF_MOST_MS, announce, logic_of};
use crate::messages::Cluster;
use crate::quarantine::{self, Quarantine, RecordPlace};
use crate::restore::{AcquireError, Acquired, Target, acquire, acquired_observation};
use crate::shard::{Arrival, Shard, StepError, Transaction};
use crate::stamp::Now;
use crate::store::{OpenStore, Store};
use crate::suspects::{DEATHS_MOST, InHand, Note, Suspects};
use inputs::{InputEnds, Inputs};
use orrery_log::{Bell, Log, LogError, Writer, clock};
use orrery_model::decider::Decider;
use orrery_model::job::StartFrom;
use orrery_model::journal::Observation;
use orrery_model::messages::{LogicVersions, Member};
use orrery_model::planted::{Bug, planted};
use orrery_model::record::NewRecord;
use orrery_model::topics::{self, topic_of};
use std::sync::Arc;
use std::time::Duration;

/// Between two counts of how far the inputs are behind, and looks whether topics are still the same: each asks the log.
const LAG_EVERY: Duration = Duration::from_secs(10);

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
    /// The member's wall clock is too far off the log's (§7.1).
    #[error("the wall clock is {off_ms} ms off the log's, over {CLOCK_OFF_MOST_MS}: set it right")]
    ClockOff {
        /// How far at least; ahead is positive.
        off_ms: i64,
    },
    /// The member does not have the version of the logic that is in force (§9.5).
    #[error("the logic in force is version {version}, and this member has {oldest} to {newest}: install a newer binary")]
    NoLogic {
        /// The version in force.
        version: i32,
        /// Oldest version that the member has.
        oldest: i32,
        /// Newest version that the member has.
        newest: i32,
    },
    /// Nobody knows what was committed, or the writer may not be used again.
    #[error("a commit was not clean: {0}")]
    Unclean(String),
}

impl Lost {
    /// True for what lies in this member alone, so that another member may well hold the shard.
    pub fn is_members_own(&self) -> bool {
        match self {
            Self::ClockOff { .. } | Self::NoLogic { .. } => true,
            _ => self.is_of_store(),
        }
    }

    /// True if the local store could not be read or written.
    pub(crate) fn is_of_store(&self) -> bool {
        matches!(self, Self::NotAcquired(error) if matches!(**error, AcquireError::Store(_)))
    }

    /// True for what has an alert of its own.
    pub(crate) const fn is_told(&self) -> bool {
        matches!(self, Self::ClockOff { .. })
    }
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
    /// This member, as it announces itself.
    pub member: Arc<Member>,
    /// Assignment generation that it is owned by.
    pub generation: i64,
    /// Says which record the shard may have died of; none: that is not remembered.
    pub suspects: Option<Arc<dyn Note>>,
}

impl Setting {
    /// The versions of a decider's logic that the member says it has; those of this binary if it says nothing.
    fn logic<D: Decider>(&self) -> LogicVersions {
        let said = self.member.logic.iter().find(|logic| logic.service == D::SERVICE);
        said.cloned().unwrap_or_else(logic_of::<D>)
    }
}

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Something was read or decided: turn again.
    Went,
    /// As much was read as one step takes: there is more.
    Full,
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
    /// Where our own inputs ended when the shard was acquired; none once all of that has been read.
    backlog: Option<InputEnds>,
    /// When the member is announced again, and its clock judged.
    announces_us: i64,
    /// When the inputs are looked at again: their lag, and whether they are the same.
    counts_us: i64,
    setting: Setting,
    suspects: Suspects,
    found_store: bool,
}

impl<D: Decider, C: Commits> Owner<D, C> {
    /// Judges the clock, fences, restores, and hands over the transaction that begins the ownership. Nothing may be read before
    /// that one is committed (§1.1): the caller waits for it, then turns.
    pub fn acquire(
        setting: &Setting,
        fresh_lineage: &str,
        clock: &dyn Fn() -> Now,
        open_store: OpenStore<'_>,
        bell: &Arc<Bell>,
        commits: impl FnOnce(Box<dyn Writer>, Box<dyn Store>) -> C,
    ) -> Result<Self, Lost> {
        announce(setting, clock)?;
        let Setting { log, cluster, shard, member, generation, suspects } = setting;
        let suspects = judged::<D>(Suspects::begin(suspects.as_ref()), setting)?;
        let now = clock();
        let target = Target { log, cluster, shard: *shard, open_store, fresh_lineage, now: now.wall };
        let Acquired { writer, store, found_store, restored, again, resend_from } = acquire::<D>(&target)?;
        let epoch = restored.head.epoch + i64::from(!planted(Bug::SameEpoch));
        let mut owner = Self {
            inputs: Inputs::new(setting, bell.clone()),
            shard: Shard::new(restored, cluster.clone(), *shard, epoch, now),
            commits: commits(writer, store),
            leases: Leases::default(),
            asked: None,
            backlog: None,
            announces_us: now.monotonic_us + ANNOUNCE_EVERY.as_micros() as i64,
            counts_us: now.monotonic_us,
            setting: setting.clone(),
            suspects,
            found_store,
        };
        if !planted(Bug::QuarantineForgotten) {
            owner.shard.quarantine(quarantine::read(&**log, cluster, (D::SERVICE, *shard))?);
        }
        let logic = setting.logic::<D>();
        let version = owner.shard.logic_version();
        if !logic.has(version) {
            return Err(Lost::NoLogic { version, oldest: logic.oldest, newest: logic.newest });
        }
        owner.shard.let_switch(logic);
        for lease in owner.shard.decider().leases() {
            owner.leases.renew(lease, lease_clock_us(now));
        }
        owner.inputs.subscribe(&mut owner.shard)?;
        owner.backlog = Some(owner.inputs.ends_of(|topic| topic.starts_with(&cluster.prefix))?);
        // The first head keeps the journal offset of the head before it: a crash now must find the entries to send again, too.
        let acquired = acquired_observation(cluster.shards(*shard), epoch, &member.member, *generation, resend_from);
        let seen = std::iter::once(acquired).chain(owner.inputs.take_seen());
        let seen = seen.map(Arrival::Observed).collect();
        let ticking = owner.has_read_backlog();
        owner.step(now, seen, again, ticking)?;
        Ok(owner)
    }

    /// Polls once and steps.
    pub fn turn(&mut self, now: &dyn Fn() -> Now) -> Result<Turn, Lost> {
        if now().monotonic_us >= self.announces_us {
            announce(&self.setting, now)?;
            self.announces_us = now().monotonic_us + ANNOUNCE_EVERY.as_micros() as i64;
        }
        if now().monotonic_us >= self.counts_us {
            self.inputs.tell_lag::<D>()?;
            self.inputs.find_made_again(&mut self.shard)?;
            self.counts_us = now().monotonic_us + LAG_EVERY.as_micros() as i64;
        }
        let stepped_clock = self.follow_clock(now)?;
        let expired = self.expired_leases(lease_clock_us(now()))?;
        let mut arrivals: Vec<Arrival> = stepped_clock.into_iter().chain(expired).map(Arrival::Observed).collect();
        let full = self.inputs.poll(&mut self.shard, &mut arrivals)?;
        let nothing = arrivals.is_empty();
        // A tick beside the record in hand would be its death.
        let in_hand = self.take_in_hand(&arrivals);
        let ticking = self.has_read_backlog() && !in_hand;
        let stepped = self.step(now(), arrivals, Vec::new(), ticking)?;
        let full = self.inputs.go_back(self.shard.take_left()) || full;
        // What the decider wants to read changes only when it decides.
        let more = (stepped || self.inputs.wait_for_topics()) && self.inputs.subscribe(&mut self.shard)?;
        if nothing && !stepped && !more {
            self.commits.check()?;
            self.suspects.rest();
            return Ok(Turn::Idle(self.wait_for(now())));
        }
        // One at a time means: the one before is committed.
        let full = full && !self.suspects.is_careful();
        self.suspects.went();
        Ok(if full { Turn::Full } else { Turn::Went })
    }

    /// Where earlier ownerships died, one record is taken at a time, and written down before; true if one is.
    fn take_in_hand(&mut self, arrivals: &[Arrival]) -> bool {
        self.shard.take_at_most(if self.suspects.is_careful() { 1 } else { usize::MAX });
        if !self.suspects.is_careful() {
            return false;
        }
        let first = arrivals.iter().find_map(|arrival| match arrival {
            Arrival::Record { topic, partition, record } => Some((topic, *partition, record.offset)),
            Arrival::Observed(_) => None,
        });
        match first {
            Some((topic, partition, offset)) => {
                let topic_id = self.shard.position(topic, partition).map_or_else(String::new, |position| position.topic_id.clone());
                let place = RecordPlace { topic: topic_of(topic).to_owned(), partition, offset };
                self.suspects.take_in_hand(InHand { place, topic_id });
            }
            None => self.suspects.put_down(),
        }
        first.is_some()
    }

    /// A wall clock far ahead, as after a sleep or the first answer of NTP, is judged at once, and followed if it is right.
    fn follow_clock(&mut self, now: &dyn Fn() -> Now) -> Result<Option<Observation>, Lost> {
        if !self.shard.is_far_behind(now()) {
            return Ok(None);
        }
        announce(&self.setting, now)?;
        Ok(self.shard.follow_clock(now()))
    }

    /// The decider, to look at.
    pub fn decider(&self) -> &D {
        self.shard.decider()
    }

    /// True if it went on with the store that was there, false if it restored from the changelog's start.
    pub const fn found_store(&self) -> bool {
        self.found_store
    }

    /// Where its transactions go.
    pub fn commits(&mut self) -> &mut C {
        &mut self.commits
    }

    /// Steps and hands the transaction over; true if there was one.
    fn step(&mut self, now: Now, arrivals: Vec<Arrival>, again: Vec<NewRecord>, ticking: bool) -> Result<bool, Lost> {
        let began = clock::monotonic();
        if let Some(end) = self.commits.journal_end() {
            self.shard.journal_ends_at(end);
        }
        self.shard.let_tick(ticking && !self.setting.log.holds_ticks());
        let log = &self.setting.log;
        let starts = |topic: &str, from: StartFrom| inputs::topic_starts(log, topic, from);
        let transaction = self.shard.step(now, arrivals, &starts, again)?;
        for lease in self.shard.take_renewed() {
            self.leases.renew(lease, lease_clock_us(now));
        }
        let Some(transaction) = transaction else { return Ok(false) };
        count::<D>(&transaction, began.elapsed());
        self.commits.hand_over(transaction)?;
        Ok(true)
    }

    /// True once everything of ours has been read that was there when the shard was acquired. Before that a deadline may be met by
    /// what lies unread: a schedule whose job was paused meanwhile, a task whose end was told. (User topics may have backlogs of
    /// hours, and no deadline depends on them.)
    fn has_read_backlog(&mut self) -> bool {
        if self.backlog.as_ref().is_some_and(|ends| self.inputs.stands_behind(ends)) {
            self.backlog = None;
        }
        self.backlog.is_none() || planted(Bug::TickBeforeBacklog)
    }

    /// Leases that ran out, once the heartbeats have been taken up to an end that was asked for afterwards (§7.2). Called before
    /// polling, when everything that was read has been taken.
    fn expired_leases(&mut self, now_us: i64) -> Result<Vec<Observation>, Lost> {
        if self.leases.next_deadline_us().is_none_or(|deadline| deadline > now_us) {
            self.asked = None;
            return Ok(Vec::new());
        }
        let asked = self.asked.take();
        let (asked_us, ends) = asked.map_or_else(|| Ok((now_us, self.heartbeat_ends()?)), Ok::<_, Lost>)?;
        if self.inputs.stands_behind(&ends) || planted(Bug::LeaseUnread) {
            return Ok(self.leases.take_expired(asked_us));
        }
        self.asked = Some((asked_us, ends));
        Ok(Vec::new())
    }

    fn heartbeat_ends(&self) -> Result<InputEnds, LogError> {
        let heartbeats = self.setting.cluster.topic(topics::HEARTBEATS);
        self.inputs.ends_of(|topic| topic == heartbeats)
    }

    fn wait_for(&self, now: Now) -> Duration {
        let deadline_us = self.shard.deadline_in_us(now);
        let lease_us = self.leases.next_deadline_us().map(|deadline| deadline - lease_clock_us(now));
        let us = deadline_us.into_iter().chain(lease_us).min().unwrap_or(i64::MAX).max(0);
        Duration::from_micros(us.unsigned_abs())
    }
}

/// A record that the shard has died of again and again is set aside, by a record as a person would write it.
fn judged<D: Decider>(mut suspects: Suspects, setting: &Setting) -> Result<Suspects, Lost> {
    if let Some(InHand { place, topic_id }) = suspects.take_guilty() {
        tracing::error!(service = D::SERVICE, shard = setting.shard, %place, "the record that this shard dies of is set aside");
        let reason = format!("{}/{} died {DEATHS_MOST} times while it took this record", D::SERVICE, setting.shard);
        let quarantine = Quarantine { by: None, reason, topic_id };
        setting.log.append(vec![quarantine::record(&setting.cluster, (D::SERVICE, setting.shard), place, quarantine)])?;
    }
    Ok(suspects)
}

/// The clock that leases are measured by, microseconds (§7.2).
fn lease_clock_us(now: Now) -> i64 {
    if planted(Bug::LeaseByAt) { now.wall.0 } else { now.monotonic_us }
}

fn count<D: Decider>(transaction: &Transaction, took: Duration) {
    metrics::histogram!("orrery_decision_seconds", "service" => D::SERVICE).record(took.as_secs_f64() / transaction.entries.max(1) as f64);
}
