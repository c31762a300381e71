//! Which record a shard may have died of, in a [`Note`] beside its store, which outlives the process.
//!
//! A decider that panics, or takes its process along, meets the same record again. After two such ends in a row the shard takes one
//! record at a time, and writes down which one before it does; of which it dies three times, that one is set aside
//! ([`crate::quarantine`]). An ownership that comes to rest, or goes on for a while, clears the note.
//!
//! Losing the note, or its last change, loses only the count: nothing is synced.

use crate::quarantine::RecordPlace;
use orrery_model::planted::{Bug, planted};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

/// Ends in a row before a shard takes one record at a time.
const ENDS_BEFORE_CARE: u32 = 2;
/// Ends with the same record in hand before it is set aside.
pub(crate) const DEATHS_MOST: u32 = 3;
/// Turns after which an ownership that has not died was not going to: a step takes at most 1,024 records, which one that is careful
/// takes one by one.
const TURNS: u32 = 64;
const CAREFUL_TURNS: u32 = 1_100;

/// Where a shard writes down what it has in hand.
pub trait Note: Debug + Send + Sync {
    /// What was written last, if that can be read.
    fn read(&self) -> Option<String>;
    /// Writes this in place of what is there.
    fn write(&self, text: &str) -> std::io::Result<()>;
}

/// A small file.
#[derive(Debug)]
pub struct NoteFile(pub PathBuf);

impl Note for NoteFile {
    fn read(&self) -> Option<String> {
        std::fs::read_to_string(&self.0).ok()
    }
    fn write(&self, text: &str) -> std::io::Result<()> {
        let new = self.0.with_extension("new");
        // The store's folder is made later.
        self.0.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &self.0))
    }
}

/// A record in hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InHand {
    /// Where it stands …
    #[serde(flatten)]
    pub(crate) place: RecordPlace,
    /// … in the topic of this id.
    #[serde(default)]
    pub(crate) topic_id: String,
}

/// What is known of earlier ownerships' ends.
pub(crate) struct Suspects {
    /// None: nothing is remembered.
    note: Option<Arc<dyn Note>>,
    seen: Seen,
    /// One record is to be taken at a time.
    careful: bool,
    turns_left: u32,
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Seen {
    /// Ownerships in a row that ended by a panic or with their process, and had not come to rest before.
    ends: u32,
    /// The record in hand, if one was taken at a time.
    in_hand: Option<InHand>,
    /// The one that was in hand at the last end at which one was …
    died_of: Option<InHand>,
    /// … and at how many such ends in a row. Others that were taken in between went well, and say nothing: a shard that reads
    /// heartbeats always has some.
    times: u32,
}

/// The record that was in hand when the last ownership ended, if one was taken at a time.
pub(crate) fn in_hand(note: &dyn Note) -> Option<RecordPlace> {
    read(note).in_hand.map(|in_hand| in_hand.place)
}

fn read(note: &dyn Note) -> Seen {
    note.read().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

impl Suspects {
    /// An ownership begins.
    pub(crate) fn begin(note: Option<&Arc<dyn Note>>) -> Self {
        let mut seen = note.map(|note| read(&**note)).unwrap_or_default();
        let careful = seen.ends >= ENDS_BEFORE_CARE;
        let turns_left = if careful { CAREFUL_TURNS } else { TURNS };
        if let Some(record) = seen.in_hand.take() {
            seen.times = if seen.died_of.as_ref() == Some(&record) { seen.times + 1 } else { 1 };
            seen.died_of = Some(record);
        }
        let mut suspects = Self { note: note.cloned(), seen, careful, turns_left };
        if careful {
            let Seen { ends, died_of, .. } = &suspects.seen;
            let record = died_of.as_ref().map(|record| record.place.to_string());
            tracing::warn!(ends, record, "it has died at once that often, the last time with this record: one is taken at a time");
        }
        suspects.seen.ends += 1;
        suspects.write();
        suspects
    }

    /// True if one record is to be taken at a time.
    pub(crate) const fn is_careful(&self) -> bool {
        self.careful && self.turns_left > 0
    }

    /// The record that the shard has died of often enough; asked once.
    pub(crate) fn take_guilty(&mut self) -> Option<InHand> {
        let guilty = self.seen.died_of.take_if(|_| self.seen.times >= DEATHS_MOST)?;
        self.seen.times = 0;
        self.write();
        Some(guilty)
    }

    /// This record is about to be decided on.
    pub(crate) fn take_in_hand(&mut self, record: InHand) {
        if planted(Bug::HandUnwritten) {
            return;
        }
        self.seen.in_hand = Some(record);
        self.write();
    }

    /// No record is in hand: what dies now dies of something else.
    pub(crate) fn put_down(&mut self) {
        if self.seen.in_hand.take().is_some() {
            self.write();
        }
    }

    /// A turn went well.
    pub(crate) fn went(&mut self) {
        self.turns_left = self.turns_left.saturating_sub(1);
        if self.turns_left == 0 {
            self.rest();
        }
    }

    /// Nothing is to be done.
    pub(crate) fn rest(&mut self) {
        if self.seen != Seen::default() {
            self.seen = Seen::default();
            self.write();
        }
    }

    fn write(&self) {
        let Some(note) = &self.note else { return };
        let text = serde_json::to_string(&self.seen).expect("it is JSON");
        if let Err(error) = note.write(&text) {
            tracing::warn!(?note, %error, "what a shard has in hand is not written down");
        }
    }
}

/// An ownership that ends in order has died of nothing; a process that ends at once drops nothing.
impl Drop for Suspects {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.rest();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_which_it_dies_three_times_is_guilty() {
        let folder = tempfile::tempdir().expect("a folder");
        let note: Arc<dyn Note> = Arc::new(NoteFile(folder.path().join("suspect")));
        let begin = || std::mem::ManuallyDrop::new(Suspects::begin(Some(&note)));
        let place = |offset| InHand { place: RecordPlace { topic: "t".into(), partition: 0, offset }, topic_id: "id".into() };
        assert!(!begin().is_careful());
        assert!(!begin().is_careful());
        for n in 0..DEATHS_MOST {
            let mut careful = begin();
            assert!(careful.is_careful() && careful.take_guilty().is_none());
            careful.take_in_hand(place(2));
            careful.take_in_hand(place(3 + i64::from(n)));
        }
        assert_eq!(begin().take_guilty(), None, "each time it died of another one");
        for _ in 0..DEATHS_MOST {
            let mut careful = begin();
            assert!(careful.take_guilty().is_none());
            careful.take_in_hand(place(1));
            careful.take_in_hand(place(2));
        }
        let mut last = begin();
        assert_eq!((last.take_guilty(), last.take_guilty()), (Some(place(2)), None));
        drop(std::mem::ManuallyDrop::into_inner(last));
        assert!(!begin().is_careful(), "it has ended in order");
    }
}
