//! The embedded log: the conformance suite, and what only this log promises (opening, recovery, cleanup).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod cleanup;
mod copying;
mod crash;
mod damage;
mod opening;

use orrery_log::embedded::EmbeddedLog;
use orrery_log::{Log, TopicPartition, conformance};
use orrery_model::record::{NewRecord, Record};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[test]
fn the_embedded_log_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let log: Arc<dyn Log> = EmbeddedLog::open(folder.path()).unwrap();
    conformance::run(&|| Arc::clone(&log));
}

fn keyed(topic: &str, partition: u32, key: &str, value: Option<&str>) -> NewRecord {
    let (key, value) = (Some(key.as_bytes().into()), value.map(|v| v.as_bytes().into()));
    NewRecord { topic: topic.to_owned(), partition, key, value, headers: Vec::new() }
}

/// Everything from the start to the end.
fn read_all(log: &dyn Log, topic: &str, partition: u32) -> Vec<Record> {
    let at = TopicPartition::new(topic, partition);
    log.read(&at, log.start_offset(&at).unwrap(), usize::MAX).unwrap().records
}

/// Keys and values, `key=value`, tombstones as `key`.
fn texts(records: &[Record]) -> Vec<String> {
    let text = |p: &Option<orrery_model::payload::Payload>| p.as_ref().map(|p| p.text().unwrap().to_owned());
    records.iter().map(|r| [text(&r.key), text(&r.value)].into_iter().flatten().collect::<Vec<_>>().join("=")).collect()
}

fn newest_wal(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder.join("rocksdb")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == "log")).max().unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() { copy(&entry.path(), &target) } else { _ = std::fs::copy(entry.path(), target).unwrap() }
    }
}
