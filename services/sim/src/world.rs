//! The world: one queue of what happens when, in true time, and everything that it happens to.

mod agents;
mod announcing;
mod aside;
mod cancels;
mod controller;
mod faults;
mod gateway;
mod lives;
pub(crate) mod load;
mod members;
mod script;
mod stores;

use crate::crash::CrashPoints;
use crate::history::History;
use crate::log::SimLog;
use crate::machine::wall;
use crate::plan::{MINUTE, Plan, SECOND};
use agents::{Appended, Node};
use fastrand::Rng;
use members::{Key, Member};
use orrery_log::Log;
use orrery_model::record::NewRecord;
use orrery_model::topics::TOPICS;
use orrery_runtime::messages::Cluster;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Something that will happen.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    /// A member looks after one of its shards. The number is that of the member's life.
    Turn(usize, Key, u64),
    /// The commit under way of a member's shard comes to its end. The number is that of the ownership.
    Commit(usize, Key, u64),
    /// A member makes sure that an unclean commit does no harm.
    Settle(usize, Key, u64),
    /// A member hears of an assignment: the shard, the generation, whether it is to own it.
    Told(usize, Key, i64, bool),
    /// The members announce themselves.
    Announce,
    /// Somebody raises the version of the logic.
    RaiseLogic,
    /// A member follows changelogs of shards that it does not own. The number is that of its life.
    Follow(usize, u64),
    /// A member writes the next piece of a snapshot. The number is that of its life.
    Piece(usize, Key, u64),
    /// A dead member comes back.
    MemberStarts(usize),
    /// The controller looks for shards without an owner.
    Control,
    /// An agent looks around. The number is that of its life.
    AgentLooks(usize, u64),
    /// What an agent sent reaches the log.
    AgentSends(usize, u64, Appended, NewRecord),
    /// The answer reaches the agent.
    AgentHears(usize, u64, Appended, bool),
    /// Something happens on an agent's machine by itself.
    MachineMoves(usize),
    /// A dead agent comes back.
    AgentStarts(usize),
    /// A fault strikes: its place in the plan.
    Strikes(usize),
    /// What a fault has broken works again.
    Heals(faults::Healing),
    /// Somebody sends an event.
    Event,
    /// Somebody asks for a run.
    Request,
    /// Somebody cancels the newest runs.
    Cancel,
    /// The gateway follows the log. The number is that of its life.
    GatewayLooks(u64),
    /// Somebody stops a job, or lets it go on.
    Switch(usize),
    /// A client sends a record, late or again: an event with its number, or something else.
    Sends(NewRecord, Option<i64>),
    /// What the script says happens: its place there.
    Acts(usize),
    /// Late commits arrive at the log.
    LateCommits,
    /// The log is cleaned.
    Clean,
}

/// Everything there is.
pub struct World {
    pub(crate) plan: Plan,
    pub(crate) log: SimLog,
    pub(crate) cluster: Cluster,
    pub(crate) crash: Arc<CrashPoints>,
    pub(crate) history: History,
    pub(crate) chance: Rng,
    now: Arc<AtomicI64>,
    queue: BTreeMap<(i64, u64), Happening>,
    counter: u64,
    happened: u64,
    written: u64,
    members: Vec<Member>,
    nodes: Vec<Node>,
    assigned: BTreeMap<Key, controller::Assigned>,
    load: load::Load,
    gateway: gateway::Gateway,
    slow: BTreeMap<Key, (i64, u32)>,
    /// Ownerships so far.
    tenures: u64,
    healed: bool,
}

impl World {
    /// The world of a plan, before its first moment.
    pub fn new(plan: Plan) -> Self {
        let now = Arc::new(AtomicI64::new(plan.begins));
        let crash = Arc::new(CrashPoints::default());
        let broker = now.clone();
        let log = SimLog::new(plan.seed, crash.clone(), Arc::new(move || wall(broker.load(Ordering::Relaxed))));
        log.set_compaction(plan.compaction);
        log.set_gaps(plan.script.is_none());
        if plan.one_machine {
            log.set_one_machine();
        }
        let cluster = Cluster {
            trigger_shards: plan.trigger_shards,
            cells: plan.cells,
            compaction: plan.compaction,
            snapshots: plan.snapshots,
            ..Cluster::single()
        };
        let mut world = Self {
            chance: Rng::with_seed(plan.seed),
            load: load::Load::default(),
            gateway: gateway::Gateway::default(),
            plan,
            log,
            cluster,
            crash,
            history: History::default(),
            now,
            queue: BTreeMap::new(),
            counter: 0,
            happened: 0,
            written: 0,
            members: Vec::new(),
            nodes: Vec::new(),
            assigned: BTreeMap::new(),
            slow: BTreeMap::new(),
            tenures: 0,
            healed: false,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for topic in TOPICS {
            let partitions = self.cluster.partitions(topic.partitions);
            self.log.ensure_topic(&self.cluster.topic(topic.name), partitions, topic.cleanup).expect("an empty log takes topics");
        }
        let log: Arc<dyn Log> = Arc::new(self.log.clone());
        orrery_runtime::founding::found(&log, &self.cluster).expect("nobody has made this cluster before");
        self.make_topic();
        self.begin_members();
        self.begin_announcing();
        self.begin_agents();
        let is_scripted = self.plan.script.is_some();
        if is_scripted {
            self.begin_script();
        } else {
            self.define_jobs();
        }
        self.after(SECOND, Happening::GatewayLooks(0));
        for (place, (at, _)) in self.plan.faults.clone().into_iter().enumerate() {
            self.at(at, Happening::Strikes(place));
        }
        if !is_scripted {
            self.at(MINUTE, Happening::Event);
            self.at(MINUTE, Happening::Request);
        }
        self.at(self.plan.clean_every, Happening::Clean);
        self.at(10 * SECOND, Happening::Control);
    }

    /// Runs to the end of the plan.
    pub fn run(&mut self) {
        while let Some(((at, _), happening)) = self.queue.pop_first() {
            if at >= self.plan.ends {
                break;
            }
            if at >= self.plan.faults_until && !self.healed {
                self.healed = true;
                self.heal_everything();
            }
            self.now.store(at, Ordering::Relaxed);
            self.happened += 1;
            self.happen(happening);
            self.listen();
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Turn(member, key, life) => self.turn(member, key, life),
            Happening::Commit(member, key, tenure) => self.commit(member, key, tenure),
            Happening::Settle(member, key, tenure) => self.settle(member, key, tenure),
            Happening::Told(member, key, generation, own) => self.told(member, key, generation, own),
            Happening::Announce => self.announce(),
            Happening::RaiseLogic => self.raise_logic(),
            Happening::Follow(member, life) => self.follow(member, life),
            Happening::Piece(member, key, life) => self.piece(member, key, life),
            Happening::MemberStarts(member) => self.member_starts(member),
            Happening::Control => self.control(),
            Happening::AgentLooks(node, life) => self.agent_looks(node, life),
            Happening::AgentSends(node, life, what, record) => self.agent_sends(node, life, what, record),
            Happening::AgentHears(node, life, what, ok) => self.agent_hears(node, life, what, ok),
            Happening::MachineMoves(node) => self.machine_moves(node),
            Happening::AgentStarts(node) => self.agent_starts(node),
            Happening::Strikes(place) => self.strike(place),
            Happening::Heals(healing) => self.heal(healing),
            Happening::Event => self.send_event(),
            Happening::Request => self.send_request(),
            Happening::Cancel => self.cancel_newest(),
            Happening::GatewayLooks(life) => self.gateway_looks(life),
            Happening::Switch(which) => self.switch(which),
            Happening::Sends(record, event) => drop(self.send_record(record, event)),
            Happening::Acts(place) => self.act(place),
            Happening::LateCommits => self.log.settle_late(),
            Happening::Clean => {
                self.log.clean();
                self.after(self.plan.clean_every, Happening::Clean);
            }
        }
    }

    /// Whoever waits for what was written just now looks soon.
    fn listen(&mut self) {
        let written = self.log.written();
        if written != self.written {
            self.written = written;
            let touched = self.log.take_touched();
            self.wake_members(&touched);
            self.wake_agents();
        }
    }

    /// True time.
    pub(crate) fn now(&self) -> i64 {
        self.now.load(Ordering::Relaxed)
    }

    pub(crate) fn at(&mut self, at: i64, happening: Happening) {
        self.counter += 1;
        self.queue.insert((at.max(self.now()), self.counter), happening);
    }

    pub(crate) fn after(&mut self, span: i64, happening: Happening) {
        self.at(self.now() + span, happening);
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        let line = format!("{:>12} {}", self.now(), text());
        self.history.trace.push(line);
    }

    /// What an auditor needs to look at the end of this world.
    pub fn outcome(&mut self) -> crate::checkers::Outcome<'_> {
        let due = self.plan.faults_until;
        self.history.unanswered = self.nodes.iter().flat_map(|node| node.machine.ended_before(due)).collect();
        let shown = self.shown();
        crate::checkers::Outcome::new(&self.plan, Arc::new(self.log.clone()), &self.cluster, &self.history, shown)
    }

    /// What happened so far.
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// How often each crash point has killed.
    pub fn killed(&self) -> BTreeMap<crate::crash::Point, u64> {
        self.crash.killed()
    }

    /// How much has happened.
    pub const fn happened(&self) -> u64 {
        self.happened
    }

    /// Records on the log.
    pub fn records(&self) -> u64 {
        self.log.written()
    }

    /// A hash over everything that is on the log and everything that really happened.
    pub fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        self.log.each_partition(|at| {
            let from = self.log.start_offset(at).unwrap_or_default();
            let fetch = self.log.read(at, from, usize::MAX).unwrap_or_default();
            for record in fetch.records {
                hasher.update(format!("{at:?} {} {} {:?}", record.offset, record.appended, record.headers).as_bytes());
                for payload in [&record.key, &record.value].into_iter().flatten() {
                    hasher.update(payload.as_bytes());
                }
            }
        });
        hasher.update(format!("{:?}", self.history.starts).as_bytes());
        hasher.finalize().to_hex().to_string()
    }
}
