//! All that waits, summed up by reason.

use super::next::next_of_reason;
use orrery_model::messages::Reason;
use serde::Serialize;
use std::collections::BTreeMap;

/// A task or run that waits.
#[derive(Debug, Clone, Serialize)]
pub struct Waiting {
    /// Attempt, or run where no attempt is wanted yet.
    pub subject: String,
    /// Its job.
    pub job: String,
    /// Why it waits, all reasons.
    pub reasons: Vec<Reason>,
}

/// One reason, with all that it holds up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Stable code.
    pub code: String,
    /// How many wait because of it, among other reasons.
    pub tasks: usize,
    /// In the words of the first of them.
    pub example: String,
    /// Which that is.
    pub subject: String,
    /// What to do about it.
    pub next: String,
}

/// The summary.
#[derive(Debug, Clone, Serialize)]
pub struct Pending {
    /// All that waits.
    pub count: usize,
    /// By reason, those that hold up the most first.
    pub groups: Vec<Group>,
}

/// Sums up what waits. One with several reasons counts for each.
pub fn pending(waiting: &[Waiting], next: impl Fn(&Waiting, &Reason) -> Option<String>) -> Pending {
    let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
    for one in waiting {
        let mut seen: Vec<&str> = Vec::new();
        for reason in one.reasons.iter() {
            if seen.contains(&reason.code.as_str()) {
                continue;
            }
            seen.push(&reason.code);
            let group = groups.entry(&reason.code).or_insert_with(|| Group {
                code: reason.code.clone(),
                tasks: 0,
                example: reason.detail.clone(),
                subject: one.subject.clone(),
                next: next(one, reason).unwrap_or_else(|| next_of_reason(reason)),
            });
            group.tasks += 1;
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|a, b| b.tasks.cmp(&a.tasks).then_with(|| a.code.cmp(&b.code)));
    Pending { count: waiting.len(), groups }
}
