//! Proves that nothing was left out: the inputs of all entries, and the ranges dropped between them, join without gap.

use orrery_model::journal::{Dropped, Observation, Source};
use orrery_model::messages::StartPosition;
use orrery_model::topics::{reread_of, topic_of};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Where each input stands.
#[derive(Default)]
pub(super) struct Joins {
    /// By topic and partition.
    positions: BTreeMap<String, BTreeMap<i32, Standing>>,
}

#[derive(Clone, Copy)]
struct Standing {
    generation: i64,
    next: i64,
}

/// What does not join: in words, as recorded, as expected.
type Gap = (String, Value, Value);

impl Joins {
    /// Where an input stands before the first entry that is followed.
    pub(super) fn stands_at(&mut self, topic: String, partition: i32, generation: i64, next: i64) {
        self.positions.entry(topic).or_default().insert(partition, Standing { generation, next });
    }

    fn at(&self, topic: &str, partition: i32) -> Option<&Standing> {
        self.positions.get(topic)?.get(&partition)
    }

    fn at_mut(&mut self, topic: &str, partition: i32) -> Option<&mut Standing> {
        self.positions.get_mut(topic)?.get_mut(&partition)
    }

    pub(super) fn follow(&mut self, source: &Source, dropped: &[Dropped], observed: Option<&Observation>) -> Result<(), Gap> {
        for range in dropped {
            let generation = self.at(&range.topic, range.partition).map_or(0, |standing| standing.generation);
            self.range(&range.topic, range.partition, generation, range.from, range.to)?;
        }
        if let Source::FromRecord { topic, partition, generation, offset, prev, item } = source {
            let same_record =
                self.at(topic, *partition).is_some_and(|at| at.generation == *generation && at.next == offset.saturating_add(1));
            if !(same_record && *item > 0) {
                self.range(topic, *partition, *generation, *prev, offset.saturating_add(1))?;
            }
        }
        match observed {
            Some(Observation::Gap { topic, partition, to, .. }) => {
                if let Some(standing) = self.at_mut(topic, *partition) {
                    standing.next = *to;
                }
            }
            // A topic made again begins anew; what is dropped first of it names no generation.
            Some(Observation::TopicRecreated { topic, generation, partition, .. }) => {
                self.begins_generation(topic, *partition, Standing { generation: *generation, next: 0 });
            }
            Some(Observation::TailLost { topic, generation, partition, to, .. }) => {
                self.begins_generation(topic, *partition, Standing { generation: *generation, next: *to });
            }
            Some(Observation::CaughtUp { topic, partition }) => return self.caught_up(topic, *partition),
            _ => {}
        }
        Ok(())
    }

    fn begins_generation(&mut self, topic: &str, partition: i32, anew: Standing) {
        // Also where nothing was read before: what is set aside there first is of this generation.
        self.stands_at(topic.into(), partition, anew.generation, anew.next);
        let rereads = self.positions.iter_mut().filter(|(known, _)| reread_of(known).is_some_and(|(of, _)| of == topic));
        rereads.for_each(|(_, standings)| {
            standings.remove(&partition);
        });
    }

    /// An input is read from this place on.
    pub(super) fn begin(&mut self, start: &StartPosition) {
        let StartPosition { topic, generation, partition, offset, .. } = start.clone();
        self.stands_at(topic, partition, generation, offset);
    }

    /// The shell said that it stands there, and what was decided rests on it.
    pub(super) fn stands(&self, read: &StartPosition) -> Result<(), Gap> {
        match self.at(&read.topic, read.partition) {
            Some(standing) if (standing.generation, standing.next) != (read.generation, read.offset) => {
                let what = format!("the shard stands elsewhere in {}/{} than the input says", read.topic, read.partition);
                Err((what, json!({ "offset": read.offset }), json!({ "offset": standing.next })))
            }
            _ => Ok(()),
        }
    }

    /// A re-read has left nothing out if it ends where its topic partition is read.
    fn caught_up(&mut self, name: &str, partition: i32) -> Result<(), Gap> {
        let Some(reread) = self.positions.get_mut(name).and_then(|partitions| partitions.remove(&partition)) else { return Ok(()) };
        self.positions.retain(|_, partitions| !partitions.is_empty());
        let read = self.at(topic_of(name), partition).map_or(reread.next, |standing| standing.next);
        if reread.next == read {
            return Ok(());
        }
        let what = format!("the re-read {name}/{partition} ended before it came to where its topic is read");
        Err((what, json!({ "offset": reread.next }), json!({ "offset": read })))
    }

    /// A range begins where the last one ended. Of items of one record the first carries its range, the others an empty one.
    fn range(&mut self, topic: &str, partition: i32, generation: i64, from: i64, to: i64) -> Result<(), Gap> {
        match self.at_mut(topic, partition) {
            Some(standing) if standing.generation == generation => {
                if from != standing.next {
                    let what = format!("records of {topic}/{partition} are neither taken nor accounted for, or are taken twice");
                    return Err((what, json!({ "from": from, "to": to }), json!({ "from": standing.next })));
                }
                standing.next = to;
            }
            _ => self.stands_at(topic.into(), partition, generation, to),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orrery_model::journal::DropReason;

    fn record(prev: i64, offset: i64, item: i32) -> Source {
        Source::FromRecord { topic: "t".into(), partition: 0, generation: 0, offset, prev, item }
    }
    fn drop_of(from: i64, to: i64) -> Dropped {
        Dropped { topic: "t".into(), partition: 0, from, to, count: 1, reason: DropReason::NoEffect }
    }

    #[test]
    fn ranges_join_or_the_gap_is_named() {
        let mut joins = Joins::default();
        joins.follow(&record(5, 7, 0), &[], None).expect("the first begins anywhere");
        joins.follow(&record(5, 7, 1), &[], None).expect("the second item of one record");
        joins.follow(&record(12, 13, 0), &[drop_of(8, 12)], None).expect("dropped in between");
        assert!(joins.follow(&record(12, 13, 0), &[], None).is_err(), "taken twice");
        let (what, recorded, expected) = joins.follow(&record(20, 21, 0), &[], None).expect_err("a gap");
        assert_eq!(what, "records of t/0 are neither taken nor accounted for, or are taken twice");
        assert_eq!((recorded["from"].as_i64(), expected["from"].as_i64()), (Some(20), Some(14)));
        let gap = Observation::Gap { topic: "t".into(), partition: 0, from: 14, to: 20 };
        joins.follow(&Source::Observed {}, &[], Some(&gap)).expect("a gap that was seen");
        joins.follow(&record(20, 21, 0), &[], None).expect("goes on behind it");
    }

    #[test]
    fn what_is_dropped_first_of_a_topic_that_was_made_again_is_of_its_generation() {
        let mut joins = Joins::default();
        let again = Observation::TopicRecreated { topic: "t".into(), generation: 1, partition: 0, topic_id: "b".into() };
        joins.follow(&Source::Observed {}, &[], Some(&again)).expect("nothing was read before");
        joins.follow(&Source::FromTick {}, &[drop_of(0, 1)], None).expect("dropped from its begin on");
        let read = StartPosition { topic: "t".into(), generation: 1, partition: 0, offset: 1, topic_id: "b".into() };
        joins.stands(&read).expect("where the shell says");
    }

    #[test]
    fn a_reread_begins_where_it_was_decided_and_ends_where_its_topic_is_read() {
        let of_reread =
            |prev, offset| Source::FromRecord { topic: "t#default/a#1.1".into(), partition: 0, generation: 0, offset, prev, item: 0 };
        let begun = || {
            let mut joins = Joins::default();
            joins.follow(&record(0, 7, 0), &[], None).expect("the topic is read");
            let from = StartPosition { topic: "t#default/a#1.1".into(), generation: 0, partition: 0, offset: 3, topic_id: String::new() };
            joins.begin(&from);
            joins
        };
        let done = Observation::CaughtUp { topic: "t#default/a#1.1".into(), partition: 0 };
        let mut joins = begun();
        assert!(joins.follow(&of_reread(4, 5), &[], None).is_err(), "it left out what lies at 3");
        joins.follow(&of_reread(3, 5), &[], None).expect("it begins at 3");
        assert!(joins.follow(&Source::Observed {}, &[], Some(&done)).is_err(), "the topic is read from 8 on");
        let mut joins = begun();
        joins.follow(&of_reread(3, 7), &[], None).expect("it begins at 3");
        joins.follow(&Source::Observed {}, &[], Some(&done)).expect("it has come to 8");
        let standing = |offset| StartPosition { topic: "t".into(), generation: 0, partition: 0, offset, topic_id: String::new() };
        joins.stands(&standing(8)).expect("that is where it stands");
        assert!(joins.stands(&standing(9)).is_err());
    }
}
