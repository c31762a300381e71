//! Snapshots: taken beside the loop, and whole or left out.

use crate::counting::{Counting, SUMS};
use crate::fixture::Fixture;
use orrery_model::decider::Decider as _;
use orrery_model::payload::Payload;
use orrery_model::record::NewRecord;
use orrery_model::topics::TRIGGER_SNAPSHOTS;
use orrery_runtime::rows::{CHANGELOG_ID, Head, full_key};
use orrery_runtime::snapshots::{SnapshotReader, SnapshotSetting, WholeSnapshot, each_row, whole_snapshots};
use orrery_runtime::store::{RocksStore, Store as _};

/// A snapshot each few entries, in pieces of a row or two.
const OFTEN: SnapshotSetting = SnapshotSetting { entries: 4, piece_bytes: 60 };

fn whole(fixture: &Fixture, shard: u32) -> Vec<WholeSnapshot> {
    whole_snapshots(&fixture.log, &fixture.cluster, (Counting::SERVICE, shard)).expect("read")
}

/// A shard that has taken a snapshot at least, and the values of that one's records.
fn taken() -> (Fixture, Vec<Payload>) {
    let mut fixture = Fixture::new(2);
    fixture.cluster.snapshots = OFTEN;
    let shard = fixture.start(0);
    fixture.add(0, &["1", "2", "3", "4", "100"]);
    fixture.wait_total(0, 110);
    fixture.wait("a snapshot", || !whole(&fixture, 0).is_empty());
    shard.stop();
    let records = fixture.read(TRIGGER_SNAPSHOTS, 0);
    let end = records.iter().position(|record| ends(record.value.as_ref().expect("a value"))).expect("an end");
    let values = records.into_iter().take(end + 1).filter_map(|record| record.value).collect();
    (fixture, values)
}

fn ends(value: &Payload) -> bool {
    use orrery_runtime::snapshots::{SNAPSHOT, SnapshotPart};
    matches!(SNAPSHOT.decode(value.as_bytes()).expect("a part").part, SnapshotPart::Ends {})
}

/// Puts these records where the other shard's snapshots are.
fn put<'v>(fixture: &Fixture, values: impl IntoIterator<Item = &'v Payload>) {
    let topic = fixture.cluster.topic(TRIGGER_SNAPSHOTS);
    let record = |value: &Payload| NewRecord { topic: topic.clone(), partition: 1, value: Some(value.clone()), ..NewRecord::default() };
    fixture.log.append(values.into_iter().map(record).collect()).expect("appended");
}

#[test]
fn a_snapshot_holds_all_rows_at_its_entry() {
    let (fixture, values) = taken();
    let snapshot = whole(&fixture, 0).remove(0);
    assert!(values.len() > 3, "{} records: no pieces", values.len());
    assert_eq!((&snapshot.state_hash, snapshot.head.logic_version), (&snapshot.head.state_hash, *Counting::LOGIC_VERSIONS.start()));
    let entry = fixture.entries(0).into_iter().find(|entry| entry.seq == snapshot.head.last_seq).expect("its entry");
    assert_eq!((entry.chain, entry.epoch, entry.at), (snapshot.head.chain.clone(), snapshot.head.epoch, snapshot.head.at));
    let mut keys = Vec::new();
    each_row(&fixture.log, &fixture.cluster, (Counting::SERVICE, 0), &snapshot, |key, _| {
        keys.push(key.to_vec());
        Ok(())
    })
    .expect("read");
    assert!(keys.is_sorted() && keys.contains(&full_key(SUMS, b"total")));
    assert!(!fixture.store(0).with_extension("frozen").exists(), "the frozen store was left behind");
}

#[test]
fn a_torn_snapshot_is_left_out() {
    let (fixture, values) = taken();
    for torn in [&values[1..], &values[..1], &values[..values.len() - 1]] {
        put(&fixture, torn);
        assert_eq!(whole(&fixture, 1).len(), 0);
    }
    let gap = values.iter().enumerate().filter(|(place, _)| *place != 2).map(|(_, value)| value);
    put(&fixture, gap);
    assert_eq!(whole(&fixture, 1).len(), 0, "a piece is missing");
    put(&fixture, &values);
    assert_eq!(whole(&fixture, 1).len(), 1, "begun again, it is whole");
}

#[test]
fn a_reader_goes_on_where_it_stood() {
    let (fixture, values) = taken();
    let mut reader = SnapshotReader::new(&fixture.cluster, (Counting::SERVICE, 1));
    let mut look = || {
        let mut found = 0;
        reader.follow(&fixture.log, |_| found += 1).expect("read");
        found
    };
    put(&fixture, &values[..2]);
    assert_eq!(look(), 0, "it is not whole yet");
    put(&fixture, &values[2..]);
    assert_eq!([look(), look()], [1, 0], "each is told once");
    put(&fixture, &values);
    assert_eq!(look(), 1);
}

#[test]
fn a_snapshot_is_due_with_the_transaction_that_holds_its_entry() {
    for (first_seq, last_seq) in [(1, 1), (1, 3), (1, 4), (4, 4), (4, 5), (5, 7), (5, 8), (3, 9)] {
        let by_entries = (first_seq..=last_seq).any(|seq| OFTEN.is_due_at(seq));
        assert_eq!(OFTEN.is_due(&Head { first_seq, last_seq, ..Head::default() }), by_entries, "{first_seq} to {last_seq}");
    }
}

#[test]
fn two_writers_may_interleave() {
    use orrery_runtime::snapshots::SNAPSHOT;
    let (fixture, values) = taken();
    let of_next_epoch = |value: &Payload| {
        let mut record = SNAPSHOT.decode(value.as_bytes()).expect("a part");
        record.epoch += 1;
        Payload(SNAPSHOT.encode(&record).into())
    };
    let others: Vec<Payload> = values.iter().map(of_next_epoch).collect();
    put(&fixture, values.iter().zip(&others).flat_map(|(one, other)| [one, other]));
    assert_eq!(whole(&fixture, 1).len(), 2);
}

#[test]
fn a_frozen_store_stays_as_it_was() {
    let fixture = Fixture::new(1);
    let mut store = RocksStore::open_or_begin(&fixture.store(0)).expect("a store");
    let rows = |n: u8| (1..=n).map(|row| ([16, row][..].into(), Some([n][..].into()))).collect::<Vec<_>>();
    store.write(&rows(3), 1).expect("written");
    store.write(&vec![(CHANGELOG_ID.into(), Some(b"id"[..].into()))], 1).expect("written");
    let frozen = store.freeze().expect("frozen");
    assert!(store.freeze().is_err(), "one at a time");
    store.write(&rows(5), 2).expect("written");
    let found = |from: &[u8], bytes| frozen.rows_from(from, bytes).expect("read").into_iter().map(|(key, _)| key[1]).collect::<Vec<_>>();
    assert_eq!((found(&[], 1), found(&[16, 1, 0], 6), found(&[16, 2], 100)), (vec![1], vec![2, 3], vec![2, 3]));
    drop(frozen);
    drop(store.freeze().expect("frozen again"));
    let left_behind = store.freeze().expect("frozen again");
    std::mem::forget(left_behind);
    drop(store);
    RocksStore::open(&fixture.store(0)).expect("a store").freeze().expect("what a process left behind is removed");
}
