//! A trigger shard on the desk: inputs go in, decisions come out as lines.

use orrery_model::decider::{Decider, Message};
use orrery_model::id::{AgentId, AttemptId, JobName, RunId};
use orrery_model::job::{Format, read_documents};
use orrery_model::journal::{Observation, Shards};
use orrery_model::messages::{
    End, EndKind, ForwardBody, Origin, Outcome, OutcomeChange, Request, RequestRecord, RunRecord, StartPosition, TaskMessage,
};
use orrery_model::table::Change;
use orrery_model::time::Timestamp;
use orrery_trigger::{Decision, EventData, Input, Trigger};

pub(crate) struct Rig {
    pub(crate) trigger: Trigger,
    pub(crate) at: Timestamp,
    rows: std::collections::BTreeMap<(u8, Vec<u8>), Vec<u8>>,
    records: i64,
    requests: i64,
}

pub(crate) fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("a time")
}

impl Rig {
    /// Begins on a Saturday at midnight.
    pub(crate) fn new() -> Self {
        Self { trigger: Trigger::default(), at: time("2026-11-21T00:00:00Z"), rows: Default::default(), records: 0, requests: 0 }
    }

    /// Gives an input, then ticks until nothing is due; what was decided.
    pub(crate) fn input(&mut self, input: &Input) -> Vec<Decision> {
        let mut decisions = Vec::new();
        self.trigger.handle(self.at, input, &mut decisions);
        assert!(decisions.len() <= orrery_model::limits::DECISIONS_PER_INPUT, "{} decisions", decisions.len());
        self.check_rebuilt();
        decisions.extend(self.tick());
        decisions
    }

    fn tick(&mut self) -> Vec<Decision> {
        let mut all = Vec::new();
        while self.trigger.next_deadline().is_some_and(|due| due <= self.at) {
            let mut decisions = Vec::new();
            self.trigger.handle(self.at, &Input::Tick {}, &mut decisions);
            assert!(!decisions.is_empty(), "a deadline does not move");
            assert!(decisions.len() <= orrery_model::limits::DECISIONS_PER_INPUT, "{} decisions", decisions.len());
            self.check_rebuilt();
            all.extend(decisions);
        }
        all
    }

    /// What is kept in rows says all: a trigger restored from them expects the same.
    fn check_rebuilt(&mut self) {
        let mut changes: Vec<Change> = Vec::new();
        self.trigger.take_changes(&mut changes);
        for change in changes {
            match change.value {
                Some(value) => self.rows.insert((change.table, change.key), value),
                None => self.rows.remove(&(change.table, change.key)),
            };
        }
        let mut restored = Trigger::default();
        for ((table, key), value) in &self.rows {
            restored.load(*table, key, value).expect("its own rows");
        }
        restored.loaded();
        assert_eq!(restored.next_deadline(), self.trigger.next_deadline());
        assert_eq!(restored.subscriptions(), self.trigger.subscriptions());
        assert_eq!(restored.known_shards(), self.trigger.known_shards());
    }

    /// Goes on with a trigger that was restored from the rows.
    pub(crate) fn restart(&mut self) {
        self.trigger = Trigger::default();
        for ((table, key), value) in &self.rows {
            self.trigger.load(*table, key, value).expect("its own rows");
        }
        self.trigger.loaded();
    }

    /// All rows, as they would be stored.
    pub(crate) fn rows(&self) -> &std::collections::BTreeMap<(u8, Vec<u8>), Vec<u8>> {
        &self.rows
    }

    /// Tells it which shard it is.
    pub(crate) fn acquire(&mut self, shards: Shards) -> Vec<Decision> {
        let binary = "b".into();
        let acquired = Observation::Acquired { epoch: 1, member: "m".into(), generation: 1, binary, resend_from: 0, shards };
        self.input(&Trigger::observed(acquired))
    }

    pub(crate) fn define(&mut self, yaml: &str) -> Vec<Decision> {
        let mut all = Vec::new();
        for spec in read_documents(yaml, Format::Yaml).expect("the types are right") {
            all.extend(self.submit(spec.to_json(), Vec::new()));
        }
        all
    }

    pub(crate) fn submit(&mut self, document: String, starts: Vec<StartPosition>) -> Vec<Decision> {
        let (origin, appended) = (self.origin("jobs"), self.at);
        self.input(&Input::JobSubmitted { document, principal: None, starts, origin, appended, read: Vec::new() })
    }

    pub(crate) fn withdraw(&mut self, name: &str) -> Vec<Decision> {
        let (job, origin, appended) = (JobName::with_default_namespace(name).expect("a name"), self.origin("jobs"), self.at);
        self.input(&Input::JobWithdrawn { job, principal: None, origin, appended })
    }

    /// The next place of one of the topics that it reads at its own partition.
    pub(crate) fn origin(&mut self, topic: &str) -> Origin {
        self.records += 1;
        let partition = self.trigger.known_shards().unwrap_or_default().shard;
        Origin { topic: topic.into(), partition, generation: 0, offset: self.records }
    }

    /// Lets time pass, stopping at each deadline.
    pub(crate) fn advance_to(&mut self, until: &str) -> Vec<Decision> {
        let until = time(until);
        let mut all = Vec::new();
        while let Some(due) = self.trigger.next_deadline().filter(|due| *due <= until) {
            self.at = self.at.max(due);
            all.extend(self.tick());
        }
        self.at = until;
        all
    }

    /// Lets time pass while nobody looks.
    pub(crate) fn sleep_to(&mut self, until: &str) -> Vec<Decision> {
        self.at = time(until);
        self.tick()
    }

    pub(crate) fn event(&mut self, topic: &str, offset: i64, value: &str) -> Vec<Decision> {
        self.input(&Input::EventArrived { event: event(topic, offset, value) })
    }

    pub(crate) fn request(&mut self, request: Request) -> Vec<Decision> {
        self.requests += 1;
        let asked = RequestRecord { request, principal: None, idempotency_key: None };
        let origin = Origin { offset: self.requests, ..self.origin("requests") };
        self.input(&Input::Requested { asked, job: None, origin })
    }

    pub(crate) fn run_job(&mut self, job: &str) -> Vec<Decision> {
        self.request(Request::RunJob { job: JobName::with_default_namespace(job).expect("a name"), args: Vec::new() })
    }

    pub(crate) fn starts(&mut self, record: &RunRecord) -> Vec<Decision> {
        self.outcome(record, OutcomeChange::AttemptRunning { agent: agent(), pid: 1, started_at: self.at })
    }

    pub(crate) fn ends(&mut self, record: &RunRecord, kind: EndKind) -> Vec<Decision> {
        self.end_of_hop(record, 0, kind)
    }

    pub(crate) fn end_of_hop(&mut self, record: &RunRecord, hop: i32, kind: EndKind) -> Vec<Decision> {
        let code = match kind {
            EndKind::Succeeded => Some(0),
            EndKind::Failed => Some(3),
            _ => None,
        };
        let end = End { kind, code, signal: None, reason: None, wall_ms: 5, cpu_ms: 1, peak_memory: 1, ended_at: self.at };
        self.outcome_of_hop(record, hop, OutcomeChange::AttemptEnded { agent: Some(agent()), end })
    }

    pub(crate) fn outcome(&mut self, record: &RunRecord, change: OutcomeChange) -> Vec<Decision> {
        self.outcome_of_hop(record, 0, change)
    }

    pub(crate) fn outcome_of_hop(&mut self, record: &RunRecord, hop: i32, change: OutcomeChange) -> Vec<Decision> {
        let attempt = record.run.attempt(record.attempts);
        let outcome = Outcome { attempt, job: record.job.clone(), hop, at: self.at, change };
        self.input(&Input::OutcomeArrived { outcome })
    }
}

pub(crate) fn agent() -> AgentId {
    AgentId::parse("agent-1").expect("an id")
}

pub(crate) fn event(topic: &str, offset: i64, value: &str) -> EventData {
    EventData {
        topic: topic.into(),
        generation: 0,
        partition: 0,
        offset,
        appended: Timestamp(0),
        key: None,
        headers: Vec::new(),
        value: Some(value.as_bytes().into()),
        topic_id: String::new(),
    }
}

/// The record that the last decision about a run carries.
pub(crate) fn last(decisions: &[Decision]) -> RunRecord {
    decisions.iter().rev().find_map(record_of).expect("a decision about a run").clone()
}

pub(crate) fn wanted(decisions: &[Decision]) -> Vec<RunRecord> {
    let wanted = |decision: &Decision| match decision {
        Decision::AttemptWanted { record, .. } => Some(record.clone()),
        _ => None,
    };
    decisions.iter().filter_map(wanted).collect()
}

pub(crate) fn run_id(decisions: &[Decision]) -> RunId {
    last(decisions).run
}

fn record_of(decision: &Decision) -> Option<&RunRecord> {
    match decision {
        Decision::RunCreated { record, .. }
        | Decision::AttemptWanted { record, .. }
        | Decision::AttemptUnwanted { record, .. }
        | Decision::RunProgressed { record }
        | Decision::AttemptOver { record, .. }
        | Decision::RunEnded { record } => Some(record),
        _ => None,
    }
}

/// What is sent on `tasks`, each attempt with the letter of its job.
pub(crate) fn task_messages(decisions: &[Decision]) -> String {
    let mut messages = Vec::new();
    decisions.iter().for_each(|decision| Trigger::messages(Timestamp(0), decision, &mut messages));
    let number = |attempt: &AttemptId| format!("a.{}", attempt.split().expect("run and number").1);
    let told = |message: &Message| match message {
        Message::Task(task) => Some(match &**task {
            TaskMessage::TaskWanted { cell, spec } => {
                let or = if spec.may_decline { "may come back" } else { "stays" };
                format!("{} to cell {cell}, hop {}, {or}", number(&spec.attempt), spec.hop)
            }
            TaskMessage::TaskUnwanted { cell, attempt, hop, .. } => format!("{} unwanted in cell {cell}, hop {hop}", number(attempt)),
        }),
        _ => None,
    };
    messages.iter().filter_map(told).collect::<Vec<_>>().join("\n")
}

/// One line per decision.
pub(crate) fn lines(decisions: &[Decision]) -> String {
    decisions.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn line(decision: &Decision) -> String {
    if let Some(record) = record_of(decision) {
        let what = match decision {
            Decision::RunCreated { .. } => "created",
            Decision::AttemptWanted { .. } => "wanted",
            Decision::AttemptUnwanted { .. } => "unwanted",
            Decision::RunProgressed { .. } => "progressed",
            Decision::AttemptOver { .. } => "over",
            _ => "ended",
        };
        let why = record.reason.as_ref().map_or(String::new(), |why| format!(" ({why})"));
        let next = record.next_attempt_at.map_or(String::new(), |next| format!(" next {next}"));
        return format!("{what} {} {} #{} {}{why}{next}", record.job, record.cause, record.attempts, record.state.word());
    }
    match decision {
        Decision::ShardsLearned { shards: Shards { shard, trigger_shards, cells } } => {
            format!("is shard {shard} of {trigger_shards}, with {cells} cells")
        }
        Decision::JobDefined { entry, .. } => format!("defined {} v{} life {}", entry.job, entry.version, entry.incarnation),
        Decision::Forwarded { forward } => {
            let what = match &forward.body {
                ForwardBody::DefinitionForwarded { .. } => "definition".to_owned(),
                ForwardBody::TombstoneForwarded { job, .. } => format!("tombstone of {job}"),
                ForwardBody::RequestForwarded { .. } => "request".to_owned(),
                ForwardBody::FireForwarded { fire } => format!("fire of {} v{}", fire.job, fire.version),
                ForwardBody::EndForwarded { ended } => format!("end of {} ({})", ended.job, ended.state),
            };
            format!("forwarded {} to {}: {what}", forward.origin.place(), forward.to)
        }
        Decision::ForwardTaken { origin } => format!("taken {}", origin.place()),
        Decision::DefinitionLearned { entry } => format!("learned {} v{}", entry.job, entry.version),
        Decision::DefinitionForgotten { job } => format!("forgotten {job}"),
        Decision::FireParked { number, fire } => format!("parked fire {number} of {}, {}", fire.job, fire.event.place()),
        Decision::FireReleased { job, number } => format!("released fire {number} of {job}"),
        Decision::Skipped { job, version, event, reason, .. } => format!("skipped {job} v{version} on {event}: {reason}"),
        Decision::Submitted { job, .. } => format!("submitted {job}"),
        Decision::RereadBegun { job, from } => format!("reads again {}/{} from {} for {job}", from.topic, from.partition, from.offset),
        Decision::RereadEnded { job, source } => format!("has read {source} again for {}", job.as_ref().map_or("all", |job| job.as_str())),
        Decision::Superseded { job, appended, by } => format!("superseded {job} of {appended} by {by}"),
        Decision::JobPaused { entry } => format!("paused {}", entry.job),
        Decision::JobResumed { entry } => format!("resumed {}", entry.job),
        Decision::JobDeleted { job, .. } => format!("deleted {job}"),
        Decision::Refused { code, detail, hint, .. } => format!("refused {code}: {detail}; {}", hint.as_deref().unwrap_or("no hint")),
        Decision::Answered { .. } => "answered".into(),
        Decision::AnsweredBefore { .. } => "answered before".into(),
        Decision::SlotTaken { slot, next, missed, reason, .. } => {
            let next = next.map_or("none".into(), |next| next.to_string());
            format!("slot {slot}, next {next}, missed {missed} {}", reason.as_deref().unwrap_or_default()).trim_end().to_owned()
        }
        Decision::ParentDone { job, parent, root, .. } => format!("{job}: {parent} done in {root}"),
        Decision::EventKept { event } => format!("kept {}", event.place()),
        Decision::EventParked { next, .. } => format!("parked until {next:?}"),
        Decision::PredicateFailed { job, reason, .. } => format!("predicate of {job} failed: {reason}"),
        other => format!("{other:?}"),
    }
}
