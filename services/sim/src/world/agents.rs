//! Agents: the production core, with a simulated journal, network, supervisor and processes.

use super::{Happening, World};
use crate::history::Heard;
use crate::machine::{Fortune, Machine, wall};
use crate::plan::SECOND;
use orrery_agent::core::{AgentCore, CommandRecord, CoreConfig, Effect, HEARTBEAT_MS, Input, LEASE_MS, Node as Offer, Now, RESEND_MS};
use orrery_agent::journal::{Line, Recovered};
use orrery_agent::wire::{Event, StartTask};
use orrery_log::{Bell, Log, LogError, TopicPartition};
use orrery_model::id::AgentId;
use orrery_model::messages::{Attribute, EndKind, HEARTBEAT, Heartbeat, STATUS, StatusBatch};
use orrery_model::payload::Payload;
use orrery_model::record::NewRecord;
use orrery_model::resources::{Bytes, MilliCpus, Resources};
use orrery_model::topics;
use std::sync::Arc;

/// Bytes of one read of `commands`.
const READ_BYTES: usize = 1 << 20;
/// From a record to the agent that waits for it.
const LOOK_US: i64 = 700;
/// An append without answer is given up.
const APPEND_TIMEOUT: i64 = 5 * SECOND;
/// Before a log that cannot be read is tried again.
const RETRY: i64 = SECOND;

/// What an agent has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appended {
    Heartbeat,
    Status,
}

/// One agent, its machine, its folder, its way to the log.
pub(crate) struct Node {
    /// Counts its folders: without its journal it is somebody else.
    identity: u32,
    number: usize,
    /// How large its machine is.
    size: i64,
    cell: i32,
    pub(crate) machine: Machine,
    folder: Folder,
    core: Option<AgentCore>,
    /// Counts its starts.
    life: u64,
    /// Where its commands come, and how far it has read there.
    commands: TopicPartition,
    position: i64,
    bell: Arc<Bell>,
    look_at: Option<i64>,
    retry_at: i64,
    /// Dies after so many effects more; with the power, if so.
    pub(crate) doom: Option<(u32, bool)>,
    pub(crate) skew: i64,
    pub(crate) link: Link,
}

/// The way to the log.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Link {
    /// Nothing passes until then.
    pub(crate) cut_until: i64,
    /// Answers do not pass until then.
    pub(crate) mute_until: i64,
    /// What is sent until `lags_until` arrives so much later.
    pub(crate) lag: i64,
    pub(crate) lags_until: i64,
}

/// `agent.journal`: lines behind the last sync are lost with the power.
struct Folder {
    synced: Recovered,
    unsynced: Vec<Line>,
}

impl Folder {
    fn append(&mut self, lines: Vec<Line>, sync: bool) {
        self.unsynced.extend(lines);
        if sync {
            self.unsynced.drain(..).for_each(|line| self.synced.take(line));
        }
    }
    fn read(&mut self) -> Recovered {
        self.append(Vec::new(), true);
        self.synced.clone()
    }
}

impl Node {
    fn name(&self) -> String {
        format!("agent-{}-{}", self.number, self.identity)
    }
    fn new_folder(&self) -> Folder {
        let agent = AgentId::parse(&self.name()).expect("letters, digits and hyphens");
        Folder { synced: Recovered::new(agent, self.cell), unsynced: Vec::new() }
    }
    /// What it offers: some are small, some are large, half of them are in each zone.
    fn offer(&self) -> Offer {
        let n = i64::try_from(self.number).unwrap_or(0);
        let total = Resources { cpus: MilliCpus(2_000 + 1_000 * self.size), memory: Bytes((2 + n % 2) << 30), disk: Bytes(10 << 30) };
        let attribute = |name: &str, value: String| Attribute { name: name.into(), value };
        let attributes = vec![attribute("hostname", format!("host-{n}")), attribute("zone", format!("z{}", n % 2))];
        Offer { total, attributes }
    }
}

impl World {
    pub(super) fn begin_agents(&mut self) {
        for number in 0..self.plan.agents {
            let cell = i32::try_from(number % self.plan.cells as usize).unwrap_or(0);
            let nobody = Recovered::new(AgentId::parse("nobody").expect("an id"), cell);
            let mut node = Node {
                identity: 0,
                number,
                size: i64::try_from(number % 3).unwrap_or(0),
                cell,
                machine: Machine::default(),
                folder: Folder { synced: nobody, unsynced: Vec::new() },
                core: None,
                life: 0,
                commands: TopicPartition::new("", 0),
                position: 0,
                bell: Arc::new(Bell::default()),
                look_at: None,
                retry_at: 0,
                doom: None,
                skew: 0,
                link: Link::default(),
            };
            node.folder = node.new_folder();
            self.nodes.push(node);
            self.agent_starts(number);
        }
    }

    /// The agents and what they offer.
    pub fn agents(&self) -> Vec<(String, Offer)> {
        self.nodes.iter().map(|node| (node.name(), node.offer())).collect()
    }

    pub(super) fn agent_starts(&mut self, n: usize) {
        let commands = self.commands_of(n);
        let node = &mut self.nodes[n];
        if node.core.is_some() {
            return;
        }
        let recovered = node.folder.read();
        let config = CoreConfig { boot_id: node.machine.boot_id(), lease_ms: LEASE_MS, heartbeat_ms: HEARTBEAT_MS, resend_ms: RESEND_MS };
        node.core = Some(AgentCore::new(config, node.offer(), recovered));
        node.bell = Arc::new(Bell::default());
        node.look_at = None;
        self.log.ring_for(&[&commands.topic], &node.bell);
        node.commands = commands.clone();
        // As the driver does: commands before the new session are void anyway.
        match self.log.end_offset(&commands) {
            Ok(end) => node.position = end,
            Err(_) => node.position = 0,
        }
        let snapshot = node.machine.snapshot();
        self.agent_step(n, Input::Snapshot(snapshot));
    }

    fn commands_of(&self, n: usize) -> TopicPartition {
        let agent = AgentId::parse(&self.nodes[n].name()).expect("letters, digits and hyphens");
        let partition = topics::commands_partition(self.nodes[n].cell.unsigned_abs(), &agent);
        TopicPartition::new(&self.cluster.topic(topics::COMMANDS), partition)
    }

    pub(super) fn wake_agents(&mut self) {
        for n in 0..self.nodes.len() {
            let node = &self.nodes[n];
            // The topic's other partitions are other agents'.
            if node.core.is_some() && node.bell.has_rung() && self.log.end_offset(&node.commands).is_ok_and(|end| end > node.position) {
                self.plan_look(n, LOOK_US);
            }
        }
    }

    fn plan_look(&mut self, n: usize, span: i64) {
        let at = self.now() + span;
        let node = &mut self.nodes[n];
        if node.look_at.is_none_or(|planned| planned > at) {
            node.look_at = Some(at);
            let life = node.life;
            self.at(at, Happening::AgentLooks(n, life));
        }
    }

    pub(super) fn agent_looks(&mut self, n: usize, life: u64) {
        let now = self.now();
        let node = &mut self.nodes[n];
        if node.life != life || node.core.is_none() || node.look_at != Some(now) {
            return;
        }
        node.look_at = None;
        let reachable = node.link.cut_until.max(node.link.mute_until).max(node.retry_at) <= now;
        if reachable {
            match self.log.read(&node.commands, node.position, READ_BYTES) {
                Ok(fetch) => {
                    node.position = fetch.next;
                    let records: Vec<CommandRecord> = fetch.records.iter().filter_map(CommandRecord::read).collect();
                    if !records.is_empty() {
                        self.agent_step(n, Input::Commands(records));
                    }
                }
                Err(LogError::OutOfRange { end, .. }) => {
                    node.position = end;
                    self.agent_step(n, Input::CommandsLost);
                }
                Err(_) => node.retry_at = now + RETRY,
            }
        } else {
            node.retry_at = node.link.cut_until.max(node.link.mute_until).max(node.retry_at);
        }
        let node = &self.nodes[n];
        let boot_ms = node.machine.boot_ms(now);
        if node.life == life && node.core.as_ref().is_some_and(|core| core.next_deadline() <= boot_ms) {
            self.agent_step(n, Input::Tick);
        }
        self.plan_next_look(n);
    }

    fn plan_next_look(&mut self, n: usize) {
        let now = self.now();
        let node = &self.nodes[n];
        let Some(core) = &node.core else { return };
        let due = (core.next_deadline() - node.machine.boot_ms(now)).saturating_mul(1_000).max(1_000);
        let retry = if node.retry_at > now { node.retry_at - now } else { i64::MAX };
        self.plan_look(n, due.min(retry).min(60 * SECOND));
    }

    fn agent_step(&mut self, n: usize, input: Input) {
        let now = self.now();
        let node = &mut self.nodes[n];
        let clock = Now { wall: wall(now + node.skew), boot_ms: node.machine.boot_ms(now) };
        let Some(core) = &mut node.core else { return };
        let effects = core.step(clock, input);
        for effect in effects {
            match &mut self.nodes[n].doom {
                Some((0, power)) => {
                    let power = *power;
                    self.note(|| format!("agent {n} dies between two effects"));
                    return if power { self.reboot(n) } else { self.kill_agent(n) };
                }
                Some((left, _)) => *left -= 1,
                None => {}
            }
            self.carry_out(n, effect);
        }
        self.plan_next_look(n);
    }

    fn carry_out(&mut self, n: usize, effect: Effect) {
        let now = self.now();
        let agent = self.nodes[n].name();
        match effect {
            Effect::Journal { lines, sync } => self.nodes[n].folder.append(lines, sync),
            Effect::Start(tasks) => {
                for task in tasks {
                    let fortune = self.fortune(&task);
                    let event = self.nodes[n].machine.start(&task, fortune, &agent, now, &mut self.history);
                    self.tell_agent(n, vec![event]);
                }
                self.plan_machine(n);
            }
            Effect::Kill { attempt, reason } => {
                self.nodes[n].machine.kill(&attempt, &reason, now);
                self.plan_machine(n);
            }
            Effect::Lease { until_boot_ms } => {
                self.nodes[n].machine.extend_lease(until_boot_ms);
                self.plan_machine(n);
            }
            Effect::Forget(attempts) => self.nodes[n].machine.forget(&attempts),
            Effect::Heartbeat(heartbeat) => self.send(n, Appended::Heartbeat, topics::HEARTBEATS, HEARTBEAT.encode(&heartbeat)),
            Effect::Status(updates) => self.send(n, Appended::Status, topics::STATUS, STATUS.encode(&StatusBatch { updates })),
            Effect::Finished(_) => {}
        }
    }

    /// How long a process will run, and how it will end.
    fn fortune(&mut self, task: &StartTask) -> Fortune {
        if let Some(script) = &self.plan.script {
            let fortune = script.fortune(task, self.now());
            return Fortune { runs_us: fortune.runs_us + self.chance.i64(0..SECOND), ..fortune };
        }
        let seconds = if self.chance.u8(0..10) == 0 { self.chance.i64(60..400) } else { self.chance.i64(0..30) };
        let kind = if self.chance.u8(0..12) == 0 { EndKind::Failed } else { EndKind::Succeeded };
        Fortune { runs_us: seconds * SECOND + self.chance.i64(1_000..SECOND), kind }
    }

    fn send(&mut self, n: usize, what: Appended, topic: &str, value: Vec<u8>) {
        let (now, node) = (self.now(), &self.nodes[n]);
        let key = Some(Payload::from(node.name().as_bytes()));
        let partition = node.cell.unsigned_abs();
        let record =
            NewRecord { topic: self.cluster.topic(topic), partition, key, value: Some(value.as_slice().into()), headers: Vec::new() };
        let lag = if node.link.lags_until > now { node.link.lag } else { 0 };
        let life = node.life;
        let span = lag + self.chance.i64(300..3_000);
        self.after(span, Happening::AgentSends(n, life, what, record));
    }

    pub(super) fn agent_sends(&mut self, n: usize, life: u64, what: Appended, record: NewRecord) {
        let (now, link) = (self.now(), self.nodes[n].link);
        if link.cut_until > now {
            return self.after(APPEND_TIMEOUT, Happening::AgentHears(n, life, what, false));
        }
        let heartbeat = record.value.as_ref().and_then(|value| HEARTBEAT.decode(value.as_bytes()).ok());
        let ok = self.log.append(vec![record]).is_ok();
        if let Some(heartbeat) = heartbeat.filter(|_| ok) {
            let Heartbeat { agent, session, lease_ms, .. } = heartbeat;
            self.history.heard.push(Heard { agent, session: session.counter, lease_ms, at: self.log.wall() });
        }
        if link.mute_until > now {
            return self.after(APPEND_TIMEOUT, Happening::AgentHears(n, life, what, false));
        }
        let lag = if link.lags_until > now { link.lag } else { 300 };
        self.after(lag, Happening::AgentHears(n, life, what, ok));
    }

    pub(super) fn agent_hears(&mut self, n: usize, life: u64, what: Appended, ok: bool) {
        if self.nodes[n].life == life {
            let input = match what {
                Appended::Heartbeat => Input::HeartbeatAppended { ok },
                Appended::Status => Input::StatusAppended { ok },
            };
            self.agent_step(n, input);
        }
    }

    fn plan_machine(&mut self, n: usize) {
        if let Some(at) = self.nodes[n].machine.next_us() {
            self.at(at, Happening::MachineMoves(n));
        }
    }

    pub(super) fn machine_moves(&mut self, n: usize) {
        let now = self.now();
        let node = &mut self.nodes[n];
        if node.machine.next_us().is_none_or(|next| next > now) {
            return;
        }
        let events = node.machine.pass(now, &mut self.history);
        self.plan_machine(n);
        self.tell_agent(n, events);
    }

    fn tell_agent(&mut self, n: usize, events: Vec<Event>) {
        if !events.is_empty() {
            self.agent_step(n, Input::Supervisor(events));
        }
    }

    /// The process of the agent is gone; supervisor, tasks and files stay.
    pub(super) fn kill_agent(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        (node.core, node.doom) = (None, None);
        node.life += 1;
        let span = self.chance.i64(SECOND / 10..20 * SECOND);
        self.after(span, Happening::AgentStarts(n));
    }

    /// Its machine is given more or less, which the agent sees when it starts again.
    pub(super) fn resize_agent(&mut self, n: usize, size: i64) {
        self.nodes[n].size = size;
        self.kill_agent(n);
    }

    pub(super) fn lose_agent_folder(&mut self, n: usize) {
        self.kill_agent(n);
        let node = &mut self.nodes[n];
        node.identity += 1;
        node.folder = node.new_folder();
    }

    pub(super) fn lose_supervisor(&mut self, n: usize) {
        let now = self.now();
        self.nodes[n].machine.lose_supervisor(now, &mut self.history);
        let snapshot = self.nodes[n].machine.snapshot();
        self.agent_step(n, Input::Snapshot(snapshot));
    }

    pub(super) fn reboot(&mut self, n: usize) {
        let now = self.now();
        let lost = self.chance.usize(..8);
        self.kill_agent(n);
        let node = &mut self.nodes[n];
        node.folder.unsynced.truncate(node.folder.unsynced.len().saturating_sub(lost));
        node.machine.reboot(now, &mut self.history);
    }
}
