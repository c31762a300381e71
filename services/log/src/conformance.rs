//! What every log must do, as a table of cases. Implementations run it unchanged; nothing here knows which one it is.
//!
//! Each case makes topics and writers of its own, with names that no other run has, so that one log serves all cases and a
//! broker serves many runs. A case panics if the log breaks its promise.

mod concurrent;
mod reading;
mod writing;

use crate::{Commit, Fetch, Log, Topic, TopicPartition, Writer, clock};
use orrery_model::payload::Payload;
use orrery_model::record::{NewRecord, Offset, Record};
use orrery_model::topics::Cleanup;
use std::time::Duration;

/// A case: its name and what it does with a log.
pub type Case = (&'static str, fn(&dyn Log));

/// All cases.
pub const CASES: &[Case] = &[
    ("a commit over several topics is all there, in order", writing::commit_over_several_topics),
    ("a refused commit writes nothing", writing::refused_commit_writes_nothing),
    ("an empty commit is committed", writing::empty_commit),
    ("append gives the offsets in the order given", writing::append_order),
    ("of two writers of one id only the newer commits", writing::only_the_newest_writer_commits),
    ("writers of different ids do not fence each other", writing::other_ids_are_not_fenced),
    ("keys, headers, empty values and tombstones read back", reading::everything_reads_back),
    ("offsets ascend, prev chains, the end is reached", reading::offsets_and_prev),
    ("max_bytes divides a read and never stops it", reading::small_reads),
    ("reading at the end gives nothing and stays", reading::read_at_end),
    ("reading beyond the end is out of range", reading::read_beyond_end),
    ("append times ascend, offset_at finds them", reading::offset_at),
    ("a partition that is not there is refused", reading::missing_partition),
    ("ensure_topic gives the same topic, and refuses another number of partitions", writing::ensure_topic),
    ("a topic made again has another id and no records", writing::recreated_topic),
    ("concurrent commits are all there, each writer's in its order", concurrent::order_of_each_writer),
    ("who sees one record of a commit sees all", concurrent::readers_see_whole_commits),
    ("no ring is lost", concurrent::bells_are_not_lost),
    ("nothing of a fenced writer appears after the fence", concurrent::fence_is_a_barrier),
];

/// Runs all cases, each on a log from `make`.
pub fn run(make: &dyn Fn() -> std::sync::Arc<dyn Log>) {
    for (name, case) in CASES {
        tracing::info!(name, "conformance");
        // The test's output tells which case it was, as a panic's message does not.
        println!("conformance: {name}");
        case(&*make());
    }
}

/// Nothing that a case waits for takes this long, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(20);
/// More than any case writes.
const ALL: usize = 16 << 20;

/// A name that no other case and no other run uses.
fn name(case: &str) -> String {
    format!("conformance.{case}.{}.{}", std::process::id(), clock::wall().0)
}

fn topic(log: &dyn Log, case: &str, partitions: u32) -> Topic {
    log.ensure_topic(&name(case), partitions, Cleanup::Forever).expect("the topic is made")
}

fn record(topic: &Topic, partition: u32, value: &str) -> NewRecord {
    NewRecord { topic: topic.name.clone(), partition, value: Some(value.as_bytes().into()), ..NewRecord::default() }
}

fn at(topic: &Topic, partition: u32) -> TopicPartition {
    TopicPartition::new(&topic.name, partition)
}

fn commit(writer: &mut dyn Writer, records: Vec<NewRecord>) -> Vec<Offset> {
    match writer.commit(records).expect("the log takes commits") {
        Commit::Committed(offsets) => offsets,
        other => panic!("the commit was answered {other:?}"),
    }
}

/// Reads up to the end that the partition has now, testing the position, never the last record.
fn read_all(log: &dyn Log, at: &TopicPartition) -> Vec<Record> {
    let end = log.end_offset(at).expect("the partition has an end");
    let (mut position, mut records) = (log.start_offset(at).expect("the partition has a start"), Vec::new());
    let deadline = clock::monotonic() + PATIENCE;
    loop {
        let Fetch { records: more, next } = log.read(at, position, ALL).expect("the range is there");
        assert!(next >= position, "read from {position} went back to {next}");
        position = next;
        records.extend(more);
        if position >= end {
            return records;
        }
        assert!(clock::monotonic() < deadline, "reading {at:?} stays at {next}, the end is {end}");
    }
}

fn values(records: &[Record]) -> Vec<String> {
    let text = |r: &Record| r.value.as_ref().and_then(Payload::text).expect("the cases write text").to_owned();
    records.iter().map(text).collect()
}
