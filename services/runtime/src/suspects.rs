//! Which record a shard may have died of, in a small file beside its store, which outlives the process.
//!
//! A decider that panics, or takes its process along, meets the same record again. After two such ends in a row the shard takes one
//! record at a time, and writes down which one before it does; of which it dies three times, that one is set aside
//! ([`crate::quarantine`]). An ownership that comes to rest, or goes on for a while, clears the file.
//!
//! Losing the file, or its last change, loses only the count: nothing is synced.

use crate::quarantine::RecordPlace;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Ends in a row before a shard takes one record at a time.
const ENDS_BEFORE_CARE: u32 = 2;
/// Ends with the same record in hand before it is set aside.
pub(crate) const DEATHS_MOST: u32 = 3;
/// Turns after which an ownership that has not died was not going to: a step takes at most 1,024 records, which one that is careful
/// takes one by one.
const TURNS: u32 = 64;
const CAREFUL_TURNS: u32 = 1_100;

/// What is known of earlier ownerships' ends.
pub(crate) struct Suspects {
    /// None: nothing is remembered.
    file: Option<PathBuf>,
    seen: Seen,
    /// One record is to be taken at a time.
    careful: bool,
    turns_left: u32,
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Seen {
    /// Ownerships in a row that ended by a panic or with their process, and had not come to rest before.
    ends: u32,
    /// The record in hand, if one was taken at a time.
    in_hand: Option<RecordPlace>,
    /// How often it was.
    times: u32,
}

/// The record that was in hand when the last ownership ended, if one was taken at a time.
pub(crate) fn in_hand(file: &Path) -> Option<RecordPlace> {
    read(file).in_hand
}

fn read(file: &Path) -> Seen {
    let text = std::fs::read_to_string(file).ok();
    text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

impl Suspects {
    /// An ownership begins.
    pub(crate) fn begin(file: Option<&Path>) -> Self {
        let seen = file.map(read).unwrap_or_default();
        let careful = seen.ends >= ENDS_BEFORE_CARE;
        let turns_left = if careful { CAREFUL_TURNS } else { TURNS };
        let mut suspects = Self { file: file.map(Path::to_owned), seen, careful, turns_left };
        if careful {
            let Seen { ends, in_hand, .. } = &suspects.seen;
            let record = in_hand.as_ref().map(ToString::to_string);
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
    pub(crate) fn take_guilty(&mut self) -> Option<RecordPlace> {
        let guilty = self.seen.in_hand.take_if(|_| self.seen.times >= DEATHS_MOST)?;
        self.seen.times = 0;
        self.write();
        Some(guilty)
    }

    /// This record is about to be decided on.
    pub(crate) fn take_in_hand(&mut self, place: RecordPlace) {
        let again = self.seen.in_hand.as_ref() == Some(&place);
        self.seen.times = if again { self.seen.times + 1 } else { 1 };
        self.seen.in_hand = Some(place);
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
        let Some(file) = &self.file else { return };
        let new = file.with_extension("new");
        let text = serde_json::to_string(&self.seen).expect("it is JSON");
        let folder = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        let written = folder.and_then(|()| std::fs::write(&new, text)).and_then(|()| std::fs::rename(&new, file));
        if let Err(error) = written {
            tracing::warn!(file = %file.display(), %error, "what a shard has in hand is not written down");
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
        let file = folder.path().join("suspect");
        let begin = || std::mem::ManuallyDrop::new(Suspects::begin(Some(&file)));
        let place = |offset| RecordPlace { topic: "t".into(), partition: 0, offset };
        assert!(!begin().is_careful());
        assert!(!begin().is_careful());
        for _ in 0..DEATHS_MOST {
            let mut third = begin();
            assert!(third.is_careful() && third.take_guilty().is_none());
            third.take_in_hand(place(1));
            third.take_in_hand(place(2));
        }
        let mut last = begin();
        assert_eq!(last.take_guilty(), None, "each time another one came between");
        for _ in 0..DEATHS_MOST {
            begin().take_in_hand(place(2));
        }
        let mut last = begin();
        assert_eq!((last.take_guilty(), last.take_guilty()), (Some(place(2)), None));
        drop(std::mem::ManuallyDrop::into_inner(last));
        assert!(!begin().is_careful(), "it has ended in order");
    }
}
