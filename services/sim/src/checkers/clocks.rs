//! Time is never far ahead of the truth: nobody owns whose clock is off (protocol §7.1). By the append times of journal records, and
//! these are not behind the world's end, whatever the log's own machine says.

use super::{Journalled, Outcome, Timed};
use crate::machine::wall;
use crate::plan::MINUTE;
use orrery_allocator::Allocator;
use orrery_trigger::Trigger;

/// Between two looks at a clock, a minute, `at` may run at double speed; one such owner may follow the other.
const AHEAD_MOST: i64 = 5 * MINUTE;

pub(super) fn check(outcome: &Outcome<'_>) -> Vec<String> {
    outcome.each_shard(of_shard::<Trigger>, of_shard::<Allocator>)
}

fn of_shard<D: Journalled>(outcome: &Outcome<'_>, shard: u32) -> Vec<String> {
    let ahead = |(appended, entry): &Timed<D>| {
        let off = entry.at.0 - appended.0;
        (off > AHEAD_MOST).then(|| format!("entry {} of {}/{shard} is of {}, {} s ahead", entry.seq, D::SERVICE, entry.at, off / 1_000_000))
    };
    let last = wall(outcome.plan.ends + AHEAD_MOST);
    let leapt = |(appended, entry): &Timed<D>| {
        let seq = entry.seq;
        (*appended > last).then(|| format!("entry {seq} of {}/{shard} was appended at {appended}, when the world is over", D::SERVICE))
    };
    let journal = outcome.timed_journal::<D>(shard);
    journal.iter().find_map(ahead).into_iter().chain(journal.iter().find_map(leapt)).collect()
}
