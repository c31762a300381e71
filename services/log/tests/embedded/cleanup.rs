//! Retention and compaction. Records get the clock's time; the tests clean at times in the future instead of waiting.

use crate::{keyed, read_all, texts};
use orrery_log::embedded::{CleanReport, EmbeddedLog, EmbeddedOptions};
use orrery_log::{Bell, Log, LogError, TopicPartition, clock};
use orrery_model::time::Timestamp;
use orrery_model::topics::Cleanup;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Compacts whenever there is something new.
fn open(folder: &Path) -> Arc<EmbeddedLog> {
    EmbeddedLog::open_with(folder, EmbeddedOptions { dirty_percent: 0, ..EmbeddedOptions::default() }).unwrap()
}

fn write(log: &dyn Log, records: &[(&str, Option<&str>)]) {
    for (key, value) in records {
        log.append(vec![keyed("t", 0, key, *value)]).unwrap();
    }
}

/// The clock's time once it has passed all records.
fn later(log: &dyn Log) -> Timestamp {
    let last = read_all(log, "t", 0).last().unwrap().appended;
    while clock::wall() <= last {
        std::thread::yield_now();
    }
    clock::wall()
}

#[test]
fn retention_moves_the_start_and_keeps_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let at = TopicPartition::new("t", 0);
    let log = open(folder.path());
    log.ensure_topic("t", 1, Cleanup::DeleteAfterMs(DAY_MS)).unwrap();
    write(&*log, &[("a", Some("1")), ("b", Some("1"))]);
    let (between, behind) = (later(&*log), log.end_offset(&at).unwrap());
    write(&*log, &[("c", Some("1")), ("d", Some("1"))]);
    let end = log.end_offset(&at).unwrap();
    assert_eq!(log.clean(clock::wall()).unwrap(), CleanReport::default(), "nothing is a day old");
    assert_eq!(log.clean(between.plus_ms(DAY_MS)).unwrap(), CleanReport { starts_moved: 1, ..CleanReport::default() });
    let start = log.start_offset(&at).unwrap();
    assert_eq!(start, behind, "a reader that stands behind the expired records would be told of a gap");
    drop(log);
    let log = open(folder.path());
    assert_eq!((log.start_offset(&at).unwrap(), log.end_offset(&at).unwrap()), (start, end), "after a restart");
    assert_eq!(texts(&read_all(&*log, "t", 0)), ["c=1", "d=1"]);
    assert!(matches!(log.read(&at, start - 1, 1), Err(LogError::OutOfRange { .. })));
    log.clean(clock::wall().plus_ms(2 * DAY_MS)).unwrap();
    drop(log);
    let log = open(folder.path());
    assert_eq!((log.start_offset(&at).unwrap(), log.end_offset(&at).unwrap()), (end, end), "all expired, and the end went back");
    assert!(log.append(vec![keyed("t", 0, "e", None)]).unwrap()[0] > end);
}

#[test]
fn compaction_keeps_the_newest_of_each_key() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    log.ensure_topic("t", 1, Cleanup::Compact).unwrap();
    write(&*log, &[("a", Some("1")), ("b", Some("1")), ("a", Some("2")), ("b", None), ("c", Some("1"))]);
    let (end, now) = (log.end_offset(&TopicPartition::new("t", 0)).unwrap(), later(&*log));
    log.clean(now.plus_ms(HOUR_MS - 60_000)).unwrap();
    assert_eq!(read_all(&*log, "t", 0).len(), 5, "records younger than the lag went");
    let report = log.clean(now.plus_ms(HOUR_MS)).unwrap();
    assert_eq!(report, CleanReport { compacted: 1, records_removed: 2, starts_moved: 0 });
    assert_eq!(texts(&read_all(&*log, "t", 0)), ["a=2", "b", "c=1"]);
    assert_eq!(log.clean(now.plus_ms(HOUR_MS)).unwrap(), CleanReport::default(), "nothing is new");
    log.clean(now.plus_ms(6 * DAY_MS)).unwrap();
    assert_eq!(read_all(&*log, "t", 0).len(), 3, "the tombstone went too early");
    log.clean(now.plus_ms(8 * DAY_MS)).unwrap();
    drop(log);
    let log = open(folder.path());
    let records = read_all(&*log, "t", 0);
    assert_eq!(texts(&records), ["a=2", "c=1"], "the tombstone of b did not go");
    assert_eq!((records[0].prev, records[1].prev), (0, records[0].offset + 1), "prev does not chain over removed records");
    assert_eq!(log.end_offset(&TopicPartition::new("t", 0)).unwrap(), end);
}

#[test]
fn the_last_record_stays_even_if_it_is_an_old_tombstone() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    log.ensure_topic("t", 1, Cleanup::Compact).unwrap();
    write(&*log, &[("a", Some("1")), ("a", None)]);
    log.clean(clock::wall().plus_ms(30 * DAY_MS)).unwrap();
    assert_eq!(texts(&read_all(&*log, "t", 0)), ["a"]);
    write(&*log, &[("b", Some("1"))]);
    log.clean(clock::wall().plus_ms(60 * DAY_MS)).unwrap();
    assert_eq!(texts(&read_all(&*log, "t", 0)), ["b=1"]);
}

#[test]
fn compact_and_delete_does_both() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    log.ensure_topic("t", 1, Cleanup::CompactAndDeleteAfterMs(30 * DAY_MS)).unwrap();
    write(&*log, &[("a", Some("1")), ("a", Some("2")), ("b", Some("1"))]);
    log.clean(clock::wall().plus_ms(DAY_MS)).unwrap();
    assert_eq!(texts(&read_all(&*log, "t", 0)), ["a=2", "b=1"]);
    log.clean(clock::wall().plus_ms(31 * DAY_MS)).unwrap();
    assert!(read_all(&*log, "t", 0).is_empty());
}

#[test]
fn compaction_waits_until_enough_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path()).unwrap();
    log.ensure_topic("t", 1, Cleanup::Compact).unwrap();
    let keys: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    write(&*log, &keys.iter().map(|key| (key.as_str(), Some("1"))).collect::<Vec<_>>());
    let now = later(&*log);
    assert_eq!(log.clean(now.plus_ms(HOUR_MS)).unwrap().compacted, 1);
    write(&*log, &[("0", Some("2"))]);
    let now = later(&*log);
    assert_eq!(log.clean(now.plus_ms(HOUR_MS)).unwrap().compacted, 0, "1 of 100 is new");
    assert_eq!(log.clean(now.plus_ms(HOUR_MS + DAY_MS)).unwrap().records_removed, 1, "a day later it is due");
}

/// What a compacted topic says of its keys is the same before and after, over many rounds and more deletions than one batch holds.
#[test]
fn compaction_changes_nothing_that_a_restore_sees() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    log.ensure_topic("t", 1, Cleanup::Compact).unwrap();
    let (mut model, mut chance, mut removed) = (BTreeMap::new(), 1_u64, 0);
    for round in 0..6 {
        for commit in 0..40 {
            let mut records = Vec::new();
            for _ in 0..50 {
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let (key, value) = ((chance >> 33) % 97, ((chance >> 20) % 5 > 0).then(|| format!("{round}.{commit}")));
                records.push(keyed("t", 0, &key.to_string(), value.as_deref()));
                model.insert(key.to_string(), value);
            }
            log.append(records).unwrap();
        }
        removed += log.clean(later(&*log).plus_ms(if round % 2 == 0 { HOUR_MS } else { 8 * DAY_MS })).unwrap().records_removed;
        let mut restored = BTreeMap::new();
        for text in texts(&read_all(&*log, "t", 0)) {
            let (key, value) = text.split_once('=').map_or((text.clone(), None), |(k, v)| (k.to_owned(), Some(v.to_owned())));
            restored.insert(key, value);
        }
        restored.retain(|_, value| value.is_some());
        let living: BTreeMap<_, _> = model.clone().into_iter().filter(|(_, value)| value.is_some()).collect();
        assert_eq!(restored, living, "after round {round}");
        assert!(read_all(&*log, "t", 0).len() <= 97);
    }
    assert!(removed > 6 * 40 * 50 - 97 - 6);
}

/// A reader that falls behind retention is told so; it never passes over records in silence.
#[test]
fn readers_beside_retention_are_told_of_every_gap() {
    const RECORDS: u64 = 2_000;
    let folder = tempfile::tempdir().unwrap();
    let (log, at) = (open(folder.path()), TopicPartition::new("t", 0));
    log.ensure_topic("t", 1, Cleanup::DeleteAfterMs(0)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..RECORDS {
                log.append(vec![keyed("t", 0, &n.to_string(), None)]).unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                log.clean(clock::wall()).unwrap();
            }
        });
        let (mut position, mut expected, bell) = (0, Some(0), log.bell(&["t"]));
        while !done.load(Ordering::SeqCst) {
            match log.read(&at, position, 1) {
                Err(LogError::OutOfRange { start, .. }) => (position, expected) = (start, None),
                Err(other) => panic!("{other}"),
                Ok(fetch) if fetch.records.is_empty() => _ = bell.wait(Duration::from_millis(1)),
                Ok(fetch) => {
                    position = fetch.next;
                    for text in texts(&fetch.records) {
                        let n: u64 = text.parse().unwrap();
                        assert!(expected.is_none_or(|expected| expected == n), "{expected:?} was expected, {n} came without a word");
                        expected = Some(n + 1);
                    }
                }
            }
        }
    });
}

#[test]
fn the_cleaner_cleans_and_ends_with_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let (log, at) = (open(folder.path()), TopicPartition::new("t", 0));
    log.ensure_topic("t", 1, Cleanup::DeleteAfterMs(0)).unwrap();
    log.ensure_topic("other", 1, Cleanup::Forever).unwrap();
    write(&*log, &[("a", Some("1"))]);
    let quick = log.spawn_cleaner(Duration::from_millis(1)).unwrap();
    let (deadline, never) = (clock::monotonic() + Duration::from_secs(20), Bell::default());
    while log.start_offset(&at).unwrap() == 0 {
        assert!(clock::monotonic() < deadline, "the cleaner did not clean");
        // It goes by the newest append, not by a clock that may be ahead of all.
        log.append(vec![keyed("other", 0, "b", None)]).unwrap();
        never.wait(Duration::from_millis(1));
    }
    drop(log);
    quick.join().unwrap();
    let log = open(folder.path());
    let slow = log.spawn_cleaner(Duration::from_secs(86_400)).unwrap();
    drop(log);
    slow.join().unwrap();
    open(folder.path());
}
