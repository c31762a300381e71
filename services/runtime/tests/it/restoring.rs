//! The store is a cache: without it, or with a wrong one, the changelog says the same.

use crate::counting::{KEPT, SUM_ROW, SUMS, Sum};
use crate::fixture::{Fixture, Hand};
use crate::joins;
use orrery_model::topics;
use orrery_runtime::rows::full_key;
use orrery_runtime::store::{RocksStore, Store as _};

/// A shard that has counted to 10 and was left.
fn counted() -> Fixture {
    let fixture = Fixture::new(1);
    fixture.add(0, &["1", "2", "3", "4"]);
    Hand::acquire(&fixture, &fixture.log).expect("acquired").finish().expect("clean");
    fixture
}

/// Overwrites the row of the total in the store.
fn overwrite(fixture: &Fixture, value: &[u8]) {
    let mut store = RocksStore::open_or_begin(&fixture.store(0)).expect("a store");
    let (_, offset) = store.head().expect("readable").expect("a head");
    store.write(&vec![(full_key(SUMS, b"total").as_slice().into(), Some(value[..].into()))], offset).expect("written");
}

fn restores_exactly(fixture: &Fixture) {
    let head = fixture.head(0);
    let (hand, again) = Hand::restore(fixture).expect("restored");
    assert_eq!((hand.shard.decider().sum("total"), &hand.head), (10, &head));
    assert!(!again.is_empty());
    drop(hand);
    fixture.add(0, &["5"]);
    Hand::acquire(fixture, &fixture.log).expect("acquired").finish().expect("clean");
    assert_eq!(fixture.sum(0, "total"), 15);
    joins::check(fixture);
}

#[test]
fn a_deleted_store_is_restored_from_the_changelog() {
    let fixture = counted();
    std::fs::remove_dir_all(fixture.store(0)).expect("removed");
    restores_exactly(&fixture);
}

#[test]
fn a_store_with_a_changed_row_is_detected_and_restored() {
    let fixture = counted();
    overwrite(&fixture, &SUM_ROW.encode(&Sum { value: 11 }));
    restores_exactly(&fixture);
}

#[test]
fn a_store_with_an_unreadable_row_is_restored() {
    let fixture = counted();
    overwrite(&fixture, b"rubbish");
    restores_exactly(&fixture);
}

#[test]
fn a_store_that_is_no_database_is_restored() {
    let fixture = counted();
    std::fs::write(fixture.store(0).join("CURRENT"), "rubbish").expect("written");
    restores_exactly(&fixture);
}

#[test]
fn a_store_that_is_loaded_in_pieces_has_every_row_once() {
    // More rows than one thread loads; the first bytes of their keys differ.
    let numbers: Vec<i64> = (0..21_000).map(|n| KEPT + 1 + 100 * n).collect();
    let fixture = Fixture::new(1);
    fixture.add(0, &["1"]);
    let records = numbers.iter().map(|n| fixture.record(topics::JOBS, 0, n.to_string().as_bytes(), Vec::new()));
    fixture.log.append(records.collect()).expect("appended");
    Hand::acquire(&fixture, &fixture.log).expect("acquired").finish().expect("clean");
    // Acquired only if the hash of what was loaded is the head's.
    let (hand, _) = Hand::restore(&fixture).expect("restored");
    assert!(hand.found_store && hand.head.rows > numbers.len() as i64, "{:?}", hand.head);
    let sums = hand.shard.decider();
    assert!(numbers.iter().all(|n| sums.sum(&n.to_string()) == *n));
    assert_eq!(sums.sum("total"), 1 + numbers.iter().sum::<i64>());
}

#[test]
fn a_store_with_flipped_bits_is_begun_anew() {
    let fixture = Fixture::new(1);
    for number in 1..=3 {
        // What is opened again lies in a table.
        fixture.add(0, &["1"]);
        let shard = fixture.start(0);
        fixture.wait_total(0, number);
        shard.stop();
    }
    let files = std::fs::read_dir(fixture.store(0)).expect("a folder").map(|entry| entry.expect("an entry").path());
    let tables: Vec<_> = files.filter(|path| path.extension().is_some_and(|extension| extension == "sst")).collect();
    assert!(!tables.is_empty());
    for table in &tables {
        let mut bytes = std::fs::read(table).expect("a table");
        // The first block is data, and its checksum is read with it.
        bytes[8] ^= 1;
        std::fs::write(table, bytes).expect("it can be written");
    }
    fixture.add(0, &["1"]);
    let shard = fixture.start(0);
    fixture.wait_total(0, 4);
    shard.stop();
    joins::check(&fixture);
}
