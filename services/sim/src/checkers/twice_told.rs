//! In the night in which an hour comes twice, what is due in it once runs once, the first time.

use super::Outcome;
use crate::machine::wall;
use crate::plan::MINUTE;
use crate::world::load::NIGHTLY;
use orrery_trigger::{Decision, Trigger};

/// 02:30 in Paris, the first time.
const DUE: i64 = 30 * MINUTE;

pub(super) fn check(outcome: &Outcome<'_>) -> Vec<String> {
    if !outcome.history.is_kept(DUE) {
        return Vec::new();
    }
    let nightly = format!("default/{NIGHTLY}");
    let decisions = outcome.trigger_shards().flat_map(|shard| outcome.journal::<Trigger>(shard)).flat_map(|entry| &entry.decisions);
    let runs = decisions.filter_map(|decision| match decision {
        Decision::RunCreated { record, .. } if record.job.as_str() == nightly => Some(record.cause.clone()),
        _ => None,
    });
    let (causes, due) = (runs.collect::<Vec<_>>(), format!("time:{}", wall(DUE)));
    if causes == [due.clone()] { Vec::new() } else { vec![format!("{nightly} was to run for {due} alone, and ran for {causes:?}")] }
}
