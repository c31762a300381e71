//! Commits, appends, fences, topics.

use super::{at, commit, name, read_all, record, topic, values};
use crate::{Commit, Log, LogError};
use orrery_model::record::Offset;
use orrery_model::topics::Cleanup;

pub(super) fn commit_over_several_topics(log: &dyn Log) {
    let (one, two) = (topic(log, "several-1", 2), topic(log, "several-2", 1));
    let mut writer = log.fence(&name("several")).expect("a writer");
    let records = vec![record(&one, 0, "a"), record(&two, 0, "b"), record(&one, 1, "c"), record(&one, 0, "d")];
    let offsets = commit(&mut *writer, records);
    let read = [read_all(log, &at(&one, 0)), read_all(log, &at(&one, 1)), read_all(log, &at(&two, 0))];
    assert_eq!(read.each_ref().map(|records| values(records)), [vec!["a", "d"], vec!["c"], vec!["b"]]);
    let read: Vec<Offset> = [&read[0][0], &read[2][0], &read[1][0], &read[0][1]].map(|r| r.offset).into();
    assert_eq!(offsets, read, "the offsets are not those of the records, in the order given");
    commit(&mut *writer, vec![record(&one, 1, "e")]);
    assert_eq!(values(&read_all(log, &at(&one, 1))), ["c", "e"], "the writer did not stay usable");
}

pub(super) fn refused_commit_writes_nothing(log: &dyn Log) {
    let topic = topic(log, "refused", 1);
    let mut writer = log.fence(&name("refused")).expect("a writer");
    let refused = writer.commit(vec![record(&topic, 0, "a"), record(&topic, 1, "no such partition")]);
    assert!(matches!(refused, Err(LogError::NoSuchPartition { partition: 1, .. })), "{refused:?}");
    let refused = log.append(vec![record(&topic, 0, "a"), record(&topic, 0, &"x".repeat(64 << 20))]);
    assert!(matches!(refused, Err(LogError::TooLarge { .. })), "64 MiB in one record: {:?}", refused.map_err(|e| e.to_string()));
    assert!(read_all(log, &at(&topic, 0)).is_empty());
}

pub(super) fn empty_commit(log: &dyn Log) {
    let id = name("empty");
    let mut writer = log.fence(&id).expect("a writer");
    assert_eq!(commit(&mut *writer, Vec::new()), Vec::<Offset>::new());
    assert_eq!(log.append(Vec::new()).expect("an empty append is taken"), Vec::<Offset>::new());
}

pub(super) fn append_order(log: &dyn Log) {
    let topic = topic(log, "append", 2);
    let wanted: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let mut offsets = Vec::new();
    for ten in wanted.chunks(10) {
        offsets.extend(log.append(ten.iter().map(|value| record(&topic, 1, value)).collect()).expect("the log takes appends"));
    }
    let read = read_all(log, &at(&topic, 1));
    assert_eq!(values(&read), wanted);
    assert_eq!(read.iter().map(|r| r.offset).collect::<Vec<_>>(), offsets);
    assert!(read_all(log, &at(&topic, 0)).is_empty());
}

pub(super) fn only_the_newest_writer_commits(log: &dyn Log) {
    let (topic, id) = (topic(log, "fenced", 1), name("fenced"));
    let mut old = log.fence(&id).expect("a writer");
    commit(&mut *old, vec![record(&topic, 0, "old")]);
    let mut new = log.fence(&id).expect("a second writer");
    let end = log.settled_end(&at(&topic, 0)).expect("no transaction is open behind a fence");
    for _ in 0..2 {
        assert_eq!(old.commit(vec![record(&topic, 0, "zombie")]).expect("an answer"), Commit::Fenced);
    }
    assert_eq!(log.end_offset(&at(&topic, 0)).expect("an end"), end, "a fenced writer moved the end");
    commit(&mut *new, vec![record(&topic, 0, "new")]);
    assert_eq!(values(&read_all(log, &at(&topic, 0))), ["old", "new"]);
}

pub(super) fn other_ids_are_not_fenced(log: &dyn Log) {
    let topic = topic(log, "ids", 1);
    let mut one = log.fence(&name("id-1")).expect("a writer");
    let mut two = log.fence(&name("id-2")).expect("a writer");
    commit(&mut *one, vec![record(&topic, 0, "one")]);
    commit(&mut *two, vec![record(&topic, 0, "two")]);
    log.append(vec![record(&topic, 0, "three")]).expect("appends know no fence");
    assert_eq!(values(&read_all(log, &at(&topic, 0))), ["one", "two", "three"]);
}

pub(super) fn ensure_topic(log: &dyn Log) {
    let made = topic(log, "ensure", 3);
    assert_eq!(log.ensure_topic(&made.name, 3, Cleanup::Forever).expect("the topic is there"), made);
    assert_eq!(log.topic(&made.name).expect("an answer"), Some(made.clone()));
    assert_eq!(log.topic(&name("ensure-missing")).expect("an answer"), None);
    let topics = log.topics().expect("an answer");
    assert!(topics.contains(&made) && topics.is_sorted_by(|a, b| a.name < b.name), "{topics:?}");
    let differs = log.ensure_topic(&made.name, 4, Cleanup::Forever);
    assert!(matches!(differs, Err(LogError::TopicDiffers { existing: 3, wanted: 4, .. })), "{differs:?}");
}

pub(super) fn recreated_topic(log: &dyn Log) {
    let first = topic(log, "recreated", 1);
    log.append(vec![record(&first, 0, "first")]).expect("the log takes appends");
    log.delete_topic(&first.name).expect("it is deleted");
    assert_eq!(log.topic(&first.name).expect("an answer"), None);
    assert!(matches!(log.end_offset(&at(&first, 0)), Err(LogError::NoSuchPartition { .. })));
    log.delete_topic(&first.name).expect("deleting again changes nothing");
    let second = log.ensure_topic(&first.name, 1, Cleanup::Forever).expect("it is made again");
    assert_ne!(first.id, second.id);
    assert!(read_all(log, &at(&second, 0)).is_empty());
    log.append(vec![record(&second, 0, "second")]).expect("the log takes appends");
    assert_eq!(values(&read_all(log, &at(&second, 0))), ["second"]);
}
