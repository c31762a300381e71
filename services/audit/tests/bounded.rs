//! Readings that end at a limit: which one that was, and that the next reading goes on where it ended.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{start, wait_for};
use orrery_audit::{EntryView, Filter, Limit, Limits, Place, read_first, read_from};
use orrery_log::Log;
use orrery_log::embedded::EmbeddedLog;
use orrery_model::record::NewRecord;
use orrery_model::topics;
use orrery_runtime::messages::Cluster;
use orrery_trigger::Trigger;
use std::path::Path;
use std::sync::Arc;

const RUNS: usize = 7;
const ALL: Limits = Limits { entries: 100, bytes: usize::MAX };

/// A trigger that has made some runs, each in a record of its own.
fn written(folder: &Path) -> Arc<dyn Log> {
    let log: Arc<dyn Log> = EmbeddedLog::open(&folder.join("log")).unwrap();
    let cluster = Cluster::single();
    for topic in topics::TOPICS {
        log.ensure_topic(&cluster.topic(topic.name), 1, topic.cleanup).unwrap();
    }
    let append = |topic: &str, value: &str| {
        let record = NewRecord { topic: cluster.topic(topic), value: Some(value.as_bytes().into()), ..NewRecord::default() };
        log.append(vec![record]).unwrap();
    };
    let shard = start::<Trigger>(&log, &cluster, 0, folder.join("store"));
    append(topics::JOBS, r#"{"name": "a", "command": ["x"], "concurrency": "allow"}"#);
    for run in 1..=RUNS {
        append(topics::REQUESTS, r#"{"request": {"run_job": {"job": "default/a"}}}"#);
        wait_for(&*log, &cluster, ("trigger", 0), "run_created", run);
    }
    shard.stop();
    log
}

fn runs() -> Filter {
    Filter { kind: Some("run_created".into()), ..Filter::default() }
}

fn places(entries: &[EntryView]) -> Vec<Place> {
    entries.iter().map(|entry| entry.place.clone()).collect()
}

#[test]
fn a_reading_says_which_limit_ended_it_and_where_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let log = written(folder.path());
    let read = |from, limits| read_first(&*log, &Cluster::single(), ("trigger", 0), from, limits, &runs()).unwrap();
    let all = read(0, ALL);
    assert_eq!((all.entries.len(), all.limit), (RUNS, None));
    let first = read(0, Limits { entries: 3, ..ALL });
    assert_eq!((first.entries.len(), first.limit), (3, Some(Limit::Entries(3))));
    let rest = read(first.next, ALL);
    assert_eq!(places(&rest.entries), places(&all.entries)[3..]);
    // As many as there are is no limit.
    assert_eq!(read(0, Limits { entries: RUNS, ..ALL }).limit, None);
    let some = read(all.entries[0].place.offset, Limits { bytes: 0, ..ALL });
    assert_eq!((some.entries.len(), some.limit), (1, Some(Limit::Bytes(0))));
    assert_eq!(places(&read(some.next, ALL).entries), places(&all.entries)[1..]);
}

#[test]
fn readings_from_several_times_tell_only_of_what_lies_between_them() {
    let folder = tempfile::tempdir().unwrap();
    let log = written(folder.path());
    let cluster = Cluster::single();
    let all = read_first(&*log, &cluster, ("trigger", 0), 0, ALL, &runs()).unwrap().entries;
    let read = |begins: &[usize], entries| {
        let begins: Vec<_> = begins.iter().map(|n| all[*n].at).collect();
        let (found, limit) = read_from(&*log, &cluster, ("trigger", 0), &begins, Limits { entries, ..ALL }, &runs()).unwrap();
        (places(&found), limit)
    };
    assert_eq!(read(&[0, 6], RUNS), (places(&all), None));
    // The second begins within what the first has read, and goes on behind it.
    assert_eq!(read(&[0, 1], 4), (places(&all), None));
    let (found, limit) = read(&[0, 6], 3);
    assert_eq!((limit, found.contains(&all[3].place), found.contains(&all[6].place)), (Some(Limit::Entries(3)), false, true));
    // The last one is cut off, whatever was read before.
    assert_eq!(read(&[0, 1], 3).1, Some(Limit::Entries(3)));
}
