//! An allocator that is checked after every input: against a follower that only applies, and against one rebuilt from its rows.

use orrery_allocator::place::candidates;
use orrery_allocator::{Allocator, Decision, Input};
use orrery_model::decider::{Decider, Message};
use orrery_model::id::{AgentId, AttemptId, JobName, Role, RunId};
use orrery_model::journal::{Observation, Shards};
use orrery_model::messages::{Attribute, End, EndKind, Heartbeat, Order, OutcomeChange, Reason, Session, Status, StatusChange, TaskSpec};
use orrery_model::resources::{Bytes, MilliCpus, Resources};
use orrery_model::table::Change;
use orrery_model::time::Timestamp;
use std::collections::BTreeMap;

#[derive(Default)]
pub(crate) struct Rig {
    pub(crate) allocator: Allocator,
    follower: Allocator,
    rows: BTreeMap<(u8, Vec<u8>), Vec<u8>>,
    pub(crate) at: Timestamp,
    /// Agents that may hold more than they have: they have shrunk.
    pub(crate) shrunk: bool,
    /// Inputs are many and all alike: nothing is rebuilt.
    pub(crate) quick: bool,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self { at: Timestamp::parse("2026-11-21T00:00:00Z").unwrap(), ..Self::default() }
    }

    /// One input and nothing else.
    pub(crate) fn one(&mut self, input: &Input) -> Vec<Decision> {
        let (mut decisions, mut again) = (Vec::new(), Vec::new());
        let rebuilt = (!self.quick).then(|| self.rebuilt());
        let deadline = self.allocator.next_deadline();
        self.allocator.handle(self.at, input, &mut decisions);
        if let Some(mut rebuilt) = rebuilt {
            assert_eq!(rebuilt.next_deadline(), deadline, "before {input:?}");
            rebuilt.handle(self.at, input, &mut again);
            assert_eq!(decisions, again, "rebuilt from its rows, it decides the same on {input:?}");
        }
        assert!(decisions.len() <= orrery_model::limits::DECISIONS_PER_INPUT);
        for decision in &decisions {
            self.follower.apply(self.at, decision);
            if !self.quick {
                self.check(decision);
            }
        }
        assert!(self.quick || self.allocator.tasks().eq(self.follower.tasks()) && self.allocator.agents().eq(self.follower.agents()));
        let (mut changes, mut followed) = (Vec::new(), Vec::new());
        self.allocator.take_changes(&mut changes);
        self.follower.take_changes(&mut followed);
        assert_eq!(changes, followed);
        changes.into_iter().for_each(|change| self.store(change));
        decisions
    }

    fn store(&mut self, Change { table, key, value, .. }: Change) {
        match value {
            Some(value) => self.rows.insert((table, key), value),
            None => self.rows.remove(&(table, key)),
        };
    }

    fn rebuilt(&self) -> Allocator {
        let mut rebuilt = Allocator::default();
        for ((table, key), value) in &self.rows {
            rebuilt.load(*table, key, value).unwrap();
        }
        rebuilt.loaded();
        rebuilt
    }

    /// No agent gives more than it has, and the index agrees with the rows.
    fn check(&self, decision: &Decision) {
        for agent in candidates(self.follower.agents(), self.follower.tasks().map(|(_, row)| row)) {
            assert_eq!(agent.used, self.follower.used(agent.agent), "after {decision:?}");
            assert!(self.shrunk || agent.total.holds(&agent.used), "{agent:?} after {decision:?}");
        }
    }

    /// Many tasks that are alike.
    pub(crate) fn want_many(&mut self, count: usize, spec: &TaskSpec) {
        self.quick = true;
        for n in 0..count {
            self.one(&Input::TaskWanted { spec: TaskSpec { attempt: id(&run(n)), ..spec.clone() } });
        }
        self.quick = false;
    }

    /// One input, and ticks as long as there is work left.
    pub(crate) fn input(&mut self, input: &Input) -> Vec<Decision> {
        let mut decisions = self.one(input);
        while self.allocator.next_deadline().is_some_and(|due| due <= self.at) {
            let ticked = self.one(&Input::Tick {});
            assert!(!ticked.is_empty(), "a deadline that does not move");
            decisions.extend(ticked);
        }
        decisions
    }

    pub(crate) fn wait(&mut self, ms: i64) {
        self.at = self.at.plus_ms(ms);
    }

    pub(crate) fn join(&mut self, name: &str, counter: i64, total: Resources, live: &[&str]) -> String {
        let heartbeat = Heartbeat { registering: true, ..heartbeat(name, counter, total, live) };
        lines(&self.input(&Input::HeartbeatArrived { heartbeat }))
    }

    pub(crate) fn beat(&mut self, name: &str, counter: i64, total: Resources) -> String {
        lines(&self.input(&Input::HeartbeatArrived { heartbeat: heartbeat(name, counter, total, &[]) }))
    }

    pub(crate) fn want(&mut self, spec: TaskSpec) -> String {
        lines(&self.input(&Input::TaskWanted { spec }))
    }

    pub(crate) fn unwant(&mut self, attempt: &str) -> String {
        self.unwant_hop(attempt, 0)
    }

    pub(crate) fn unwant_hop(&mut self, attempt: &str, hop: i32) -> String {
        lines(&self.input(&Input::TaskUnwanted { attempt: id(attempt), hop, reason: "cancelled".into() }))
    }

    /// Lets time pass, then ticks while something is due.
    pub(crate) fn wait_and_tick(&mut self, ms: i64) -> String {
        self.wait(ms);
        let mut decisions = Vec::new();
        while self.allocator.next_deadline().is_some_and(|due| due <= self.at) {
            let ticked = self.one(&Input::Tick {});
            assert!(!ticked.is_empty(), "a deadline that does not move");
            decisions.extend(ticked);
        }
        lines(&decisions)
    }

    /// Tells it which cell it is.
    pub(crate) fn acquire(&mut self, shard: i32, cells: i32) -> String {
        lines(&self.input(&Allocator::observed(acquired(Shards { shard, trigger_shards: 1, cells }))))
    }

    pub(crate) fn runs(&mut self, name: &str, counter: i64, attempt: &str) -> String {
        lines(&self.input(&status(name, counter, attempt, 1, None)))
    }

    pub(crate) fn ends(&mut self, name: &str, counter: i64, attempt: &str) -> String {
        lines(&self.input(&status(name, counter, attempt, 2, Some(EndKind::Succeeded))))
    }

    pub(crate) fn expire(&mut self, name: &str, counter: i64) -> String {
        let observation = Observation::LeaseExpired { agent: agent(name), session: session(counter), silent_ms: 66_000 };
        lines(&self.input(&Input::ShellObserved { observation }))
    }
}

pub(crate) fn acquired(shards: Shards) -> Observation {
    Observation::Acquired { epoch: 1, member: "m".into(), generation: 1, binary: "b".into(), resend_from: 7, shards }
}

pub(crate) fn agent(name: &str) -> AgentId {
    AgentId::parse(name).unwrap()
}

pub(crate) fn id(attempt: &str) -> AttemptId {
    AttemptId::parse(attempt).unwrap()
}

pub(crate) fn session(counter: i64) -> Session {
    Session { counter, boot_id: "boot".into() }
}

pub(crate) fn size(cpus: i64, memory: i64) -> Resources {
    Resources { cpus: MilliCpus(cpus * 1000), memory: Bytes(memory << 30), disk: Bytes(0) }
}

/// Its zone is the first letter of its name.
pub(crate) fn heartbeat(name: &str, counter: i64, total: Resources, live: &[&str]) -> Heartbeat {
    let attribute = |name: &str, value: &str| Attribute { name: name.into(), value: value.into() };
    Heartbeat {
        agent: agent(name),
        session: session(counter),
        registering: false,
        cell: 0,
        total,
        attributes: vec![attribute("hostname", name), attribute("zone", &name[..1])],
        live: live.iter().map(|attempt| id(attempt)).collect(),
        lease_ms: 66_000,
    }
}

pub(crate) fn task(attempt: &str, need: Resources) -> TaskSpec {
    TaskSpec {
        attempt: id(attempt),
        job: JobName::parse("default/a").unwrap(),
        version: 1,
        hop: 0,
        may_decline: false,
        role: Role::parse("*").unwrap(),
        principal: None,
        priority: 50,
        resources: need,
        constraints: Vec::new(),
        argv: vec!["true".into()],
        env: Vec::new(),
        user: None,
        limits: Vec::new(),
        timeout_ms: None,
        grace_ms: 10_000,
        event: None,
        avoid: None,
    }
}

pub(crate) fn status(name: &str, counter: i64, attempt: &str, seq: i64, ended: Option<EndKind>) -> Input {
    let at = Timestamp(0);
    let end = |kind| End { kind, code: Some(0), signal: None, reason: None, wall_ms: 1, cpu_ms: 1, peak_memory: 1, ended_at: at };
    let change = ended.map_or(StatusChange::TaskRunning { pid: 7, started_at: at }, |kind| StatusChange::TaskEnded { end: end(kind) });
    Input::StatusArrived { status: Status { agent: agent(name), session: session(counter), attempt: id(attempt), seq, change } }
}

pub(crate) fn run(n: usize) -> String {
    RunId::parse(&format!("r{n:05}")).unwrap().attempt(1).to_string()
}

pub(crate) fn told(reasons: &[Reason]) -> String {
    reasons.iter().map(|r| format!("\n    {} ×{}: {}", r.code, r.agents, r.detail)).collect()
}

/// Decisions and, behind an arrow, the messages that follow from each.
pub(crate) fn lines(decisions: &[Decision]) -> String {
    decisions.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn line(decision: &Decision) -> String {
    let words = match decision {
        Decision::AgentJoined { agent, session, adopted, ending, .. } => {
            format!("joined {agent} #{} adopted {adopted:?} ending {ending:?}", session.counter)
        }
        Decision::AgentWelcomed { agent, missing, .. } => format!("welcomed {agent} missing {missing:?}"),
        Decision::AgentRefused { agent, session, reason, .. } => format!("refused {agent} #{}: {reason}", session.counter),
        Decision::AgentChanged { agent, .. } => format!("changed {agent}"),
        Decision::AgentLost { agent, .. } => format!("lost agent {agent}"),
        Decision::TaskQueued { spec, reasons, .. } => format!("queued {}{}", spec.attempt, told(reasons)),
        Decision::TaskWaits { attempt, reasons } => format!("waits {attempt}{}", told(reasons)),
        Decision::Placed { spec, agent, .. } => format!("placed {} on {agent}", spec.attempt),
        Decision::TaskReturned { attempt, reason } => format!("returned {attempt}: {reason}"),
        Decision::TaskDropped { attempt, kind, reason, .. } => format!("dropped {attempt} {kind}: {reason}"),
        Decision::ShardsLearned { shards } => format!("is shard {} of {} cells", shards.shard, shards.cells),
        Decision::TaskDeclined { attempt, hop, reasons, .. } => format!("declined {attempt} hop {hop}{}", told(reasons)),
        Decision::CancelKept { attempt, .. } => format!("cancel kept {attempt}"),
        Decision::KillOrdered { attempt, agent, .. } => format!("kill {attempt} on {agent}"),
        Decision::StatusTaken { status, .. } => format!("taken {} {}", status.attempt, status.seq),
        Decision::Reacked { attempt, seq, .. } => format!("again {attempt} {seq}"),
        Decision::TaskLost { attempt, reason, .. } => format!("lost {attempt}: {reason}"),
        Decision::PlacementPaused {} => "paused".into(),
        Decision::PlacementResumed {} => "resumed".into(),
        Decision::Alerted { detail, .. } => format!("alert: {detail}"),
    };
    let mut messages = Vec::new();
    Allocator::messages(Timestamp(0), decision, &mut messages);
    match messages.is_empty() {
        true => words,
        false => format!("{words} → {}", messages.iter().map(sent).collect::<Vec<_>>().join(", ")),
    }
}

fn sent(message: &Message) -> String {
    match message {
        Message::Command(command) => {
            let order = match &command.order {
                Order::Welcome { adopted } => format!("welcome {adopted:?}"),
                Order::Register { .. } => "register".into(),
                Order::Renounce { .. } => "renounce".into(),
                Order::Launch { .. } => "launch".into(),
                Order::Kill { .. } => "kill".into(),
                Order::Acknowledge { seq, .. } => format!("acknowledge {seq}"),
            };
            format!("{order} #{}", command.session.counter)
        }
        Message::Outcome(outcome) => match &outcome.change {
            OutcomeChange::AttemptPlaced { .. } => "is placed".into(),
            OutcomeChange::AttemptRunning { .. } => "is running".into(),
            OutcomeChange::AttemptEnded { end, .. } => format!("is {}", end.kind),
            OutcomeChange::AttemptDeclined { .. } => "is declined".into(),
        },
        Message::Alert(alert) => alert.code.clone(),
        other => format!("{other:?}"),
    }
}
