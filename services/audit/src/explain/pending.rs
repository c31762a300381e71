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
    /// The cell that it waits in; none of a run that the trigger holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cell: Option<u32>,
    /// Why it waits, all reasons.
    pub reasons: Vec<Reason>,
}

/// One reason, with all that it holds up in one cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Stable code.
    pub code: String,
    /// The cell whose agents are meant; none where the trigger holds the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cell: Option<u32>,
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
    /// All that waits, as far as it was summed up.
    pub count: usize,
    /// True if more may wait than that.
    pub or_more: bool,
    /// By reason, those that hold up the most first.
    pub groups: Vec<Group>,
}

/// Sums up what waits, or so much of it. One with several reasons counts for each.
pub fn pending(waiting: &[Waiting], or_more: bool, next: impl Fn(&Waiting, &Reason) -> Option<String>) -> Pending {
    let mut groups: BTreeMap<(&str, Option<u32>), Group> = BTreeMap::new();
    for one in waiting {
        let mut seen: Vec<&str> = Vec::new();
        for reason in one.reasons.iter() {
            if seen.contains(&reason.code.as_str()) {
                continue;
            }
            seen.push(&reason.code);
            let group = groups.entry((&reason.code, one.cell)).or_insert_with(|| Group {
                code: reason.code.clone(),
                cell: one.cell,
                tasks: 0,
                example: reason.detail.clone(),
                subject: one.subject.clone(),
                next: next(one, reason).unwrap_or_else(|| next_of_reason(reason, one.cell)),
            });
            group.tasks += 1;
        }
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|a, b| b.tasks.cmp(&a.tasks).then_with(|| (&a.code, a.cell).cmp(&(&b.code, b.cell))));
    Pending { count: waiting.len(), or_more, groups }
}
