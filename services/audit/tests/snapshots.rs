//! Snapshots in `audit verify`, and as the auditor sees them come: compared, begun at, and found out when they are wrong.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{start, wait_for};
use orrery_audit::auditor::{Auditor, AuditorConfig};
use orrery_audit::verify::verifiers;
use orrery_audit::{AuditError, Begin, Report, verify, verify_from};
use orrery_log::embedded::EmbeddedLog;
use orrery_log::{Log, TopicPartition};
use orrery_model::messages::ALERT;
use orrery_model::payload::Payload;
use orrery_model::record::NewRecord;
use orrery_model::topics;
use orrery_runtime::messages::Cluster;
use orrery_runtime::snapshots::{SNAPSHOT, SnapshotPart, SnapshotRecord, SnapshotSetting, whole_snapshots};
use orrery_trigger::Trigger;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The records of some snapshots.
type Parts = Vec<SnapshotRecord>;

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
        bell.wait(Duration::from_millis(20));
    }
    append(topics::REQUESTS, r#"{"request": {"run_job": {"job": "default/a"}}}"#);
    wait_for(&*log, &cluster(), ("trigger", 0), "run_created", runs + 1);
    shard.stop();
    log
}

/// Copies all but what is altered on the way.
fn altered(original: &dyn Log, folder: &Path, alter: &dyn Fn(&mut Parts)) -> Arc<dyn Log> {
    let copy = without_snapshots(original, folder);
    copy.append(snapshots(original, alter)).unwrap();
    copy
}

/// Copies journal and changelog.
fn without_snapshots(original: &dyn Log, folder: &Path) -> Arc<dyn Log> {
    let copy = open(folder);
    for topic in [topics::TRIGGER_CHANGELOG, topics::TRIGGER_JOURNAL] {
        copy.append(records(original, topic)).unwrap();
    }
    copy
}

/// What is to be appended elsewhere for the snapshots of a log.
fn snapshots(original: &dyn Log, alter: &dyn Fn(&mut Parts)) -> Vec<NewRecord> {
    let found = records(original, topics::TRIGGER_SNAPSHOTS);
    let mut parts: Parts = found.iter().map(|found| SNAPSHOT.decode(found.value.as_ref().unwrap().as_bytes()).unwrap()).collect();
    alter(&mut parts);
    let value = |part: &SnapshotRecord| Some(Payload(SNAPSHOT.encode(part).into()));
    let topic = cluster().topic(topics::TRIGGER_SNAPSHOTS);
    parts.iter().map(|part| NewRecord { topic: topic.clone(), value: value(part), ..NewRecord::default() }).collect()
}

fn records(log: &dyn Log, topic: &str) -> Vec<NewRecord> {
    let name = cluster().topic(topic);
    let found = log.read(&TopicPartition::new(&name, 0), 0, 64 << 20).unwrap().records;
    found.into_iter().map(|found| NewRecord { topic: name.clone(), key: found.key, value: found.value, ..NewRecord::default() }).collect()
}

fn leave_row_out(parts: &mut Parts) {
    for part in parts {
        if let SnapshotPart::Rows { rows, .. } = &mut part.part {
            rows.retain(|row| row.key.as_bytes()[0] != 16);
        }
    }
}

fn other_chain(parts: &mut Parts) {
    for part in parts {
        if let SnapshotPart::Begins { head, .. } = &mut part.part {
            head.chain = "00".into();
        }
    }
}

fn tear(parts: &mut Parts) {
    parts.retain(|part| part.part != SnapshotPart::Ends {});
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
    let told = |name: &str, from: i64, alter: &dyn Fn(&mut Parts)| {
        let copy = altered(&*log, &folder.path().join(name), alter);
        verified(&copy, from).unwrap().divergence.map(|divergence| divergence.what)
    };
    let same = |_: &mut Parts| ();
    assert_eq!((told("same", 0, &same), told("same-last", i64::MAX, &same)), (None, None));
    assert_eq!(told("row", 0, &leave_row_out).unwrap(), "the snapshot is wrong: its rows are not what the entries lead to");
    let at_begin = told("row-last", i64::MAX, &leave_row_out).unwrap();
    assert_eq!(at_begin, "the snapshot is wrong: its rows do not sum up to its state hash");
    assert_eq!(told("chain", 0, &other_chain).unwrap(), "the snapshot is wrong: its hash chain is not the journal's");
    let first = whole_snapshots(&log, &cluster(), ("trigger", 0)).unwrap()[0].head.last_seq;
    assert!(told("chain-first", first, &other_chain).unwrap().starts_with("the hash chain is broken"));
    assert_eq!(told("torn", 0, &tear), None);
    assert_eq!(told("torn-last", i64::MAX, &tear), None);
}

/// As the auditor follows: a snapshot is whole long after its entry was derived, or while that is still to come.
#[test]
fn a_snapshot_is_compared_when_it_comes_behind_its_entry_or_before() {
    let folder = tempfile::tempdir().unwrap();
    let log = written(folder.path());
    let all = whole(&log);
    let first = whole_snapshots(&log, &cluster(), ("trigger", 0)).unwrap()[0].head.last_seq;
    let followed = |name: &str, verified: i64, alter: &dyn Fn(&mut Parts)| {
        let copy = without_snapshots(&*log, &folder.path().join(format!("{name}-{verified}")));
        let mut verifier = verifiers(&copy, &cluster(), Some("trigger"), &Begin::default()).unwrap().remove(0);
        while verifier.last_seq() < verified {
            verifier.advance(1).unwrap();
        }
        assert_eq!(verifier.report().snapshots, 0);
        copy.append(snapshots(&*log, alter)).unwrap();
        verifier.advance(i64::MAX).unwrap();
        verifier.check_end();
        let Report { snapshots, divergence, .. } = verifier.report().clone();
        (snapshots, divergence.map(|divergence| (divergence.seq, divergence.what)))
    };
    for verified in [0, first, all.entries] {
        assert_eq!(followed("same", verified, &|_| ()), (all.snapshots, None));
        assert_eq!(followed("torn", verified, &tear), (0, None));
        let told = followed("chain", verified, &other_chain).1.unwrap();
        assert_eq!(told, (first, "the snapshot is wrong: its hash chain is not the journal's".to_owned()));
        let told = followed("row", verified, &leave_row_out).1.unwrap();
        assert_eq!(told.1, "the snapshot is wrong: its rows are not what the entries lead to");
    }
}

#[test]
fn the_auditor_tells_of_a_wrong_snapshot_that_is_written_while_it_follows() {
    let folder = tempfile::tempdir().unwrap();
    let log = written(folder.path());
    let copy = without_snapshots(&*log, &folder.path().join("copy"));
    let begin = Begin::default();
    let auditor = Auditor::start(AuditorConfig { log: copy.clone(), cluster: cluster(), begin, signing: None }).unwrap();
    let bell = copy.bell(&[&cluster().topic(topics::ALERTS)]);
    while !auditor.caught_up()() {
        bell.wait(Duration::from_millis(5));
    }
    assert_eq!(records(&*copy, topics::ALERTS).len(), 0);
    copy.append(snapshots(&*log, &other_chain)).unwrap();
    while records(&*copy, topics::ALERTS).is_empty() {
        bell.wait(Duration::from_secs(1));
    }
    drop(auditor);
    let told: Vec<NewRecord> = records(&*copy, topics::ALERTS);
    let alert = ALERT.decode(told[0].value.as_ref().unwrap().as_bytes()).unwrap();
    assert!(alert.detail.starts_with("trigger/0 has diverged at the snapshot of epoch "), "{alert:?}");
    assert!(alert.detail.contains("its hash chain is not the journal's") && told.len() == 1, "{alert:?}");
}
