//! Two worlds side by side.

use super::figures::{Figures, waited_ms};
use super::replay::Change;
use super::trace::{Move, Refusal, Trace};
use orrery_model::id::JobName;
use orrery_model::time::Timestamp;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Jobs listed on either side.
const JOBS_LISTED: usize = 100;
/// Refusals listed.
const REFUSALS_LISTED: usize = 100;

/// What a change would have made of a time that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// First time.
    pub from: Timestamp,
    /// Time behind the last.
    pub until: Timestamp,
    /// What is changed.
    pub change: Change,
    /// As it was, on real machines.
    pub recorded: Figures,
    /// As the ideal world has it without the change.
    pub baseline: Figures,
    /// As the ideal world has it with the change.
    pub changed: Figures,
    /// Jobs whose tasks wait less with the change, those that gain most first; at most a hundred.
    pub gained: Vec<JobWait>,
    /// Jobs whose tasks wait more, those that lose most first; at most a hundred.
    pub lost: Vec<JobWait>,
    /// The first decision about a task's place that differs; none: the change makes no difference.
    pub first_difference: Option<Difference>,
    /// Attempts of the changed world that were never recorded: they last as long as their job's usually do, and succeed.
    pub estimated_attempts: usize,
    /// Definitions that neither world takes; at most a hundred.
    pub refused: Vec<Refusal>,
}

/// How long the tasks of a job wait in all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobWait {
    /// Which job.
    pub job: JobName,
    /// Without the change, milliseconds.
    pub baseline_ms: i64,
    /// With it, milliseconds.
    pub changed_ms: i64,
    /// How much more, milliseconds; below zero: less.
    pub difference_ms: i64,
}

/// Where two worlds part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// When.
    pub at: Timestamp,
    /// What is decided without the change; none: nothing more.
    pub baseline: Option<Move>,
    /// What is decided with it.
    pub changed: Option<Move>,
}

/// Jobs that wait less, and jobs that wait more.
pub(super) fn shifts(baseline: &Trace, changed: &Trace, until: Timestamp) -> (Vec<JobWait>, Vec<JobWait>) {
    let mut sums: BTreeMap<&JobName, (i64, i64)> = BTreeMap::new();
    for attempt in baseline.attempts.values() {
        let sum = &mut sums.entry(&attempt.job).or_default().0;
        *sum = sum.saturating_add(waited_ms(attempt, until));
    }
    for attempt in changed.attempts.values() {
        let sum = &mut sums.entry(&attempt.job).or_default().1;
        *sum = sum.saturating_add(waited_ms(attempt, until));
    }
    let wait = |(job, (baseline_ms, changed_ms)): (&JobName, (i64, i64))| JobWait {
        job: job.clone(),
        baseline_ms,
        changed_ms,
        difference_ms: changed_ms.saturating_sub(baseline_ms),
    };
    let (mut gained, rest): (Vec<_>, Vec<_>) = sums.into_iter().map(wait).partition(|wait| wait.difference_ms < 0);
    let mut lost: Vec<JobWait> = rest.into_iter().filter(|wait| wait.difference_ms > 0).collect();
    gained.sort_by_key(|wait| wait.difference_ms);
    lost.sort_by_key(|wait| Reverse(wait.difference_ms));
    gained.truncate(JOBS_LISTED);
    lost.truncate(JOBS_LISTED);
    (gained, lost)
}

/// The first place where the allocators decide otherwise.
pub(super) fn first_difference(baseline: &[Move], changed: &[Move]) -> Option<Difference> {
    let same = baseline.iter().zip(changed).take_while(|(one, other)| one == other).count();
    let (baseline, changed) = (baseline.get(same).cloned(), changed.get(same).cloned());
    let at = [&baseline, &changed].into_iter().flatten().map(|step| step.at).min()?;
    Some(Difference { at, baseline, changed })
}

/// The refusals that are told.
pub(super) fn listed(mut refused: Vec<Refusal>) -> Vec<Refusal> {
    refused.truncate(REFUSALS_LISTED);
    refused
}

#[cfg(test)]
mod tests {
    use super::*;
    use orrery_model::id::AttemptId;

    #[test]
    fn worlds_part_where_the_first_decision_differs() {
        let attempt = AttemptId::parse("r.1").expect("an id");
        let step = |at, decision| Move { at: Timestamp(at), cell: 0, decision, attempt: attempt.clone(), job: None, agent: None };
        let baseline = [step(1, "task_queued"), step(3, "placed")];
        assert_eq!(first_difference(&baseline, &baseline), None);
        let earlier = [step(1, "task_queued"), step(2, "placed")];
        let found = first_difference(&baseline, &earlier).expect("they differ");
        assert_eq!((found.at, found.baseline, found.changed), (Timestamp(2), Some(baseline[1].clone()), Some(earlier[1].clone())));
        let found = first_difference(&baseline[..1], &baseline).expect("one is longer");
        assert_eq!((found.at, found.baseline), (Timestamp(3), None));
    }
}
