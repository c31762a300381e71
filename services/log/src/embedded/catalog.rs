//! What readers may see: the topics, and of each partition the span between start and visible end.
//!
//! The catalog stands behind one lock. A group publishes all its ends under one write lock, so a reader that sees one record of a
//! commit finds all the others.

use super::keys::{self, Place};
use super::rows::{EndRow, MarksRow, TopicRow};
use super::store::Store;
use crate::{LogError, Topic, TopicPartition};
use orrery_model::record::Offset;
use orrery_model::time::Timestamp;
use std::collections::{BTreeMap, HashMap};

/// The topics and their spans.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    numbers: HashMap<String, u32>,
    entries: BTreeMap<u32, Entry>,
}

/// One topic.
#[derive(Debug)]
pub(super) struct Entry {
    /// As the port shows it.
    pub topic: Topic,
    /// By partition.
    pub spans: Vec<Span>,
}

/// The readable part of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Span {
    /// First position that is still there.
    pub start: Offset,
    /// Position behind the last readable record.
    pub end: Offset,
}

impl Catalog {
    /// Reads what is stored; also says when the newest record was appended.
    pub(super) fn load(store: &Store) -> Result<(Self, Timestamp), LogError> {
        let (mut catalog, mut appended) = (Self::default(), Timestamp::default());
        for (name, value) in store.named(keys::TOPIC)? {
            let damaged = || store.damaged(format!("the row of topic {name} holds {value:02x?}"));
            let row = TopicRow::decode(&name, &value).ok_or_else(damaged)?;
            let mut spans = Vec::new();
            for partition in 0..row.topic.partitions {
                let place = Place { topic: row.number, partition };
                let end: EndRow = store.row(&place.end(), EndRow::decode)?;
                let marks: MarksRow = store.row(&place.marks(), MarksRow::decode)?;
                appended = appended.max(end.appended);
                spans.push(Span { start: marks.start, end: end.end });
            }
            catalog.insert(row.number, row.topic, spans);
        }
        Ok((catalog, appended))
    }

    /// Where the partition's records stand, and which of them may be read.
    pub(super) fn find(&self, topic: &str, partition: u32) -> Result<(Place, Span), LogError> {
        let found = self.numbers.get(topic).and_then(|number| {
            let span = self.entries.get(number)?.spans.get(usize::try_from(partition).ok()?)?;
            Some((Place { topic: *number, partition }, *span))
        });
        found.ok_or_else(|| LogError::NoSuchPartition { topic: topic.to_owned(), partition })
    }

    /// As [`Self::find`], of a place in a topic.
    pub(super) fn at(&self, at: &TopicPartition) -> Result<(Place, Span), LogError> {
        self.find(&at.topic, at.partition)
    }

    /// The topic of that name, with its number.
    pub(super) fn named(&self, name: &str) -> Option<(u32, &Topic)> {
        let number = *self.numbers.get(name)?;
        Some((number, &self.entries.get(&number)?.topic))
    }

    /// All topics by number.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u32, &Entry)> {
        self.entries.iter().map(|(number, entry)| (*number, entry))
    }

    /// The topic of that number.
    pub(super) fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.get(&number)
    }

    /// The span at a place; none if its topic was deleted.
    pub(super) fn span(&self, place: Place) -> Option<Span> {
        self.entries.get(&place.topic)?.spans.get(usize::try_from(place.partition).ok()?).copied()
    }

    /// As [`Self::span`], to be changed.
    pub(super) fn span_mut(&mut self, place: Place) -> Option<&mut Span> {
        self.entries.get_mut(&place.topic)?.spans.get_mut(usize::try_from(place.partition).ok()?)
    }

    /// Adds a topic, or replaces what is known of it.
    pub(super) fn insert(&mut self, number: u32, topic: Topic, spans: Vec<Span>) {
        self.numbers.insert(topic.name.clone(), number);
        self.entries.insert(number, Entry { topic, spans });
    }

    /// The topic's cleanup from now on.
    pub(super) fn replace(&mut self, number: u32, topic: Topic) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.topic = topic;
        }
    }

    /// Forgets a topic.
    pub(super) fn remove(&mut self, name: &str) {
        if let Some(number) = self.numbers.remove(name) {
            self.entries.remove(&number);
        }
    }
}
