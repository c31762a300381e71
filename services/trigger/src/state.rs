//! What a trigger shard remembers: its tables, and what is derived from them and rebuilt at restore.

use crate::facts::{Decision, Input, JOURNAL};
use crate::predicate::Predicate;
use crate::rows::{self, AnswerRow, FiredRow, JobRow, JoinRow, LifeRow, RunRow, SlotRow};
use crate::schedule::Schedule;
use orrery_model::codec::Codec;
use orrery_model::decider::{Decider, Decoded, InputTopic, Message, Poison};
use orrery_model::id::{JobName, RunId};
use orrery_model::job::{JobSpec, TriggerKind};
use orrery_model::journal::{EntryBatch, Observation};
use orrery_model::messages::StartPosition;
use orrery_model::record::Record;
use orrery_model::table::{Change, RowError, Table};
use orrery_model::time::Timestamp;
use orrery_model::topics;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The trigger's state machine.
pub struct Trigger {
    pub(crate) jobs: Table<JobName, JobRow>,
    pub(crate) lives: Table<JobName, LifeRow>,
    pub(crate) slots: Table<(JobName, u32), SlotRow>,
    pub(crate) runs: Table<RunId, RunRow>,
    pub(crate) fired: Table<(JobName, String), FiredRow>,
    pub(crate) joins: Table<(JobName, String), JoinRow>,
    pub(crate) answers: Table<String, AnswerRow>,
    pub(crate) index: Index,
}

/// Derived from the tables.
#[derive(Default)]
pub(crate) struct Index {
    /// Compiled definitions.
    pub compiled: BTreeMap<JobName, Arc<Compiled>>,
    /// Jobs with event triggers, by topic.
    pub by_topic: BTreeMap<String, BTreeSet<JobName>>,
    /// Jobs with `after` triggers, by parent.
    pub by_parent: BTreeMap<JobName, BTreeSet<JobName>>,
    /// Runs that go on, by job, in order.
    pub active: BTreeMap<JobName, BTreeSet<(i64, RunId)>>,
    /// Runs that have ended and are still kept, by job, in order.
    pub ended: BTreeMap<JobName, BTreeSet<(i64, RunId)>>,
    /// What is due when.
    pub deadlines: BTreeSet<(Timestamp, Deadline)>,
    /// Order of the next run.
    pub next_order: i64,
    /// Answers, oldest first.
    pub answers: BTreeSet<(Timestamp, String)>,
}

/// What a deadline is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deadline {
    /// A schedule's next slot.
    Slot(JobName, u32),
    /// A run's next attempt.
    Attempt(RunId),
    /// A run must have started by now.
    StartBy(RunId),
}

/// A definition, compiled once.
pub(crate) struct Compiled {
    pub spec: JobSpec,
    pub schedules: Vec<Option<Schedule>>,
    pub predicates: Vec<Option<Predicate>>,
}

impl Compiled {
    /// Compiles an accepted document. What an older version accepted and this one cannot compile does not fire.
    pub fn new(document: &str, defined_at: Timestamp) -> Option<Self> {
        let spec: JobSpec = serde_json::from_str(document).ok()?;
        let schedules = spec.triggers.iter().map(|t| Schedule::compile(t, defined_at).ok().flatten()).collect();
        let predicates = spec.triggers.iter().map(|t| t.when.as_deref().and_then(|when| Predicate::compile(when).ok())).collect();
        Some(Self { spec, schedules, predicates })
    }

    /// Topics of event triggers.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.spec.triggers.iter().filter_map(|t| if let Some(TriggerKind::Event(topic)) = t.kind() { Some(topic) } else { None })
    }
}

impl Default for Trigger {
    fn default() -> Self {
        Self {
            jobs: Table::new(rows::JOBS, &rows::JOB),
            lives: Table::new(rows::LIVES, &rows::LIFE),
            slots: Table::new(rows::SLOTS, &rows::SLOT),
            runs: Table::new(rows::RUNS, &rows::RUN),
            fired: Table::new(rows::FIRED, &rows::FIRE),
            joins: Table::new(rows::JOINS, &rows::JOIN),
            answers: Table::new(rows::ANSWERS, &rows::ANSWER),
            index: Index::default(),
        }
    }
}

impl Decider for Trigger {
    const SERVICE: &'static str = "trigger";
    const LOGIC_VERSION: i32 = 1;
    type Input = Input;
    type Decision = Decision;

    fn journal() -> &'static Codec<EntryBatch<Input, Decision>> {
        &JOURNAL
    }
    fn inputs() -> &'static [&'static str] {
        &[topics::JOBS, topics::REQUESTS, topics::OUTCOMES]
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
        self.index.deadlines.first().map(|(at, _)| *at)
    }
    fn take_changes(&mut self, out: &mut Vec<Change>) {
        self.jobs.take_changes(out);
        self.lives.take_changes(out);
        self.slots.take_changes(out);
        self.runs.take_changes(out);
        self.fired.take_changes(out);
        self.joins.take_changes(out);
        self.answers.take_changes(out);
    }
    fn load(&mut self, table: u8, key: &[u8], value: Option<&[u8]>) -> Result<(), RowError> {
        let taken = self.jobs.load(table, key, value)?
            || self.lives.load(table, key, value)?
            || self.slots.load(table, key, value)?
            || self.runs.load(table, key, value)?
            || self.fired.load(table, key, value)?
            || self.joins.load(table, key, value)?
            || self.answers.load(table, key, value)?;
        let unknown = || RowError { table, key: orrery_model::codec::hex(key), why: "no such table in this version".into() };
        if taken { Ok(()) } else { Err(unknown()) }
    }
    fn loaded(&mut self) {
        self.rebuild_index();
    }
    fn subscriptions(&self) -> Vec<StartPosition> {
        self.wanted_topics()
    }
    fn wants_ends(input: &Input) -> Vec<String> {
        let Input::JobSubmitted { document, .. } = input else { return Vec::new() };
        let Ok(spec) = serde_json::from_str::<JobSpec>(document) else { return Vec::new() };
        spec.triggers.iter().filter_map(|trigger| trigger.event.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }
    fn with_ends(input: &mut Input, found: Vec<StartPosition>) {
        if let Input::JobSubmitted { ends, .. } = input {
            *ends = found;
        }
    }
    fn resend_from(input: &Input) -> Option<i64> {
        match input {
            Input::ShellObserved { observation: Observation::Acquired { resend_from, .. } } => Some(*resend_from),
            _ => None,
        }
    }
    fn tz_version() -> &'static str {
        crate::schedule::tz_version()
    }
    fn actor(input: &Input) -> Option<String> {
        match input {
            Input::JobSubmitted { principal, .. } | Input::JobWithdrawn { principal, .. } | Input::Requested { principal, .. } => {
                principal.as_ref().map(ToString::to_string)
            }
            _ => None,
        }
    }
}

impl Trigger {
    /// Definition of a job.
    pub(crate) fn spec(&self, job: &JobName) -> Option<Arc<Compiled>> {
        self.index.compiled.get(job).cloned()
    }

    /// Number of jobs.
    pub fn job_count(&self) -> usize {
        self.jobs.len()
    }

    /// For each topic partition the lowest offset that can fire a job; a topic without partitions yet begins at 0.
    fn wanted_topics(&self) -> Vec<StartPosition> {
        let mut wanted: BTreeMap<(String, i32), i64> = BTreeMap::new();
        for (topic, jobs) in &self.index.by_topic {
            for job in jobs.iter().filter_map(|job| self.jobs.get(job)) {
                let starts = job.entry.starts.iter().filter(|start| start.topic == *topic);
                let known = starts.map(|start| (start.partition, start.offset)).collect::<Vec<_>>();
                for (partition, offset) in if known.is_empty() { vec![(0, 0)] } else { known } {
                    let lowest = wanted.entry((topic.clone(), partition)).or_insert(offset);
                    *lowest = offset.min(*lowest);
                }
            }
        }
        let start = |((topic, partition), offset)| StartPosition { topic, generation: 0, partition, offset };
        wanted.into_iter().map(start).collect()
    }

    fn rebuild_index(&mut self) {
        self.index = Index::default();
        let jobs: Vec<_> = self.jobs.iter().map(|(_, row)| row.entry.clone()).collect();
        jobs.iter().for_each(|entry| self.index_job(entry));
        let slots: Vec<_> = self.slots.iter().map(|(key, row)| (key.clone(), *row)).collect();
        for ((job, trigger), row) in slots {
            self.index_slot(&job, trigger, row.next);
        }
        let runs: Vec<RunId> = self.runs.iter().map(|(run, _)| run.clone()).collect();
        runs.iter().for_each(|run| self.index_run(run));
        self.index.answers = self.answers.iter().map(|(id, row)| (row.at, id.clone())).collect();
    }

    /// Adds a definition to the index; its schedules are indexed by their slots.
    pub(crate) fn index_job(&mut self, entry: &orrery_model::messages::CatalogEntry) {
        let Some(compiled) = Compiled::new(&entry.document, entry.defined_at) else { return };
        for topic in compiled.topics() {
            self.index.by_topic.entry(topic.to_owned()).or_default().insert(entry.job.clone());
        }
        for parent in compiled.spec.triggers.iter().flat_map(|t| &t.after) {
            self.index.by_parent.entry(parent.clone()).or_default().insert(entry.job.clone());
        }
        self.index.compiled.insert(entry.job.clone(), Arc::new(compiled));
    }

    /// Takes a definition out of the index.
    pub(crate) fn unindex_job(&mut self, job: &JobName) {
        let Some(compiled) = self.index.compiled.remove(job) else { return };
        for topic in compiled.topics() {
            if self.index.by_topic.get_mut(topic).is_some_and(|jobs| jobs.remove(job) && jobs.is_empty()) {
                self.index.by_topic.remove(topic);
            }
        }
        for parent in compiled.spec.triggers.iter().flat_map(|t| &t.after) {
            if self.index.by_parent.get_mut(parent).is_some_and(|jobs| jobs.remove(job) && jobs.is_empty()) {
                self.index.by_parent.remove(parent);
            }
        }
    }

    /// A slot is a deadline unless the job is paused: slots of a paused job are caught up at its resume.
    pub(crate) fn index_slot(&mut self, job: &JobName, trigger: u32, next: Option<Timestamp>) {
        let paused = self.jobs.get(job).is_none_or(|row| row.entry.paused);
        if let (Some(next), false) = (next, paused) {
            self.index.deadlines.insert((next, Deadline::Slot(job.clone(), trigger)));
        }
    }

    /// Adds a run to the index.
    pub(crate) fn index_run(&mut self, run: &RunId) {
        let Some(row) = self.runs.get(run) else { return };
        let place = (row.order, run.clone());
        let by_job = if row.record.state.is_final() { &mut self.index.ended } else { &mut self.index.active };
        by_job.entry(row.record.job.clone()).or_default().insert(place);
        self.index.next_order = self.index.next_order.max(row.order + 1);
        for deadline in run_deadlines(row, &self.index.compiled) {
            self.index.deadlines.insert(deadline);
        }
    }

    /// Takes a run out of the index, before its row changes.
    pub(crate) fn unindex_run(&mut self, run: &RunId) {
        let Some(row) = self.runs.get(run) else { return };
        let place = (row.order, run.clone());
        for by_job in [&mut self.index.active, &mut self.index.ended] {
            if by_job.get_mut(&row.record.job).is_some_and(|runs| runs.remove(&place) && runs.is_empty()) {
                by_job.remove(&row.record.job);
            }
        }
        for deadline in run_deadlines(row, &self.index.compiled) {
            self.index.deadlines.remove(&deadline);
        }
    }
}

/// When a run wants a tick.
fn run_deadlines(row: &RunRow, compiled: &BTreeMap<JobName, Arc<Compiled>>) -> Vec<(Timestamp, Deadline)> {
    let run = &row.record.run;
    if row.record.state.is_final() {
        return Vec::new();
    }
    let attempt = row.record.next_attempt_at.map(|at| (at, Deadline::Attempt(run.clone())));
    let within = compiled.get(&row.record.job).and_then(|job| job.spec.start_within);
    let waits = row.record.started_at.is_none() && row.leads_to.is_none();
    let start_by = within.filter(|_| waits).map(|span| (row.record.created_at.plus_ms(span.0), Deadline::StartBy(run.clone())));
    attempt.into_iter().chain(start_by).collect()
}
