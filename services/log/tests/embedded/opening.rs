//! Opening: the lock, read-only, what survives a restart.

use crate::{keyed, read_all, texts};
use orrery_log::embedded::EmbeddedLog;
use orrery_log::{Commit, Log, LogError, TopicPartition};
use orrery_model::time::Timestamp;
use orrery_model::topics::Cleanup;

#[test]
fn a_second_opener_is_told_who_has_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path()).unwrap();
    let refused = EmbeddedLog::open(folder.path()).err().unwrap();
    assert!(matches!(&refused, LogError::InUse { holder, .. } if *holder == std::process::id().to_string()), "{refused}");
    // A writer keeps the log open; when it is gone too, the lock is free.
    let writer = log.fence("w").unwrap();
    drop(log);
    assert!(matches!(EmbeddedLog::open(folder.path()), Err(LogError::InUse { .. })));
    drop(writer);
    EmbeddedLog::open(folder.path()).unwrap();
}

#[test]
fn a_folder_that_cannot_be_opened_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    for error in [EmbeddedLog::open(&file).err().unwrap(), EmbeddedLog::open_read_only(&folder.path().join("missing")).err().unwrap()] {
        assert!(matches!(error, LogError::CannotOpen { .. }), "{error}");
        assert!(error.to_string().contains(&*folder.path().to_string_lossy()), "{error}");
    }
    assert!(!folder.path().join("missing").exists(), "opening to read made a folder");
}

#[test]
fn everything_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let at = TopicPartition::new("a", 1);
    let log = EmbeddedLog::open(folder.path()).unwrap();
    let topics = [log.ensure_topic("a", 2, Cleanup::Compact).unwrap(), log.ensure_topic("b", 1, Cleanup::DeleteAfterMs(5)).unwrap()];
    log.delete_topic("b").unwrap();
    let mut writer = log.fence("w").unwrap();
    let Commit::Committed(offsets) = writer.commit(vec![keyed("a", 1, "k", Some("1")), keyed("a", 1, "k", Some("2"))]).unwrap() else {
        panic!()
    };
    let (end, records) = (log.end_offset(&at).unwrap(), read_all(&*log, "a", 1));
    drop((writer, log));
    let log = EmbeddedLog::open(folder.path()).unwrap();
    assert_eq!(log.topics().unwrap(), topics[..1]);
    assert_eq!((log.end_offset(&at).unwrap(), read_all(&*log, "a", 1)), (end, records.clone()));
    assert_eq!(records.iter().map(|r| r.offset).collect::<Vec<_>>(), offsets);
    let again = log.ensure_topic("b", 1, Cleanup::DeleteAfterMs(5)).unwrap();
    assert_ne!(again.id, topics[1].id);
    assert!(read_all(&*log, "b", 0).is_empty());
    // Time does not go back over a restart, whatever the clock does.
    let more = log.append(vec![keyed("a", 1, "k", Some("3"))]).unwrap();
    let last = log.read(&at, end, 1).unwrap().records;
    assert!(more[0] > end && last[0].appended >= records[1].appended, "{last:?}");
}

#[test]
fn fences_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path()).unwrap();
    log.ensure_topic("a", 1, Cleanup::Forever).unwrap();
    drop((log.fence("w").unwrap(), log.fence("w").unwrap(), log));
    let log = EmbeddedLog::open(folder.path()).unwrap();
    let mut old = log.fence("w").unwrap();
    let mut new = log.fence("w").unwrap();
    assert_eq!(old.commit(vec![keyed("a", 0, "k", None)]).unwrap(), Commit::Fenced);
    assert!(matches!(new.commit(vec![keyed("a", 0, "k", None)]).unwrap(), Commit::Committed(_)));
}

#[test]
fn a_read_only_log_shows_what_was_there_beside_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path()).unwrap();
    let topic = log.ensure_topic("a", 1, Cleanup::Forever).unwrap();
    log.append(vec![keyed("a", 0, "k", Some("1"))]).unwrap();
    let shown = EmbeddedLog::open_read_only(folder.path()).unwrap();
    log.append(vec![keyed("a", 0, "k", Some("2"))]).unwrap();
    assert_eq!(texts(&read_all(&*shown, "a", 0)), ["k=1"]);
    assert_eq!(shown.ensure_topic("a", 1, Cleanup::Forever).unwrap(), topic, "what is there need not be made");
    let refusals = [
        shown.append(vec![keyed("a", 0, "k", None)]).err(),
        shown.fence("w").err(),
        shown.ensure_topic("b", 1, Cleanup::Forever).err(),
        shown.delete_topic("a").err(),
        shown.clean(Timestamp(0)).err(),
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Some(LogError::ReadOnly)), "{refusal:?}");
    }
    assert_eq!(texts(&read_all(&*log, "a", 0)), ["k=1", "k=2"], "the writer was disturbed");
    drop(log);
    assert_eq!(texts(&read_all(&*EmbeddedLog::open_read_only(folder.path()).unwrap(), "a", 0)), ["k=1", "k=2"]);
}

#[test]
fn topics_that_cannot_be_made_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path()).unwrap();
    for (name, partitions) in [("", 1), ("a b", 1), ("a", 0), ("a", 1_000_000)] {
        let refused = log.ensure_topic(name, partitions, Cleanup::Forever).unwrap_err();
        assert!(matches!(refused, LogError::BadTopic { .. }), "{refused}");
    }
    assert!(log.topics().unwrap().is_empty());
}
