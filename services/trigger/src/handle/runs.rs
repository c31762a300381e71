//! Runs: made, started, held back, cancelled, ended.

use super::Turn;
use super::events::read_work;
use crate::event::EventView;
use crate::expr::Budget;
use crate::facts::Decision;
use crate::state::{Compiled, JobRuns};
use crate::template::{TemplateContext, render};
use orrery_model::id::{JobName, RunId};
use orrery_model::job::{Concurrency, JobSpec, Problem};
use orrery_model::limits::{QUEUED_RUNS_PER_JOB, TASK_BYTES};
use orrery_model::messages::{EndKind, EnvVar, ProcessLimit, RunRecord, RunState, TaskSpec};
use orrery_model::resources::Resources;
use orrery_model::time::Timestamp;

/// Runs that start one after another within one entry, each because of the one before: each takes some 9 KiB of stack.
const DEPTH_MAX: u32 = 32;
/// Runs that one new run ends under `concurrency: replace`: each costs decisions of the same entry.
const REPLACED_AT_ONCE: usize = 400;

/// What a new run is made of.
pub(super) struct NewRun {
    pub cause: String,
    pub root: String,
    pub nominal: Option<Timestamp>,
    pub event: Option<String>,
    pub matched: Option<i64>,
    pub args: Vec<EnvVar>,
    pub joined: Option<i32>,
    /// A slot that is caught up.
    pub caught_up: bool,
}

/// What the job's rules say about a new run.
enum Verdict {
    Start,
    Hold(String),
    Skip(String),
    Replace,
}

impl Turn<'_> {
    /// Makes the run of this cause, unless it is there already, and starts it if the job's rules allow.
    pub(super) fn create_run(&mut self, job: &JobName, new: NewRun) -> Option<RunId> {
        let (compiled, entry) = (self.state.compiled(job)?, self.entry(job)?.clone());
        let run = RunId::derive(job, entry.incarnation, &new.cause);
        if self.state.runs.get(&run).is_some() {
            return Some(run);
        }
        let concurrency = compiled.spec.concurrency;
        let verdict = if new.caught_up { self.verdict_on_late(job, concurrency) } else { self.verdict(job, concurrency, entry.paused) };
        let (state, reason) = match &verdict {
            Verdict::Start => (RunState::Waiting, None),
            Verdict::Hold(why) => (RunState::Waiting, Some(why.clone())),
            Verdict::Replace => (RunState::Waiting, Some("it waits for the run that it replaces to end".to_owned())),
            Verdict::Skip(why) => (RunState::Skipped, Some(why.clone())),
        };
        let record = RunRecord {
            run: run.clone(),
            job: job.clone(),
            version: entry.version,
            cause: new.cause,
            root: new.root,
            nominal: new.nominal,
            state,
            reason,
            attempts: 0,
            agent: None,
            created_at: self.at,
            started_at: None,
            ended_at: state.is_final().then_some(self.at),
            end: None,
            next_attempt_at: None,
            updated_at: self.at,
        };
        let older = if matches!(verdict, Verdict::Replace) { self.replaced(job) } else { Vec::new() };
        let start_by = compiled.spec.start_within.map(|span| self.at.plus_ms(span.0));
        let NewRun { event, matched, args, joined, caught_up, .. } = new;
        self.decide(Decision::RunCreated { record, incarnation: entry.incarnation, event, matched, args, start_by, joined, caught_up });
        for old in older.iter().take(REPLACED_AT_ONCE) {
            self.cancel(old, &format!("replaced by {run}"));
        }
        if matches!(verdict, Verdict::Start | Verdict::Replace) {
            self.start_held(job);
        }
        Some(run)
    }

    fn verdict(&self, job: &JobName, concurrency: Concurrency, paused: bool) -> Verdict {
        let runs = self.state.runs_of(job);
        let going = runs.and_then(JobRuns::first_going);
        let held = runs.map_or(0, JobRuns::held_count);
        let replaces = runs.is_some_and(|runs| !runs.live.going.is_empty() || !runs.live.held.is_empty());
        let before = going.or_else(|| self.state.predecessor(job)).filter(|_| concurrency != Concurrency::Allow);
        match (concurrency, before) {
            (Concurrency::Forbid, Some(run)) if going.is_some() => Verdict::Skip(format!("concurrency is forbid, and {run} goes on")),
            (Concurrency::Forbid, _) if held > 0 => Verdict::Skip("concurrency is forbid, and another run waits".into()),
            (Concurrency::Replace, _) if replaces => Verdict::Replace,
            _ if held >= QUEUED_RUNS_PER_JOB => Verdict::Skip(format!("{held} runs of the job wait already")),
            _ if paused => Verdict::Hold("the job is paused".into()),
            (_, Some(run)) if going.is_none() => {
                Verdict::Hold(format!("a run of the job's earlier life is being ended, and {run} goes on"))
            }
            (Concurrency::Replace, Some(run)) => Verdict::Hold(format!("what is caught up comes first, and {run} goes on")),
            (_, Some(run)) => Verdict::Hold(format!("concurrency is queue, and {run} goes on")),
            (_, None) => Verdict::Start,
        }
    }

    /// The same of a slot that is caught up: it is due, so it waits its turn whatever the job's concurrency.
    fn verdict_on_late(&self, job: &JobName, concurrency: Concurrency) -> Verdict {
        let runs = self.state.runs_of(job);
        let held = runs.map_or(0, JobRuns::held_count);
        let before = match concurrency {
            Concurrency::Allow => runs.and_then(|runs| runs.caught_up.going.first()).map(|(_, run)| run),
            _ => runs.and_then(JobRuns::first_going).or_else(|| self.state.predecessor(job)),
        };
        match before {
            _ if held >= QUEUED_RUNS_PER_JOB => Verdict::Skip(format!("{held} runs of the job wait already")),
            Some(run) => Verdict::Hold(format!("what is caught up runs one after another, and {run} goes on")),
            None => Verdict::Start,
        }
    }

    /// The runs of a job that have not ended, those that go on first.
    pub(super) fn going_on(&self, job: &JobName) -> Vec<RunId> {
        let Some(runs) = self.state.runs_of(job) else { return Vec::new() };
        let (live, caught_up) = (&runs.live, &runs.caught_up);
        let all = live.going.iter().chain(&caught_up.going).chain(&live.held).chain(&caught_up.held);
        all.map(|(_, run)| run.clone()).collect()
    }

    /// The runs that a new one replaces; what is caught up is owed, and stays.
    fn replaced(&self, job: &JobName) -> Vec<RunId> {
        let Some(runs) = self.state.runs_of(job) else { return Vec::new() };
        runs.live.going.iter().chain(&runs.live.held).map(|(_, run)| run.clone()).collect()
    }

    /// Starts held runs in order, as many as the job's rules and this entry's room allow; a deadline remembers the rest.
    pub(super) fn start_held(&mut self, job: &JobName) {
        // A run that fails at once starts others, and these others: what is deeper follows with the next tick.
        if self.depth >= DEPTH_MAX {
            return;
        }
        self.depth += 1;
        while self.has_room()
            && let Some(run) = self.state.next_held(job).cloned()
        {
            self.start(&run);
        }
        self.depth -= 1;
    }

    /// Wants the run's next attempt.
    pub(super) fn start(&mut self, run: &RunId) {
        let Some(record) = self.record(run) else { return };
        let Some(compiled) = self.state.compiled(&record.job) else {
            return self.end(RunRecord {
                state: RunState::Cancelled,
                reason: Some("its job was deleted".into()),
                ended_at: Some(self.at),
                ..record
            });
        };
        let record = RunRecord { attempts: record.attempts + 1, next_attempt_at: None, reason: None, ended_at: None, ..record };
        let record = RunRecord { state: RunState::Waiting, ..record };
        self.send(record, &compiled, &[], None);
    }

    /// The attempt's task, complete; the budget pays for its command.
    pub(super) fn task(
        &self,
        record: &RunRecord,
        compiled: &Compiled,
        (hop, may_decline): (i32, bool),
        budget: &mut Budget,
    ) -> Result<TaskSpec, Problem> {
        let (spec, row) = (&compiled.spec, self.state.runs.get(&record.run));
        let event = row.and_then(|row| row.event.as_ref()).and_then(|place| self.state.event(place));
        let args: &[EnvVar] = row.map_or(&[], |row| &row.args);
        let (argv, env) = (argv(spec, record, event, args, budget)?, environment(spec, record, args));
        fits(&argv, &env)?;
        let failed_on = record.end.as_ref().filter(|end| end.kind != EndKind::Succeeded).and(record.agent.clone());
        Ok(TaskSpec {
            attempt: record.run.attempt(record.attempts),
            job: record.job.clone(),
            version: record.version,
            hop,
            may_decline,
            role: spec.role.clone(),
            principal: spec.principal.clone(),
            priority: spec.priority,
            resources: Resources { cpus: spec.resources.cpus, memory: spec.resources.memory, disk: spec.resources.disk },
            constraints: spec.constraints.clone(),
            argv,
            env,
            user: spec.user.clone(),
            limits: spec.limits.iter().map(|(name, value)| ProcessLimit { name: name.clone(), value: *value }).collect(),
            timeout_ms: spec.timeout.map(|span| span.0),
            grace_ms: spec.grace.0,
            event: event.and_then(|event| event.value.clone()),
            avoid: failed_on,
        })
    }

    /// Ends a run that goes on: at once if nothing of it runs, else when its attempt is over.
    pub(super) fn cancel(&mut self, run: &RunId, why: &str) {
        let (Some(record), Some(row)) = (self.record(run), self.state.runs.get(run)) else { return };
        match (row.live, row.leads_to) {
            (true, None) => self.unwant(record, why.to_owned(), RunState::Cancelled),
            (true, Some(_)) => {}
            (false, _) => {
                let record = RunRecord { state: RunState::Cancelled, reason: Some(why.to_owned()), ended_at: Some(self.at), ..record };
                self.end(RunRecord { next_attempt_at: None, ..record });
            }
        }
    }

    pub(super) fn unwant(&mut self, record: RunRecord, reason: String, leads_to: RunState) {
        let (cell, hop) = self.state.runs.get(&record.run).map_or((0, 0), |row| (row.cell(), row.hop()));
        let record = RunRecord { reason: Some(reason.clone()), ..record };
        self.decide(Decision::AttemptUnwanted { record, cell, hop, reason, leads_to });
    }

    /// Ends a run and starts what waits for it.
    pub(super) fn end(&mut self, record: RunRecord) {
        self.decide(Decision::RunEnded { record: record.clone() });
        self.run_ended(&record);
    }
}

fn argv(
    spec: &JobSpec,
    record: &RunRecord,
    event: Option<&crate::facts::EventData>,
    args: &[EnvVar],
    budget: &mut Budget,
) -> Result<Vec<String>, Problem> {
    if let Some(script) = &spec.shell {
        return Ok(["/bin/sh", "-c", script].map(str::to_owned).to_vec());
    }
    let view = event.map(EventView::new);
    let context = TemplateContext {
        event: view.as_ref(),
        job: record.job.as_str(),
        run: record.run.as_str(),
        attempt: record.attempts,
        cause: &record.cause,
        nominal: record.nominal,
        args,
    };
    let rendered = render(&spec.command, &context, budget);
    // Nobody else pays for reading the event here; that the budget ends with it ends nothing.
    let _ = budget.spend(view.as_ref().map_or(0, read_work));
    rendered
}

/// A template may name an event's data again and again: without a bound the task would be too large for the log, and the shard that
/// wants it could never commit again.
fn fits(argv: &[String], env: &[EnvVar]) -> Result<(), Problem> {
    let bytes = task_bytes(argv, env);
    if bytes <= TASK_BYTES {
        return Ok(());
    }
    let message = format!("with its environment it would have {bytes} bytes, allowed are {TASK_BYTES}");
    Err(Problem::new("command", message).hint("read the data from ORRERY_EVENT_FILE"))
}

/// Size of a rendered command and its environment.
pub(super) fn task_bytes(argv: &[String], env: &[EnvVar]) -> usize {
    argv.iter().map(String::len).sum::<usize>() + env.iter().map(|var| var.name.len() + var.value.len()).sum::<usize>()
}

/// What the job sets, then `ORRERY_*`, which it cannot overrule. The agent adds what only it knows.
fn environment(spec: &JobSpec, record: &RunRecord, args: &[EnvVar]) -> Vec<EnvVar> {
    let var = |name: &str, value: String| EnvVar { name: name.to_owned(), value };
    let mut env: Vec<EnvVar> = spec.env.iter().map(|(name, value)| var(name, value.clone())).collect();
    env.push(var("ORRERY_JOB", record.job.to_string()));
    env.push(var("ORRERY_RUN", record.run.to_string()));
    env.push(var("ORRERY_CAUSE", record.cause.clone()));
    env.extend(record.nominal.map(|nominal| var("ORRERY_NOMINAL_TIME", nominal.to_string())));
    env.extend(args.iter().map(|arg| var(&format!("ORRERY_ARG_{}", arg.name), arg.value.clone())));
    env
}
