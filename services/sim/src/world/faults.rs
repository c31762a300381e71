//! Faults: what the plan says goes wrong, and how it is mended.

use super::{Happening, World};
use crate::machine::wall;
use crate::plan::{Fault, SECOND};
use orrery_log::{Log, TopicPartition};
use orrery_model::topics;
use orrery_runtime::committing::transactional_id;

/// What is mended by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Healing {
    /// A member's disk has room again.
    Disk(usize),
    /// A member's wall clock is set right.
    Clock(usize),
    /// The log answers again.
    Log,
    /// Open transactions are ended.
    Transactions,
    /// The data team makes its topic again.
    Topic,
    /// The clock of the log's machine is set right.
    Leap,
    /// Who was given an old binary by mistake has the new one again.
    Binaries,
}

/// Microseconds of a year.
const YEAR: i64 = 365 * 86_400 * SECOND;

/// Commits that are slow after a fault.
const SLOW_COMMITS: u32 = 3;

impl World {
    pub(super) fn strike(&mut self, place: usize) {
        let (_, fault) = self.plan.faults[place];
        *self.history.faults.entry(fault.kind()).or_default() += 1;
        self.note(|| format!("fault {fault:?}"));
        let now = self.now();
        match fault {
            Fault::CrashAt(point, after) => self.crash.arm(point, after),
            Fault::KillMember(m) => self.kill_member(m),
            Fault::StayAway(m, span) => self.stay_away(m, span),
            Fault::PowerLoss(m) => {
                self.kill_member(m);
                let kept = self.chance.usize(..16);
                self.members[m].disks.values().for_each(|disk| disk.lose_power(kept));
            }
            Fault::LoseDisk(m) => {
                self.kill_member(m);
                self.members[m].disks.values().for_each(crate::disk::Disk::replace);
            }
            Fault::DiskFull(m, span) => {
                self.members[m].disks.values().for_each(|disk| disk.set_full(true));
                self.after(span, Happening::Heals(Healing::Disk(m)));
            }
            Fault::Pause(m, span) => self.members[m].paused_until = now + span,
            Fault::Reassign(shard, m, heard) => self.assign(self.key(shard), m, heard),
            Fault::Contradict(shard, first, second) => self.contradict(self.key(shard), first, second),
            Fault::Commit(shard, fate) => {
                let (service, shard) = self.key(shard);
                self.log.plan(&transactional_id(&self.cluster, service, shard), fate);
                let span = self.chance.i64(SECOND / 100..5 * SECOND);
                self.after(span, Happening::LateCommits);
            }
            Fault::OpenTransaction(shard, span) => self.open_transaction(shard, span),
            Fault::SlowCommits(shard, span) => drop(self.slow.insert(self.key(shard), (span, SLOW_COMMITS))),
            Fault::Cut(n, span) => self.nodes[n].link.cut_until = now + span,
            Fault::CutAnswers(n, span) => self.nodes[n].link.mute_until = now + span,
            Fault::Lag(n, span) => {
                self.nodes[n].link.lag = span;
                self.nodes[n].link.lags_until = now + 60 * SECOND;
            }
            Fault::KillAgent(n, None) => self.kill_agent(n),
            Fault::KillAgent(n, Some(after)) => self.nodes[n].doom = Some((after, false)),
            Fault::RebootWithin(n, after) => self.nodes[n].doom = Some((after, true)),
            Fault::LoseAgentFolder(n) => self.lose_agent_folder(n),
            Fault::KillSupervisor(n) => self.lose_supervisor(n),
            Fault::Reboot(n) => self.reboot(n),
            Fault::MemberClock(m, skew) => self.set_member_clock(m, skew),
            Fault::AgentClock(n, skew) => self.nodes[n].skew = skew,
            Fault::Stray(shard, further) => self.stray(shard, further),
            Fault::LogOutage(span) => {
                self.log.set_reachable(false);
                self.after(span, Happening::Heals(Healing::Log));
            }
            Fault::ClockLeap(years, how, span) => self.leap(years, how, span),
            Fault::Salvage(records) => self.salvage(records),
            load => self.strike_with_load(load),
        }
    }

    fn stray(&mut self, shard: u32, further: usize) {
        let (service, shard) = self.key(shard);
        let topic = if service == "trigger" { topics::OUTCOMES } else { topics::TASKS };
        self.log.stray(TopicPartition::new(&self.cluster.topic(topic), shard), further);
    }

    fn leap(&mut self, years: i64, how: u32, span: i64) {
        self.log.set_clock_ahead(years * YEAR);
        if how > 0 {
            (0..self.members.len()).for_each(|m| self.kill_member(m));
            self.log.reopen(how == 2);
        }
        self.after(span, Happening::Heals(Healing::Leap));
    }

    /// Whoever uses the log is gone, as it is opened anew.
    fn salvage(&mut self, records: usize) {
        (0..self.members.len()).for_each(|m| self.kill_member(m));
        let mut lost = Vec::new();
        for shard in 0..self.plan.shards() {
            let (service, shard) = self.key(shard);
            for kind in ["journal", "changelog"] {
                if self.chance.bool() {
                    lost.push((TopicPartition::new(&self.cluster.topic(&format!("{service}.{kind}")), shard), records));
                }
            }
        }
        self.log.salvage(&lost);
        self.history.salvaged.get_or_insert(self.log.wall().0 - wall(0).0);
    }

    /// Faults that clients make.
    fn strike_with_load(&mut self, fault: Fault) {
        match fault {
            Fault::Burst(count) => self.events(count),
            Fault::Poison(which) => self.poison(which),
            Fault::Deadly(which) => self.send_deadly(which),
            Fault::SetAside(which) => self.set_aside(which),
            Fault::Redefine(which) => self.redefine(which),
            Fault::Cancel(span) => {
                self.events(1);
                self.after(span, Happening::Cancel);
            }
            Fault::Resize(n, size) => self.resize_agent(n, size),
            Fault::KillGateway => self.kill_gateway(),
            Fault::Define(which) => self.define_late(which),
            Fault::Withdraw(which) => self.withdraw_late(which),
            Fault::Contest(which) => self.contest(which),
            Fault::Recreate(span) => {
                self.delete_topic();
                self.after(span, Happening::Heals(Healing::Topic));
            }
            other => unreachable!("{other:?} strikes by itself"),
        }
    }

    fn open_transaction(&mut self, shard: u32, span: i64) {
        let (service, shard) = self.key(shard);
        let of = |kind| TopicPartition::new(&self.cluster.topic(&format!("{service}.{kind}")), shard);
        self.log.open_transaction(&[of("journal"), of("changelog")]);
        self.after(span, Happening::Heals(Healing::Transactions));
    }

    fn set_member_clock(&mut self, m: usize, skew: i64) {
        self.members[m].skew = skew;
        let span = self.chance.i64(30 * SECOND..900 * SECOND);
        self.after(span, Happening::Heals(Healing::Clock(m)));
    }

    pub(super) fn heal(&mut self, healing: Healing) {
        match healing {
            Healing::Disk(m) => self.members[m].disks.values().for_each(|disk| disk.set_full(false)),
            Healing::Clock(m) => self.members[m].skew = 0,
            Healing::Transactions => self.log.close_transactions(),
            Healing::Log => self.log.set_reachable(true),
            Healing::Topic => self.make_topic(),
            Healing::Leap => self.log.set_clock_ahead(0),
            Healing::Binaries => self.exchange_binaries(),
        }
    }

    /// From now on nothing goes wrong any more, and everything must come to its end.
    pub(super) fn heal_everything(&mut self) {
        self.note(|| "everything heals".into());
        self.crash.disarm();
        self.log.set_reachable(true);
        self.log.close_transactions();
        self.log.set_clock_ahead(0);
        self.make_topic();
        self.slow.clear();
        for m in 0..self.members.len() {
            self.members[m].paused_until = self.members[m].paused_until.min(self.now());
            self.members[m].skew = 0;
            self.members[m].disks.values().for_each(|disk| disk.set_full(false));
            if !self.members[m].alive {
                self.after(SECOND, Happening::MemberStarts(m));
            }
        }
        self.exchange_binaries();
        for node in &mut self.nodes {
            node.link = super::agents::Link::default();
            node.doom = None;
        }
    }
}
