//! What a seed decides before anything happens: the cluster, the load, the faults.

use crate::crash::Point;
use crate::log::Fate;
use crate::script::Script;
use fastrand::Rng;
use orrery_model::topics::Compaction;
use orrery_runtime::snapshots::SnapshotSetting;

/// One second of simulated time.
pub const SECOND: i64 = 1_000_000;
/// One minute.
pub const MINUTE: i64 = 60 * SECOND;

/// A whole run of the simulator.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Seed of everything that is drawn while it runs.
    pub seed: u64,
    /// Trigger shards.
    pub trigger_shards: u32,
    /// Cells.
    pub cells: u32,
    /// Processes that may own shards.
    pub members: usize,
    /// Agents.
    pub agents: usize,
    /// The log is that of one machine, on which the one member lives.
    pub one_machine: bool,
    /// When time begins; all times of the plan count from the same zero.
    pub begins: i64,
    /// Faults strike until then.
    pub faults_until: i64,
    /// Load comes until then, and the world ends at `ends`.
    pub ends: i64,
    /// The controller believes a member dead that owned nothing for so long (a group's session timeout).
    pub dead_after: i64,
    /// Between two events, on average.
    pub event_every: i64,
    /// When somebody raises the version of the logic.
    pub raise_logic_at: Option<i64>,
    /// How the log compacts, and how often it does.
    pub compaction: Compaction,
    /// See `compaction`.
    pub clean_every: i64,
    /// How often snapshots are taken.
    pub snapshots: SnapshotSetting,
    /// What goes wrong, in order of time.
    pub faults: Vec<(i64, Fault)>,
    /// Load that is written down, instead of what is drawn.
    pub script: Option<Script>,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Whoever passes this point next (after some that live) dies there.
    CrashAt(Point, u32),
    /// kill -9 of a member; it comes back.
    KillMember(usize),
    /// kill -9 of a member, which comes back after so long with its old disk. (Not of the last one.)
    StayAway(usize, i64),
    /// A member's machine loses power: its last store writes are gone.
    PowerLoss(usize),
    /// A member's disk is replaced.
    LoseDisk(usize),
    /// A member's disk is full for so long.
    DiskFull(usize, i64),
    /// A member stops, does not notice, and goes on.
    Pause(usize, i64),
    /// A shard is given to this member; the old owner hears of it so much later.
    Reassign(u32, usize, i64),
    /// Two members are told to own a shard, in one generation.
    Contradict(u32, usize, usize),
    /// What becomes of the next commit of a shard.
    Commit(u32, Fate),
    /// The next commits of a shard take so long.
    SlowCommits(u32, i64),
    /// A transaction is opened in a shard's journal and changelog, and ended so much later.
    OpenTransaction(u32, i64),
    /// An agent and the log do not hear each other for so long.
    Cut(usize, i64),
    /// An agent reaches the log, but no answer comes back.
    CutAnswers(usize, i64),
    /// What an agent sends arrives so much later.
    Lag(usize, i64),
    /// kill -9 of an agent, at once or between two of its effects.
    KillAgent(usize, Option<u32>),
    /// An agent's machine loses power between two of its agent's effects.
    RebootWithin(usize, u32),
    /// An agent dies and its folder is gone.
    LoseAgentFolder(usize),
    /// An agent's supervisor dies.
    KillSupervisor(usize),
    /// An agent's machine loses power and starts again.
    Reboot(usize),
    /// A member's wall clock is off by so much, until somebody sets it right.
    MemberClock(usize, i64),
    /// An agent's wall clock is off by so much from now on.
    AgentClock(usize, i64),
    /// The next read of a shard delivers what an earlier ownership asked for: from so many records further on.
    Stray(u32, usize),
    /// Nobody reaches the log for so long.
    LogOutage(i64),
    /// The clock of the log's machine is so many years ahead for so long: while it runs, with a start of the process, or of the machine.
    ClockLeap(i64, u32, i64),
    /// The log is damaged and salvaged: so many of the last records of some journals and changelogs are lost.
    Salvage(usize),
    /// So many events at once.
    Burst(u32),
    /// A record that is none, on one of our topics.
    Poison(u32),
    /// A record that kills whoever decides on it.
    Deadly(u32),
    /// Somebody sets an event aside.
    SetAside(u32),
    /// A job is defined anew.
    Redefine(u32),
    /// An event comes, and so much later somebody cancels the newest runs.
    Cancel(i64),
    /// An agent dies and comes back with another size.
    Resize(usize, i64),
    /// The gateway dies.
    KillGateway,
    /// A job that may not be there is defined while events arrive: from the next one on, from the first, or from a time on.
    Define(u32),
    /// Such a job is deleted.
    Withdraw(u32),
    /// Two definitions of such a job, one close behind the other, by clients with different partitioners.
    Contest(u32),
    /// The data team's topic is deleted, and made again so much later.
    Recreate(i64),
}

impl Fault {
    /// Its kind, for counting.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::CrashAt(..) => "crash",
            Self::KillMember(_) => "kill_member",
            Self::StayAway(..) => "stay_away",
            Self::PowerLoss(_) => "power_loss",
            Self::LoseDisk(_) => "lose_disk",
            Self::DiskFull(..) => "disk_full",
            Self::Pause(..) => "pause",
            Self::Reassign(..) => "reassign",
            Self::Contradict(..) => "contradict",
            Self::Commit(..) => "commit_fate",
            Self::SlowCommits(..) => "slow_commits",
            Self::OpenTransaction(..) => "open_transaction",
            Self::Cut(..) => "cut",
            Self::CutAnswers(..) => "cut_answers",
            Self::Lag(..) => "lag",
            Self::KillAgent(..) => "kill_agent",
            Self::RebootWithin(..) => "reboot_within",
            Self::LoseAgentFolder(_) => "lose_agent_folder",
            Self::KillSupervisor(_) => "kill_supervisor",
            Self::Reboot(_) => "reboot",
            Self::MemberClock(..) => "member_clock",
            Self::AgentClock(..) => "agent_clock",
            Self::Stray(..) => "stray",
            Self::LogOutage(_) => "log_outage",
            Self::ClockLeap(..) => "clock_leap",
            Self::Salvage(_) => "salvage",
            Self::Burst(_) => "burst",
            Self::Poison(_) => "poison",
            Self::Deadly(_) => "deadly",
            Self::SetAside(_) => "set_aside",
            Self::Redefine(_) => "redefine",
            Self::Cancel(_) => "cancel",
            Self::Resize(..) => "resize",
            Self::KillGateway => "kill_gateway",
            Self::Define(_) => "define",
            Self::Withdraw(_) => "withdraw",
            Self::Contest(_) => "contest",
            Self::Recreate(_) => "recreate",
        }
    }
}

/// What can become of a commit, apart from what should.
const FATES: [Fate; 5] = [Fate::UnknownDone, Fate::UnknownLost, Fate::UnknownLate, Fate::Torn, Fate::Crossed];
/// Bursts of one world.
const BURSTS_MAX: usize = 4;
/// Every kind of fault.
pub const FAULT_KINDS: &[&str] = &[
    "crash",
    "kill_member",
    "stay_away",
    "power_loss",
    "lose_disk",
    "disk_full",
    "pause",
    "reassign",
    "contradict",
    "commit_fate",
    "slow_commits",
    "open_transaction",
    "cut",
    "cut_answers",
    "lag",
    "kill_agent",
    "reboot_within",
    "lose_agent_folder",
    "kill_supervisor",
    "reboot",
    "member_clock",
    "agent_clock",
    "stray",
    "log_outage",
    "clock_leap",
    "salvage",
    "burst",
    "poison",
    "deadly",
    "set_aside",
    "redefine",
    "cancel",
    "resize",
    "kill_gateway",
    "define",
    "withdraw",
    "contest",
    "recreate",
];

/// Number of kinds that [`draw`] chooses from.
const KINDS: u32 = 31;

impl Plan {
    /// What this seed decides: a cluster of eight agents, two hours, a fault a minute or more, of some kinds only, and some
    /// 370 runs an hour: what breaks does so around faults.
    pub fn of(seed: u64) -> Self {
        let mut chance = Rng::with_seed(seed);
        let hours = 2;
        let faults_until = hours * 60 * MINUTE;
        let mut plan = Self {
            seed,
            trigger_shards: 2,
            cells: 2,
            members: chance.usize(2..=4),
            agents: 8,
            one_machine: false,
            begins: 0,
            faults_until,
            // What is owed by `catch_up: all` runs one after another.
            ends: faults_until + 40 * MINUTE,
            dead_after: if chance.u8(0..4) == 0 { 200 * SECOND } else { 6 * SECOND },
            event_every: chance.i64(30..150) * SECOND,
            raise_logic_at: None,
            compaction: Compaction::default(),
            clean_every: 30 * MINUTE,
            snapshots: SnapshotSetting { entries: chance.i64(500..3_000), piece_bytes: chance.usize(2_000..30_000) },
            faults: Vec::new(),
            script: None,
        };
        // Drawn apart, so that it changes no other choice.
        let mut apart = Rng::with_seed(!seed);
        plan.raise_logic_at = apart.bool().then(|| apart.i64(10 * MINUTE..faults_until));
        if chance.bool() {
            // Here an old store misses tombstones after minutes, not after days.
            plan.compaction = Compaction { lag_ms: 60_000, tombstones_ms: chance.i64(4..10) * 60_000 };
            plan.clean_every = 3 * MINUTE;
        }
        if apart.u8(0..8) == 0 {
            plan.draw_one_machine(&mut apart);
        }
        plan.draw_faults(&mut chance);
        if !plan.one_machine {
            plan.draw_open_transactions(&mut apart);
        }
        plan.draw_deadly(&mut apart);
        plan.bound_salvage();
        plan.faults.sort_by_key(|(at, _)| *at);
        plan
    }

    /// What a changelog alone cannot find again, and the protocol's second edition is to: with the last value of a row its earlier
    /// ones are lost, if they were compacted; and who counts a topic's generations from an earlier one on is not listened to.
    fn bound_salvage(&mut self) {
        if self.faults.iter().any(|(_, fault)| matches!(fault, Fault::Salvage(_))) {
            self.compaction.lag_ms = self.ends / 1_000;
            self.faults.retain(|(_, fault)| !matches!(fault, Fault::Recreate(_)));
        }
    }

    fn draw_faults(&mut self, chance: &mut Rng) {
        // Some kinds only, each seed others: many faults of few kinds find what few of many do not.
        let kinds: Vec<u32> = (0..KINDS).filter(|_| chance.u8(0..3) == 0).collect();
        let mean = chance.i64(10..50) * SECOND;
        // The first minute is calm: jobs are defined, agents join.
        let mut at = MINUTE;
        while at < self.faults_until && !kinds.is_empty() {
            let kind = kinds[chance.usize(..kinds.len())];
            let fault = draw(kind, self, chance);
            // What has piled up must be worked off before the end.
            let bursts = self.faults.iter().filter(|(_, fault)| matches!(fault, Fault::Burst(_))).count();
            if !matches!(fault, Fault::Burst(_)) || (bursts < BURSTS_MAX && at < self.faults_until / 2) {
                self.faults.push((at, fault));
            }
            // A way that was slow and then breaks: whoever counts from the answer counts too long.
            if let Fault::Lag(agent, span) = fault
                && chance.bool()
            {
                self.faults.push((at + 2 * span + SECOND, Fault::Cut(agent, 120 * SECOND)));
            }
            // Who takes over from an owner that is slow finds what a slow owner does when it comes back.
            if let Fault::SlowCommits(shard, span) = fault
                && chance.bool()
            {
                let to = chance.usize(..self.members);
                self.faults.push((at + span, Fault::Reassign(shard, to, 10 * SECOND)));
            }
            at += chance.i64(SECOND..2 * mean);
        }
    }

    /// Somebody acquires what cannot be read to its end.
    fn draw_open_transactions(&mut self, chance: &mut Rng) {
        for _ in 0..chance.usize(..3) {
            let (at, shard, span) = (chance.i64(MINUTE..self.faults_until), chance.u32(..self.shards()), chance.i64(5..120) * SECOND);
            let taken = at + chance.i64(SECOND..span);
            self.faults.push((at, Fault::OpenTransaction(shard, span)));
            self.faults.push((taken, Fault::Reassign(shard, chance.usize(..self.members), SECOND)));
        }
    }

    /// Records that nobody survives, and some that people set aside.
    fn draw_deadly(&mut self, chance: &mut Rng) {
        for _ in 0..chance.usize(..3) {
            self.faults.push((chance.i64(MINUTE..self.faults_until), Fault::Deadly(chance.u32(..))));
        }
        for _ in 0..chance.usize(..4) {
            self.faults.push((chance.i64(MINUTE..self.faults_until), Fault::SetAside(chance.u32(..))));
        }
    }

    /// One process on one machine, with a log of its own.
    fn draw_one_machine(&mut self, chance: &mut Rng) {
        self.one_machine = true;
        self.members = 1;
        self.raise_logic_at = None;
        if chance.bool() {
            let at = chance.i64(self.faults_until / 4..self.faults_until);
            self.faults.push((at, Fault::Salvage(chance.usize(1..40))));
        }
        for _ in 0..chance.usize(1..4) {
            let (years, how) = (chance.i64(1..30), chance.u32(..3));
            let (at, span) = (chance.i64(MINUTE..self.faults_until), chance.i64(SECOND..15 * MINUTE));
            self.faults.push((at, Fault::ClockLeap(years, how, span)));
        }
    }

    /// Shards of both services: trigger shards first.
    pub const fn shards(&self) -> u32 {
        self.trigger_shards + self.cells
    }
}

fn draw(kind: u32, plan: &Plan, chance: &mut Rng) -> Fault {
    let member = chance.usize(..plan.members);
    let agent = chance.usize(..plan.agents);
    let shard = chance.u32(..plan.shards());
    // Mostly short, sometimes beyond every lease.
    let long = chance.u8(0..4) == 0;
    let span = if long { chance.i64(SECOND..180 * SECOND) } else { chance.i64(SECOND / 10..10 * SECOND) };
    match kind {
        0 | 1 => Fault::CrashAt(Point::ALL[chance.usize(..Point::ALL.len())], chance.u32(..6)),
        2 if chance.u8(0..4) == 0 => Fault::StayAway(member, chance.i64(5..25) * MINUTE),
        2 => Fault::KillMember(member),
        3 => Fault::PowerLoss(member),
        4 => Fault::LoseDisk(member),
        5 => Fault::DiskFull(member, span),
        6 => Fault::Pause(member, span),
        7 => Fault::Reassign(shard, member, span),
        8 => Fault::Contradict(shard, member, chance.usize(..plan.members)),
        9 => Fault::Commit(shard, FATES[chance.usize(..FATES.len())]),
        10 => Fault::SlowCommits(shard, chance.i64(SECOND / 4..5 * SECOND)),
        11 => Fault::Cut(agent, span),
        12 => Fault::CutAnswers(agent, span),
        13 => Fault::Lag(agent, span.min(30 * SECOND)),
        14 => Fault::KillAgent(agent, chance.bool().then(|| chance.u32(..6))),
        15 => Fault::LoseAgentFolder(agent),
        16 => Fault::KillSupervisor(agent),
        17 if chance.bool() => Fault::RebootWithin(agent, chance.u32(..6)),
        17 => Fault::Reboot(agent),
        18 if long => Fault::MemberClock(member, chance.i64(-3_600 * SECOND..3_600 * SECOND)),
        18 => Fault::MemberClock(member, chance.i64(-2 * SECOND..2 * SECOND)),
        19 => Fault::AgentClock(agent, chance.i64(-3_600 * SECOND..3_600 * SECOND)),
        23 => Fault::Stray(shard, chance.usize(1..4)),
        20 => Fault::LogOutage(span.min(90 * SECOND)),
        24 => Fault::Cancel(chance.i64(SECOND / 1_000..3 * SECOND)),
        25 => Fault::Resize(agent, chance.i64(0..3)),
        26 => Fault::KillGateway,
        21 => Fault::Burst(chance.u32(20..200)),
        27 => Fault::Define(chance.u32(..)),
        28 => Fault::Withdraw(chance.u32(..)),
        29 => Fault::Contest(chance.u32(..)),
        30 => Fault::Recreate(if chance.bool() { 0 } else { span }),
        _ if chance.bool() => Fault::Poison(chance.u32(..)),
        _ => Fault::Redefine(chance.u32(..)),
    }
}
