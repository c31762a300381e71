//! What the agent decides: a state machine without clock and without I/O.
//!
//! [`AgentCore::step`] takes one input and gives the effects, which the driver carries out in order before the next input. Time is an
//! argument. The first input is the supervisor's snapshot; every later snapshot means that there is a new supervisor.
//!
//! Invariants: a launch is journalled (and synced) before its start is sent; an attempt is started at most once over all lives
//! of the agent; an update is sent until it is acknowledged; the lease is extended only by heartbeats that the log acknowledged, counted
//! from before their first send.

mod attempts;
mod commands;

pub use commands::Dropped;

use crate::journal::{Line, Recovered};
use crate::wire::{Ended, Event, Snapshot, StartTask};
use attempts::Attempt;
use orrery_model::id::{AgentId, AttemptId};
use orrery_model::messages::{Attribute, Command, Heartbeat, RESISTING, Session, Status, UNABLE, UNREMOVABLE};
use orrery_model::planted::{Bug, planted};
use orrery_model::resources::Resources;
use orrery_model::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Default lease L: a log outage or a dead agent longer than this ends its tasks.
pub const LEASE_MS: i64 = 60_000;
/// Added to L by the allocator: from the deadline to the last process' death.
pub const LEASE_GRACE_MS: i64 = 5_000;
/// Added to L by the allocator: two clocks may drift 1 s apart within L and grace; quartz clocks do 100 ppm, 6.5 ms.
pub const LEASE_DRIFT_MS: i64 = 1_000;
/// Default time between heartbeats: a lease survives eleven lost ones.
pub const HEARTBEAT_MS: i64 = 5_000;
/// Time between heartbeats until the allocator's welcome, and until a failed append is repeated.
pub const REGISTER_MS: i64 = 1_000;
/// Default time until an update that nobody acknowledged is sent again.
pub const RESEND_MS: i64 = 2_000;
/// Attempts known (alive, or ended and not acknowledged): further launches are refused. 8,192 ids of 24 bytes keep a heartbeat at 197 KB,
/// under the 256 KiB of an input.
pub const KNOWN_MAX: usize = 8_192;
/// Refused launches that wait for their acknowledgement; beyond them launches are dropped and counted.
pub const REFUSED_MAX: usize = 8_192;
/// Updates of one `status` record: 400 × 600 bytes (a reason is cut at 300) = 240 KB, under the 256 KiB of an input.
pub const STATUS_BATCH_MAX: usize = 400;

/// Attribute of an agent: `v2`, `v1` or `none`, whether each of its tasks has a cgroup.
pub const ISOLATION: &str = "isolation.cgroup";

/// What does not change while the agent runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreConfig {
    /// Kernel's boot id; behind a slash what is this process' own, for the allocator to tell it from a copy.
    pub boot_id: String,
    /// Lease L, milliseconds.
    pub lease_ms: i64,
    /// Between heartbeats, milliseconds.
    pub heartbeat_ms: i64,
    /// Until an update is sent again, milliseconds.
    pub resend_ms: i64,
}

/// What the agent offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// All that it may give to tasks.
    pub total: Resources,
    /// Sorted by name.
    pub attributes: Vec<Attribute>,
}

/// The two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Wall clock: goes into messages only.
    pub wall: Timestamp,
    /// Milliseconds since boot, suspended time included: all timers.
    pub boot_ms: i64,
}

/// What can happen to an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A supervisor answered the first hello of a connection.
    Snapshot(Snapshot),
    /// What a supervisor reports.
    Supervisor(Vec<Event>),
    /// The supervisor does not answer, or there is none: why.
    SupervisorSilent(String),
    /// Records of `commands`, of one read.
    Commands(Vec<CommandRecord>),
    /// Records of `commands` were cut off before they were read: a new session makes up for them.
    CommandsLost,
    /// An append of [`Effect::Heartbeat`] came back.
    HeartbeatAppended {
        /// True if the log acknowledged it.
        ok: bool,
    },
    /// An append of [`Effect::Status`] came back.
    StatusAppended {
        /// True if the log acknowledged it.
        ok: bool,
    },
    /// Folders of finished attempts cannot be removed: which, and what helps; none if there are none any more.
    Unremovable(Option<String>),
    /// The node has changed.
    Node(Node),
    /// Time has passed.
    Tick,
}

/// One record of `commands`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRecord {
    /// Shard of the sending allocator.
    pub cell: i32,
    /// Its lineage.
    pub lineage: String,
    /// Its epoch.
    pub epoch: i64,
    /// The commands, those of other agents too, each with the number of the decision that sent it: it only ever grows, so that
    /// it fences off whatever an earlier attempt still does (`ORRERY_FENCE`).
    pub commands: Vec<(i64, Command)>,
}

/// What the driver is to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Append to the agent's journal; with `sync`, go on only when it is durable.
    Journal {
        /// What.
        lines: Vec<Line>,
        /// See above.
        sync: bool,
    },
    /// Tell the supervisor to start these.
    Start(Vec<StartTask>),
    /// Tell it to end this one.
    Kill {
        /// Which.
        attempt: AttemptId,
        /// Why.
        reason: String,
    },
    /// Tell it that tasks may live until then.
    Lease {
        /// CLOCK_BOOTTIME, milliseconds.
        until_boot_ms: i64,
    },
    /// Tell it to forget these ends.
    Forget(Vec<AttemptId>),
    /// Append to `heartbeats`; one is under way at a time.
    Heartbeat(Heartbeat),
    /// Append to `status`; one is under way at a time.
    Status(Vec<Status>),
    /// This attempt is over and has left files or output.
    Finished(AttemptId),
}

/// The agent's state.
#[derive(Debug)]
pub struct AgentCore {
    config: CoreConfig,
    agent: AgentId,
    cell: i32,
    node: Node,
    /// Boot of the last session of the journal.
    last_boot_id: String,
    session: Session,
    /// The allocator has welcomed the session.
    registered: bool,
    /// Lineage and highest epoch of what the allocator has sent.
    allocator: (String, i64),
    lease_until: Option<i64>,
    next_heartbeat: i64,
    /// A boot time before the session's first heartbeat was sent: if the log has that one, the allocator counts from then.
    first_heartbeat: Option<i64>,
    /// Session of the heartbeat under way, and a boot time before its first send.
    heartbeat_under_way: Option<(Session, i64)>,
    attempts: BTreeMap<AttemptId, Attempt>,
    forgotten: BTreeSet<AttemptId>,
    forgotten_order: VecDeque<AttemptId>,
    /// Attempts with updates to send.
    unsent: VecDeque<AttemptId>,
    /// Attempts of the status record under way.
    status_under_way: Option<Vec<AttemptId>>,
    /// No status is sent before this point.
    status_not_before: i64,
    /// Sent attempts by the time at which to send again.
    awaiting: VecDeque<(i64, AttemptId)>,
    dropped: BTreeMap<Dropped, u64>,
    /// Why nothing can be started here, if that is so.
    unable: Option<String>,
    /// Whether tasks have cgroups; not known of a supervisor that does not say.
    isolation: Option<String>,
    /// What lives on though all of its attempt was killed.
    resisting: BTreeMap<AttemptId, String>,
    /// Folders that cannot be removed.
    unremovable: Option<String>,
    /// Another machine has our identity, which is given up.
    renounced: Option<String>,
}

impl AgentCore {
    /// An agent with what its journal told. Nothing happens before the first snapshot.
    pub fn new(config: CoreConfig, node: Node, recovered: Recovered) -> Self {
        let session = Session { counter: recovered.counter, boot_id: config.boot_id.clone() };
        let attempts = recovered.attempts.into_iter().map(|(attempt, ended)| (attempt, Attempt::recovered(ended))).collect();
        Self {
            config,
            agent: recovered.agent,
            cell: recovered.cell,
            node,
            last_boot_id: recovered.boot_id,
            session,
            registered: false,
            allocator: (String::new(), i64::MIN),
            lease_until: None,
            next_heartbeat: i64::MAX,
            first_heartbeat: None,
            heartbeat_under_way: None,
            attempts,
            forgotten: recovered.forgotten.iter().cloned().collect(),
            forgotten_order: recovered.forgotten,
            unsent: VecDeque::new(),
            status_under_way: None,
            status_not_before: i64::MIN,
            awaiting: VecDeque::new(),
            dropped: BTreeMap::new(),
            unable: None,
            isolation: None,
            resisting: BTreeMap::new(),
            unremovable: None,
            renounced: None,
        }
    }

    /// One input, and what follows from it.
    pub fn step(&mut self, now: Now, input: Input) -> Vec<Effect> {
        let mut out = Vec::new();
        match input {
            Input::Snapshot(snapshot) => self.take_snapshot(now, snapshot, &mut out),
            Input::Supervisor(events) => self.take_events(now, events, &mut out),
            Input::SupervisorSilent(reason) => self.set_unable(now, Some(reason)),
            Input::Commands(records) => self.take_commands(now, records, &mut out),
            Input::CommandsLost => self.open_session(now, &mut out),
            Input::HeartbeatAppended { ok } => self.heartbeat_appended(now, ok, &mut out),
            Input::StatusAppended { ok } => self.status_appended(now, ok),
            Input::Unremovable(told) => self.set_unremovable(now, told),
            Input::Node(node) => self.node_changed(now, node),
            Input::Tick => {}
        }
        self.pass_time(now, &mut out);
        out
    }

    /// When [`Input::Tick`] is due, if nothing else comes before (boot time, milliseconds).
    pub fn next_deadline(&self) -> i64 {
        if self.renounced.is_some() {
            return i64::MAX;
        }
        let heartbeat = if self.heartbeat_under_way.is_some() { i64::MAX } else { self.next_heartbeat };
        let resend = self.awaiting.front().map_or(i64::MAX, |(at, _)| *at);
        let status = if self.may_send_status() { self.status_not_before } else { i64::MAX };
        heartbeat.min(resend).min(status).min(self.session_until())
    }

    /// When the session is over for good (protocol §8.1): with its lease, or, if nobody has answered it yet, when a lease would have
    /// run out that it does not know of. The allocator may have heard it, given it tasks, and declared them lost.
    fn session_until(&self) -> i64 {
        let unanswered = self.first_heartbeat.map(|sent| sent + self.config.lease_ms);
        self.lease_until.or(unanswered).unwrap_or(i64::MAX)
    }

    /// The session that is open or being opened.
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// Who this is.
    pub const fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// True once the allocator has welcomed the session.
    pub const fn is_registered(&self) -> bool {
        self.registered
    }

    /// Why this agent is to end for good, if it is.
    pub fn renounced(&self) -> Option<&str> {
        self.renounced.as_deref()
    }

    /// Why nothing can be started here, if so.
    pub fn unable(&self) -> Option<&str> {
        self.unable.as_deref()
    }

    /// How many commands were dropped, by reason.
    pub const fn dropped(&self) -> &BTreeMap<Dropped, u64> {
        &self.dropped
    }

    fn pass_time(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.renounced.is_some() {
            return;
        }
        if self.session_until() <= now.boot_ms {
            // The supervisor has killed everything.
            self.lease_until = None;
            self.open_session(now, out);
        }
        self.queue_resends(now);
        self.send_status(now, out);
        if self.heartbeat_under_way.is_none() && self.next_heartbeat <= now.boot_ms {
            self.send_heartbeat(now, out);
        }
    }

    /// Every registration is a new session, durable before anybody hears of it.
    fn open_session(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.session = Session { counter: self.session.counter + 1, boot_id: self.config.boot_id.clone() };
        self.registered = false;
        self.first_heartbeat = None;
        self.next_heartbeat = now.boot_ms;
        let line = Line::Session { counter: self.session.counter, boot_id: self.session.boot_id.clone() };
        out.push(Effect::Journal { lines: vec![line], sync: true });
    }

    fn send_heartbeat(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.first_heartbeat.get_or_insert(now.boot_ms);
        self.heartbeat_under_way = Some((self.session.clone(), now.boot_ms));
        self.next_heartbeat = now.boot_ms + if self.registered { self.config.heartbeat_ms } else { REGISTER_MS };
        out.push(Effect::Heartbeat(Heartbeat {
            agent: self.agent.clone(),
            session: self.session.clone(),
            registering: !self.registered,
            cell: self.cell,
            total: if self.unable.is_none() { self.node.total } else { Resources::default() },
            attributes: self.attributes(),
            live: self.attempts.iter().filter(|(_, attempt)| !attempt.is_refused()).map(|(id, _)| id.clone()).collect(),
            lease_ms: self.config.lease_ms + LEASE_GRACE_MS + LEASE_DRIFT_MS,
        }));
    }

    /// While nothing can be started here nothing is offered, and one attribute says why. Others say how tasks are kept together, and
    /// what cannot be ended.
    fn attributes(&self) -> Vec<Attribute> {
        let attribute = |name: &str, value: &String| Attribute { name: name.into(), value: value.clone() };
        let isolation = self.isolation.iter().map(|word| attribute(ISOLATION, word));
        let resisting = self.resisting.iter().next().map(|(attempt, who)| attribute(RESISTING, &self.resisting_told(attempt, who)));
        let unremovable = self.unremovable.iter().map(|which| attribute(UNREMOVABLE, which));
        let unable = self.unable.iter().map(|why| attribute(UNABLE, why));
        self.node.attributes.iter().cloned().chain(isolation).chain(resisting).chain(unremovable).chain(unable).collect()
    }

    fn resisting_told(&self, attempt: &AttemptId, who: &str) -> String {
        match self.resisting.len() {
            0 | 1 => format!("{attempt}: {who}"),
            several => format!("{attempt}: {who}; and of {} other attempts", several - 1),
        }
    }

    fn heartbeat_appended(&mut self, now: Now, ok: bool, out: &mut Vec<Effect>) {
        match self.heartbeat_under_way.take() {
            // A heartbeat of a session that is over renews nothing.
            Some((session, sent_boot_ms)) if ok && session == self.session => self.renew_lease(now, sent_boot_ms, out),
            _ if ok => {}
            _ => self.next_heartbeat = now.boot_ms + REGISTER_MS,
        }
    }

    /// A heartbeat sent then is in the log: its append has come back; or, of the session's first one, a welcome says so.
    fn renew_lease(&mut self, now: Now, sent_boot_ms: i64, out: &mut Vec<Effect>) {
        let from = if planted(Bug::LeaseFromAnswer) { now.boot_ms } else { sent_boot_ms };
        let until = from + self.config.lease_ms;
        // One that took longer than the lease is too late.
        if until > now.boot_ms && self.lease_until.is_none_or(|earlier| until > earlier) {
            self.lease_until = Some(until);
            out.push(Effect::Lease { until_boot_ms: until });
        }
    }

    fn node_changed(&mut self, now: Now, node: Node) {
        if self.node != node {
            self.node = node;
            self.next_heartbeat = now.boot_ms;
        }
    }

    /// A supervisor begins: what it does not have, and should, is over; what it has, and should not, is ended. Then a session opens.
    fn take_snapshot(&mut self, now: Now, snapshot: Snapshot, out: &mut Vec<Effect>) {
        let first = self.next_heartbeat == i64::MAX;
        let mut seen: BTreeSet<AttemptId> = BTreeSet::new();
        seen.extend(snapshot.live.iter().map(|live| live.attempt.clone()));
        seen.extend(snapshot.ended.iter().map(|ended| ended.attempt.clone()));
        for live in snapshot.live {
            match self.attempts.get_mut(&live.attempt).filter(|attempt| attempt.end().is_none()) {
                Some(attempt) => attempt.started(live.process),
                None => out.push(Effect::Kill { attempt: live.attempt, reason: "this agent does not know it".into() }),
            }
        }
        self.resisting.retain(|attempt, _| seen.contains(attempt));
        self.take_ends(now, snapshot.ended, out);
        self.set_unable(now, snapshot.unable);
        let same_boot = boot_of(&self.last_boot_id) == boot_of(&self.config.boot_id);
        let missing = self.attempts.iter().filter(|(id, attempt)| attempt.end().is_none() && !seen.contains(*id));
        // A supervisor writes down what it is about to start, in a file that outlives it but not the machine's end.
        let (unstarted, lost): (Vec<_>, Vec<_>) = missing.partition(|(_, attempt)| same_boot && attempt.is_unstarted());
        let unstarted: Vec<AttemptId> = unstarted.into_iter().map(|(id, _)| id.clone()).collect();
        let lost: Vec<Ended> = lost.into_iter().map(|(id, attempt)| attempt.lost(id, same_boot, now.wall)).collect();
        self.take_ends(now, lost, out);
        let any_returned = self.give_back(unstarted, out);
        self.last_boot_id.clone_from(&self.config.boot_id);
        self.queue_unacknowledged();
        if let Some(until_boot_ms) = self.lease_until.filter(|_| !first) {
            out.push(Effect::Lease { until_boot_ms });
        }
        if first || any_returned {
            self.open_session(now, out);
        }
    }
}

/// The machine's part of a boot id.
fn boot_of(id: &str) -> &str {
    id.split('/').next().unwrap_or(id)
}
