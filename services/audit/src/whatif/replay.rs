//! What would have been: recorded inputs, decided on again with a change.
//!
//! What is exact: inputs, their times, the agents and when they came and went, how long each recorded attempt took and how it ended.
//! A run is named by its cause, so a run of the past is known again. What is not: tasks that were under way when the span begins are
//! not there; the slots of schedules begin with the span; keys of requests and ends of parents from before it are forgotten; an event
//! that no job's predicate took is in no journal; and an event that was read again for one job arrives when it was read again.

use super::WhatIfError;
use super::agents::{self, AgentSpec};
use super::compare::{Comparison, first_difference, listed, shifts};
use super::figures::Figures;
use super::recorded::Recorded;
use super::trace::Trace;
use super::world::{Given, What, World};
use orrery_allocator::{Order, Placement, Policy};
use orrery_log::Log;
use orrery_model::id::JobName;
use orrery_model::job::{JobSpec, Needs};
use orrery_model::time::Timestamp;
use orrery_runtime::messages::Cluster;
use orrery_trigger::Input;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is to be otherwise; what is not set stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Change {
    /// Which agent is given a task.
    pub placement: Option<Placement>,
    /// Who is next.
    pub order: Option<Order>,
    /// The agents instead of those that were there: from the beginning, without losses.
    pub agents: Option<Vec<AgentSpec>>,
    /// Priorities of these jobs, in every definition.
    pub priorities: BTreeMap<JobName, i32>,
    /// What tasks of these jobs need, in every definition.
    pub resources: BTreeMap<JobName, Needs>,
}

impl Change {
    fn policy(&self) -> Policy {
        let usual = Policy::default();
        Policy { placement: self.placement.unwrap_or(usual.placement), order: self.order.unwrap_or(usual.order) }
    }

    /// The document as the change has it, if it concerns it.
    fn document(&self, document: &str) -> Option<String> {
        let mut spec: JobSpec = serde_json::from_str(document).ok()?;
        let (priority, needs) = (self.priorities.get(&spec.name), self.resources.get(&spec.name));
        if priority.is_none() && needs.is_none() {
            return None;
        }
        spec.priority = priority.copied().unwrap_or(spec.priority);
        spec.resources = needs.copied().unwrap_or(spec.resources);
        Some(spec.to_json())
    }

    /// The same input as the change has it, if it concerns it.
    fn edited(&self, given: &Given) -> Option<Given> {
        let What::Told(input) = &given.what else { return None };
        let Input::JobSubmitted { document, .. } = &**input else { return None };
        let edited = self.document(document)?;
        let mut given = given.clone();
        if let What::Told(input) = &mut given.what
            && let Input::JobSubmitted { document, .. } = &mut **input
        {
            *document = edited;
        }
        Some(given)
    }

    /// Every job that is named must be one.
    fn check_jobs(&self, given: &[Given]) -> Result<(), WhatIfError> {
        if self.priorities.is_empty() && self.resources.is_empty() {
            return Ok(());
        }
        let defined: BTreeSet<JobName> = given.iter().filter_map(defines).collect();
        match self.priorities.keys().chain(self.resources.keys()).find(|job| !defined.contains(*job)) {
            Some(job) => Err(WhatIfError::NoSuchJob { job: job.clone() }),
            None => Ok(()),
        }
    }
}

/// The job that an input defines.
fn defines(given: &Given) -> Option<JobName> {
    let What::Told(input) = &given.what else { return None };
    let Input::JobSubmitted { document, .. } = &**input else { return None };
    serde_json::from_str::<JobSpec>(document).ok().map(|spec| spec.name)
}

/// Decides on the inputs of a span again, without and with a change. Without `from` the span begins with the journals, without `to`
/// it ends with them.
pub fn replay(
    log: &Arc<dyn Log>,
    cluster: &Cluster,
    change: &Change,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
) -> Result<Comparison, WhatIfError> {
    let cells = cluster.cells as i32;
    agents::check(change.agents.as_deref().unwrap_or_default(), cells)?;
    let mut recorded = Recorded::read(&**log, cluster, from, to)?;
    let (from, until) = recorded.span();
    if until <= from {
        return Err(WhatIfError::EmptyTime { from, until });
    }
    recorded.world_from(from);
    change.check_jobs(&recorded.given)?;
    let (baseline, changed) = both(&recorded, change, (from, until), cells)?;
    refuse_less(&baseline, &changed)?;
    let (gained, lost) = shifts(&baseline, &changed, until);
    Ok(Comparison {
        from,
        until,
        change: change.clone(),
        recorded: Figures::of(&recorded.trace, until),
        baseline: Figures::of(&baseline, until),
        changed: Figures::of(&changed, until),
        gained,
        lost,
        first_difference: first_difference(&baseline.moves, &changed.moves),
        estimated_attempts: changed.attempts.keys().filter(|attempt| !recorded.lasting.attempts.contains_key(*attempt)).count(),
        refused: listed(baseline.refused),
    })
}

/// Runs both worlds, side by side: they have nothing in common but what they read.
fn both(recorded: &Recorded, change: &Change, (from, until): (Timestamp, Timestamp), cells: i32) -> Result<(Trace, Trace), WhatIfError> {
    let begin = Timestamp(from.0.saturating_sub(1));
    let given = changed_inputs(&recorded.given, change, begin);
    let world = |policy| World::new(begin, cells, policy, &recorded.lasting);
    let (baseline, changed) = std::thread::scope(|scope| {
        let baseline = scope.spawn(|| world(Policy::default()).run(&recorded.given, until));
        let changed = world(change.policy()).run(given.iter().map(Either::get), until);
        (baseline.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), changed)
    });
    Ok((baseline?, changed?))
}

/// An input as it was, or as the change has it.
enum Either<'g> {
    Was(&'g Given),
    Is(Given),
}

impl Either<'_> {
    fn get(&self) -> &Given {
        match self {
            Self::Was(given) => given,
            Self::Is(given) => given,
        }
    }
}

fn changed_inputs<'g>(given: &'g [Given], change: &Change, begin: Timestamp) -> Vec<Either<'g>> {
    let offer = |spec: &AgentSpec| Either::Is(Given { at: begin, what: What::Offer(spec.clone()) });
    let mut inputs: Vec<Either<'g>> = change.agents.iter().flatten().map(offer).collect();
    let replaced = |given: &&Given| change.agents.is_some() && matches!(given.what, What::Offer(_) | What::Gone { .. });
    let rest = given.iter().filter(|given| !replaced(given));
    inputs.extend(rest.map(|given| change.edited(given).map_or(Either::Was(given), Either::Is)));
    inputs
}

/// A change that makes a definition invalid is answered with the reason, not with a world without the job.
fn refuse_less(baseline: &Trace, changed: &Trace) -> Result<(), WhatIfError> {
    let known = |job: &Option<String>| baseline.refused.iter().any(|refusal| refusal.job == *job);
    match changed.refused.iter().find(|refusal| !known(&refusal.job)) {
        Some(refusal) => {
            let job = refusal.job.clone().unwrap_or_else(|| "without a name".into());
            Err(WhatIfError::Refused { job, reason: refusal.reason.clone() })
        }
        None => Ok(()),
    }
}
