//! Reads, positions, times.

use super::{ALL, PATIENCE, at, commit, name, read_all, record, topic};
use crate::{Log, LogError, clock};
use orrery_model::payload::Payload;
use orrery_model::record::{NewRecord, Offset};
use orrery_model::time::Timestamp;

pub(super) fn everything_reads_back(log: &dyn Log) {
    let topic = topic(log, "content", 1);
    let some = |bytes: &[u8]| Some(Payload::from(bytes));
    let headers = vec![
        ("a".to_owned(), b"1".as_slice().into()),
        ("é".to_owned(), [0, 255].as_slice().into()),
        ("a".to_owned(), b"".as_slice().into()),
    ];
    let new = |key, value, headers| NewRecord { topic: topic.name.clone(), partition: 0, key, value, headers };
    let written = vec![
        new(some(b"key"), some(b"value"), headers),
        new(some(b"key"), None, Vec::new()),
        new(some(b""), some(b""), Vec::new()),
        new(None, some(&[0, 159, 146, 150]), Vec::new()),
        new(some(b"large"), some(&vec![7; 300 << 10]), Vec::new()),
    ];
    log.append(written.clone()).expect("the log takes appends");
    let read = read_all(log, &at(&topic, 0)).into_iter();
    let read: Vec<NewRecord> = read.map(|r| new(r.key, r.value, r.headers)).collect();
    assert_eq!(read, written);
}

pub(super) fn offsets_and_prev(log: &dyn Log) {
    let (topic, id) = (topic(log, "offsets", 1), name("offsets"));
    let place = at(&topic, 0);
    let mut writer = log.fence(&id).expect("a writer");
    let mut offsets: Vec<Offset> = Vec::new();
    for n in 0..20 {
        let records = (0..n % 3 + 1).map(|_| record(&topic, 0, "x")).collect();
        let committed = commit(&mut *writer, records);
        let end = log.end_offset(&place).expect("an end");
        assert!(committed.last().is_some_and(|last| *last < end), "the end {end} does not lie behind {committed:?}");
        offsets.extend(committed);
    }
    assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?} do not ascend");
    let read = read_all(log, &place);
    assert_eq!(read.iter().map(|r| r.offset).collect::<Vec<_>>(), offsets);
    let mut position = log.start_offset(&place).expect("a start");
    for record in &read {
        assert_eq!(record.prev, position, "of the record at {}", record.offset);
        position = record.offset + 1;
    }
    // A read may begin in a gap; prev is the position that was asked for.
    for from in offsets[0]..=offsets[offsets.len() - 1] {
        let fetch = log.read(&place, from, 1).expect("the range is there");
        let first = fetch.records.first().expect("a record follows");
        let wanted = offsets.iter().find(|offset| **offset >= from).expect("the range ends at the last");
        assert_eq!((first.offset, first.prev), (*wanted, from));
    }
}

pub(super) fn small_reads(log: &dyn Log) {
    let topic = topic(log, "small", 1);
    let place = at(&topic, 0);
    log.append((0..50).map(|n| record(&topic, 0, &"x".repeat(n * 10))).collect()).expect("the log takes appends");
    let (mut position, mut lengths) = (0, Vec::new());
    while lengths.len() < 50 {
        let fetch = log.read(&place, position, 1).expect("the range is there");
        assert!(!fetch.records.is_empty(), "a read of one byte at {position} delivered nothing");
        position = fetch.next;
        lengths.extend(fetch.records.iter().map(|r| r.value.as_ref().map_or(0, |v| v.as_bytes().len())));
    }
    assert_eq!(lengths, (0..50).map(|n| n * 10).collect::<Vec<_>>());
}

pub(super) fn read_at_end(log: &dyn Log) {
    let topic = topic(log, "at-end", 1);
    let place = at(&topic, 0);
    for n in 0..3 {
        let end = log.end_offset(&place).expect("an end");
        let fetch = log.read(&place, end, ALL).expect("the end may be read");
        assert_eq!((fetch.records.len(), fetch.next), (0, end));
        let offset = log.append(vec![record(&topic, 0, "x")]).expect("the log takes appends")[0];
        let fetch = log.read(&place, end, ALL).expect("the range is there");
        assert_eq!(fetch.records.iter().map(|r| (r.prev, r.offset)).collect::<Vec<_>>(), [(end, offset)], "after {n} records");
    }
}

pub(super) fn read_beyond_end(log: &dyn Log) {
    let topic = topic(log, "beyond", 1);
    let place = at(&topic, 0);
    log.append(vec![record(&topic, 0, "x")]).expect("the log takes appends");
    let bounds = (log.start_offset(&place).expect("a start"), log.end_offset(&place).expect("an end"));
    for outside in [bounds.0 - 1, bounds.1 + 1, Offset::MAX] {
        match log.read(&place, outside, ALL) {
            Err(LogError::OutOfRange { asked, start, end, .. }) => assert_eq!((asked, (start, end)), (outside, bounds)),
            other => panic!("reading {outside} of {bounds:?} was answered {other:?}"),
        }
    }
}

pub(super) fn offset_at(log: &dyn Log) {
    let topic = topic(log, "times", 1);
    let place = at(&topic, 0);
    let find = |time| log.offset_at(&place, time).expect("an answer");
    assert_eq!(find(Timestamp(0)), log.end_offset(&place).expect("an end"), "an empty partition");
    let bell = log.bell(&[]);
    let deadline = clock::monotonic() + PATIENCE;
    let mut times = std::collections::BTreeSet::new();
    while times.len() < 5 {
        // Kafka's clock has milliseconds; nothing rings this bell.
        bell.wait(std::time::Duration::from_millis(2));
        log.append(vec![record(&topic, 0, "x"), record(&topic, 0, "y")]).expect("the log takes appends");
        times.extend(read_all(log, &place).iter().map(|r| r.appended));
        assert!(clock::monotonic() < deadline, "append times stand still at {times:?}");
    }
    let records = read_all(log, &place);
    assert!(records.is_sorted_by_key(|r| r.appended), "append times go back");
    for time in times {
        let first = records.iter().find(|r| r.appended >= time).expect("the time was taken from a record");
        assert_eq!(find(time), first.offset, "at {time}");
    }
    assert_eq!(find(Timestamp(0)), records[0].offset);
    assert_eq!(find(clock::wall().plus_ms(3_600_000)), log.end_offset(&place).expect("an end"), "in an hour");
}

pub(super) fn missing_partition(log: &dyn Log) {
    let topic = topic(log, "missing", 2);
    let missing = [at(&topic, 2), crate::TopicPartition::new(&name("missing-topic"), 0)];
    for place in &missing {
        let answers = [
            log.read(place, 0, ALL).map(|fetch| fetch.next),
            log.start_offset(place),
            log.end_offset(place),
            log.offset_at(place, Timestamp(0)),
        ];
        for answer in answers {
            assert!(matches!(answer, Err(LogError::NoSuchPartition { .. })), "{place:?} was answered {answer:?}");
        }
    }
}
