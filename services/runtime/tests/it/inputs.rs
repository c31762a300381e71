//! Inputs that are not simply taken: poison, too large, repeated, of an earlier ownership, of a topic made again.

use crate::counting::{Decision, Input};
use crate::fixture::{Fixture, Hand};
use crate::joins;
use orrery_model::id::{AttemptId, JobName};
use orrery_model::journal::{DropReason, Dropped, Observation};
use orrery_model::limits::{INPUT_BYTES, PACKED_BYTES};
use orrery_model::messages::{Item, OUTCOMES, Outcome, OutcomeChange, Packed};
use orrery_model::record::ID_HEADER;
use orrery_model::time::Timestamp;
use orrery_model::topics::{self, Cleanup};
use orrery_runtime::shard::{Arrival, StepError};
use orrery_runtime::stamp::Now;
use std::sync::Arc;

fn dropped(fixture: &Fixture, reason: DropReason) -> Vec<Dropped> {
    fixture.entries(0).into_iter().flat_map(|entry| entry.dropped).filter(|range| range.reason == reason).collect()
}

#[test]
fn a_poison_record_becomes_a_dead_letter_and_a_dropped_range() {
    let fixture = Fixture::new(2);
    let shards = [fixture.start(0), fixture.start(1)];
    fixture.append(topics::JOBS, 0, b"x", vec![("theirs".into(), b"kept".as_slice().into())]);
    fixture.add(0, &["1"]);
    fixture.wait_total(0, 1);
    let [dead] = fixture.read("jobs.dlq", 0).try_into().expect("one dead letter");
    let jobs = fixture.read(topics::JOBS, 0);
    let header = |name: &str| dead.header(name).unwrap_or_default().to_owned();
    assert_eq!(dead.value, jobs[0].value);
    assert_eq!(header("theirs"), "kept");
    assert_eq!((header("orrery.error.topic"), header("orrery.error.partition")), ("orrery.jobs".to_owned(), "0".to_owned()));
    assert_eq!((header("orrery.error.stage"), header("orrery.error.message")), ("decode".to_owned(), "not a number".to_owned()));
    assert_eq!(header("orrery.error.offset"), jobs[0].offset.to_string());
    let [range] = dropped(&fixture, DropReason::Poison).try_into().expect("one range");
    assert_eq!((range.from, range.to, range.count), (jobs[0].prev, jobs[0].offset + 1, 1));
    // The dead-letter topic has room for those of every partition.
    fixture.add(1, &["y", "2"]);
    fixture.wait_total(1, 2);
    assert_eq!(fixture.read("jobs.dlq", 1).len(), 1);
    shards.into_iter().for_each(|shard| shard.stop());
    joins::check(&fixture);
}

#[test]
fn what_other_shards_publish_is_read_and_what_this_one_does_is_not() {
    let fixture = Fixture::new(3);
    let shard = fixture.start(0);
    for (partition, value) in [(0, b"1"), (1, b"2"), (2, b"4")] {
        fixture.append(topics::CATALOG, partition, value, Vec::new());
    }
    fixture.wait_total(0, 6);
    shard.stop();
    let again = fixture.start(0);
    fixture.append(topics::CATALOG, 2, b"8", Vec::new());
    fixture.wait_total(0, 14);
    again.stop();
    joins::check(&fixture);
}

#[test]
fn a_dead_letter_goes_to_a_topic_that_has_fewer_partitions_too() {
    let fixture = Fixture::new(2);
    fixture.log.ensure_topic(&fixture.cluster.topic("jobs.dlq"), 1, Cleanup::Forever).expect("a topic");
    let shard = fixture.start(1);
    fixture.add(1, &["x", "1"]);
    fixture.wait_total(1, 1);
    assert_eq!(fixture.read("jobs.dlq", 0)[0].header("orrery.error.partition"), Some("1"));
    shard.stop();
}

#[test]
fn a_record_that_is_too_large_becomes_a_dead_letter_without_its_value() {
    let fixture = Fixture::new(1);
    let shard = fixture.start(0);
    let large = vec![b'1'; INPUT_BYTES + PACKED_BYTES + 1];
    fixture.append(topics::JOBS, 0, &large, Vec::new());
    fixture.add(0, &["1"]);
    fixture.wait_total(0, 1);
    shard.stop();
    let [dead] = fixture.read("jobs.dlq", 0).try_into().expect("one dead letter");
    assert_eq!((dead.value.as_ref(), dead.header("orrery.error.stage")), (None, Some("size")));
    assert_eq!(dead.header("orrery.error.blake3").map(str::len), Some(64));
    assert_eq!(dropped(&fixture, DropReason::Poison).len(), 1);
    joins::check(&fixture);
}

#[test]
fn headers_count_towards_the_size() {
    let fixture = Fixture::new(1);
    let shard = fixture.start(0);
    let large = vec![b'1'; INPUT_BYTES + PACKED_BYTES];
    fixture.append(topics::JOBS, 0, b"1", vec![("large".into(), large.as_slice().into())]);
    fixture.add(0, &["2"]);
    fixture.wait_total(0, 2);
    shard.stop();
    assert_eq!(fixture.read("jobs.dlq", 0)[0].header("orrery.error.stage"), Some("size"));
    joins::check(&fixture);
}

/// A packed record of the allocator with these items, as (seq, index, number).
fn pack(fixture: &Fixture, items: &[(i64, i32, i32)]) {
    pack_of(fixture, "cafe", items);
}

/// As [`pack`], in another life of the allocator.
fn pack_of(fixture: &Fixture, lineage: &str, items: &[(i64, i32, i32)]) {
    let body = |n| Outcome {
        attempt: AttemptId::parse("run.1").expect("an id"),
        job: JobName::parse("a/b").expect("a name"),
        hop: n,
        at: Timestamp(0),
        change: OutcomeChange::AttemptDeclined { reasons: Vec::new(), suggested_cell: None },
    };
    let items: Vec<_> = items.iter().map(|(seq, index, n)| Item { seq: *seq, index: *index, body: body(*n) }).collect();
    let id = format!("allocator/0/{lineage}/1/{}/{}", items[0].seq, items[0].index);
    fixture.append(topics::OUTCOMES, 0, &OUTCOMES.encode(&Packed { items }), vec![(ID_HEADER.into(), id.as_bytes().into())]);
}

#[test]
fn a_message_that_comes_again_is_dropped_as_a_repeat() {
    let fixture = Fixture::new(1);
    pack(&fixture, &[(5, 0, 1), (5, 1, 10)]);
    let shard = fixture.start(0);
    fixture.wait_total(0, 11);
    shard.stop();
    // Marks survive the restart. The third record holds an item that is new behind one that is not.
    pack(&fixture, &[(5, 0, 1), (5, 1, 10)]);
    pack(&fixture, &[(5, 1, 10), (6, 0, 1_000)]);
    let shard = fixture.start(0);
    fixture.wait_total(0, 1_011);
    shard.stop();
    assert_eq!(dropped(&fixture, DropReason::Repeat).iter().map(|range| range.count).sum::<i64>(), 3);
    joins::check(&fixture);
}

#[test]
fn a_sender_that_was_made_anew_counts_from_the_start_and_is_told_of() {
    let fixture = Fixture::new(1);
    pack(&fixture, &[(5, 0, 1), (5, 1, 10)]);
    pack_of(&fixture, "beef", &[(1, 0, 100), (1, 1, 1_000)]);
    let shard = fixture.start(0);
    fixture.wait_total(0, 1_111);
    shard.stop();
    let (service, shard, from, to) = ("allocator".into(), 0, "cafe".into(), "beef".into());
    let seen = Input::ShellObserved { observation: Observation::NewLineage { service, shard, from, to } };
    assert_eq!(fixture.entries(0).iter().filter(|entry| entry.input == seen).count(), 1);
    joins::check(&fixture);
}

#[test]
fn items_dropped_behind_one_that_was_taken_are_accounted_for_once() {
    let fixture = Fixture::new(1);
    for seq in 0..4 {
        pack(&fixture, &[(seq, 0, 1), (seq, 1, 0), (seq, 2, 0)]);
        pack(&fixture, &[(seq, 3, 0), (seq, 4, 0), (seq, 5, 1), (seq, 6, 0)]);
        pack(&fixture, &[(seq, 7, 0)]);
    }
    let shard = fixture.start(0);
    fixture.wait_total(0, 8);
    shard.stop();
    assert_eq!(dropped(&fixture, DropReason::NoEffect).iter().map(|range| range.count).sum::<i64>(), 4 * 6);
    joins::check(&fixture);
}

#[test]
fn a_record_of_an_earlier_ownership_is_refused() {
    let fixture = Fixture::new(1);
    fixture.add(0, &["1", "2"]);
    let mut hand = Hand::acquire(&fixture, &fixture.log).expect("acquired");
    hand.finish().expect("clean");
    let jobs = fixture.at(topics::JOBS, 0);
    let now = Now { wall: Timestamp(0), monotonic_us: 0 };
    for record in fixture.read(topics::JOBS, 0) {
        let arrival = Arrival::Record { topic: Arc::clone(&jobs.topic), partition: 0, record };
        let refused = hand.shard.step(now, vec![arrival], &|_, _| Ok(Vec::new()), Vec::new());
        assert!(matches!(refused, Err(StepError::WrongPrev { .. })), "{refused:?}");
    }
    assert_eq!(hand.shard.decider().sum("total"), 3);
}

#[test]
fn a_topic_made_again_is_read_from_its_start_as_a_new_generation() {
    let fixture = Fixture::new(1);
    fixture.add(0, &["1", "ends", "2"]);
    let shard = fixture.start(0);
    fixture.wait_total(0, 3);
    shard.stop();
    let jobs = fixture.cluster.topic(topics::JOBS);
    fixture.log.delete_topic(&jobs).expect("deleted");
    fixture.log.ensure_topic(&jobs, 1, Cleanup::Compact).expect("a topic");
    fixture.add(0, &["4", "ends", "8"]);
    let shard = fixture.start(0);
    fixture.wait_total(0, 15);
    shard.stop();
    let entries = fixture.entries(0);
    let answers: Vec<&Decision> = entries.iter().flat_map(|e| &e.decisions).filter(|d| matches!(d, Decision::Answered { .. })).collect();
    assert_eq!(answers, [&Decision::Answered { generation: 0 }, &Decision::Answered { generation: 1 }]);
    let topic_id = fixture.log.topic(&jobs).expect("asked").expect("it is there").id;
    let seen = Input::ShellObserved { observation: Observation::TopicRecreated { topic: jobs, generation: 1, partition: 0, topic_id } };
    assert_eq!(entries.iter().filter(|entry| entry.input == seen).count(), 1);
}
