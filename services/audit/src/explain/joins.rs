//! The joins of a job's story: which parents have ended as wanted, and which one is lacking.

use super::job::JobFacts;
use super::reading::{Decided, decisions};
use super::{Line, Mark, codes};
use crate::EntryView;
use orrery_model::id::JobName;
use orrery_model::job::JobSpec;
use orrery_model::messages::RunRecord;
use orrery_trigger::joins::partner;
use orrery_trigger::rows::ParentEnd;

/// A line for each trigger after several jobs that has made no run of the ends that are told.
pub(super) fn lacking(facts: &JobFacts<'_>, spec: &JobSpec) -> Vec<Line> {
    let joins = spec.triggers.iter().enumerate().filter(|(_, trigger)| trigger.after.len() > 1);
    joins.filter_map(|(number, trigger)| waits(facts, number, &trigger.after)).collect()
}

/// An end of a parent that no run has used up.
struct Waiting<'e> {
    parent: JobName,
    end: ParentEnd,
    entry: &'e EntryView,
}

fn waits(facts: &JobFacts<'_>, number: usize, parents: &[JobName]) -> Option<Line> {
    let (mut waiting, mut fired): (Vec<Waiting<'_>>, bool) = (Vec::new(), false);
    // Where another definition was taken meanwhile the trigger may have stood elsewhere: it is known by its parents then.
    let is_new = |decided: Decided<'_>| decided.kind == "job_defined";
    let place = (!decisions(facts.entries, facts.until).any(is_new)).then_some(number);
    for decided in decisions(facts.entries, facts.until) {
        if let Some(end) = ended(facts.job, place, &decided) {
            waiting.push(end);
        } else if let Some(record) = joined(facts.job, place, &decided) {
            fired = true;
            waiting.retain(|waiting| !record.cause.contains(waiting.end.run.as_str()));
        }
    }
    let Some(newest) = waiting.iter().rev().find(|waiting| parents.contains(&waiting.parent)) else {
        let names = parents.iter().map(JobName::as_str).collect::<Vec<_>>().join(", ");
        let text = format!("triggers[{number}] waits for {names}: none of them has ended as wanted around then");
        return (!fired).then(|| Line::new(Mark::Note, codes::DEPENDENCY, text));
    };
    let root = &newest.end.root;
    let has_end = |parent: &&JobName| {
        let ends: Vec<ParentEnd> = waiting.iter().filter(|waiting| waiting.parent == **parent).map(|waiting| waiting.end.clone()).collect();
        partner(&ends, root).is_some()
    };
    let (there, lacking): (Vec<&JobName>, Vec<&JobName>) = parents.iter().partition(has_end);
    let names = |jobs: &[&JobName]| jobs.iter().map(|job| job.as_str()).collect::<Vec<_>>().join(", ");
    let text = format!(
        "triggers[{number}] waits for {}: no end of it as wanted is of the cycle {root}, as that of {} is (run {})",
        names(&lacking),
        names(&there),
        newest.end.run
    );
    Some(Line::new(Mark::Bad, codes::DEPENDENCY, text).of(newest.entry))
}

fn ended<'e>(job: &JobName, place: Option<usize>, decided: &Decided<'e>) -> Option<Waiting<'e>> {
    let is_of_join = decided.kind == "parent_done" && decided.text("job") == Some(job.as_str()) && is(decided.number("trigger"), place);
    is_of_join.then_some(())?;
    let end = ParentEnd { run: decided.read("run")?, root: decided.read("root")? };
    Some(Waiting { parent: decided.read("parent")?, end, entry: decided.entry })
}

/// The run that used up what waited for it.
fn joined(job: &JobName, place: Option<usize>, decided: &Decided<'_>) -> Option<RunRecord> {
    let is_join = decided.kind == "run_created" && is(decided.number("joined"), place);
    decided.record().filter(|record| is_join && record.job == *job)
}

/// True of a trigger's place, or of any where none is known.
fn is(told: Option<i64>, place: Option<usize>) -> bool {
    told.and_then(|told| usize::try_from(told).ok()).is_some_and(|told| place.is_none_or(|place| place == told))
}

/// The first parent that such a line names as lacking.
pub(super) fn first_lacking(text: &str) -> Option<&str> {
    let (_, names) = text.split_once(" waits for ")?;
    names.split([',', ':']).next()
}
