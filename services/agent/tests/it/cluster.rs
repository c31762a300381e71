//! An agent on a log in memory, with the test in the allocator's place.

use crate::fake_log::FakeLog;
use orrery_agent::link::Link;
use orrery_agent::wire::{Request, Snapshot};
use orrery_agent::{AgentConfig, AgentHandle, start};
use orrery_log::{Bell, Log, TopicPartition, clock};
use orrery_model::id::{AttemptId, JobName, Role};
use orrery_model::messages::{
    COMMANDS, Command, HEARTBEAT, Heartbeat, Item, Order, Packed, STATUS, Session, Status, StatusChange, TaskSpec,
};
use orrery_model::payload::Payload;
use orrery_model::record::{ID_HEADER, MessageId, NewRecord, Offset};
use orrery_model::resources::Resources;
use orrery_model::topics;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Cluster {
    pub(crate) log: Arc<FakeLog>,
    /// Removed at last.
    _dir: TempDir,
    pub(crate) config: AgentConfig,
    pub(crate) agent: Option<AgentHandle>,
    pub(crate) epoch: i64,
    heartbeats: (Arc<Bell>, Offset),
    status: (Arc<Bell>, Offset),
    seen: Vec<Status>,
}

impl Cluster {
    pub(crate) fn new(supervisor_command: Vec<String>) -> Self {
        let (log, dir) = (Arc::new(FakeLog::default()), tempfile::tempdir().expect("a folder"));
        let config = AgentConfig { heartbeat_ms: 50, ..AgentConfig::new(dir.path().join("agent"), supervisor_command) };
        let (heartbeats, status) = ((log.bell(&["orrery.heartbeats"]), 0), (log.bell(&["orrery.status"]), 0));
        Self { log, _dir: dir, config, agent: None, epoch: 1, heartbeats, status, seen: Vec::new() }
    }

    pub(crate) fn start(&mut self) {
        self.agent = Some(start(self.log.clone(), self.config.clone()).expect("the agent starts"));
    }

    pub(crate) fn stop(&mut self) {
        self.agent.take().expect("a running agent").stop();
    }

    /// Waits for the registration and answers it.
    pub(crate) fn welcome(&mut self, adopted: impl Fn(&[AttemptId]) -> Vec<AttemptId>) -> Heartbeat {
        let heartbeat = self.heartbeat(|heartbeat| heartbeat.registering);
        self.order(&heartbeat.session, Order::Welcome { adopted: adopted(&heartbeat.live) });
        heartbeat
    }

    /// The next heartbeat like this.
    pub(crate) fn heartbeat(&mut self, wanted: impl Fn(&Heartbeat) -> bool) -> Heartbeat {
        let begin = clock::monotonic();
        loop {
            let next = self.log.read(&TopicPartition::new("orrery.heartbeats", 0), self.heartbeats.1, 1).expect("readable");
            for record in next.records {
                self.heartbeats.1 = record.offset + 1;
                let heartbeat = HEARTBEAT.decode(record.value.expect("a value").as_bytes()).expect("a heartbeat");
                if wanted(&heartbeat) {
                    return heartbeat;
                }
            }
            assert!(clock::monotonic().duration_since(begin) < PATIENCE, "no such heartbeat came");
            self.heartbeats.0.wait(Duration::from_secs(1));
        }
    }

    /// The first update of this attempt that is like this, seen or to come.
    pub(crate) fn status(&mut self, attempt: &str, wanted: impl Fn(&StatusChange) -> bool) -> Status {
        let begin = clock::monotonic();
        loop {
            if let Some(found) = self.seen.iter().find(|status| status.attempt.as_str() == attempt && wanted(&status.change)) {
                return found.clone();
            }
            self.refresh();
            assert!(clock::monotonic().duration_since(begin) < PATIENCE, "no such status of {attempt} came");
            if !self.seen.iter().any(|status| status.attempt.as_str() == attempt && wanted(&status.change)) {
                self.status.0.wait(Duration::from_secs(1));
            }
        }
    }

    pub(crate) fn running(&mut self, attempt: &str) -> Status {
        self.status(attempt, |change| matches!(change, StatusChange::TaskRunning { .. }))
    }

    pub(crate) fn ended(&mut self, attempt: &str) -> Status {
        self.status(attempt, |change| matches!(change, StatusChange::TaskEnded { .. }))
    }

    /// Reads what updates there are.
    pub(crate) fn refresh(&mut self) {
        let next = self.log.read(&TopicPartition::new("orrery.status", 0), self.status.1, 1).expect("readable");
        self.status.1 = next.next;
        for record in next.records {
            self.seen.extend(STATUS.decode(record.value.expect("a value").as_bytes()).expect("updates").updates);
        }
    }

    /// Updates since the last call, of all attempts; waits if there are none yet.
    pub(crate) fn news(&mut self) -> Vec<Status> {
        self.refresh();
        if self.seen.is_empty() {
            self.status.0.wait(Duration::from_secs(1));
            self.refresh();
        }
        std::mem::take(&mut self.seen)
    }

    /// Updates seen so far, of all attempts.
    pub(crate) fn seen(&self) -> &[Status] {
        &self.seen
    }

    pub(crate) fn order(&self, session: &Session, order: Order) {
        let agent = self.agent.as_ref().expect("a running agent").agent().clone();
        let partition = topics::commands_partition(0, &agent);
        let body = Command { agent, session: session.clone(), order };
        let value = COMMANDS.encode(&Packed { items: vec![Item { seq: 1, index: 0, body }] });
        let id = MessageId { service: "allocator".into(), shard: 0, lineage: "00".into(), epoch: self.epoch, seq: 1, index: 0 };
        let headers = vec![(ID_HEADER.to_owned(), Payload::from(id.to_string().as_bytes()))];
        let (topic, value) = ("orrery.commands".to_owned(), Some(Payload::from(value.as_slice())));
        self.log.append(vec![NewRecord { topic, partition, key: None, value, headers }]).expect("appended");
    }

    pub(crate) fn launch(&self, session: &Session, attempt: &str, argv: &[&str]) {
        self.order(session, Order::Launch { spec: spec(attempt, argv) });
    }

    /// What the supervisor knows; its connection to the agent breaks by this, and the agent makes a new one.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let begin = clock::monotonic();
        loop {
            // The agent's own new connection may replace this one before it is answered.
            match Link::connect(&self.config.dir) {
                Ok((_, snapshot)) => return snapshot,
                Err(error) => assert!(clock::monotonic().duration_since(begin) < PATIENCE, "{error}"),
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.agent = None;
        if let Ok((mut link, snapshot)) = Link::connect(&self.config.dir) {
            let kill = |attempt| Request::Kill { attempt, grace_ms: Some(0), reason: "the test is over".into() };
            let kills = snapshot.live.into_iter().map(|live| kill(live.attempt));
            let _ = link.send(&kills.chain([Request::ShutdownWhenIdle]).collect::<Vec<_>>());
            // Its end closes the connection.
            while link.receive().is_ok() {}
        }
    }
}

pub(crate) fn spec(attempt: &str, argv: &[&str]) -> TaskSpec {
    TaskSpec {
        attempt: AttemptId::parse(attempt).expect("an id"),
        job: JobName::with_default_namespace("job").expect("a name"),
        version: 1,
        hop: 0,
        may_decline: false,
        role: Role::parse("*").expect("a role"),
        principal: None,
        priority: 50,
        resources: Resources::default(),
        constraints: Vec::new(),
        argv: argv.iter().map(|&arg| arg.to_owned()).collect(),
        env: Vec::new(),
        user: None,
        limits: Vec::new(),
        timeout_ms: None,
        grace_ms: 1000,
        event: None,
        avoid: None,
    }
}
