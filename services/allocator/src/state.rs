//! What an allocator shard remembers: its tables, and what is derived from them and rebuilt at restore (`index.rs`).

use crate::facts::{Decision, Input, JOURNAL};
use crate::index::Index;
use crate::place::Candidate;
use crate::policy::Policy;
use crate::rows::{self, AgentRow, CountersRow, TaskRow, TombstoneRow};
use orrery_model::codec::Codec;
use orrery_model::decider::{Decider, Decoded, InputTopic, Lease, Message, Poison};
use orrery_model::id::{AgentId, AttemptId};
use orrery_model::journal::{EntryBatch, Observation, Shards};
use orrery_model::planted::SPARE_LOGIC_VERSIONS;
use orrery_model::record::Record;
use orrery_model::resources::Resources;
use orrery_model::table::{Rows, Table};
use orrery_model::time::Timestamp;
use orrery_model::topics;
use std::ops::RangeInclusive;

/// Deadline of what is due as soon as there is room for it.
const AT_ONCE: Timestamp = Timestamp(0);
/// Key of the one row of counters, and of the one about the cluster.
const ONLY_KEY: u32 = 0;

/// The allocator's state machine.
pub struct Allocator {
    pub(crate) agents: Table<AgentId, AgentRow>,
    pub(crate) tasks: Table<AttemptId, TaskRow>,
    pub(crate) tombstones: Table<(AttemptId, u32), TombstoneRow>,
    counters: Table<u32, CountersRow>,
    cluster: Table<u32, Shards>,
    pub(crate) index: Index,
    /// No row: a live allocator has the default.
    pub(crate) policy: Policy,
}

impl Default for Allocator {
    fn default() -> Self {
        Self {
            agents: Table::new(rows::AGENTS, &rows::AGENT),
            tasks: Table::new(rows::TASKS, &rows::TASK),
            tombstones: Table::new(rows::TOMBSTONES, &rows::TOMBSTONE),
            counters: Table::new(rows::COUNTERS, &rows::COUNTER),
            cluster: Table::new(rows::CLUSTER, &rows::SHARDS),
            index: Index::default(),
            policy: Policy::default(),
        }
    }
}

impl Decider for Allocator {
    const SERVICE: &'static str = "allocator";
    const LOGIC_VERSIONS: RangeInclusive<i32> = 1..=1 + SPARE_LOGIC_VERSIONS;
    type Input = Input;
    type Decision = Decision;

    fn journal() -> &'static Codec<EntryBatch<Input, Decision>> {
        &JOURNAL
    }
    fn inputs() -> &'static [&'static str] {
        &[topics::TASKS, topics::HEARTBEATS, topics::STATUS]
    }
    fn decode(topic: InputTopic<'_>, record: &Record) -> Result<Vec<Decoded<Input>>, Poison> {
        crate::decode::decode(topic, record)
    }
    fn tick() -> Input {
        Input::Tick {}
    }
    fn observed(observation: Observation) -> Input {
        Input::ShellObserved { observation }
    }
    fn handle(&mut self, at: Timestamp, input: &Input, out: &mut Vec<Decision>) {
        crate::handle::handle(self, at, input, out);
    }
    fn apply(&mut self, at: Timestamp, decision: &Decision) {
        crate::apply::apply(self, at, decision);
    }
    fn messages(at: Timestamp, decision: &Decision, out: &mut Vec<Message>) {
        crate::project::messages(at, decision, out);
    }
    fn next_deadline(&self) -> Option<Timestamp> {
        let work_is_left = self.counters().paused || !self.index.orphans.is_empty();
        let spill = || self.index.spills.first().map(|(at, _)| *at);
        work_is_left.then_some(AT_ONCE).or_else(spill)
    }
    fn tables(&mut self) -> Vec<&mut dyn Rows> {
        vec![&mut self.agents, &mut self.tasks, &mut self.tombstones, &mut self.counters, &mut self.cluster]
    }
    fn loaded(&mut self) {
        self.rebuild_index();
    }
    fn renews(input: &Input) -> Option<Lease> {
        let Input::HeartbeatArrived { heartbeat } = input else { return None };
        Some(Lease { agent: heartbeat.agent.clone(), session: heartbeat.session.clone(), lease_ms: heartbeat.lease_ms })
    }
    fn leases(&self) -> Vec<Lease> {
        let lease =
            |(agent, row): (&AgentId, &AgentRow)| Lease { agent: agent.clone(), session: row.session.clone(), lease_ms: row.lease_ms };
        self.agents.iter().filter(|(_, row)| row.lost.is_none()).map(lease).collect()
    }
    fn observation(input: &Input) -> Option<&Observation> {
        if let Input::ShellObserved { observation } = input { Some(observation) } else { None }
    }
}

impl Allocator {
    /// An empty one that decides by these rules: for asking what would be, see [`crate::policy`].
    pub fn with_policy(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// Its agents, lost ones too.
    pub fn agents(&self) -> impl Iterator<Item = (&AgentId, &AgentRow)> {
        self.agents.iter()
    }

    /// Its tasks: those that wait, are placed or run.
    pub fn tasks(&self) -> impl Iterator<Item = (&AttemptId, &TaskRow)> {
        self.tasks.iter()
    }

    /// The numbers of the cluster and of this cell, if it was told.
    pub fn known_shards(&self) -> Option<Shards> {
        self.cluster.get(&ONLY_KEY).copied()
    }

    /// What it goes by.
    pub(crate) fn shards(&self) -> Shards {
        self.known_shards().unwrap_or_default()
    }

    pub(crate) fn learn(&mut self, shards: Shards) {
        self.cluster.insert(ONLY_KEY, shards);
    }

    /// What the tasks of an agent use.
    pub fn used(&self, agent: &AgentId) -> Resources {
        self.index.loads.get(agent).map(|load| load.used).unwrap_or_default()
    }

    /// Number of tasks that wait.
    pub fn waiting(&self) -> usize {
        self.index.queue.len()
    }

    pub(crate) fn candidate<'a>(&'a self, agent: &'a AgentId) -> Option<Candidate<'a>> {
        let row = self.agents.get(agent).filter(|row| row.lost.is_none())?;
        Some(Candidate { agent, total: row.total, used: self.used(agent), attributes: &row.attributes })
    }

    /// Every agent that may be given tasks. Agents and loads are both in order, so nothing is looked up.
    pub(crate) fn candidates(&self) -> Vec<Candidate<'_>> {
        let mut loads = self.index.loads.iter().peekable();
        let mut used = |agent: &AgentId| {
            while loads.next_if(|(loaded, _)| *loaded < agent).is_some() {}
            loads.peek().filter(|(loaded, _)| *loaded == agent).map(|(_, load)| load.used).unwrap_or_default()
        };
        let live = self.agents.iter().filter(|(_, row)| row.lost.is_none());
        live.map(|(agent, row)| Candidate { agent, total: row.total, used: used(agent), attributes: &row.attributes }).collect()
    }

    pub(crate) fn counters(&self) -> CountersRow {
        self.counters.get(&ONLY_KEY).copied().unwrap_or_default()
    }

    pub(crate) fn set_counters(&mut self, row: CountersRow) {
        if row != self.counters() {
            self.counters.insert(ONLY_KEY, row);
        }
    }
}
