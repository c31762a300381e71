//! Damage on the disk: a flipped bit in any file is found or harmless, a cut tail is told, and a salvage says what it could not save.

use crate::{copy, keyed, newest_wal, read_all};
use orrery_log::embedded::{EmbeddedLog, EmbeddedOptions};
use orrery_log::{Log, LogError, TopicPartition, clock};
use orrery_model::record::{Offset, Record};
use orrery_model::topics::Cleanup;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bits that are flipped in each file, each in a copy of its own.
const FLIPS: u64 = 14;
const DAY_MS: i64 = 86_400_000;

type Content = BTreeMap<TopicPartition, (Offset, Vec<Record>)>;

/// Everything that can be read.
fn content(log: &dyn Log) -> Result<Content, LogError> {
    let mut content = Content::new();
    for topic in log.topics()? {
        for partition in 0..topic.partitions {
            let at = TopicPartition::new(&topic.name, partition);
            let records = log.read(&at, log.start_offset(&at)?, usize::MAX)?.records;
            content.insert(at.clone(), (log.end_offset(&at)?, records));
        }
    }
    Ok(content)
}

/// A log with tables of several ages, of which the oldest were verified, and a write-ahead log that is not empty.
fn lived_in(folder: &Path) -> Content {
    let options = || EmbeddedOptions { dirty_percent: 0, ..EmbeddedOptions::default() };
    for round in 0..2 {
        let log = EmbeddedLog::open_with(folder, options()).unwrap();
        log.ensure_topic("events", 2, Cleanup::Forever).unwrap();
        log.ensure_topic("table", 1, Cleanup::Compact).unwrap();
        log.ensure_topic("short", 1, Cleanup::DeleteAfterMs(DAY_MS)).unwrap();
        if round == 1 {
            log.clean(clock::wall().plus_ms(2 * DAY_MS)).unwrap();
        }
        for n in 0..150_u32 {
            let value = blake3::hash(&n.to_be_bytes()).to_hex().repeat(8);
            let records = [("events", n % 2), ("table", 0), ("short", 0)];
            log.append(records.map(|(topic, at)| keyed(topic, at, &(n % 40).to_string(), Some(&value))).into()).unwrap();
        }
    }
    let log = EmbeddedLog::open_with(folder, options()).unwrap();
    log.append(vec![keyed("events", 0, "last", Some("one")), keyed("table", 0, "last", Some("one"))]).unwrap();
    log.append(vec![keyed("events", 1, "last", Some("one"))]).unwrap();
    content(&*log).unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let inside = |folder: &Path| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = inside(folder).chain(inside(&folder.join("rocksdb"))).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

fn salvage(folder: &Path) -> Arc<EmbeddedLog> {
    EmbeddedLog::open_with(folder, EmbeddedOptions { salvage: true, ..EmbeddedOptions::default() }).unwrap()
}

/// What is there is what was there; what is not there was told; and the log goes on.
fn check_salvaged(folder: &Path, before: &Content, what: &str) -> (usize, usize) {
    let log = salvage(folder);
    let after = content(&*log).unwrap();
    let (mut missing, mut told_lost) = (0, 0);
    for (at, (end, records)) in before {
        let lost = log.lost(at).unwrap();
        let (end_now, now) = after.get(at).unwrap_or_else(|| panic!("{what}: {at:?} is gone"));
        assert!(end_now >= end, "{what}: the end of {at:?} went back");
        let by_offset: BTreeMap<Offset, &Record> = now.iter().map(|record| (record.offset, record)).collect();
        for record in records {
            let same = by_offset.get(&record.offset).is_some_and(|found| (&found.key, &found.value) == (&record.key, &record.value));
            let told = lost.iter().any(|range| range.contains(&record.offset));
            assert!(same || told, "{what}: {at:?}@{} is not there, and not told: {lost:?}", record.offset);
            (missing, told_lost) = (missing + usize::from(!same), told_lost + usize::from(told));
        }
        assert!(now.iter().all(|found| records.iter().any(|record| record.offset == found.offset)), "{what}: {at:?} has more than before");
    }
    let is_told = !log.lost(&TopicPartition::new("table", 0)).unwrap().is_empty();
    assert_eq!(log.salvaged().is_some(), is_told, "{what}");
    let offset = log.append(vec![keyed("events", 0, "more", None)]).unwrap()[0];
    assert!(offset >= before[&TopicPartition::new("events", 0)].0, "{what}: an offset was given twice");
    drop(log);
    let log = EmbeddedLog::open(folder).unwrap_or_else(|error| panic!("{what}: not opened again: {error}"));
    log.verify().unwrap();
    assert_eq!(read_all(&*log, "events", 0).last().map(|record| record.offset), Some(offset), "{what}");
    (missing, told_lost)
}

#[test]
fn every_flipped_bit_is_found_or_harmless_and_a_salvage_tells_what_is_lost() {
    let original = tempfile::tempdir().unwrap();
    let before = lived_in(original.path());
    let (mut found, mut harmless, mut missing, mut told) = (0, 0, 0, 0);
    let files = files(original.path());
    assert!(files.iter().filter(|file| file.extension().is_some_and(|e| e == "sst")).count() >= 2, "{files:?}");
    for file in &files {
        let bits = std::fs::metadata(file).unwrap().len() * 8;
        for flip in 0..FLIPS.min(bits) {
            let folder = tempfile::tempdir().unwrap();
            copy(original.path(), folder.path());
            // The first and last bits, and others spread by the golden ratio.
            let bit = match flip {
                0 => 0,
                1 => bits - 1,
                n => ((bits as u128 * u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))) >> 64) as u64,
            };
            let name = file.strip_prefix(original.path()).unwrap();
            let mut bytes = std::fs::read(file).unwrap();
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
            std::fs::write(folder.path().join(name), bytes).unwrap();
            let what = format!("bit {bit} of {}", name.display());
            let opened = EmbeddedLog::open(folder.path());
            let read = opened.and_then(|log| {
                log.verify().inspect_err(|error| assert_eq!(log.trouble(), Some(error.to_string())))?;
                content(&*log)
            });
            match read {
                Ok(after) => {
                    assert!(after == before, "{what} changed what is read");
                    harmless += 1;
                }
                Err(LogError::Damaged { .. }) => {
                    found += 1;
                    let (not_there, told_lost) = check_salvaged(folder.path(), &before, &what);
                    (missing, told) = (missing + not_there, told + told_lost);
                }
                Err(other) => panic!("{what}: {other}"),
            }
        }
    }
    let records: usize = before.values().map(|(_, records)| records.len()).sum();
    println!("{found} found, {harmless} harmless, {missing} records lost in {found} salvages of {records}, and {told} told");
    assert!(found > FLIPS as usize * 4, "{found} found, {harmless} harmless");
    assert!(told < missing * 2, "{told} told, {missing} lost");
    assert!(missing < records * found / 4, "{missing} records lost in {found} salvages of {records}");
}

#[test]
fn damage_that_comes_while_the_log_runs_is_told_and_refused_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let before = lived_in(folder.path());
    let log = EmbeddedLog::open(folder.path()).unwrap();
    log.verify().unwrap();
    assert_eq!(log.trouble(), None);
    let table = files(folder.path())
        .into_iter()
        .filter(|file| file.extension().is_some_and(|e| e == "sst"))
        .max_by_key(|file| std::fs::metadata(file).unwrap().len());
    let table = table.unwrap();
    let mut bytes = std::fs::read(&table).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&table, bytes).unwrap();
    let error = log.verify().unwrap_err();
    let name = table.file_name().unwrap().to_string_lossy();
    assert!(error.to_string().contains(&*name) && error.to_string().contains("--salvage"), "{error}");
    assert_eq!(log.trouble(), Some(error.to_string()));
    drop(log);
    let refused = EmbeddedLog::open(folder.path()).err().unwrap();
    assert!(matches!(refused, LogError::Damaged { .. }), "{refused}");
    let (missing, told) = check_salvaged(folder.path(), &before, "the middle of the largest table");
    assert!(missing > 0 && told == missing, "{missing} lost, {told} told");
    assert!(folder.path().join("rocksdb.damaged-1").is_dir(), "the damaged database is kept");
}

#[test]
fn a_tail_that_was_cut_off_is_told_and_its_offsets_are_not_given_again() {
    let original = tempfile::tempdir().unwrap();
    let before = lived_in(original.path());
    let wal = newest_wal(original.path());
    let length = std::fs::metadata(&wal).unwrap().len();
    for cut in [1, length / 2, length] {
        let folder = tempfile::tempdir().unwrap();
        copy(original.path(), folder.path());
        let file = std::fs::OpenOptions::new().write(true).open(newest_wal(folder.path())).unwrap();
        file.set_len(length - cut).unwrap();
        let refused = EmbeddedLog::open(folder.path()).err().unwrap();
        assert!(refused.to_string().contains("the end of the log was cut off"), "{refused}");
        let (missing, told) = check_salvaged(folder.path(), &before, &format!("{cut} bytes cut off"));
        assert_eq!((missing, told), if cut == 1 { (1, 1) } else { (3, 3) });
    }
}

#[test]
fn a_salvage_of_what_is_whole_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let before = lived_in(folder.path());
    let log = salvage(folder.path());
    assert_eq!(log.salvaged(), None);
    assert_eq!(content(&*log).unwrap(), before);
    assert_eq!(log.lost(&TopicPartition::new("events", 0)).unwrap(), []);
}
