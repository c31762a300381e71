//! Members: processes that own shards.

use super::announcing::{NEWEST_LOGIC, announced};
use super::controller::Assigned;
use super::{Happening, World};
use crate::crash::{CrashPoints, Crashed, Point};
use crate::disk::Disk;
use crate::log::SimLog;
use crate::machine::wall;
use crate::plan::SECOND;
use orrery_allocator::Allocator;
use orrery_log::{Bell, Log};
use orrery_model::decider::Decider;
use orrery_model::time::Timestamp;
use orrery_model::topics;
use orrery_runtime::committing::{CLEAN_COMMIT, Committing};
use orrery_runtime::owner::{Claim, Commits, Lost, Owner, Setting, Turn};
use orrery_runtime::shard::Transaction;
use orrery_runtime::snapshots::Snapshot;
use orrery_runtime::stamp::Now;
use orrery_runtime::standby::Standby;
use orrery_trigger::Trigger;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Service and shard.
pub(crate) type Key = (&'static str, u32);

/// Transactions that wait for the one under way; with more the owner does not turn.
const WAITING_MAX: usize = 2;
/// Between two turns with something to do, and from a ring to the turn.
pub(super) const TURN_US: i64 = 500;
/// Longest wait without looking around: whatever arrives rings.
const LOOK_AROUND: i64 = 60 * SECOND;

/// One process that may own shards, on a machine of its own.
pub(crate) struct Member {
    pub(super) name: String,
    pub(crate) alive: bool,
    /// Counts its starts: what was meant for an earlier life is void.
    pub(super) life: u64,
    /// Off once this life is over.
    pub(super) running: Arc<AtomicBool>,
    pub(crate) paused_until: i64,
    /// Wall clock minus true time.
    pub(crate) skew: i64,
    /// The newest version of the logic that its binary has.
    pub(super) logic: i32,
    pub(crate) disks: BTreeMap<Key, Disk>,
    pub(super) shards: BTreeMap<Key, Held>,
    /// Stores that are kept warm for shards that it does not own.
    pub(super) standbys: BTreeMap<Key, Standby>,
    /// Snapshots that are being written.
    pub(super) snapshots: BTreeMap<Key, Snapshot>,
}

impl Member {
    /// True if it was told to own the shard: its store is the owner's.
    pub(super) fn holds(&self, key: Key) -> bool {
        self.shards.contains_key(&key)
    }
}

/// A shard as a member sees it.
pub(super) struct Held {
    generation: i64,
    claim: Claim,
    owner: Option<AnyOwner>,
    /// It could not own the shard for a reason of its own.
    pub(super) unfit: bool,
    bell: Arc<Bell>,
    /// When the next turn is planned.
    turn_at: Option<i64>,
    committing: bool,
    /// Number of the ownership: what was meant for an earlier one is void.
    tenure: u64,
    /// How long the commit under way takes.
    took_us: i64,
}

enum AnyOwner {
    Trigger(Box<Owner<Trigger, Queue>>),
    Allocator(Box<Owner<Allocator, Queue>>),
}

macro_rules! either {
    ($owner:expr, $name:ident => $body:expr) => {
        match $owner {
            AnyOwner::Trigger($name) => $body,
            AnyOwner::Allocator($name) => $body,
        }
    };
}

/// Transactions in the order of their commits; the world decides when each is committed.
pub(crate) struct Queue {
    committing: Committing,
    waiting: VecDeque<Transaction>,
    journal_end: Option<i64>,
    failed: Option<Lost>,
    crash: Arc<CrashPoints>,
}

impl Commits for Queue {
    fn hand_over(&mut self, transaction: Transaction) -> Result<(), Lost> {
        self.crash.pass(Point::Decided);
        self.check()?;
        self.waiting.push_back(transaction);
        Ok(())
    }
    fn check(&self) -> Result<(), Lost> {
        self.failed.clone().map_or(Ok(()), Err)
    }
    fn journal_end(&self) -> Option<i64> {
        self.journal_end
    }
}

impl Queue {
    fn commit_next(&mut self, took: Duration) {
        let Some(transaction) = self.waiting.pop_front() else { return };
        match self.committing.commit(transaction, &mut || took) {
            Ok(end) => self.journal_end = Some(end),
            Err(lost) => self.failed = Some(lost),
        }
    }
    fn settle(&mut self) {
        if let Err(lost) = self.committing.settle() {
            self.failed = Some(lost);
        }
    }
    /// The transaction that began the ownership is committed.
    const fn has_begun(&self) -> bool {
        self.journal_end.is_some()
    }
}

impl World {
    pub(super) fn begin_members(&mut self) {
        for n in 0..self.plan.members {
            let member = Member {
                name: format!("m{n}"),
                alive: true,
                life: 0,
                running: Arc::new(AtomicBool::new(true)),
                paused_until: 0,
                skew: 0,
                logic: NEWEST_LOGIC,
                disks: BTreeMap::new(),
                shards: BTreeMap::new(),
                standbys: BTreeMap::new(),
                snapshots: BTreeMap::new(),
            };
            self.members.push(member);
            self.at(n as i64 * SECOND, Happening::Follow(n, 0));
        }
        let keys: Vec<Key> = (0..self.plan.shards()).map(|n| self.key(n)).collect();
        for (n, key) in keys.into_iter().enumerate() {
            let member = n % self.plan.members;
            self.assigned.insert(key, Assigned::first(member));
            self.at(0, Happening::Told(member, key, 1, true));
        }
    }

    /// The plan's number of a shard as service and shard.
    pub(super) fn key(&self, shard: u32) -> Key {
        match shard.checked_sub(self.plan.trigger_shards) {
            None => (Trigger::SERVICE, shard),
            Some(cell) => (Allocator::SERVICE, cell),
        }
    }

    pub(super) fn told(&mut self, member: usize, key: Key, generation: i64, own: bool) {
        if !self.members[member].alive {
            return;
        }
        let held = self.members[member].shards.get_mut(&key);
        match (held, own) {
            (Some(held), _) if held.generation > generation => return,
            (Some(held), true) => held.generation = generation,
            (Some(_), false) => {
                self.members[member].shards.remove(&key);
                return;
            }
            (None, false) => return,
            (None, true) => {
                let bell = Arc::new(Bell::default());
                let held = Held {
                    generation,
                    claim: Claim::default(),
                    owner: None,
                    unfit: false,
                    bell,
                    turn_at: None,
                    committing: false,
                    tenure: 0,
                    took_us: 0,
                };
                // The store passes to the owner.
                self.members[member].standbys.remove(&key);
                self.members[member].shards.insert(key, held);
            }
        }
        self.plan_turn(member, key, 0);
    }

    fn plan_turn(&mut self, member: usize, key: Key, span: i64) {
        let at = (self.now() + span).max(self.members[member].paused_until);
        let life = self.members[member].life;
        let Some(held) = self.members[member].shards.get_mut(&key) else { return };
        if held.turn_at.is_none_or(|planned| planned > at) {
            held.turn_at = Some(at);
            self.at(at, Happening::Turn(member, key, life));
        }
    }

    pub(super) fn wake_members(&mut self, touched: &BTreeSet<(String, u32)>) {
        let prefix = &*self.cluster.prefix;
        let concerns = |key: Key| touched.iter().any(|(topic, partition)| is_read_by(key, topic.strip_prefix(prefix), *partition));
        let rung = |(key, held): (&Key, &Held)| (held.owner.is_some() && held.bell.has_rung() && concerns(*key)).then_some(*key);
        let woken: Vec<(usize, Vec<Key>)> =
            self.members.iter().enumerate().map(|(n, member)| (n, member.shards.iter().filter_map(rung).collect())).collect();
        for (member, keys) in woken {
            keys.into_iter().for_each(|key| self.plan_turn(member, key, TURN_US));
        }
    }

    pub(super) fn turn(&mut self, m: usize, key: Key, life: u64) {
        let now = self.now();
        let member = &mut self.members[m];
        if !member.alive || member.life != life {
            return;
        }
        let Some(held) = member.shards.get_mut(&key) else { return };
        if held.turn_at != Some(now) {
            return;
        }
        held.turn_at = None;
        if member.paused_until > now {
            let span = member.paused_until - now;
            return self.plan_turn(m, key, span);
        }
        if held.owner.is_none() {
            return self.acquire(m, key);
        }
        let (skew, log) = (member.skew, self.log.clone());
        let clock = || Now { wall: members_wall(&log, now + skew), monotonic_us: now };
        let Some(owner) = &mut held.owner else { return };
        let may = either!(owner, o => o.commits().has_begun() && o.commits().waiting.len() < WAITING_MAX);
        if !may {
            // A failed commit is seen by `check`; else the commit's end plans the next turn.
            let failed = either!(owner, o => o.commits().check().err());
            if let Some(lost) = failed {
                self.lost(m, key, Some(&lost));
            }
            return;
        }
        // What it holds unwinds with a panic, as on a thread.
        let Some(mut owner) = held.owner.take() else { return };
        let turned = self.crash.mortal(|| {
            let turned = either!(&mut owner, o => o.turn(&clock));
            (owner, turned)
        });
        let turned = turned.map(|(owner, turned)| {
            held.owner = Some(owner);
            turned
        });
        match turned {
            Ok(Ok(Turn::Went | Turn::Full)) => self.plan_turn(m, key, TURN_US),
            Ok(Ok(Turn::Idle(wait))) => self.plan_turn(m, key, micros(wait).clamp(TURN_US, LOOK_AROUND)),
            Ok(Err(lost)) => return self.lost(m, key, Some(&lost)),
            Err(crashed) => return self.unwound(m, key, &crashed),
        }
        self.plan_commit(m, key);
    }

    /// A panic of the decider ends the ownership, as the driver has it; anything else was the process's end.
    fn unwound(&mut self, m: usize, key: Key, crashed: &Crashed) {
        match crashed {
            Crashed::Decider => {
                let name = &self.members[m].name;
                let line = format!("the decider of {}/{} panics on {name}", key.0, key.1);
                self.note(|| line);
                self.lost(m, key, None);
            }
            Crashed::At(_) | Crashed::OverRecord => self.died(m, crashed),
        }
    }

    fn acquire(&mut self, m: usize, key: Key) {
        let now = self.now();
        let fresh_lineage = format!("{:016x}", self.chance.u64(..));
        let member = &mut self.members[m];
        let Some(held) = member.shards.get_mut(&key) else { return };
        let span = held.claim.not_before_us(held.generation).saturating_sub(now);
        if span > 0 {
            return self.plan_turn(m, key, span);
        }
        held.claim.acquiring(now);
        self.tenures += 1;
        held.tenure = self.tenures;
        let disk = member.disks.entry(key).or_default().clone();
        let setting = Setting {
            log: Arc::new(self.log.clone()),
            cluster: self.cluster.clone(),
            shard: key.1,
            member: announced(&member.name, member.logic),
            generation: held.generation,
            suspects: Some(disk.note(member.running.clone())),
        };
        let (skew, log) = (member.skew, self.log.clone());
        let clock = || Now { wall: members_wall(&log, now + skew), monotonic_us: now };
        let (name, crash) = (format!("{}/{}-{}", member.name, key.0, key.1), self.crash.clone());
        let bell = Arc::new(Bell::default());
        held.bell = bell.clone();
        let acquired = self.crash.mortal(|| {
            if key.0 == Trigger::SERVICE {
                acquire_as::<Trigger>(&setting, &fresh_lineage, &clock, &disk, &name, &bell, &crash).map(|o| AnyOwner::Trigger(Box::new(o)))
            } else {
                acquire_as::<Allocator>(&setting, &fresh_lineage, &clock, &disk, &name, &bell, &crash)
                    .map(|o| AnyOwner::Allocator(Box::new(o)))
            }
        });
        match acquired {
            Ok(Ok(owner)) => {
                self.history.acquired.0 += 1;
                self.history.acquired.1 += u64::from(either!(&owner, o => o.found_store()));
                held.owner = Some(owner);
                held.unfit = false;
                self.plan_commit(m, key);
            }
            Ok(Err(lost)) => self.lost(m, key, Some(&lost)),
            Err(crashed) => self.unwound(m, key, &crashed),
        }
    }

    /// Plans the end of the next commit, if one is to begin.
    fn plan_commit(&mut self, m: usize, key: Key) {
        let span = match self.slow.get_mut(&key) {
            Some((span, left)) if *left > 0 => {
                *left -= 1;
                *span
            }
            _ => self.chance.i64(1_000..6_000),
        };
        let Some(held) = self.members[m].shards.get_mut(&key) else { return };
        let Some(owner) = &mut held.owner else { return };
        if !held.committing && either!(owner, o => !o.commits().waiting.is_empty()) {
            held.committing = true;
            held.took_us = span;
            let tenure = held.tenure;
            self.after(span, Happening::Commit(m, key, tenure));
        }
    }

    pub(super) fn commit(&mut self, m: usize, key: Key, tenure: u64) {
        let took = Duration::from_micros(self.tenure(m, key, tenure).map_or(0, |held| held.took_us.unsigned_abs()));
        let clean = took <= CLEAN_COMMIT;
        // Between an unclean commit and what is made of it, others may act.
        let span = if clean { 0 } else { self.chance.i64(0..5 * SECOND) };
        let committed = self.of_ownership(m, key, tenure, Happening::Commit(m, key, tenure), |queue| queue.commit_next(took));
        let snapshot = self.tenure(m, key, tenure).and_then(|held| held.owner.as_mut()).and_then(|owner| {
            // Begun with the commit, it is written by somebody else.
            either!(owner, o => o.commits().committing.take_snapshot())
        });
        if let Some(snapshot) = snapshot {
            self.begin_snapshot(m, key, snapshot);
        }
        match committed {
            Some(()) if clean => self.settled(m, key),
            Some(()) => self.after(span, Happening::Settle(m, key, tenure)),
            None => {}
        }
    }

    pub(super) fn settle(&mut self, m: usize, key: Key, tenure: u64) {
        if self.of_ownership(m, key, tenure, Happening::Settle(m, key, tenure), Queue::settle).is_some() {
            self.settled(m, key);
        }
    }

    /// A commit is over: the next may begin.
    fn settled(&mut self, m: usize, key: Key) {
        if let Some(held) = self.members[m].shards.get_mut(&key) {
            held.committing = false;
        }
        self.plan_turn(m, key, TURN_US);
        self.plan_commit(m, key);
    }

    fn tenure(&mut self, m: usize, key: Key, tenure: u64) -> Option<&mut Held> {
        self.members[m].shards.get_mut(&key).filter(|held| held.tenure == tenure)
    }

    /// Does something with the commits of an ownership, if it still lasts and has not failed; a paused process does it `later`.
    fn of_ownership(&mut self, m: usize, key: Key, tenure: u64, later: Happening, act: impl FnOnce(&mut Queue)) -> Option<()> {
        let (crash, until) = (self.crash.clone(), self.members[m].paused_until);
        if until > self.now() {
            self.at(until, later);
            return None;
        }
        let owner = self.tenure(m, key, tenure)?.owner.as_mut()?;
        if let Err(crashed) = crash.mortal(|| either!(owner, o => act(o.commits()))) {
            self.died(m, &crashed);
            return None;
        }
        if let Some(lost) = either!(owner, o => o.commits().check().err()) {
            self.lost(m, key, Some(&lost));
            return None;
        }
        Some(())
    }

    /// An ownership has ended; the member tries again when its claim says so.
    fn lost(&mut self, m: usize, key: Key, why: Option<&Lost>) {
        let (now, jitter) = (self.now(), self.chance.u8(..));
        let name = self.members[m].name.clone();
        if let Some(why) = why {
            self.note(|| format!("{name} lost {}/{}: {why}", key.0, key.1));
            if needs_a_person(why) {
                self.history.stopped.push(format!("{name} {}/{}: {why}", key.0, key.1));
            }
        }
        let Some(held) = self.members[m].shards.get_mut(&key) else { return };
        held.owner = None;
        held.committing = false;
        held.unfit = why.is_some_and(Lost::is_members_own);
        held.claim.lost(why, held.generation, now, jitter);
        let span = held.claim.not_before_us(held.generation).saturating_sub(now);
        self.plan_turn(m, key, span);
    }
}

/// True if this shard reads this partition of a topic of ours, or of a user's. Bells ring for topics: those of the others would wake
/// every owner for each heartbeat.
fn is_read_by((service, shard): Key, ours: Option<&str>, partition: u32) -> bool {
    let Some(topic) = ours else { return true };
    let inputs = if service == Trigger::SERVICE { Trigger::inputs() } else { Allocator::inputs() };
    if inputs.contains(&topic) { partition == shard } else { [topics::ADMIN, topics::CATALOG].contains(&topic) }
}

/// What a member takes for the time: its own clock's, or the log's, if that lies on the same machine.
pub(super) fn members_wall(log: &SimLog, own_us: i64) -> Timestamp {
    if log.shares_clock() { log.wall() } else { wall(own_us) }
}

fn acquire_as<D: Decider>(
    setting: &Setting,
    fresh_lineage: &str,
    clock: &dyn Fn() -> Now,
    disk: &Disk,
    name: &str,
    bell: &Arc<Bell>,
    crash: &Arc<CrashPoints>,
) -> Result<Owner<D, Queue>, Lost> {
    let open = || Ok(disk.open(name.to_owned(), crash.clone()));
    Owner::acquire(setting, fresh_lineage, clock, &open, bell, |writer, store| Queue {
        committing: Committing::new::<D>(setting.log.clone(), &setting.cluster, setting.shard, writer, store),
        waiting: VecDeque::new(),
        journal_end: None,
        failed: None,
        crash: crash.clone(),
    })
}

/// What no retry mends: in this world only a defect leads there.
pub(super) fn needs_a_person(lost: &Lost) -> bool {
    use orrery_runtime::restore::AcquireError;
    use orrery_runtime::shard::StepError;
    match lost {
        Lost::NotAcquired(error) => {
            matches!(**error, AcquireError::JournalBehind { .. } | AcquireError::Unreadable { .. } | AcquireError::Diverged { .. })
        }
        // A stray record is refused, and that is that; another member has the logic; a log that does not answer does so later.
        Lost::Step(error) => !matches!(**error, StepError::WrongPrev { .. } | StepError::NoLogic { .. } | StepError::Log(_)),
        _ => false,
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
