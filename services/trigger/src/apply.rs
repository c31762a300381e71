//! The only way state changes: one decision at a time, and it cannot fail.

use crate::facts::{Decision, EventData, ScheduleStart};
use crate::joins::join_key;
use crate::rows::{AnswerRow, EventRow, FiredRow, JobRow, LifeRow, ParentEnd, RunRow, SlotRow};
use crate::state::{AT_ONCE, Deadline, Trigger};
use orrery_model::id::{JobName, RunId};
use orrery_model::limits::{ANSWER_MS, FINISHED_RUNS_PER_JOB};
use orrery_model::messages::{CatalogEntry, EnvVar, RunRecord, RunState, TaskSpec};
use orrery_model::time::Timestamp;

/// Answers forgotten with each new one, so that a burst is forgotten as fast as it came and no entry takes long.
const ANSWERS_FORGOTTEN: usize = 2;

pub(crate) fn apply(state: &mut Trigger, at: Timestamp, decision: &Decision) {
    match decision {
        Decision::ShardsLearned { shards } => state.learn(*shards),
        Decision::Forwarded { forward } => state.count_told(forward),
        Decision::ForwardTaken { origin } => state.take_forward(origin),
        Decision::DefinitionLearned { entry } => state.learn_definition(entry),
        Decision::DefinitionForgotten { job } => state.forget_definition(job),
        Decision::RereadBegun { job, from } => state.begin_reread(job, from),
        Decision::RereadEnded { job, source } => state.end_reread(job.as_ref(), source),
        Decision::Submitted { job, appended } => state.submit(job, *appended),
        Decision::JobDefined { entry, appended, slots } => state.define(entry, *appended, slots),
        Decision::JobPaused { entry } | Decision::JobResumed { entry } => state.change_job(entry),
        Decision::JobDeleted { job, appended } => state.forget_job(job, *appended),
        Decision::Answered { id, keyed: true, answer, asked } => {
            state.remember_answer(id, AnswerRow { answer: answer.clone(), at, asked: asked.clone() })
        }
        Decision::Alerted { .. }
        | Decision::Superseded { .. }
        | Decision::Skipped { .. }
        | Decision::Refused { .. }
        | Decision::Answered { keyed: false, .. }
        | Decision::AnsweredBefore { .. }
        | Decision::PredicateFailed { .. } => {}
        Decision::SlotTaken { job, trigger, slot, next, caught_up, .. } => {
            let behind = next.is_some_and(|next| next <= at);
            state.move_slot(job, *trigger, SlotRow { last: *slot, next: *next, caught_up: *caught_up, behind });
        }
        Decision::ParentDone { job, trigger, parent, run, root } => {
            let end = ParentEnd { run: run.clone(), root: root.clone() };
            state.add_parent((job.clone(), join_key(*trigger, parent)), end);
        }
        Decision::EventKept { event } => {
            state.events.insert(event.place(), EventRow { event: event.clone(), users: 0, next: None });
        }
        Decision::FireParked { number, fire } => state.park_fire(*number, fire),
        Decision::FireReleased { job, number } => state.unpark_fire(job, *number),
        Decision::EventParked { event, next } => state.park(event, next.clone()),
        Decision::RunCreated { record, incarnation, event, args, start_by, joined, caught_up, .. } => {
            let row = new_row(record, *incarnation, event.as_ref(), args, *start_by);
            state.create(RunRow { caught_up: *caught_up, ..row }, *joined);
        }
        Decision::AttemptWanted { record, cell, spec } => state.change_run(record, |row| want(row, *cell, spec)),
        Decision::AttemptUnwanted { record, leads_to, .. } => state.change_run(record, |row| row.leads_to = Some(*leads_to)),
        Decision::RunProgressed { record } => {
            let reopened = state.runs.get(&record.run).is_some_and(|row| row.record.state.is_final());
            // Who asks for another attempt knows that it is late.
            state.change_run(record, |row| row.start_by = row.start_by.filter(|_| !reopened));
        }
        Decision::AttemptOver { record, counted } => state.change_run(record, |row| {
            row.live = false;
            row.counted += i32::from(*counted);
            row.lost += i32::from(!*counted);
        }),
        Decision::RunEnded { record } => state.end_run(record),
    }
}

/// A run of which no attempt is wanted yet; its order is counted when it is kept.
fn new_row(record: &RunRecord, incarnation: i64, event: Option<&String>, args: &[EnvVar], start_by: Option<Timestamp>) -> RunRow {
    RunRow {
        record: record.clone(),
        incarnation,
        order: 0,
        tried: Vec::new(),
        live: false,
        counted: 0,
        lost: 0,
        leads_to: None,
        event: event.cloned(),
        args: args.to_vec(),
        start_by,
        caught_up: false,
    }
}

fn want(row: &mut RunRow, cell: i32, spec: &TaskSpec) {
    row.live = true;
    row.tried.truncate(spec.hop as usize);
    row.tried.push(cell);
    row.leads_to = None;
}

impl Trigger {
    fn define(&mut self, entry: &CatalogEntry, appended: Timestamp, slots: &[ScheduleStart]) {
        let job = &entry.job;
        let old = self.jobs.get(job).map(|row| row.entry.clone());
        self.keep_rereads(job, old.as_ref(), Some(entry));
        self.unindex_job(job);
        self.carry_joins(job, old.as_ref(), entry);
        self.forget_slots(job);
        for start in slots {
            let row = SlotRow { last: start.last, next: start.next, caught_up: start.caught_up, behind: start.behind };
            self.slots.insert((job.clone(), start.trigger as u32), row);
        }
        let runs = self.lives.get(job).map_or(0, |life| life.runs);
        self.lives.insert(job.clone(), LifeRow { incarnation: entry.incarnation, runs, submitted: appended });
        self.jobs.insert(job.clone(), JobRow { entry: entry.clone() });
        self.index_job(entry);
        self.index_parked(job);
    }

    /// A name that no job has had yet has a life from now on, to remember it by.
    fn submit(&mut self, job: &JobName, appended: Timestamp) {
        let life = self.lives.get(job).copied().unwrap_or(LifeRow { incarnation: 0, runs: 0, submitted: appended });
        self.lives.insert(job.clone(), LifeRow { submitted: appended, ..life });
    }

    /// The same version, paused or not.
    fn change_job(&mut self, entry: &CatalogEntry) {
        self.unindex_slots(&entry.job);
        self.jobs.insert(entry.job.clone(), JobRow { entry: entry.clone() });
        self.index_slots(&entry.job);
    }

    fn move_slot(&mut self, job: &JobName, trigger: i32, row: SlotRow) {
        self.unindex_slots(job);
        self.slots.insert((job.clone(), trigger as u32), row);
        self.index_slots(job);
    }

    /// Everything of a job goes but its life and the runs that are still being ended.
    fn forget_job(&mut self, job: &JobName, appended: Timestamp) {
        self.lives.modify(job, |life| life.submitted = appended);
        self.unindex_job(job);
        self.keep_rereads(job, None, None);
        self.jobs.remove(job);
        self.index_parked(job);
        self.forget_slots(job);
        let of_job = |key: &(JobName, String)| key.0 == *job;
        let from = (job.clone(), String::new());
        let fired: Vec<_> = self.fired.range(from..).map(|(key, _)| key.clone()).take_while(of_job).collect();
        for key in fired {
            self.fired.remove(&key);
        }
        self.forget_joins(job);
        let life = self.lives.get(job).map_or(0, |life| life.incarnation);
        self.evict((job, life), 0);
    }

    fn forget_slots(&mut self, job: &JobName) {
        let triggers: Vec<u32> = self.slots.range((job.clone(), 0)..=(job.clone(), u32::MAX)).map(|((_, trigger), _)| *trigger).collect();
        for trigger in triggers {
            self.slots.remove(&(job.clone(), trigger));
        }
    }

    fn remember_answer(&mut self, id: &str, row: AnswerRow) {
        let at = row.at;
        self.answers.insert(id.to_owned(), row);
        self.index.answers.insert((at, id.to_owned()));
        for _ in 0..ANSWERS_FORGOTTEN {
            match self.index.answers.first() {
                Some((given, _)) if at.since_ms(*given) > ANSWER_MS => {
                    let (_, old) = self.index.answers.pop_first().expect("there is a first");
                    self.answers.remove(&old);
                }
                _ => break,
            }
        }
    }

    fn park(&mut self, event: &String, next: Option<JobName>) {
        let Some(EventRow { event: kept, .. }) = self.events.get(event) else { return };
        let deadline = (AT_ONCE, Deadline::Event(kept.source(), kept.offset));
        if next.is_some() {
            self.index.deadlines.insert(deadline)
        } else {
            self.index.deadlines.remove(&deadline)
        };
        self.events.modify(event, |row| row.next = next);
        self.drop_unused_event(event);
    }

    fn create(&mut self, mut row: RunRow, joined: Option<i32>) {
        let counted = self.lives.modify(&row.record.job, |life| {
            life.runs += 1;
            life.runs
        });
        row.order = counted.unwrap_or_default();
        if let Some(event) = &row.event {
            self.events.modify(event, |kept| kept.users += 1);
            if let Some((source, offset)) = event.rsplit_once('/') {
                let offset = offset.parse().unwrap_or(i64::MAX);
                let key = (row.record.job.clone(), source.to_owned());
                let highest = self.fired.get(&key).map_or(offset, |fired| fired.offset.max(offset));
                self.fired.insert(key, FiredRow { offset: highest });
            }
        }
        if let Some(trigger) = joined {
            self.use_up_parents(&row.record, trigger);
        }
        let (run, job, life) = (row.record.run.clone(), row.record.job.clone(), row.incarnation);
        let ended = row.record.state.is_final();
        self.runs.insert(run.clone(), row);
        self.index_run(&run);
        if ended {
            self.evict((&job, life), FINISHED_RUNS_PER_JOB);
        }
    }

    fn change_run(&mut self, record: &RunRecord, change: impl FnOnce(&mut RunRow)) {
        self.unindex_run(&record.run);
        self.runs.modify(&record.run, |row| {
            row.record = record.clone();
            change(row);
        });
        self.index_run(&record.run);
    }

    fn end_run(&mut self, record: &RunRecord) {
        self.change_run(record, |row| {
            row.live = false;
            row.leads_to = None;
        });
        if record.state == RunState::Succeeded {
            // Nothing can ask for another attempt.
            let event = self.runs.modify(&record.run, |row| row.event.take()).flatten();
            self.release_event(event);
        }
        let Some(life) = self.runs.get(&record.run).map(|row| row.incarnation) else { return };
        let goes_on = self.jobs.get(&record.job).is_some_and(|row| row.entry.incarnation == life);
        self.evict((&record.job, life), if goes_on { FINISHED_RUNS_PER_JOB } else { 0 });
    }

    /// Forgets the oldest ended runs of a job's life beyond `kept`; they live on in the topic `runs`.
    fn evict(&mut self, (job, life): (&JobName, i64), kept: usize) {
        while let Some(runs) = self.index.runs.get(&(job.clone(), life)).filter(|runs| runs.ended.len() > kept) {
            let (_, run): (i64, RunId) = runs.ended.first().cloned().expect("there are more than are kept");
            self.unindex_run(&run);
            let event = self.runs.remove(&run).and_then(|row| row.event);
            self.release_event(event);
        }
    }

    fn release_event(&mut self, event: Option<String>) {
        if let Some(event) = event {
            self.events.modify(&event, |kept| kept.users -= 1);
            self.drop_unused_event(&event);
        }
    }

    fn drop_unused_event(&mut self, place: &String) {
        if self.events.get(place).is_some_and(|kept: &EventRow| kept.users <= 0 && kept.next.is_none()) {
            self.events.remove(place);
        }
    }

    /// True if an event of this topic partition is still being shown to jobs.
    pub(crate) fn has_parked(&self, source: &str) -> bool {
        let deadline = |offset| (AT_ONCE, Deadline::Event(source.to_owned(), offset));
        self.index.deadlines.range(deadline(0)..=deadline(i64::MAX)).next().is_some()
    }

    /// The event at this place, while it is kept.
    pub(crate) fn event(&self, place: &String) -> Option<&EventData> {
        self.events.get(place).map(|row| &row.event)
    }
}
