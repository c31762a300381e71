//! Standbys, and when a store is not to be trusted any more: one test for each of the conditions.

use crate::counting::Counting;
use crate::fixture::{Fixture, Hand};
use orrery_log::clock;
use orrery_model::decider::Decider as _;
use orrery_model::record::NewRecord;
use orrery_model::time::Timestamp;
use orrery_model::topics::{Compaction, TRIGGER_CHANGELOG};
use orrery_runtime::driver::{ShardConfig, stand_by};
use orrery_runtime::rows::{HEAD, HEAD_ROW, Head};
use orrery_runtime::standby::Standby;
use orrery_runtime::store::{RocksStore, Store as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Another member's folder.
fn other(fixture: &Fixture) -> PathBuf {
    fixture.store(0).with_extension("other")
}

fn open_at(fixture: &Fixture, folder: &Path, now: Timestamp) -> Standby {
    let store = Box::new(RocksStore::open_or_begin(folder).expect("a store"));
    Standby::open(&fixture.log, &fixture.cluster, (Counting::SERVICE, 0), store, now).expect("a standby")
}

fn open(fixture: &Fixture, folder: &Path) -> Standby {
    open_at(fixture, folder, clock::wall())
}

/// A shard that has counted to 6 and was left, its store with it.
fn counted() -> Fixture {
    let fixture = Fixture::new(1);
    fixture.add(0, &["1", "2", "3"]);
    Hand::acquire(&fixture, &fixture.log).expect("acquired").finish().expect("clean");
    fixture
}

fn stored(folder: &Path) -> (Head, i64) {
    RocksStore::open(folder).expect("a store").head().expect("readable").expect("a head")
}

#[test]
fn a_standby_hands_its_store_to_the_owner_and_takes_it_back() {
    let fixture = Fixture::new(1);
    let folder = other(&fixture);
    let mut standby = open(&fixture, &folder);
    let mut hand = Hand::acquire(&fixture, &fixture.log).expect("acquired");
    for (value, total) in [("1", 1), ("2", 3), ("4", 7)] {
        fixture.add(0, &[value]);
        hand.finish().expect("clean");
        assert_eq!(standby.step(&fixture.log, clock::wall()).expect("followed"), 0);
        assert_eq!(fixture.sum(0, "total"), total);
    }
    drop((standby, hand));
    assert_eq!(stored(&folder).0, fixture.head(0));

    let mut hand = Hand::acquire_in(&fixture, &fixture.log, &folder).expect("acquired");
    assert!(hand.found_store, "the owner read everything again");
    assert_eq!(hand.shard.decider().sum("total"), 7);
    fixture.add(0, &["8"]);
    hand.finish().expect("clean");
    drop(hand);
    assert!(open(&fixture, &folder).found_store(), "the standby read everything again");
}

#[test]
fn rows_behind_the_last_head_are_not_written() {
    let fixture = counted();
    let folder = other(&fixture);
    let row = NewRecord { topic: fixture.cluster.topic(TRIGGER_CHANGELOG), key: Some(b"\x10torn"[..].into()), ..NewRecord::default() };
    fixture.log.append(vec![NewRecord { value: Some(b"rubbish"[..].into()), ..row }]).expect("appended");
    open(&fixture, &folder).step(&fixture.log, clock::wall()).expect("followed");
    let hand = Hand::acquire_in(&fixture, &fixture.log, &folder).expect("acquired");
    assert!(hand.found_store);
    assert_eq!(hand.shard.decider().sum("total"), 6);
}

#[test]
fn a_standby_on_a_thread_is_ready_at_the_end_and_frees_its_folder() {
    let fixture = counted();
    let config = ShardConfig {
        log: Arc::clone(&fixture.log),
        cluster: fixture.cluster.clone(),
        shard: 0,
        generation: 1,
        folder: other(&fixture),
        member: orrery_runtime::membership::member("standby", Vec::new(), "", orrery_log::clock::wall()),
        draw_lineage: || unreachable!("a standby begins no shard"),
    };
    let standby = stand_by::<Counting>(config).expect("a thread");
    fixture.wait("the changelog's end", || standby.is_ready());
    standby.stop();
    assert_eq!(stored(&other(&fixture)).0, fixture.head(0));
    assert!(Hand::acquire_in(&fixture, &fixture.log, &other(&fixture)).expect("acquired").found_store);
}

#[test]
fn a_store_that_can_be_trusted_is_gone_on_with() {
    let fixture = counted();
    assert!(open(&fixture, &fixture.store(0)).found_store());
}

#[test]
fn a_store_outside_the_changelog_is_begun_anew() {
    let fixture = counted();
    let (_, offset) = stored(&fixture.store(0));
    RocksStore::open(&fixture.store(0)).expect("a store").write(&Vec::new(), offset + 1_000_000).expect("written");
    assert!(!open(&fixture, &fixture.store(0)).found_store());
}

#[test]
fn a_store_of_another_lineage_is_begun_anew() {
    let fixture = counted();
    let (head, offset) = stored(&fixture.store(0));
    let other = HEAD_ROW.encode(&Head { lineage: "cafe".into(), ..head });
    RocksStore::open(&fixture.store(0))
        .expect("a store")
        .write(&vec![([HEAD][..].into(), Some(other[..].into()))], offset)
        .expect("written");
    assert!(!open(&fixture, &fixture.store(0)).found_store());
}

/// The same records twice over, so that the store's offset and lineage are those of the new topic, too.
#[test]
fn a_store_of_a_topic_that_was_made_again_is_begun_anew() {
    let fixture = counted();
    let name = fixture.cluster.topic(TRIGGER_CHANGELOG);
    let topic = fixture.log.topic(&name).expect("asked").expect("it is there");
    let old = fixture.read(TRIGGER_CHANGELOG, 0);
    let mut standby = open(&fixture, &other(&fixture));
    standby.step(&fixture.log, clock::wall()).expect("followed");
    fixture.log.delete_topic(&name).expect("deleted");
    fixture.log.ensure_topic(&name, topic.partitions, topic.cleanup).expect("made again");
    let (_, offset) = stored(&fixture.store(0));
    while fixture.log.end_offset(&fixture.at(TRIGGER_CHANGELOG, 0)).expect("asked") <= offset {
        let again = |record: &orrery_model::record::Record| NewRecord {
            topic: name.clone(),
            key: record.key.clone(),
            value: record.value.clone(),
            ..NewRecord::default()
        };
        fixture.log.append(old.iter().map(again).collect()).expect("appended");
    }
    assert!(!open(&fixture, &fixture.store(0)).found_store());
    assert_eq!(standby.step(&fixture.log, clock::wall()).expect("followed"), 0);
    assert!(!standby.found_store(), "also a standby that runs");
}

#[test]
fn a_store_that_may_have_missed_tombstones_is_begun_anew() {
    let fixture = counted();
    let half = Compaction::default().tombstones_ms / 2;
    let (head, _) = stored(&fixture.store(0));
    assert!(open_at(&fixture, &fixture.store(0), head.at.plus_ms(half)).found_store());
    assert!(!open_at(&fixture, &fixture.store(0), head.at.plus_ms(half + 1)).found_store());
}

#[test]
fn a_standby_that_follows_does_not_grow_old_but_one_that_stops_does() {
    let fixture = counted();
    let half = Compaction::default().tombstones_ms / 2;
    let now = clock::wall();
    let mut standby = open_at(&fixture, &fixture.store(0), now);
    for at in [now, now.plus_ms(half), now.plus_ms(2 * half)] {
        standby.step(&fixture.log, at).expect("followed");
        assert!(standby.found_store(), "nothing was missed by {at}");
    }
    standby.step(&fixture.log, now.plus_ms(3 * half + 1)).expect("followed");
    assert!(!standby.found_store());
}

#[test]
fn a_store_that_does_not_sum_up_is_begun_anew() {
    let fixture = counted();
    let (_, offset) = stored(&fixture.store(0));
    let row = crate::counting::SUM_ROW.encode(&crate::counting::Sum { value: 7 });
    let key = orrery_runtime::rows::full_key(crate::counting::SUMS, b"total");
    RocksStore::open(&fixture.store(0)).expect("a store").write(&vec![(key[..].into(), Some(row[..].into()))], offset).expect("written");
    let hand = Hand::acquire(&fixture, &fixture.log).expect("acquired");
    assert!(!hand.found_store);
    assert_eq!(hand.shard.decider().sum("total"), 6);
}
