//! What is set aside was asked for, is a dead letter exactly once, stands in the journal, and is not decided on by an owner that
//! could know of it; what nobody survives is set aside.

use super::{Journalled, Outcome, Timed};
use crate::history::Accepted;
use crate::machine::wall;
use crate::plan::{MINUTE, SECOND};
use crate::world::load::TOPIC;
use orrery_allocator::Allocator;
use orrery_log::TopicPartition;
use orrery_model::journal::{DropReason, Observation, Source};
use orrery_model::messages::{ADMIN, AdminChange};
use orrery_model::time::Timestamp;
use orrery_model::topics::{self, topic_of};
use orrery_runtime::quarantine::RecordPlace;
use orrery_trigger::Trigger;
use std::collections::{BTreeMap, BTreeSet};

/// From reading what is set aside to the entry that begins an ownership.
const ACQUIRING: i64 = 10 * SECOND;
/// So many kills by chance, within so long, may make a record look guilty.
const KILLS_MOST: usize = 3;
const KILLS_WITHIN: i64 = 30 * MINUTE;

/// Service and shard, place; when it was asked for first, and whether a person did.
type Wanted = BTreeMap<(String, u32, RecordPlace), (Timestamp, bool)>;
/// How often a record was set aside, or is a dead letter.
type Counts = BTreeMap<RecordPlace, u32>;

pub(super) fn check(outcome: &Outcome<'_>) -> Vec<String> {
    let (wanted, letters) = (wanted(outcome), letters(outcome));
    let (mut aside, mut found) = (Counts::new(), Vec::new());
    for shard in outcome.trigger_shards() {
        of_shard::<Trigger>(outcome.timed_journal::<Trigger>(shard), shard, &wanted, &mut aside, &mut found);
    }
    for cell in outcome.cells() {
        of_shard::<Allocator>(outcome.timed_journal::<Allocator>(cell), cell, &wanted, &mut aside, &mut found);
    }
    let places: BTreeSet<&RecordPlace> = aside.keys().chain(letters.keys()).collect();
    for place in places {
        let [times, there] = [&aside, &letters].map(|counts| counts.get(place).copied().unwrap_or(0));
        // A salvage may lose the one or the other, and then it is done again.
        if times != there && outcome.history.salvaged.is_none() {
            found.push(format!("{place} was set aside {times} times, and there are {there} dead letters of it"));
        }
    }
    let is_deadly = |place: &RecordPlace| {
        outcome.history.accepted.iter().any(|(_, accepted)| match accepted {
            Accepted::Deadly { topic, partition, offset, .. } => {
                (topic, *partition, *offset) == (&place.topic, place.partition, place.offset)
            }
            _ => false,
        })
    };
    // Who is killed again and again over the same record cannot know that it was not the record.
    let killed = |at: &Timestamp| outcome.history.kills.iter().filter(|kill| (at.0 - KILLS_WITHIN..at.0).contains(&wall(**kill).0)).count();
    let innocent = wanted.iter().filter(|((.., place), (at, by_hand))| !by_hand && !is_deadly(place) && killed(at) < KILLS_MOST);
    found.extend(innocent.map(|((service, shard, place), _)| format!("{service}/{shard} has set {place} aside, of which nobody dies")));
    for (at, accepted) in &outcome.history.accepted {
        let Accepted::Deadly { topic, partition, offset, generation } = accepted else { continue };
        let place = RecordPlace { topic: topic.clone(), partition: *partition, offset: *offset };
        let read = outcome.history.deleted.get(&(*generation, *partition)).filter(|_| topic == TOPIC);
        if !aside.contains_key(&place) && read.is_none_or(|read| offset < read) && outcome.history.is_kept(*at) {
            found.push(format!("nobody survives {place}, and it was never set aside"));
        }
    }
    found
}

fn of_shard<D: Journalled>(journal: &[Timed<D>], shard: u32, wanted: &Wanted, aside: &mut Counts, found: &mut Vec<String>) {
    let wanted = |place: &RecordPlace| wanted.get(&(D::SERVICE.to_owned(), shard, place.clone()));
    let (mut began, mut once) = (Timestamp(0), BTreeSet::new());
    let mut recreated: BTreeMap<(&str, i32), (i64, Timestamp)> = BTreeMap::new();
    for (appended, entry) in journal {
        let at = format!("entry {} of {}/{shard}", entry.seq, D::SERVICE);
        match D::observation(&entry.input) {
            Some(Observation::Acquired { .. }) => began = *appended,
            Some(Observation::TopicRecreated { topic, partition, generation, .. }) => {
                recreated.insert((topic, *partition), (*generation, *appended));
            }
            Some(Observation::RecordQuarantined { topic, partition, offset, .. }) => {
                let place = RecordPlace { topic: topic_of(topic).into(), partition: *partition as u32, offset: *offset };
                let generation = recreated.get(&(topic_of(topic), *partition)).map_or(0, |(generation, _)| *generation);
                if wanted(&place).is_none() {
                    found.push(format!("{at} sets {place} aside, which nobody has asked for"));
                }
                if !once.insert((&entry.lineage, topic, *partition, *offset, generation)) {
                    found.push(format!("{at} sets {place} aside once more"));
                }
                let is_of = |name: &str, of: i32| name == topic && of == *partition;
                let told = entry.dropped.iter().any(|range| {
                    is_of(&range.topic, range.partition)
                        && range.reason == DropReason::Quarantined
                        && (range.from..range.to).contains(offset)
                });
                if !told {
                    found.push(format!("{at} sets {place} aside, and drops it not"));
                }
                *aside.entry(place).or_default() += 1;
            }
            _ => {}
        }
        let Source::FromRecord { topic, partition, generation, offset, .. } = &entry.source else { continue };
        let place = RecordPlace { topic: topic_of(topic).into(), partition: *partition as u32, offset: *offset };
        let Some((asked, _)) = wanted(&place) else { continue };
        // The entry that tells of a generation may be lost with a salvage.
        let (known, since) = recreated.get(&(topic_of(topic), *partition)).copied().unwrap_or_default();
        let is_another = since > *asked || *generation > known;
        if asked.0 + ACQUIRING < began.0 && !is_another {
            found.push(format!("{at} decides on {place}, which was set aside before this ownership began"));
        }
    }
}

/// What stands on `admin`.
fn wanted(outcome: &Outcome<'_>) -> Wanted {
    let mut wanted = Wanted::new();
    let at = TopicPartition::new(&outcome.cluster.topic(topics::ADMIN), 0);
    for record in outcome.log.read(&at, 0, usize::MAX).unwrap_or_default().records {
        let Some(Ok(admin)) = record.value.as_ref().map(|value| ADMIN.decode(value.as_bytes())) else { continue };
        if let AdminChange::RecordQuarantined { service, shard, topic, partition, offset, .. } = admin.change {
            let place = RecordPlace { topic, partition: partition as u32, offset };
            wanted.entry((service, shard as u32, place)).or_insert((record.appended, admin.principal.is_some()));
        }
    }
    wanted
}

fn letters(outcome: &Outcome<'_>) -> Counts {
    let mut letters = Counts::new();
    let topics = outcome.log.topics().unwrap_or_default();
    for topic in topics.iter().filter(|topic| topic.name.ends_with(topics::DLQ_SUFFIX)) {
        for partition in 0..topic.partitions {
            let at = TopicPartition::new(&topic.name, partition);
            for letter in outcome.log.read(&at, 0, usize::MAX).unwrap_or_default().records {
                let said = |name: &str| letter.header(&format!("orrery.error.{name}")).unwrap_or_default();
                let place = || format!("{}/{}@{}", said("topic"), said("partition"), said("offset")).parse().ok();
                if let Some(place) = Some(()).filter(|()| said("stage") == "quarantined").and_then(|()| place()) {
                    *letters.entry(place).or_default() += 1;
                }
            }
        }
    }
    letters
}
