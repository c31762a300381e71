//! No agent is declared lost unless it was silent for its lease, by the log's time (protocol §7.2).

use super::Outcome;
use crate::history::Heard;
use crate::plan::{MINUTE, SECOND};
use orrery_allocator::{Allocator, Decision};
use orrery_model::time::Timestamp;

/// Between the moment at which a lease was found to have run out and its entry: commits are slow and owners stop, at most so long.
const BETWEEN: i64 = 10 * MINUTE;
/// The time is noted when the log has taken a heartbeat; whoever reads it counts from a little later.
const NEARLY: i64 = SECOND;

pub(super) fn check(outcome: &Outcome<'_>) -> Vec<String> {
    outcome.cells().flat_map(|cell| of_cell(outcome, cell)).collect()
}

fn of_cell(outcome: &Outcome<'_>, cell: u32) -> Vec<String> {
    let mut found = Vec::new();
    for &(appended, ref entry) in outcome.timed_journal::<Allocator>(cell) {
        for decision in &entry.decisions {
            let Decision::AgentLost { agent, session, .. } = decision else { continue };
            // Another session's heartbeats keep no lease of this one, but for those of a newer one.
            let heard = |heard: &&Heard| heard.agent == *agent && heard.session >= session.counter && heard.at < appended;
            let heard: Vec<&Heard> = outcome.history.heard.iter().filter(heard).collect();
            if !was_silent(&heard, appended) {
                found.push(format!("{agent} was declared lost at {appended}, and was never silent for its lease before"));
            }
        }
    }
    found
}

/// True if some time not long before `lost` these heartbeats lie further apart than their lease.
fn was_silent(heard: &[&Heard], lost: Timestamp) -> bool {
    let ends = heard.iter().skip(1).map(|next| next.at).chain([lost]);
    let silent = |(heard, end): (&&Heard, Timestamp)| end.0 > lost.0 - BETWEEN && end.0 - heard.at.0 >= heard.lease_ms * 1_000 - NEARLY;
    heard.is_empty() || heard.iter().zip(ends).any(silent)
}
