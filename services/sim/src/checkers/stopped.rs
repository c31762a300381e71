//! No shard stops for a reason that needs a person.

use super::Outcome;

pub(super) fn check(outcome: &Outcome<'_>) -> Vec<String> {
    outcome.history.stopped.clone()
}
