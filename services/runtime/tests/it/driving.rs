//! Shards on their own threads: stopping and starting, and a decider that panics.

use crate::counting::{PANIC, PANICKING, PANICS};
use crate::fixture::Fixture;
use crate::joins;
use orrery_model::topics;
use std::sync::atomic::Ordering::SeqCst;

#[test]
fn totals_are_exact_over_a_stop_and_a_start() {
    let fixture = Fixture::new(1);
    fixture.add(0, &["1", "2", "100"]);
    let shard = fixture.start(0);
    fixture.wait_total(0, 103);
    shard.stop();
    fixture.add(0, &["0", "x", "4"]);
    let (before, entries) = (fixture.head(0), fixture.entries(0).len());
    let shard = fixture.start(0);
    fixture.wait_total(0, 107);
    shard.stop();
    let after = fixture.head(0);
    assert_eq!((before.epoch, after.epoch, &after.lineage), (1, 2, &before.lineage));
    assert!(fixture.entries(0).len() > entries && after.state_hash != before.state_hash);
    assert_eq!(fixture.sum(0, "ticks"), 1);
    joins::check(&fixture);
}

#[test]
fn a_shard_that_is_started_for_nothing_changes_no_row() {
    let fixture = Fixture::new(1);
    fixture.add(0, &["1"]);
    let shard = fixture.start(0);
    fixture.wait_total(0, 1);
    shard.stop();
    let before = fixture.head(0);
    let shard = fixture.start(0);
    fixture.wait("ready", || shard.is_ready());
    shard.stop();
    let after = fixture.head(0);
    assert_eq!((after.epoch, after.rows, &after.state_hash), (2, before.rows, &before.state_hash));
    joins::check(&fixture);
}

#[test]
fn a_panicking_decider_is_restarted_and_skips_nothing_while_other_shards_live() {
    let fixture = Fixture::new(2);
    PANICKING.store(true, SeqCst);
    let shards = [fixture.start(0), fixture.start(1)];
    fixture.add(0, &["1"]);
    fixture.wait_total(0, 1);
    fixture.add(0, &[&PANIC.to_string(), "2"]);
    fixture.wait("two panics", || PANICS.load(SeqCst) >= 2);
    fixture.add(1, &["5"]);
    fixture.wait_total(1, 5);
    assert_eq!(fixture.sum(0, "total"), 1, "the input was skipped");
    PANICKING.store(false, SeqCst);
    fixture.wait_total(0, 3 + PANIC);
    let panics = PANICS.load(SeqCst);
    assert!(panics < 10, "{panics} panics: there was no back-off");
    assert_eq!(fixture.head(1).epoch, 1, "the other shard was disturbed");
    shards.into_iter().for_each(|shard| shard.stop());
    joins::check(&fixture);
}

#[test]
fn a_lease_runs_out_once_also_while_records_keep_coming() {
    let fixture = Fixture::new(1);
    let shard = fixture.start(0);
    fixture.append(topics::HEARTBEATS, 0, b"60000", Vec::new());
    fixture.append(topics::HEARTBEATS, 0, b"20", Vec::new());
    fixture.wait("the lease to run out", || {
        fixture.add(0, &["1"]);
        fixture.sum(0, "expired") == 1
    });
    fixture.append(topics::HEARTBEATS, 0, b"60000", Vec::new());
    let total = fixture.read(topics::JOBS, 0).len() as i64;
    fixture.add(0, &["1000"]);
    fixture.wait_total(0, 1_000 + total);
    shard.stop();
    assert_eq!(fixture.sum(0, "expired"), 1);
    joins::check(&fixture);
}
