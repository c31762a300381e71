//! Snapshots in `audit verify`: compared on the way, begun at, and found out when they are wrong.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{start, wait_for};
use orrery_audit::{AuditError, Begin, Report, verify, verify_from};
use orrery_log::embedded::EmbeddedLog;
use orrery_log::{Log, TopicPartition};
use orrery_model::payload::Payload;
use orrery_model::record::NewRecord;
use orrery_model::topics;
use orrery_runtime::messages::Cluster;
use orrery_runtime::snapshots::{SNAPSHOT, SnapshotPart, SnapshotRecord, SnapshotSetting, whole_snapshots};
use orrery_trigger::Trigger;
use std::path::Path;
use std::sync::Arc;

fn cluster() -> Cluster {
    Cluster { snapshots: SnapshotSetting { entries: 3, piece_bytes: 200 }, ..Cluster::single() }
}

fn open(folder: &Path) -> Arc<dyn Log> {
    let log = EmbeddedLog::open(folder).unwrap();
    for topic in topics::TOPICS {
        log.ensure_topic(&cluster().topic(topic.name), 1, topic.cleanup).unwrap();
    }
    log
}

/// A trigger that runs a job, and two snapshots at least.
fn written(folder: &Path) -> Arc<dyn Log> {
    let log = open(&folder.join("log"));
    let shard = start::<Trigger>(&log, &cluster(), 0, folder.join("store"));
    let append = |topic: &str, value: &str| {
        let record = NewRecord { topic: cluster().topic(topic), value: Some(value.as_bytes().into()), ..NewRecord::default() };
        log.append(vec![record]).unwrap();
    };
    let bell = log.bell(&[&cluster().topic(topics::TRIGGER_SNAPSHOTS)]);
    append(topics::JOBS, r#"{"name": "a", "command": ["x"], "concurrency": "allow"}"#);
    let mut runs = 0;
    while whole_snapshots(&log, &cluster(), ("trigger", 0)).unwrap().len() < 2 {
        append(topics::REQUESTS, r#"{"request": {"run_job": {"job": "default/a"}}}"#);
        runs += 1;
        wait_for(&*log, &cluster(), ("trigger", 0), "run_created", runs);
        bell.wait(std::time::Duration::from_millis(20));
    }
    append(topics::REQUESTS, r#"{"request": {"run_job": {"job": "default/a"}}}"#);
    wait_for(&*log, &cluster(), ("trigger", 0), "run_created", runs + 1);
    shard.stop();
    log
}

/// Copies all but what is altered on the way.
fn altered(original: &dyn Log, folder: &Path, alter: &dyn Fn(&mut Vec<SnapshotRecord>)) -> Arc<dyn Log> {
    let copy = open(folder);
    for topic in [topics::TRIGGER_CHANGELOG, topics::TRIGGER_JOURNAL, topics::TRIGGER_SNAPSHOTS] {
        let name = cluster().topic(topic);
        let found = original.read(&TopicPartition::new(&name, 0), 0, 64 << 20).unwrap().records;
        let mut values: Vec<(Option<Payload>, Option<Payload>)> = found.into_iter().map(|found| (found.key, found.value)).collect();
        if topic == topics::TRIGGER_SNAPSHOTS {
            let mut parts = values.iter().map(|(_, value)| SNAPSHOT.decode(value.as_ref().unwrap().as_bytes()).unwrap()).collect();
            alter(&mut parts);
            values = parts.iter().map(|part| (None, Some(Payload(SNAPSHOT.encode(part).into())))).collect();
        }
        let records = values.into_iter().map(|(key, value)| NewRecord { topic: name.clone(), key, value, ..NewRecord::default() });
        copy.append(records.collect()).unwrap();
    }
    copy
}

fn verified(log: &Arc<dyn Log>, seq: i64) -> Result<Report, AuditError> {
    verify_from::<Trigger>(log, &cluster(), 0, &Begin { seq, ..Begin::default() })
}

fn whole(log: &Arc<dyn Log>) -> Report {
    verify::<Trigger>(log, &cluster(), 0).unwrap()
}

#[test]
fn a_range_is_verified_from_the_snapshot_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let log = written(folder.path());
    let all = whole(&log);
    assert!(all.divergence.is_none() && all.state_hash == "equal" && all.after == 0 && all.snapshots >= 2, "{all:?}");
    let last = verified(&log, i64::MAX).unwrap();
    assert!(last.divergence.is_none() && last.state_hash == "equal" && last.snapshots == 0, "{last:?}");
    assert!(last.after > 0 && last.after + last.entries == all.entries, "{last:?}, {all:?}");
    let before = verified(&log, last.after - 1).unwrap();
    assert!(before.divergence.is_none() && before.after > 0 && before.after < last.after && before.snapshots >= 1, "{before:?}");
    assert_eq!(verified(&log, 2).unwrap().after, 0, "no snapshot is that early");
}

#[test]
fn a_wrong_snapshot_is_found_and_a_torn_one_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let log = written(folder.path());
    let told = |name: &str, from: i64, alter: &dyn Fn(&mut Vec<SnapshotRecord>)| {
        let copy = altered(&*log, &folder.path().join(name), alter);
        verified(&copy, from).unwrap().divergence.map(|divergence| divergence.what)
    };
    let same = |_: &mut Vec<SnapshotRecord>| ();
    assert_eq!((told("same", 0, &same), told("same-last", i64::MAX, &same)), (None, None));
    let leave_row_out = |parts: &mut Vec<SnapshotRecord>| {
        for part in parts {
            if let SnapshotPart::Rows { rows, .. } = &mut part.part {
                rows.retain(|row| row.key.as_bytes()[0] != 16);
            }
        }
    };
    assert_eq!(told("row", 0, &leave_row_out).unwrap(), "the snapshot is wrong: its rows are not what the entries lead to");
    let at_begin = told("row-last", i64::MAX, &leave_row_out).unwrap();
    assert_eq!(at_begin, "the snapshot is wrong: its rows do not sum up to its state hash");
    let other_chain = |parts: &mut Vec<SnapshotRecord>| {
        for part in parts {
            if let SnapshotPart::Begins { head, .. } = &mut part.part {
                head.chain = "00".into();
            }
        }
    };
    assert_eq!(told("chain", 0, &other_chain).unwrap(), "the snapshot is wrong: its hash chain is not the journal's");
    let first = whole_snapshots(&log, &cluster(), ("trigger", 0)).unwrap()[0].head.last_seq;
    assert!(told("chain-first", first, &other_chain).unwrap().starts_with("the hash chain is broken"));
    let tear = |parts: &mut Vec<SnapshotRecord>| parts.retain(|part| part.part != SnapshotPart::Ends {});
    assert_eq!(told("torn", 0, &tear), None);
    assert_eq!(told("torn-last", i64::MAX, &tear), None);
}
