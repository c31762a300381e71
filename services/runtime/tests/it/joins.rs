//! What every journal must be: one chain of entries without gap, over inputs without gap.

use crate::counting::{Counting, Decision, Input};
use crate::fixture::Fixture;
use orrery_model::decider::Decider;
use orrery_model::journal::{Entry, Source};
use orrery_model::topics;
use orrery_runtime::chain::chained;
use std::collections::BTreeMap;

/// Checks shard 0's journal, that it leads to the head, and that it accounts for all of `jobs`.
pub(crate) fn check(fixture: &Fixture) {
    let (entries, head) = (fixture.entries(0), fixture.head(0));
    for record in fixture.read(topics::TRIGGER_JOURNAL, 0) {
        let value = record.value.expect("journals have no tombstones");
        let batch = Counting::journal().decode(value.as_bytes()).expect("a batch");
        assert_eq!(Counting::journal().encode(&batch), value.as_bytes(), "entries written one by one are no batch");
    }
    let (mut chain, mut standing) = (String::new(), BTreeMap::new());
    for (n, entry) in entries.iter().enumerate() {
        assert_eq!(entry.seq, n as i64 + 1, "seqs have a gap");
        chain = chained(Counting::journal(), &chain, entry.clone()).chain;
        assert_eq!(chain, entry.chain, "the chain is broken at {}", entry.seq);
        join(entry, &mut standing);
    }
    assert!(entries.is_sorted_by_key(|entry| (entry.epoch, entry.at)));
    assert_eq!((&head.chain, head.last_seq), (&chain, entries.len() as i64), "the head is of another journal");
    let jobs = fixture.at(topics::JOBS, 0);
    let accounted = standing.get(&(jobs.topic.to_string(), 0)).copied().unwrap_or(0);
    assert_eq!(accounted, fixture.log.end_offset(&jobs).expect("asked"), "not all records are accounted for");
}

type Standing = BTreeMap<(String, i32), i64>;

/// The same rule as the auditor's: ranges dropped come before the input; items behind the first add nothing.
fn join(entry: &Entry<Input, Decision>, standing: &mut Standing) {
    for range in &entry.dropped {
        go_on(standing, (&range.topic, range.partition), range.from, range.to);
    }
    if let Source::FromRecord { topic, partition, offset, prev, item, .. } = &entry.source {
        let same_record = standing.get(&(topic.clone(), *partition)).is_some_and(|next| *next == offset + 1);
        if !(same_record && *item > 0) {
            go_on(standing, (topic, *partition), *prev, offset + 1);
        }
    }
}

fn go_on(standing: &mut Standing, (topic, partition): (&str, i32), from: i64, to: i64) {
    let next = standing.entry((topic.to_owned(), partition)).or_insert(from);
    assert_eq!(*next, from, "records of {topic}/{partition} are left out or taken twice");
    *next = to;
}
