//! Ideal agents: they start what they are told to at once, and end it when its time has come.

use super::WhatIfError;
use orrery_model::id::{AgentId, AttemptId, JobName};
use orrery_model::messages::{Attribute, End, EndKind, Heartbeat, Session, Status, StatusChange, TaskSpec};
use orrery_model::resources::Resources;
use orrery_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Largest amount of one resource, as the allocator takes it.
const AMOUNT_MAX: i64 = 1 << 56;
/// Most cells of a forecast: each is an allocator, and a slip of the pen is not to make a million of them.
const CELLS_MAX: i32 = 1_000;
/// Leases are not measured here, but a heartbeat names one.
const LEASE_MS: i64 = 66_000;
/// Every agent has this attribute.
const HOSTNAME: &str = "hostname";

/// An agent and what it offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSpec {
    /// Who.
    pub agent: AgentId,
    /// Its cell.
    pub cell: i32,
    /// All that it may give to tasks.
    pub total: Resources,
    /// What constraints are matched against; without `hostname`, its id is its hostname.
    pub attributes: Vec<Attribute>,
}

impl AgentSpec {
    /// What it says of itself in this session.
    pub(super) fn heartbeat(&self, session: Session, registering: bool) -> Heartbeat {
        let mut attributes = self.attributes.clone();
        if !attributes.iter().any(|attribute| attribute.name == HOSTNAME) {
            attributes.push(Attribute { name: HOSTNAME.into(), value: self.agent.to_string() });
        }
        attributes.sort();
        let (agent, cell, total) = (self.agent.clone(), self.cell, self.total);
        Heartbeat { agent, session, registering, cell, total, attributes, live: Vec::new(), lease_ms: LEASE_MS }
    }
}

/// Checks agents that were given by hand.
pub(super) fn check(agents: &[AgentSpec], cells: i32) -> Result<(), WhatIfError> {
    let mut seen = BTreeSet::new();
    for AgentSpec { agent, cell, total, .. } in agents {
        let agent = || agent.clone();
        if !(0..cells).contains(cell) {
            return Err(WhatIfError::NoSuchCell { agent: agent(), cell: *cell, cells });
        }
        let amounts = [("cpus", total.cpus.0), ("memory", total.memory.0), ("disk", total.disk.0)];
        if let Some((resource, amount)) = amounts.into_iter().find(|(_, amount)| !(0..=AMOUNT_MAX).contains(amount)) {
            return Err(WhatIfError::BadAgent { agent: agent(), resource, amount, max: AMOUNT_MAX });
        }
        if !seen.insert(agent()) {
            return Err(WhatIfError::AgentTwice { agent: agent() });
        }
    }
    Ok(())
}

/// As many cells as these agents name.
pub(super) fn cells_of(agents: &[AgentSpec]) -> i32 {
    agents.iter().map(|agent| agent.cell.saturating_add(1)).max().unwrap_or(1).clamp(1, CELLS_MAX)
}

/// How long attempts last, for a forecast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durations {
    /// Every attempt, milliseconds.
    pub default_ms: i64,
    /// Attempts of these jobs, milliseconds.
    pub by_job: BTreeMap<JobName, i64>,
}

/// How long an attempt lasts and how it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lasted {
    /// From start to end, microseconds.
    pub(super) us: i64,
    pub(super) kind: EndKind,
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    /// It does not end by itself before.
    pub(super) not_before: Timestamp,
}

impl Lasted {
    pub(super) const fn new(us: i64, kind: EndKind, code: Option<i32>, signal: Option<i32>) -> Self {
        Self { us, kind, code, signal, not_before: Timestamp(i64::MIN) }
    }

    pub(super) const fn succeeds(us: i64) -> Self {
        Self::new(us, EndKind::Succeeded, Some(0), None)
    }
}

/// What is known of attempts to come.
#[derive(Debug, Clone, Default)]
pub(super) struct Lasting {
    /// What these did when they were recorded.
    pub(super) attempts: BTreeMap<AttemptId, Lasted>,
    /// What others of these jobs take, microseconds.
    pub(super) by_job: BTreeMap<JobName, i64>,
    /// What all others take, microseconds.
    pub(super) default_us: i64,
}

impl Lasting {
    pub(super) fn given(durations: &Durations) -> Self {
        let by_job = durations.by_job.iter().map(|(job, ms)| (job.clone(), ms.saturating_mul(1000).max(0))).collect();
        Self { attempts: BTreeMap::new(), by_job, default_us: durations.default_ms.saturating_mul(1000).max(0) }
    }

    /// Of an attempt of this job that was not recorded.
    pub(super) fn usual_us(&self, job: &JobName) -> i64 {
        self.by_job.get(job).copied().unwrap_or(self.default_us)
    }

    fn of(&self, spec: &TaskSpec) -> Lasted {
        if let Some(recorded) = self.attempts.get(&spec.attempt) {
            return *recorded;
        }
        let us = self.usual_us(&spec.job);
        match spec.timeout_ms.map(|ms| ms.saturating_mul(1000)) {
            Some(timeout) if timeout < us => Lasted::new(timeout, EndKind::TimedOut, None, Some(SIGTERM)),
            _ => Lasted::succeeds(us),
        }
    }
}

/// What ends a task that does not end by itself.
const SIGTERM: i32 = 15;

/// When and under which number something stands in the world's queue.
pub(super) type QueueKey = (Timestamp, u64);

/// A task on its agent.
pub(super) struct Running {
    pub(super) cell: usize,
    agent: AgentId,
    session: Session,
    since: Timestamp,
    lasted: Lasted,
    /// Where its end stands in the queue.
    pub(super) end: QueueKey,
}

impl Running {
    /// A task that is launched now, the status that says that it runs, if it does, and when it ends.
    pub(super) fn launched(
        lasting: &Lasting,
        spec: &TaskSpec,
        (cell, agent, session): (usize, AgentId, Session),
        now: Timestamp,
    ) -> (Self, Option<Status>) {
        let lasted = lasting.of(spec);
        let starts = lasted.kind != EndKind::NotStarted;
        let end = Timestamp(now.0.saturating_add(if starts { lasted.us.max(0) } else { 0 })).max(lasted.not_before);
        let end = (end, 0);
        let running = Self { cell, agent, session, since: now, lasted, end };
        let runs = StatusChange::TaskRunning { pid: 1, started_at: now };
        let status = starts.then(|| running.status(&spec.attempt, 1, runs));
        (running, status)
    }

    /// Ended by a kill instead.
    pub(super) fn killed(self) -> Self {
        Self { lasted: Lasted::new(0, EndKind::Killed, None, Some(SIGTERM)), ..self }
    }

    /// The status that says how it ended.
    pub(super) fn ended(&self, attempt: &AttemptId, now: Timestamp) -> Status {
        let Lasted { kind, code, signal, .. } = self.lasted;
        let wall_ms = now.since_ms(self.since);
        let end = End { kind, code, signal, reason: None, wall_ms, cpu_ms: 0, peak_memory: 0, ended_at: now };
        let seq = if kind == EndKind::NotStarted { 1 } else { 2 };
        self.status(attempt, seq, StatusChange::TaskEnded { end })
    }

    pub(super) fn is_on(&self, cell: usize, agent: &AgentId) -> bool {
        self.cell == cell && self.agent == *agent
    }

    fn status(&self, attempt: &AttemptId, seq: i64, change: StatusChange) -> Status {
        Status { agent: self.agent.clone(), session: self.session.clone(), attempt: attempt.clone(), seq, change }
    }
}

/// The sessions of one cell's agents.
#[derive(Default)]
pub(super) struct Sessions {
    /// Registrations so far; true while the last one is open.
    agents: BTreeMap<AgentId, (i64, bool)>,
}

impl Sessions {
    /// What an agent says now: one without a session registers, another one renews.
    pub(super) fn heartbeat(&mut self, spec: &AgentSpec) -> Heartbeat {
        let (counter, open) = self.agents.entry(spec.agent.clone()).or_insert((0, false));
        let registering = !*open;
        *counter += i64::from(registering);
        *open = true;
        spec.heartbeat(session(*counter), registering)
    }

    /// The session that is over when an agent goes.
    pub(super) fn close(&mut self, agent: &AgentId) -> Option<Session> {
        let (counter, open) = self.agents.get_mut(agent)?;
        std::mem::take(open).then(|| session(*counter))
    }
}

fn session(counter: i64) -> Session {
    Session { counter, boot_id: "what-if".into() }
}
