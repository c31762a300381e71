//! What is derived from the rows: kept with every change, rebuilt at restore, and equal either way.

use crate::policy::Order;
use crate::rows::TaskRow;
use crate::state::Allocator;
use orrery_model::id::{AgentId, AttemptId, Role};
use orrery_model::messages::TaskSpec;
use orrery_model::resources::Resources;
use orrery_model::time::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Derived from the tables.
#[derive(Default)]
pub(crate) struct Index {
    /// What tasks use, by agent; no entry where there is no task.
    pub loads: BTreeMap<AgentId, Load>,
    /// Total and free resources of agents that may be given tasks, by free CPUs: full ones need not be looked at.
    pub by_cpus: BTreeMap<i64, BTreeMap<AgentId, (Resources, Resources)>>,
    /// How many of these agents have so many CPUs in total.
    pub widths: BTreeMap<i64, usize>,
    /// Waiting tasks, by what they ask for.
    pub shapes: BTreeMap<Shape, BTreeSet<QueueKey>>,
    /// Waiting tasks, first come first.
    pub queue: BTreeSet<QueueKey>,
    /// Waiting tasks that another cell may be tried for, by when they are handed back.
    pub spills: BTreeSet<(Timestamp, AttemptId)>,
    /// Tasks whose agent is lost, has another session, or did not list them: to be dealt with at once.
    pub orphans: BTreeSet<AttemptId>,
    /// Tombstones, oldest first.
    pub tombstones: BTreeMap<i64, (AttemptId, u32)>,
    /// Lost agents, oldest first.
    pub lost: BTreeSet<(Timestamp, AgentId)>,
}

/// The tasks of one agent.
#[derive(Default)]
pub(crate) struct Load {
    pub used: Resources,
    pub tasks: BTreeSet<AttemptId>,
}

/// A task that another cell may be tried for is handed back if it has had no place here for so long since it came. Room that
/// comes free sooner is better than another cell's queue.
pub const SPILL_AFTER_MS: i64 = 10_000;

/// When a waiting task is handed back, if it may be.
fn spill(row: &TaskRow) -> Option<(Timestamp, AttemptId)> {
    row.spec.may_decline.then(|| (row.wanted_at.plus_ms(SPILL_AFTER_MS), row.spec.attempt.clone()))
}

/// Tasks of one shape fit on the same agents: where one does not fit, none does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    pub resources: Resources,
    pub constraints: Vec<String>,
    pub role: Role,
}

impl Shape {
    pub(crate) fn of(task: &TaskSpec) -> Self {
        Self { resources: task.resources, constraints: task.constraints.clone(), role: task.role.clone() }
    }
}

/// Place in the queue: higher priority first, unless the order is by arrival alone; then first come.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QueueKey {
    priority: Reverse<i32>,
    order: i64,
    pub attempt: AttemptId,
}

impl QueueKey {
    fn of(row: &TaskRow, order: Order) -> Self {
        let priority = match order {
            Order::Priority => row.spec.priority,
            Order::Fifo => 0,
        };
        Self { priority: Reverse(priority), order: row.order, attempt: row.spec.attempt.clone() }
    }
}

impl Allocator {
    pub(crate) fn rebuild_index(&mut self) {
        self.index = Index::default();
        let tasks: Vec<AttemptId> = self.tasks.iter().map(|(attempt, _)| attempt.clone()).collect();
        tasks.iter().for_each(|attempt| self.index_task(attempt));
        let agents: Vec<AgentId> = self.agents.iter().map(|(agent, _)| agent.clone()).collect();
        agents.iter().for_each(|agent| self.index_agent(agent));
        self.index.tombstones = self.tombstones.iter().map(|(key, row)| (row.order, key.clone())).collect();
    }

    /// Adds an agent to the index, after its row has changed.
    pub(crate) fn index_agent(&mut self, agent: &AgentId) {
        let Some(row) = self.agents.get(agent) else { return };
        match &row.lost {
            Some(loss) => drop(self.index.lost.insert((loss.at, agent.clone()))),
            None => *self.index.widths.entry(row.total.cpus.0).or_default() += 1,
        }
        self.index_free(agent);
        let tasks: Vec<AttemptId> = self.index.loads.get(agent).map(|load| load.tasks.iter().cloned().collect()).unwrap_or_default();
        tasks.iter().for_each(|attempt| self.index_orphan(attempt));
    }

    /// Takes an agent out of the index, before its row changes.
    pub(crate) fn unindex_agent(&mut self, agent: &AgentId) {
        let Some(row) = self.agents.get(agent) else { return };
        let cpus = row.total.cpus.0;
        match &row.lost {
            Some(loss) => drop(self.index.lost.remove(&(loss.at, agent.clone()))),
            None if self.index.widths.get(&cpus) == Some(&1) => drop(self.index.widths.remove(&cpus)),
            None => *self.index.widths.entry(cpus).or_default() -= 1,
        }
        self.unindex_free(agent);
    }

    /// Adds a task to the index, after its row has changed.
    pub(crate) fn index_task(&mut self, attempt: &AttemptId) {
        let Some(row) = self.tasks.get(attempt) else { return };
        let Some(place) = &row.place else {
            let key = QueueKey::of(row, self.policy.order);
            self.index.shapes.entry(Shape::of(&row.spec)).or_default().insert(key.clone());
            self.index.queue.insert(key);
            self.index.spills.extend(spill(row));
            return;
        };
        let (agent, need) = (place.agent.clone(), row.spec.resources);
        self.unindex_free(&agent);
        let load = self.index.loads.entry(agent.clone()).or_default();
        load.used = load.used.plus(&need);
        load.tasks.insert(attempt.clone());
        self.index_free(&agent);
        self.index_orphan(attempt);
    }

    /// Takes a task out of the index, before its row changes.
    pub(crate) fn unindex_task(&mut self, attempt: &AttemptId) {
        let Some(row) = self.tasks.get(attempt) else { return };
        let Some(place) = &row.place else {
            let (key, shape) = (QueueKey::of(row, self.policy.order), Shape::of(&row.spec));
            self.index.queue.remove(&key);
            if let Some(spill) = spill(row) {
                self.index.spills.remove(&spill);
            }
            if self.index.shapes.get_mut(&shape).is_some_and(|keys| keys.remove(&key) && keys.is_empty()) {
                self.index.shapes.remove(&shape);
            }
            return;
        };
        let (agent, need) = (place.agent.clone(), row.spec.resources);
        self.index.orphans.remove(attempt);
        self.unindex_free(&agent);
        if let Some(load) = self.index.loads.get_mut(&agent) {
            load.used = load.used.minus(&need);
            load.tasks.remove(attempt);
            if load.tasks.is_empty() {
                self.index.loads.remove(&agent);
            }
        }
        self.index_free(&agent);
    }

    /// Keeps a task among the orphans, or out of them.
    fn index_orphan(&mut self, attempt: &AttemptId) {
        let Some(place) = self.tasks.get(attempt).and_then(|row| row.place.as_ref()) else { return };
        let at_home = self.agents.get(&place.agent).is_some_and(|row| row.lost.is_none() && row.session == place.session);
        if at_home && !place.adrift {
            self.index.orphans.remove(attempt);
        } else {
            self.index.orphans.insert(attempt.clone());
        }
    }

    fn index_free(&mut self, agent: &AgentId) {
        if let Some(candidate) = self.candidate(agent) {
            let (total, free) = (candidate.total, candidate.free());
            self.index.by_cpus.entry(free.cpus.0).or_default().insert(agent.clone(), (total, free));
        }
    }

    fn unindex_free(&mut self, agent: &AgentId) {
        if let Some(cpus) = self.candidate(agent).map(|candidate| candidate.free().cpus.0)
            && self.index.by_cpus.get_mut(&cpus).is_some_and(|agents| agents.remove(agent).is_some() && agents.is_empty())
        {
            self.index.by_cpus.remove(&cpus);
        }
    }
}
