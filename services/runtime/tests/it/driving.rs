//! Shards on their own threads: stopping and starting, and a decider that panics.

use crate::counting::{Input, PANIC, PANICKING, PANICS, POISON};
use crate::fixture::Fixture;
use crate::joins;
use orrery_model::id::Principal;
use orrery_model::journal::{DropReason, Observation};
use orrery_model::topics;
use orrery_runtime::quarantine::{self, Quarantine, RecordPlace};
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

/// The observation that this record was set aside, and its dead letter.
fn is_set_aside(fixture: &Fixture, offset: i64, by: Option<&str>) {
    let seen = fixture.entries(0).into_iter().filter_map(|entry| match entry.input {
        Input::ShellObserved { observation: Observation::RecordQuarantined { offset, by, .. } } => Some((offset, by, entry.dropped)),
        _ => None,
    });
    let [(found, found_by, dropped)] = seen.collect::<Vec<_>>().try_into().expect("it is set aside once");
    assert_eq!((found, found_by.as_deref()), (offset, by));
    assert_eq!(dropped.last().map(|range| (range.reason, range.to)), Some((DropReason::Quarantined, offset + 1)));
    let letters = fixture.read("jobs.dlq", 0);
    let stage = letters[0].header("orrery.error.stage");
    assert_eq!((letters.len(), stage), (1, Some("quarantined")));
}

#[test]
fn a_record_of_which_a_shard_dies_again_and_again_is_set_aside() {
    let fixture = Fixture::new(1);
    fixture.add(0, &["1", &POISON.to_string(), "2"]);
    let shard = fixture.start(0);
    fixture.wait_total(0, 3);
    shard.stop();
    is_set_aside(&fixture, fixture.read(topics::JOBS, 0)[1].offset, None);
    joins::check(&fixture);
    let shard = fixture.start(0);
    fixture.add(0, &["4"]);
    fixture.wait_total(0, 7);
    shard.stop();
}

#[test]
fn a_record_that_a_person_sets_aside_is_not_decided_on() {
    let fixture = Fixture::new(1);
    fixture.add(0, &["1", &POISON.to_string(), "2"]);
    let offset = fixture.read(topics::JOBS, 0)[1].offset;
    let place = RecordPlace { topic: fixture.cluster.topic(topics::JOBS), partition: 0, offset };
    let why = (Principal::parse("ann").ok(), "it kills us".to_owned());
    for shard in [1, 0] {
        quarantine::set_aside(&*fixture.log, &fixture.cluster, ("trigger", shard), place.clone(), why.clone()).expect("appended");
    }
    let of_another = Quarantine { by: None, reason: "it killed us".into(), topic_id: "the topic that was there before".into() };
    let first = RecordPlace { offset: fixture.read(topics::JOBS, 0)[0].offset, ..place };
    let record = quarantine::record(&fixture.cluster, ("trigger", 0), first, of_another);
    fixture.log.append(vec![record]).expect("appended");
    let shard = fixture.start(0);
    fixture.wait_total(0, 3);
    shard.stop();
    is_set_aside(&fixture, offset, Some("ann"));
    assert_eq!(fixture.head(0).epoch, 1, "it has died of nothing");
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
