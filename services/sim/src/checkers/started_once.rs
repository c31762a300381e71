//! Each attempt is started at most once; no two attempts of a run live at once; none starts after a success that was taken
//! (protocol §6.2). By the processes themselves.

use super::Outcome;
use orrery_allocator::{Allocator, Decision};
use orrery_model::id::AttemptId;
use orrery_model::messages::{EndKind, StatusChange};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(outcome: &Outcome<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let first = |attempt: &AttemptId| outcome.history.starts.iter().find(|start| start.attempt == *attempt).map_or(0, |start| start.at_us);
    let acknowledged = acknowledged(outcome);
    let mut seen = BTreeSet::new();
    let mut runs: BTreeMap<String, Vec<&crate::history::Start>> = BTreeMap::new();
    for start in &outcome.history.starts {
        if !seen.insert(start.attempt.clone()) && outcome.history.is_kept(first(&start.attempt)) {
            found.push(format!("attempt {} was started twice, the second time on {} at {}", start.attempt, start.agent, start.at_us));
        }
        if let Some((run, _)) = start.attempt.split() {
            runs.entry(run.to_string()).or_default().push(start);
        }
    }
    for starts in runs.values() {
        for pair in starts.windows(2) {
            let [first, second] = pair else { continue };
            if !outcome.history.is_kept(first.at_us) {
                continue;
            }
            match first.end {
                None => found
                    .push(format!("{} started on {} while {} still runs on {}", second.attempt, second.agent, first.attempt, first.agent)),
                Some((end, _)) if end > second.at_us => {
                    let what = format!(
                        "{} on {} until {end}, {} on {} from {}",
                        first.attempt, first.agent, second.attempt, second.agent, second.at_us
                    );
                    found.push(format!("two attempts of a run at once: {what}"));
                }
                Some((_, EndKind::Succeeded)) if first.attempt != second.attempt => {
                    // Doubled only if that success was acknowledged; a lost agent's success was not.
                    if acknowledged.contains(&first.attempt) {
                        found.push(format!("{} started after {} had succeeded", second.attempt, first.attempt));
                    }
                }
                Some(_) => {}
            }
        }
    }
    found
}

/// Attempts whose success an allocator took.
fn acknowledged(outcome: &Outcome<'_>) -> BTreeSet<AttemptId> {
    let success = |decision: &Decision| match decision {
        Decision::StatusTaken { status, .. } => match &status.change {
            StatusChange::TaskEnded { end } if end.kind == EndKind::Succeeded => Some(status.attempt.clone()),
            _ => None,
        },
        _ => None,
    };
    let entries = outcome.cells().flat_map(|cell| outcome.journal::<Allocator>(cell));
    entries.flat_map(|entry| entry.decisions.iter().filter_map(success)).collect()
}
