//! What a trigger shard remembers: its tables, and what is derived from them and rebuilt at restore.

use crate::facts::{Decision, Input, JOURNAL};
use crate::predicate::Predicate;
use crate::rows::{self, AnswerRow, EventRow, FiredRow, JobRow, JoinRow, LifeRow, RunRow, SlotRow, TakenRow, ToldRow};
use crate::schedule::Schedule;
use crate::triggers::repeats;
use crate::watchers::{Guard, Watchers};
use orrery_model::codec::Codec;
use orrery_model::decider::{Decider, Decoded, InputTopic, Lookup, Message, Poison};
use orrery_model::id::{JobName, RunId};
use orrery_model::job::{Concurrency, JobSpec, TriggerKind};
use orrery_model::journal::{EntryBatch, Observation, Shards};
use orrery_model::messages::{CatalogEntry, Fire, StartPosition, source};
use orrery_model::planted::SPARE_LOGIC_VERSIONS;
use orrery_model::record::Record;
use orrery_model::table::{Rows, Table};
use orrery_model::time::Timestamp;
use orrery_model::topics;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Newest runs of a job among which a run by request looks for the one that it makes up for.
const MADE_UP_FOR: usize = 100;

/// Deadline of what is due as soon as there is room for it.
pub(crate) const AT_ONCE: Timestamp = Timestamp(0);

/// The trigger's state machine.
pub struct Trigger {
    /// Work since the shell last asked.
    pub(crate) work: u64,
    pub(crate) jobs: Table<JobName, JobRow>,
    pub(crate) lives: Table<JobName, LifeRow>,
    pub(crate) slots: Table<(JobName, u32), SlotRow>,
    pub(crate) runs: Table<RunId, RunRow>,
    pub(crate) fired: Table<(JobName, String), FiredRow>,
    pub(crate) joins: Table<(JobName, String), JoinRow>,
    pub(crate) answers: Table<String, AnswerRow>,
    pub(crate) events: Table<String, EventRow>,
    pub(crate) cluster: Table<u32, Shards>,
    pub(crate) taken: Table<(String, u32), TakenRow>,
    pub(crate) catalog: Table<JobName, JobRow>,
    pub(crate) told: Table<u32, ToldRow>,
    pub(crate) parked: Table<(JobName, u32), Fire>,
    pub(crate) rereads: Table<(JobName, String), StartPosition>,
    pub(crate) index: Index,
}

/// Derived from the tables.
#[derive(Default)]
pub(crate) struct Index {
    /// Compiled definitions, those of other shards' jobs too.
    pub compiled: BTreeMap<JobName, Arc<Compiled>>,
    /// Jobs with event triggers, by topic.
    pub by_topic: BTreeMap<String, Watchers>,
    /// Jobs with `after` triggers, by parent.
    pub by_parent: BTreeMap<JobName, BTreeSet<JobName>>,
    /// Runs of each job in each of its lives, in order.
    pub runs: BTreeMap<(JobName, i64), JobRuns>,
    /// What is due when.
    pub deadlines: BTreeSet<(Timestamp, Deadline)>,
    /// Answers, oldest first.
    pub answers: BTreeSet<(Timestamp, String)>,
}

impl Index {
    /// What to do next: what has a time, and is due, before what goes on at once and may be much.
    pub(crate) fn next_due(&self, at: Timestamp) -> Option<(Timestamp, Deadline)> {
        let timed = (Timestamp(AT_ONCE.0 + 1), Deadline::Event(String::new(), 0));
        let due = self.deadlines.range(timed..).next().filter(|(due, _)| *due <= at);
        due.or_else(|| self.deadlines.first()).filter(|(due, _)| *due <= at).cloned()
    }

    fn add_run(&mut self, run: &RunId, row: &RunRow) {
        self.runs.entry((row.record.job.clone(), row.incarnation)).or_default().set_of(row).insert((row.order, run.clone()));
        self.deadlines.extend(run_deadlines(row));
    }
}

/// The runs of one job.
#[derive(Default)]
pub(crate) struct JobRuns {
    /// Those that came in their time: the job's concurrency says which of them go on beside each other.
    pub live: Lane,
    /// Those of slots that are caught up: one after another, whatever the job's concurrency.
    pub caught_up: Lane,
    /// They have ended and are kept for a while.
    pub ended: BTreeSet<(i64, RunId)>,
}

/// Runs that have not ended, each set by arrival.
#[derive(Default)]
pub(crate) struct Lane {
    /// An attempt of theirs is wanted or due.
    pub going: BTreeSet<(i64, RunId)>,
    /// They wait for their turn: for another run, or for the job's resume.
    pub held: BTreeSet<(i64, RunId)>,
}

impl JobRuns {
    fn set_of(&mut self, row: &RunRow) -> &mut BTreeSet<(i64, RunId)> {
        let lane = if row.caught_up { &mut self.caught_up } else { &mut self.live };
        match () {
            () if row.record.state.is_final() => &mut self.ended,
            () if row.live || row.record.next_attempt_at.is_some() => &mut lane.going,
            () => &mut lane.held,
        }
    }
    fn is_empty(&self) -> bool {
        self.ended.is_empty() && self.held_count() == 0 && self.first_going().is_none()
    }
    /// The oldest run that goes on.
    pub(crate) fn first_going(&self) -> Option<&RunId> {
        first_of([&self.live.going, &self.caught_up.going])
    }
    /// The oldest run that waits.
    fn first_held(&self) -> Option<&RunId> {
        first_of([&self.live.held, &self.caught_up.held])
    }
    /// All, the newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &RunId> {
        let sets = [&self.ended, &self.live.going, &self.live.held, &self.caught_up.going, &self.caught_up.held];
        let mut all: Vec<&(i64, RunId)> = sets.into_iter().flat_map(|set| set.iter().rev().take(MADE_UP_FOR)).collect();
        all.sort_unstable_by_key(|(order, _)| std::cmp::Reverse(*order));
        all.into_iter().map(|(_, run)| run)
    }
    /// How many wait.
    pub(crate) fn held_count(&self) -> usize {
        self.live.held.len() + self.caught_up.held.len()
    }
}

fn first_of(sets: [&BTreeSet<(i64, RunId)>; 2]) -> Option<&RunId> {
    sets.into_iter().filter_map(BTreeSet::first).min().map(|(_, run)| run)
}

/// What a deadline is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deadline {
    /// Held runs of a job can start: due at once.
    Turn(JobName),
    /// Jobs have not been shown an event yet: due at once. By topic partition and offset: they are shown in order.
    Event(String, i64),
    /// The definition has come that fires of a job wait for: due at once.
    Fire(JobName),
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
    /// Triggers that an equal one stands before.
    pub repeats: Vec<bool>,
}

impl Compiled {
    /// Compiles an accepted document. What an older version accepted and this one cannot compile does not fire.
    fn new(entry: &CatalogEntry) -> Option<Self> {
        let spec: JobSpec = serde_json::from_str(&entry.document).ok()?;
        let schedules = spec.triggers.iter().enumerate().map(|(i, t)| Schedule::compile(t, entry.since(i)).ok().flatten()).collect();
        let predicates = spec.triggers.iter().map(|t| t.when.as_deref().and_then(|when| Predicate::compile(when).ok())).collect();
        let repeats = repeats(&spec.triggers);
        Some(Self { spec, schedules, predicates, repeats })
    }

    /// Topics of event triggers, and what an event of each must be like; a predicate that does not compile never fires.
    fn topics(&self) -> impl Iterator<Item = (&str, Option<&Guard>)> {
        let triggers = self.spec.triggers.iter().zip(&self.predicates);
        triggers.filter_map(|(t, predicate)| match t.kind() {
            Some(TriggerKind::Event(topic)) => Some((topic, predicate.as_ref().and_then(Predicate::guard))),
            _ => None,
        })
    }
}

impl Default for Trigger {
    fn default() -> Self {
        Self {
            work: 0,
            jobs: Table::new(rows::JOBS, &rows::JOB),
            lives: Table::new(rows::LIVES, &rows::LIFE),
            slots: Table::new(rows::SLOTS, &rows::SLOT),
            runs: Table::new(rows::RUNS, &rows::RUN),
            fired: Table::new(rows::FIRED, &rows::FIRE),
            joins: Table::new(rows::JOINS, &rows::JOIN),
            answers: Table::new(rows::ANSWERS, &rows::ANSWER),
            events: Table::new(rows::EVENTS, &rows::EVENT),
            cluster: Table::new(rows::CLUSTER, &rows::SHARDS),
            taken: Table::new(rows::TAKEN, &rows::TAKE),
            catalog: Table::new(rows::CATALOG, &rows::JOB),
            told: Table::new(rows::TOLD, &rows::TELL),
            parked: Table::new(rows::PARKED, &rows::PARK),
            rereads: Table::new(rows::REREADS, &rows::REREAD),
            index: Index::default(),
        }
    }
}

impl Decider for Trigger {
    const SERVICE: &'static str = "trigger";
    const LOGIC_VERSIONS: RangeInclusive<i32> = 1..=1 + SPARE_LOGIC_VERSIONS;
    type Input = Input;
    type Decision = Decision;

    fn journal() -> &'static Codec<EntryBatch<Input, Decision>> {
        &JOURNAL
    }
    fn inputs() -> &'static [&'static str] {
        &[topics::JOBS, topics::REQUESTS, topics::OUTCOMES, topics::FORWARDS]
    }
    fn inputs_of_others() -> &'static [&'static str] {
        &[topics::CATALOG]
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
    fn holds_back(&self, topic: &str, generation: i64, partition: i32) -> bool {
        // Asked for each input at each poll. What is due at once stands first, and nearly always nothing is.
        let any = self.index.deadlines.first().is_some_and(|(at, _)| *at == AT_ONCE);
        any && self.has_parked(&source(topic, generation, partition))
    }
    fn take_work(&mut self) -> u64 {
        std::mem::take(&mut self.work)
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
    fn tables(&mut self) -> Vec<&mut dyn Rows> {
        vec![
            &mut self.jobs,
            &mut self.lives,
            &mut self.slots,
            &mut self.runs,
            &mut self.fired,
            &mut self.joins,
            &mut self.answers,
            &mut self.events,
            &mut self.cluster,
            &mut self.taken,
            &mut self.catalog,
            &mut self.told,
            &mut self.parked,
            &mut self.rereads,
        ]
    }
    fn loaded(&mut self) {
        self.rebuild_index();
    }
    fn subscriptions(&self) -> Vec<String> {
        self.index.by_topic.keys().cloned().collect()
    }
    fn reads_from(&self, topic: &str, partition: i32, topic_id: &str) -> Option<i64> {
        self.lowest_start(topic, partition, topic_id)
    }
    fn rereads(&self) -> Vec<StartPosition> {
        self.rereads.iter().map(|(_, from)| from.clone()).collect()
    }
    fn lookups(input: &Input) -> Vec<Lookup> {
        crate::starts::lookups(input)
    }
    fn looked_up(input: &mut Input, found: Vec<StartPosition>, standing: Vec<StartPosition>) {
        match input {
            Input::JobSubmitted { starts, read, .. } => (*starts, *read) = (found, standing),
            Input::CatalogArrived { read, .. } => *read = standing,
            _ => {}
        }
    }
    fn read_positions(input: &Input) -> &[StartPosition] {
        match input {
            Input::JobSubmitted { read, .. } | Input::CatalogArrived { read, .. } => read,
            _ => &[],
        }
    }
    fn begins(decision: &Decision) -> Option<&StartPosition> {
        if let Decision::RereadBegun { from, .. } = decision { Some(from) } else { None }
    }
    fn observation(input: &Input) -> Option<&Observation> {
        if let Input::ShellObserved { observation } = input { Some(observation) } else { None }
    }
    fn tz_version() -> &'static str {
        crate::schedule::tz_version()
    }
    fn actor(input: &Input) -> Option<String> {
        match input {
            Input::JobSubmitted { principal, .. } | Input::JobWithdrawn { principal, .. } => principal.as_ref().map(ToString::to_string),
            Input::Requested { asked, .. } => asked.principal.as_ref().map(ToString::to_string),
            _ => None,
        }
    }
}

impl Trigger {
    /// Definition of a job, of this shard or another.
    pub(crate) fn compiled(&self, job: &JobName) -> Option<Arc<Compiled>> {
        self.index.compiled.get(job).cloned()
    }

    /// Number of jobs.
    pub fn job_count(&self) -> usize {
        self.jobs.len()
    }

    /// Its jobs, as published.
    pub fn jobs(&self) -> impl Iterator<Item = &CatalogEntry> {
        self.jobs.iter().map(|(_, row)| &row.entry)
    }

    /// The runs that it keeps: all that go on, and the last that ended.
    pub fn runs(&self) -> impl Iterator<Item = &orrery_model::messages::RunRecord> {
        self.runs.iter().map(|(_, row)| &row.record)
    }

    fn rebuild_index(&mut self) {
        self.index = Index::default();
        let jobs: Vec<_> = self.jobs.iter().chain(self.catalog.iter()).map(|(_, row)| row.entry.clone()).collect();
        jobs.iter().for_each(|entry| self.index_job(entry));
        let mut runs: Vec<(&RunId, &RunRow)> = self.runs.iter().collect();
        // As they are sorted in their sets, so that each goes to the end of one.
        runs.sort_unstable_by_key(|(_, row)| row.order);
        runs.into_iter().for_each(|(run, row)| self.index.add_run(run, row));
        let jobs: Vec<JobName> = self.index.runs.keys().map(|(job, _)| job.clone()).collect();
        jobs.iter().for_each(|job| self.index_turn(job));
        self.index.answers = self.answers.iter().map(|(id, row)| (row.at, id.clone())).collect();
        let parked = self.events.iter().filter(|(_, row)| row.next.is_some());
        self.index.deadlines.extend(parked.map(|(_, row)| (AT_ONCE, Deadline::Event(row.event.source(), row.event.offset))));
        let waiting: BTreeSet<JobName> = self.parked.iter().map(|((job, _), _)| job.clone()).collect();
        waiting.iter().for_each(|job| self.index_parked(job));
    }

    /// Adds a definition to the index, with its slots.
    pub(crate) fn index_job(&mut self, entry: &CatalogEntry) {
        let Some(compiled) = Compiled::new(entry) else { return };
        for (topic, guard) in compiled.topics() {
            self.index.by_topic.entry(topic.to_owned()).or_default().insert(&entry.job, guard);
        }
        for parent in compiled.spec.triggers.iter().flat_map(|t| &t.after) {
            self.index.by_parent.entry(parent.clone()).or_default().insert(entry.job.clone());
        }
        self.index.compiled.insert(entry.job.clone(), Arc::new(compiled));
        self.index_slots(&entry.job);
    }

    /// Takes a definition out of the index.
    pub(crate) fn unindex_job(&mut self, job: &JobName) {
        self.unindex_slots(job);
        let Some(compiled) = self.index.compiled.remove(job) else { return };
        for (topic, guard) in compiled.topics() {
            let Some(watchers) = self.index.by_topic.get_mut(topic) else { continue };
            watchers.remove(job, guard);
            if watchers.jobs().is_empty() {
                self.index.by_topic.remove(topic);
            }
        }
        for parent in compiled.spec.triggers.iter().flat_map(|t| &t.after) {
            if self.index.by_parent.get_mut(parent).is_some_and(|jobs| jobs.remove(job) && jobs.is_empty()) {
                self.index.by_parent.remove(parent);
            }
        }
    }

    /// Every slot of a job is a deadline, unless it is paused: its slots are caught up when it goes on.
    pub(crate) fn index_slots(&mut self, job: &JobName) {
        if self.index.compiled.contains_key(job) && self.jobs.get(job).is_some_and(|row| !row.entry.paused) {
            let slots = self.slots.range((job.clone(), 0)..=(job.clone(), u32::MAX));
            let due = slots.filter_map(|((_, trigger), row)| Some((row.next?, Deadline::Slot(job.clone(), *trigger))));
            self.index.deadlines.extend(due);
        }
        self.index_turn(job);
    }

    /// Takes the slots of a job out of the deadlines, before they change.
    pub(crate) fn unindex_slots(&mut self, job: &JobName) {
        for ((_, trigger), row) in self.slots.range((job.clone(), 0)..=(job.clone(), u32::MAX)) {
            if let Some(next) = row.next {
                self.index.deadlines.remove(&(next, Deadline::Slot(job.clone(), *trigger)));
            }
        }
    }

    /// Adds a run to the index.
    pub(crate) fn index_run(&mut self, run: &RunId) {
        let Some(row) = self.runs.get(run) else { return };
        self.index.add_run(run, row);
        let job = row.record.job.clone();
        self.index_turn(&job);
    }

    /// Takes a run out of the index, before its row changes.
    pub(crate) fn unindex_run(&mut self, run: &RunId) {
        let Some(row) = self.runs.get(run) else { return };
        let job = row.record.job.clone();
        for deadline in run_deadlines(row) {
            self.index.deadlines.remove(&deadline);
        }
        let life = (job.clone(), row.incarnation);
        if let Some(runs) = self.index.runs.get_mut(&life) {
            runs.set_of(row).remove(&(row.order, run.clone()));
            if runs.is_empty() {
                self.index.runs.remove(&life);
            }
        }
        self.index_turn(&job);
    }

    /// The runs of a job in its present or last life.
    pub(crate) fn runs_of(&self, job: &JobName) -> Option<&JobRuns> {
        let life = self.lives.get(job)?.incarnation;
        self.index.runs.get(&(job.clone(), life))
    }

    /// A run of an earlier life of the job that is still being ended.
    pub(crate) fn predecessor(&self, job: &JobName) -> Option<&RunId> {
        let life = self.lives.get(job)?.incarnation;
        self.index.runs.range((job.clone(), 0)..(job.clone(), life)).find_map(|(_, runs)| runs.first_going())
    }

    /// The held run of a job that may start now, beside those that go on.
    pub(crate) fn next_held(&self, job: &JobName) -> Option<&RunId> {
        let (compiled, runs) = (self.index.compiled.get(job)?, self.runs_of(job)?);
        if self.jobs.get(job).is_none_or(|row| row.entry.paused) {
            return None;
        }
        if compiled.spec.concurrency == Concurrency::Allow {
            let caught_up = runs.caught_up.held.first().filter(|_| runs.caught_up.going.is_empty());
            return runs.live.held.first().or(caught_up).map(|(_, run)| run);
        }
        let alone = runs.first_going().is_none() && self.predecessor(job).is_none();
        runs.first_held().filter(|_| alone)
    }

    /// Keeps the deadline of a job whose held runs can start.
    fn index_turn(&mut self, job: &JobName) {
        let deadline = (AT_ONCE, Deadline::Turn(job.clone()));
        if self.next_held(job).is_some() {
            self.index.deadlines.insert(deadline);
        } else {
            self.index.deadlines.remove(&deadline);
        }
    }
}

/// When a run wants a tick.
fn run_deadlines(row: &RunRow) -> impl Iterator<Item = (Timestamp, Deadline)> + use<> {
    let run = &row.record.run;
    let goes_on = !row.record.state.is_final();
    let attempt = row.record.next_attempt_at.filter(|_| goes_on).map(|at| (at, Deadline::Attempt(run.clone())));
    let waits = goes_on && row.record.started_at.is_none() && row.leads_to.is_none();
    let start_by = row.start_by.filter(|_| waits).map(|at| (at, Deadline::StartBy(run.clone())));
    attempt.into_iter().chain(start_by)
}
