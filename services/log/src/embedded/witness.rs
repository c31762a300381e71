//! The witness: which topics there are, where each partition ended when a write was last acknowledged, and when that was.
//!
//! A write-ahead log whose tail was cut off looks like one that was never longer, and a damaged table may hold the only row that
//! says what a topic was called. So a second file says both. The topics stand at its head, which is written anew when they change;
//! behind it every partition has a slot, which is overwritten behind each write that the disk has acknowledged, and synced with the
//! next cleaning: it may tell of less than there is, never of more. What of it cannot be read is as if it were not there.
//!
//! File: length u32 ‖ boot id, then topics (name and [`TopicRow`]), each behind its length ‖ digest (16), then slots of 32 bytes: topic
//! number u32 ‖ partition u32 ‖ end i64 ‖ append time i64 ‖ digest (8). The first slot is of no topic: in place of an end it has the time
//! since boot. Digests are the beginning of BLAKE3; numbers are big endian.

use super::bytes::{Bytes, put_optional};
use super::catalog::Catalog;
use super::hold::Moment;
use super::keys::Place;
use super::rows::{EndRow, TopicRow};
use super::store::Store;
use crate::LogError;
use orrery_model::time::Timestamp;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Beside the database's folder.
const FILE: &str = "witness";
const SLOT_BYTES: u64 = 32;
const HEAD_DIGEST_BYTES: usize = 16;
const SLOT_DIGEST_BYTES: usize = 8;
/// Of the slot that says when: topic numbers count up from 0.
const WHEN: Place = Place { topic: u32::MAX, partition: u32::MAX };

/// What a witness says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Witnessed {
    /// The topics; none if that part could not be read.
    pub topics: Option<Vec<TopicRow>>,
    /// The partitions' ends, as far as they could be read.
    pub ends: BTreeMap<Place, EndRow>,
    /// When something was last appended.
    pub moment: Option<Moment>,
}

/// The file, kept open to be written.
#[derive(Debug)]
pub(super) struct Witness {
    file: File,
    slots: BTreeMap<Place, u64>,
}

impl Witnessed {
    /// Reads the folder's witness; an empty one if there is none.
    pub(super) fn read(folder: &Path) -> Self {
        let Ok(file) = std::fs::read(folder.join(FILE)) else { return Self::default() };
        let mut bytes = Bytes(&file);
        let head = bytes.optional().flatten();
        let told = bytes.take(HEAD_DIGEST_BYTES);
        let Some((head, told)) = head.zip(told) else { return Self::default() };
        let (boot_id, topics) = if digest::<HEAD_DIGEST_BYTES>(head) == told { read_head(head).unzip() } else { (None, None) };
        let mut ends: BTreeMap<Place, EndRow> = bytes.0.chunks_exact(SLOT_BYTES as usize).filter_map(read_slot).collect();
        let when = ends.remove(&WHEN);
        let moment = boot_id.zip(when).map(|(boot_id, when)| Moment { boot_id, boot_us: when.end, at: when.appended });
        Self { topics, ends, moment }
    }

    /// Refuses a log that has less than was acknowledged: its tail was cut off.
    pub(super) fn check(&self, store: &Store, catalog: &Catalog) -> Result<(), LogError> {
        let missing = self.topics.iter().flatten().find(|row| catalog.entry(row.number).is_none());
        if let Some(row) = missing {
            return Err(
                store.damaged(format!("topic {} was acknowledged and is not there: the end of the log was cut off", row.topic.name))
            );
        }
        let cut = |(place, row): &(&Place, &EndRow)| catalog.span(**place).is_none_or(|span| span.end < row.end) && row.end > 0;
        let mut short = self.ends.iter().filter(cut);
        let Some((place, row)) = short.next() else { return Ok(()) };
        let (topic, partition) = (catalog.entry(place.topic).map_or("a topic", |entry| entry.topic.name.as_str()), place.partition);
        let (end, others) = (catalog.span(*place).unwrap_or_default().end, short.count());
        Err(store.damaged(format!(
            "{topic}/{partition} ends at {end}, and was acknowledged up to {}, as {others} other partitions: the end of the log was cut off",
            row.end
        )))
    }
}

impl Witness {
    /// Writes the witness of these topics and ends in place of the one that is there.
    pub(super) fn write(folder: &Path, topics: &[TopicRow], ends: &BTreeMap<Place, EndRow>, moment: &Moment) -> io::Result<Self> {
        let mut head = Vec::new();
        put_optional(&mut head, Some(moment.boot_id.as_bytes()));
        for row in topics {
            put_optional(&mut head, Some(row.topic.name.as_bytes()));
            put_optional(&mut head, Some(&row.encode()));
        }
        let mut file = Vec::new();
        put_optional(&mut file, Some(&head));
        file.extend(digest::<HEAD_DIGEST_BYTES>(&head));
        let mut slots = BTreeMap::from([(WHEN, file.len() as u64)]);
        file.extend(slot(WHEN, EndRow { end: moment.boot_us, appended: moment.at }));
        for row in topics {
            for partition in 0..row.topic.partitions {
                let place = Place { topic: row.number, partition };
                slots.insert(place, file.len() as u64);
                file.extend(slot(place, ends.get(&place).copied().unwrap_or_default()));
            }
        }
        replace(folder, FILE, &file).map(|file| Self { file, slots })
    }

    /// Says where a partition ends now.
    pub(super) fn tell(&self, place: Place, row: EndRow) -> io::Result<()> {
        let Some(at) = self.slots.get(&place) else { return Ok(()) };
        self.file.write_all_at(&slot(place, row), *at)
    }

    /// Says when, in the boot that this witness was begun in.
    pub(super) fn tell_when(&self, moment: &Moment) -> io::Result<()> {
        self.tell(WHEN, EndRow { end: moment.boot_us, appended: moment.at })
    }

    /// Waits until what was said is on disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Writes a small file whole, in place of the one that is there, and syncs it; it is returned open to be written.
pub(super) fn replace(folder: &Path, name: &str, content: &[u8]) -> io::Result<File> {
    let written = folder.join(format!("{name}.new"));
    let mut file = File::create(&written)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(written, folder.join(name))?;
    File::open(folder)?.sync_all()?;
    Ok(file)
}

fn slot(place: Place, row: EndRow) -> [u8; SLOT_BYTES as usize] {
    let mut slot = [0; SLOT_BYTES as usize];
    slot[..4].copy_from_slice(&place.topic.to_be_bytes());
    slot[4..8].copy_from_slice(&place.partition.to_be_bytes());
    slot[8..16].copy_from_slice(&row.end.to_be_bytes());
    slot[16..24].copy_from_slice(&row.appended.0.to_be_bytes());
    let told = digest::<SLOT_DIGEST_BYTES>(&slot[..24]);
    slot[24..].copy_from_slice(&told);
    slot
}

fn read_slot(slot: &[u8]) -> Option<(Place, EndRow)> {
    let (said, told) = slot.split_at_checked(24)?;
    let mut bytes = Bytes(said);
    let place = Place { topic: bytes.u32()?, partition: bytes.u32()? };
    let row = EndRow { end: bytes.i64()?, appended: Timestamp(bytes.i64()?) };
    (digest::<SLOT_DIGEST_BYTES>(said) == told).then_some((place, row))
}

fn read_head(head: &[u8]) -> Option<(String, Vec<TopicRow>)> {
    let mut bytes = Bytes(head);
    let boot_id = bytes.text()?.to_owned();
    let mut topics = Vec::new();
    while !bytes.0.is_empty() {
        let name = bytes.text()?.to_owned();
        topics.push(TopicRow::decode(&name, bytes.optional()??)?);
    }
    Some((boot_id, topics))
}

fn digest<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *blake3::hash(bytes).as_bytes().first_chunk().expect("a BLAKE3 hash has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Topic;
    use orrery_model::topics::Cleanup;

    #[test]
    fn a_witness_reads_back_and_a_flipped_bit_costs_only_what_it_hits() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Witnessed::read(folder.path()), Witnessed::default());
        let topic = |number, name: &str| TopicRow {
            number,
            topic: Topic { name: name.into(), id: "ff".into(), partitions: 2, cleanup: Cleanup::Compact },
        };
        let topics = vec![topic(3, "a"), topic(7, "b")];
        let row = |end| EndRow { end, appended: Timestamp(end + 1) };
        let place = |topic, partition| Place { topic, partition };
        let moment = Moment { boot_id: "boot".into(), boot_us: 1, at: Timestamp(2) };
        let witness = Witness::write(folder.path(), &topics, &[(place(3, 1), row(5))].into(), &moment).unwrap();
        let moment = Moment { boot_us: 3, at: Timestamp(4), ..moment };
        witness.tell_when(&moment).unwrap();
        witness.tell(place(7, 0), row(9)).unwrap();
        witness.tell(place(8, 0), row(9)).unwrap();
        let told = Witnessed::read(folder.path());
        assert_eq!((told.topics.as_ref(), told.moment.as_ref()), (Some(&topics), Some(&moment)));
        let ends = [(place(3, 0), EndRow::default()), (place(3, 1), row(5)), (place(7, 0), row(9)), (place(7, 1), EndRow::default())];
        assert_eq!(told.ends, BTreeMap::from(ends));
        let file = std::fs::read(folder.path().join(FILE)).unwrap();
        for bit in 0..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(folder.path().join(FILE), flipped).unwrap();
            let read = Witnessed::read(folder.path());
            assert!(read.topics.is_none_or(|read| read == topics), "bit {bit}");
            assert!(read.moment.is_none_or(|read| read == moment), "bit {bit}");
            assert!(read.ends.iter().all(|(place, row)| told.ends.get(place) == Some(row)), "bit {bit}");
        }
    }
}
