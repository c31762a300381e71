//! Definitions: the inbox `jobs`, and pause, resume, delete.

use super::Turn;
use crate::check::check_within;
use crate::expr::Budget;
use crate::facts::{Decision, ScheduleStart};
use crate::rows::SlotRow;
use crate::schedule::Schedule;
use crate::starts::reads;
use crate::state::Trigger;
use crate::triggers::{places_before, repeats};
use orrery_model::id::{JobName, Principal};
use orrery_model::job::{JobSpec, Problem, did_you_mean, read_json};
use orrery_model::messages::{CatalogEntry, ForwardBody, Origin, StartPosition};
use orrery_model::planted::{Bug, planted};
use orrery_model::time::Timestamp;
use std::collections::BTreeMap;

/// Runs that go on when a job is deleted: each is ended by a decision of the same entry.
const RUNS_AT_DELETION: usize = 400;
/// Jobs that run after one job: all are started by the decisions of one entry.
const CHILDREN_PER_JOB: usize = 300;

/// Jobs that may run before one, over all its parents: looking at them takes some milliseconds.
const ANCESTORS_MAX: usize = 10_000;
/// Steps of looking at one of them.
const ANCESTOR_WORK: u64 = 20;
/// Names on each side of an unknown one, in their order, that may be meant by it.
const SUGGESTED_AMONG: usize = 100;
/// Problems of one document that a refusal tells.
const PROBLEMS_TOLD: usize = 20;

/// A definition from the inbox.
pub(super) struct Submission<'i> {
    pub document: &'i str,
    pub principal: Option<&'i Principal>,
    pub starts: &'i [StartPosition],
    pub origin: &'i Origin,
    pub appended: Timestamp,
    pub read: &'i [StartPosition],
}

impl Turn<'_> {
    pub(super) fn job_submitted(&mut self, submission: &Submission<'_>) {
        let Submission { document, principal, origin, appended, .. } = *submission;
        let spec = match read_json(document) {
            Ok(spec) => spec,
            Err(error) => return self.refuse("invalid", error.to_string(), None, None),
        };
        let forwarded = || ForwardBody::DefinitionForwarded { document: document.to_owned(), principal: principal.cloned(), appended };
        if !self.takes(&spec.name, origin, forwarded) || self.is_superseded(&spec.name, appended) {
            return;
        }
        let mut budget = Budget::default();
        let mut problems = check_within(&spec, self.at, &mut budget);
        self.work += budget.spent();
        problems.extend(self.check_cell(&spec));
        problems.extend(self.check_parents(&spec));
        if !problems.is_empty() {
            let further = problems.len().saturating_sub(PROBLEMS_TOLD);
            let mut told: Vec<String> = problems.iter().take(PROBLEMS_TOLD).map(Problem::to_string).collect();
            told.extend((further > 0).then(|| format!("and {further} more")));
            let detail = told.join("\n");
            self.decide(Decision::Submitted { job: spec.name.clone(), appended });
            return self.refuse("invalid", detail, None, Some(spec.name.as_str()));
        }
        let document = spec.to_json();
        let old = self.entry(&spec.name).cloned();
        match old {
            Some(old) if old.document == document => self.decide_again(old, appended),
            old => self.define(&spec, document, submission, old.as_ref()),
        }
    }

    /// Of two inbox records for one job the one appended later counts, whichever way they came (§4.1).
    fn is_superseded(&mut self, job: &JobName, appended: Timestamp) -> bool {
        let by = self.state.lives.get(job).map(|life| life.submitted).filter(|last| appended < *last && !planted(Bug::OlderJob));
        if let Some(by) = by {
            self.decide(Decision::Superseded { job: job.clone(), appended, by });
        }
        by.is_some()
    }

    /// The same document once more changes nothing, and is answered as the first time.
    fn decide_again(&mut self, entry: CatalogEntry, appended: Timestamp) {
        let triggers = self.state.slots.range((entry.job.clone(), 0)..=(entry.job.clone(), u32::MAX));
        let slots = triggers.map(|((_, trigger), row)| schedule_start(*trigger, row)).collect();
        self.decide(Decision::JobDefined { entry, appended, slots });
    }

    fn define(&mut self, spec: &JobSpec, document: String, submission: &Submission<'_>, old: Option<&CatalogEntry>) {
        let lives = self.state.lives.get(&spec.name).map_or(0, |life| life.incarnation);
        let before = old.and(self.state.compiled(&spec.name));
        let places = places_before(&spec.triggers, before.as_ref().map_or(&[], |before| &before.spec.triggers));
        let since: Vec<Timestamp> = places.iter().map(|place| old.zip(*place).map_or(self.at, |(old, place)| old.since(place))).collect();
        let slots = self.schedule_starts(spec, &places, &since);
        let entry = CatalogEntry {
            job: spec.name.clone(),
            version: old.map_or(1, |old| old.version + 1),
            incarnation: old.map_or(lives + 1, |old| old.incarnation),
            document,
            paused: old.is_some_and(|old| old.paused),
            starts: starts(spec, submission.starts, old),
            next_due: slots.iter().filter_map(|slot| slot.next).min(),
            defined_at: self.at,
            principal: submission.principal.cloned(),
            since,
        };
        self.decide(Decision::JobDefined { entry: entry.clone(), appended: submission.appended, slots });
        self.begin_rereads(old, &entry, submission.read);
    }

    /// Where each schedule begins. One that was there before goes on where it stands, so that no slot is lost or repeated.
    fn schedule_starts(&self, spec: &JobSpec, places: &[Option<usize>], since: &[Timestamp]) -> Vec<ScheduleStart> {
        let repeats = repeats(&spec.triggers);
        let start = |(i, trigger): (usize, &orrery_model::job::Trigger)| {
            let schedule = Schedule::compile(trigger, since[i]).ok().flatten()?;
            if let Some(row) = places[i].and_then(|place| self.state.slots.get(&(spec.name.clone(), place as u32))) {
                return Some(schedule_start(i as u32, row));
            }
            // An interval with an empty start begins at this very moment, which is its first slot.
            let last = if trigger.interval.is_some() { Timestamp(self.at.0 - 1) } else { self.at };
            Some(ScheduleStart { trigger: i as i32, last, next: schedule.next_after(last), caught_up: 0, behind: false })
        };
        spec.triggers.iter().enumerate().filter(|(i, _)| !repeats[*i]).filter_map(start).collect()
    }

    /// Parents must be there, and none may run after this job.
    fn check_parents(&mut self, spec: &JobSpec) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut before = Ancestors::default();
        for (i, trigger) in spec.triggers.iter().enumerate() {
            for parent in trigger.after.iter().filter(|parent| **parent != spec.name) {
                let field = format!("triggers[{i}].after");
                if self.state.compiled(parent).is_none() {
                    let hint = self.suggestion(parent).filter(|_| problems.is_empty()).unwrap_or_else(|| "apply it first".to_owned());
                    problems.push(Problem::new(field, format!("there is no job {parent}")).hint(hint));
                } else if self.has_many_children(parent, &spec.name) {
                    let message = format!("{CHILDREN_PER_JOB} jobs run after {parent} already, which is the limit");
                    problems.push(Problem::new(field, message).hint("let some of them run after one of the others"));
                } else if let Some(path) = before.path_to(self.state, &spec.name, parent) {
                    let circle = path.iter().map(JobName::as_str).collect::<Vec<_>>().join(" → ");
                    let message = format!("the jobs would wait for each other for ever: {} → {circle}", spec.name);
                    problems.push(Problem::new(field, message).hint("take one of these out of `after`"));
                }
            }
        }
        self.work += before.found.len() as u64 * ANCESTOR_WORK;
        if before.found.len() > ANCESTORS_MAX {
            let message = format!("more than {ANCESTORS_MAX} jobs run before it");
            problems.push(Problem::new("triggers", message).hint("let it run after an event that the last of them sends"));
        }
        problems
    }

    /// The known name that is nearest to an unknown one, of those that stand around it in order: looking at all of them would take
    /// the longer the more there are.
    fn suggestion(&self, name: &JobName) -> Option<String> {
        let known = &self.state.index.compiled;
        let before = known.range(..name).rev().take(SUGGESTED_AMONG);
        let around = before.chain(known.range(name..).take(SUGGESTED_AMONG));
        did_you_mean(name.as_str(), around.map(|(known, _)| known.as_str()))
    }

    fn has_many_children(&self, parent: &JobName, child: &JobName) -> bool {
        let children = self.state.index.by_parent.get(parent);
        children.is_some_and(|children| children.len() >= CHILDREN_PER_JOB && !children.contains(child))
    }

    pub(super) fn job_withdrawn(&mut self, job: &JobName, principal: Option<&Principal>, origin: &Origin, appended: Timestamp) {
        let forwarded = || ForwardBody::TombstoneForwarded { job: job.clone(), principal: principal.cloned(), appended };
        if !self.takes(job, origin, forwarded) || self.is_superseded(job, appended) {
            return;
        }
        let refusal = self.keeps(job);
        if self.entry(job).is_none() || refusal.is_some() {
            self.decide(Decision::Submitted { job: job.clone(), appended });
            return match refusal {
                Some((detail, hint)) => self.refuse("conflict", detail, Some(hint), Some(job.as_str())),
                None => self.unknown_job(job),
            };
        }
        for run in self.going_on(job) {
            self.cancel(&run, "its job was deleted");
        }
        self.decide(Decision::JobDeleted { job: job.clone(), appended });
    }

    /// Why a job cannot be deleted, and what to do.
    fn keeps(&self, job: &JobName) -> Option<(String, String)> {
        let children: Vec<&str> = self.state.index.by_parent.get(job).into_iter().flatten().map(JobName::as_str).collect();
        if !children.is_empty() {
            let detail = format!("{job} cannot be deleted: {} run after it", children.join(", "));
            return Some((detail, "delete them first, or take it out of their `after`".to_owned()));
        }
        let count = self.going_on(job).len();
        (count > RUNS_AT_DELETION).then(|| {
            let detail = format!("{job} has {count} runs that go on, more than the {RUNS_AT_DELETION} that a deletion ends");
            (detail, "pause the job, and delete it when they have ended or are cancelled".to_owned())
        })
    }

    pub(super) fn set_paused(&mut self, job: &JobName, paused: bool) -> bool {
        let Some(entry) = self.entry(job).cloned() else {
            self.unknown_job(job);
            return false;
        };
        if entry.paused != paused {
            let entry = CatalogEntry { paused, ..entry };
            self.decide(if paused { Decision::JobPaused { entry } } else { Decision::JobResumed { entry } });
        }
        true
    }

    pub(super) fn unknown_job(&mut self, job: &JobName) {
        let hint = self.suggestion(job);
        self.refuse("not_found", format!("there is no job {job}"), hint, Some(job.as_str()));
    }
}

/// Jobs that run before one, each looked at once however many ways lead to it.
#[derive(Default)]
struct Ancestors {
    /// With the job, nearer to the one that is asked about, by which it was found.
    found: BTreeMap<JobName, Option<JobName>>,
}

impl Ancestors {
    /// A chain of parents from `from` up to `wanted`, if there is one that no earlier search has found.
    fn path_to(&mut self, state: &Trigger, wanted: &JobName, from: &JobName) -> Option<Vec<JobName>> {
        let mut open = Vec::new();
        if !self.found.contains_key(from) {
            self.found.insert(from.clone(), None);
            open.push(from.clone());
        }
        while let Some(job) = open.pop().filter(|_| self.found.len() <= ANCESTORS_MAX) {
            if job == *wanted {
                let mut path: Vec<JobName> = std::iter::successors(Some(job), |job| self.found[job].clone()).collect();
                path.reverse();
                return Some(path);
            }
            let compiled = state.compiled(&job);
            for parent in compiled.iter().flat_map(|compiled| &compiled.spec.triggers).flat_map(|trigger| &trigger.after) {
                if !self.found.contains_key(parent) {
                    self.found.insert(parent.clone(), Some(job.clone()));
                    open.push(parent.clone());
                }
            }
        }
        None
    }
}

fn schedule_start(trigger: u32, row: &SlotRow) -> ScheduleStart {
    ScheduleStart { trigger: trigger as i32, last: row.last, next: row.next, caught_up: row.caught_up, behind: row.behind }
}

/// Topics that the old definition read go on where they began; new ones begin where the log says now.
fn starts(spec: &JobSpec, found: &[StartPosition], old: Option<&CatalogEntry>) -> Vec<StartPosition> {
    let before = old.map_or(&[][..], |old| &old.starts);
    let named = |topic: &str| spec.triggers.iter().any(|trigger| trigger.event.as_deref() == Some(topic));
    let kept = before.iter().filter(|start| named(&start.topic));
    // A topic that was named before it existed counts from 0, and has no start to keep.
    let fresh = found.iter().filter(|start| !old.is_some_and(|old| reads(old, &start.topic)));
    kept.chain(fresh).cloned().collect()
}

/// Slots at or before this were due more than a moment ago.
pub(super) fn late_before(at: Timestamp) -> Timestamp {
    at.plus_ms(-LATE_MS)
}

/// A slot is on time if it is taken within this: a short pause of the process is not a reason to catch up.
const LATE_MS: i64 = 10_000;
