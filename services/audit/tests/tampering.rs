//! Verifying a real trigger's journal: as it was written, and after somebody has altered it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{start, wait_for};
use orrery_audit::anchors::{Anchor, SigningKey, read_anchors};
use orrery_audit::auditor::{Auditor, AuditorConfig, DIVERGED, Signing};
use orrery_audit::verify::{Begin, Divergence, Report, Stretch, verify, verify_from};
use orrery_log::embedded::EmbeddedLog;
use orrery_log::{Log, TopicPartition};
use orrery_model::decider::Decider;
use orrery_model::journal::{Entry, EntryBatch};
use orrery_model::messages::ALERT;
use orrery_model::payload::Payload;
use orrery_model::record::NewRecord;
use orrery_model::topics;
use orrery_runtime::chain::chained;
use orrery_runtime::messages::Cluster;
use orrery_trigger::{Decision, Input, Trigger};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

type Entries = Vec<Entry<Input, Decision>>;

fn open(folder: &Path) -> Arc<dyn Log> {
    let log = EmbeddedLog::open(folder).unwrap();
    for topic in topics::TOPICS {
        log.ensure_topic(&Cluster::single().topic(topic.name), 1, topic.cleanup).unwrap();
    }
    log
}

fn record(topic: &str, value: &str) -> NewRecord {
    NewRecord { topic: Cluster::single().topic(topic), value: Some(value.as_bytes().into()), ..NewRecord::default() }
}

/// A trigger defines a job and runs it three times.
fn written(folder: &Path) -> Arc<dyn Log> {
    let log = open(&folder.join("log"));
    let shard = start::<Trigger>(&log, &Cluster::single(), 0, folder.join("store"));
    log.append(vec![record(topics::JOBS, r#"{"name": "a", "command": ["x"], "concurrency": "allow"}"#)]).unwrap();
    wait_for(&*log, &Cluster::single(), ("trigger", 0), "job_defined", 1);
    for _ in 0..3 {
        log.append(vec![record(topics::REQUESTS, r#"{"request": {"run_job": {"job": "default/a"}}}"#)]).unwrap();
    }
    wait_for(&*log, &Cluster::single(), ("trigger", 0), "run_created", 3);
    shard.stop();
    log
}

/// Copies journal and changelog into another log, altered on the way.
fn altered_log(original: &dyn Log, folder: &Path, alter: &dyn Fn(&mut Entries)) -> Arc<dyn Log> {
    copied(original, folder, &[topics::TRIGGER_CHANGELOG, topics::TRIGGER_JOURNAL], alter)
}

fn copied(original: &dyn Log, folder: &Path, copied: &[&str], alter: &dyn Fn(&mut Entries)) -> Arc<dyn Log> {
    let copy = open(folder);
    let mut entries: Entries = Vec::new();
    for &topic in copied {
        let name = Cluster::single().topic(topic);
        for found in original.read(&TopicPartition::new(&name, 0), 0, 64 << 20).unwrap().records {
            if topic == topics::TRIGGER_JOURNAL {
                entries.extend(Trigger::journal().decode(found.value.unwrap().as_bytes()).unwrap().entries);
            } else {
                copy.append(vec![NewRecord { topic: name.clone(), key: found.key, value: found.value, ..NewRecord::default() }]).unwrap();
            }
        }
    }
    alter(&mut entries);
    let value = Payload(Trigger::journal().encode(&EntryBatch { entries }).into());
    let topic = Cluster::single().topic(topics::TRIGGER_JOURNAL);
    copy.append(vec![NewRecord { topic, value: Some(value), ..NewRecord::default() }]).unwrap();
    copy
}

fn altered(original: &dyn Log, folder: &Path, alter: &dyn Fn(&mut Entries)) -> Report {
    verify::<Trigger>(&altered_log(original, folder, alter), &Cluster::single(), 0).unwrap()
}

/// As somebody does who knows how the chain is made.
fn chain_again(entries: &mut Entries) {
    let mut chain = String::new();
    for entry in entries.iter_mut() {
        *entry = chained(Trigger::journal(), &chain, entry.clone());
        chain.clone_from(&entry.chain);
    }
}

fn first_run(entries: &Entries) -> usize {
    entries.iter().position(|entry| entry.decisions.iter().any(|d| matches!(d, Decision::RunCreated { .. }))).unwrap()
}

fn make_cheaper(entries: &mut Entries) {
    let at = first_run(entries);
    for decision in &mut entries[at].decisions {
        if let Decision::RunCreated { record, .. } = decision {
            record.reason = Some("because".into());
        }
    }
}

#[test]
fn what_was_altered_is_found_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let log = written(folder.path());
    let good = verify::<Trigger>(&log, &Cluster::single(), 0).unwrap();
    assert!(good.divergence.is_none() && good.entries >= 4 && good.state_hash == "equal", "{good:?}");
    let told = |name: &str, alter: &dyn Fn(&mut Entries)| {
        let Divergence { seq, what, .. } = altered(&*log, &folder.path().join(name), alter).divergence.expect(name);
        format!("{seq}: {what}")
    };
    assert!(altered(&*log, &folder.path().join("same"), &|_| ()).divergence.is_none(), "the copy itself is good");
    assert!(told("decision", &make_cheaper).ends_with(": the hash chain is broken: this entry or the one before was altered"));
    let chained_again = told("chained", &|entries| {
        make_cheaper(entries);
        chain_again(entries);
    });
    assert!(chained_again.ends_with(": the input leads to other decisions"), "{chained_again}");
    let missing = told("missing", &|entries| drop(entries.remove(2)));
    assert!(missing.ends_with("entries are missing or repeated"), "{missing}");
    let left_out = told("left-out", &|entries| {
        // Not the first: where reading a topic began is not recorded.
        let at = first_run(entries) + 1;
        entries.remove(at);
        entries.iter_mut().enumerate().for_each(|(i, entry)| entry.seq = i as i64 + 1);
        chain_again(entries);
    });
    assert!(left_out.contains("neither taken nor accounted for"), "{left_out}");
    let swapped = told("swapped", &|entries| {
        let at = first_run(entries);
        entries.swap(at, at + 1);
    });
    assert!(swapped.ends_with("entries are missing or repeated"), "{swapped}");
    let inserted = told("inserted", &|entries| {
        let at = first_run(entries);
        entries.insert(at, entries[at].clone());
    });
    assert!(inserted.ends_with("entries are missing or repeated"), "{inserted}");
    let cut_off = told("cut-off", &|entries| drop(entries.pop()));
    assert!(cut_off.contains("the journal ends before"), "{cut_off}");
}

#[test]
fn a_stretch_of_an_unknown_version_is_applied_and_said_to_be_unverified() {
    let folder = tempfile::tempdir().unwrap();
    let log = written(folder.path());
    let at = Cell::new(0);
    let report = altered(&*log, &folder.path().join("newer"), &|entries| {
        let first = first_run(entries);
        at.set(first as i64 + 1);
        entries[first..first + 2].iter_mut().for_each(|entry| entry.logic_version = 99);
        chain_again(entries);
    });
    let (logic_version, tz_version) = (99, Trigger::tz_version().to_owned());
    assert_eq!(report.unverified, [Stretch { from_seq: at.get(), to_seq: at.get() + 1, logic_version, tz_version }]);
    assert!(report.divergence.is_none() && report.applied_only == 2 && report.state_hash == "equal", "{report:?}");
}

/// A log that was written again as a whole shows no seam; only what was signed before can tell.
#[test]
fn anchors_tell_of_a_journal_that_was_written_again_or_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let log = written(folder.path());
    let key = SigningKey::from_seed(&[7; 32]);
    let all = verify::<Trigger>(&log, &Cluster::single(), 0).unwrap().entries;
    let signed = signed_at_each(&log, &key);
    assert_eq!(signed.last().unwrap().seq, all);
    let against = |name: &str, anchors: &[Anchor], alter: &dyn Fn(&mut Entries)| {
        let copy = altered_log(&*log, &folder.path().join(name), &|entries| {
            alter(entries);
            chain_again(entries);
        });
        let begin = Begin { seq: 0, anchors: anchors.to_vec() };
        verify_from::<Trigger>(&copy, &Cluster::single(), 0, &begin).unwrap()
    };
    let same = against("same", &signed, &|_| ());
    assert!(same.divergence.is_none() && same.anchors == all, "{same:?}");
    // Who writes the actor of an entry again alters no decision: all but the signed hash agrees.
    let at = first_run(&entries_of(&*log));
    let renamed = |entries: &mut Entries| entries[at].actor = "somebody else".into();
    assert!(against("unsigned", &[], &renamed).divergence.is_none_or(|found| found.what.contains("head")), "nothing else would tell");
    let told = against("renamed", &signed, &renamed).divergence.unwrap();
    assert_eq!(told.seq, at as i64 + 1);
    assert!(told.what.contains(&format!("behind entry {at}, which is as it was signed")), "{told:?}");
    // The end, and what the changelog says of it.
    let cut = copied(&*log, &folder.path().join("cut"), &[topics::TRIGGER_JOURNAL], &|entries| drop(entries.pop()));
    assert!(verify::<Trigger>(&cut, &Cluster::single(), 0).unwrap().divergence.is_none(), "nothing else would tell");
    let begin = Begin { seq: 0, anchors: signed };
    let told = verify_from::<Trigger>(&cut, &Cluster::single(), 0, &begin).unwrap().divergence.unwrap();
    assert!(told.what.contains("anchored: its end was cut off") && told.seq == all - 1, "{told:?}");
    let auditor = Auditor::start(AuditorConfig { log: cut.clone(), cluster: Cluster::single(), begin, signing: None }).unwrap();
    until(&cut, || auditor.caught_up()());
    drop(auditor);
    assert!(diverged(&cut)[0].contains("its end was cut off"));
}

/// An anchor of every entry, each by an auditor that saw the journal up to there.
fn signed_at_each(log: &Arc<dyn Log>, key: &SigningKey) -> Vec<Anchor> {
    let anchor = |entry: Entry<Input, Decision>| Anchor {
        prefix: Cluster::single().prefix,
        service: "trigger".into(),
        lineage: entry.lineage,
        seq: entry.seq,
        chain: entry.chain,
        at: entry.at,
        ..Anchor::default()
    };
    entries_of(&**log).into_iter().map(|entry| key.sign(anchor(entry))).collect()
}

fn entries_of(log: &dyn Log) -> Entries {
    let name = Cluster::single().topic(topics::TRIGGER_JOURNAL);
    let records = log.read(&TopicPartition::new(&name, 0), 0, 64 << 20).unwrap().records;
    records.iter().flat_map(|record| Trigger::journal().decode(record.value.as_ref().unwrap().as_bytes()).unwrap().entries).collect()
}

/// What was told of divergences.
fn diverged(log: &Arc<dyn Log>) -> Vec<String> {
    let topic = Cluster::single().topic(topics::ALERTS);
    let found = log.read(&TopicPartition::new(&topic, 0), 0, 64 << 20).unwrap().records;
    let alerts = found.into_iter().map(|record| ALERT.decode(record.value.unwrap().as_bytes()).unwrap());
    alerts.filter(|alert| alert.code == DIVERGED).map(|alert| alert.detail).collect()
}

/// Waits until the auditor has done something that no bell of ours rings for.
fn until(log: &Arc<dyn Log>, done: impl Fn() -> bool) {
    let bell = log.bell(&[]);
    while !done() {
        bell.wait(Duration::from_millis(5));
    }
}

#[test]
fn an_auditor_verifies_what_comes_signs_it_and_tells_of_a_divergence_once() {
    let folder = tempfile::tempdir().unwrap();
    let good = written(folder.path());
    let file = folder.path().join("anchors.jsonl");
    let begin = |log: &Arc<dyn Log>, anchors: Vec<Anchor>| {
        let signing = Some(Signing { key: SigningKey::from_seed(&[7; 32]), file: file.clone() });
        let begin = Begin { seq: 0, anchors };
        Auditor::start(AuditorConfig { log: log.clone(), cluster: Cluster::single(), begin, signing }).unwrap()
    };
    let auditor = begin(&good, Vec::new());
    until(&good, || auditor.caught_up()());
    drop(auditor);
    assert_eq!(diverged(&good), Vec::<String>::new());
    let trusted = BTreeSet::from([SigningKey::from_seed(&[7; 32]).public()]);
    let anchors = read_anchors(&std::fs::read_to_string(&file).unwrap(), &trusted).unwrap();
    let last = verify::<Trigger>(&good, &Cluster::single(), 0).unwrap().entries;
    assert_eq!(anchors.iter().map(|anchor| (anchor.service.as_str(), anchor.seq)).collect::<Vec<_>>(), [("trigger", last)]);

    let bad = altered_log(&*good, &folder.path().join("bad"), &make_cheaper);
    let auditor = begin(&bad, anchors);
    until(&bad, || auditor.caught_up()());
    drop(auditor);
    let told = diverged(&bad);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("trigger/0 has diverged at trigger/0@0.") && told[0].contains("hash chain is broken"), "{told:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 1, "what diverged is not signed");
}
