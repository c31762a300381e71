//! Where each row stands: one key space, told apart by the first byte. Tags are never reused.
//!
//! All rows live in one column family, so that the write-ahead log alone decides what survives a crash: there is no second
//! table that could be flushed earlier or later. Numbers are big endian, so keys sort as their numbers do.
//!
//! | tag | key | value |
//! |---|---|---|
//! | 00 | – | format version, one byte |
//! | 01 | topic name | [`TopicRow`](super::rows::TopicRow) |
//! | 02 | transactional id | epoch of its newest writer, u64 |
//! | 03 | topic number u32, partition u32 | [`EndRow`](super::rows::EndRow) |
//! | 04 | topic number u32, partition u32 | [`MarksRow`](super::rows::MarksRow) |
//! | 05 | – | number for the next topic, u32 |
//! | 06 | topic number u32, partition u32, first offset lost u64 | first offset that is there again, u64 |
//! | 10 | topic number u32, partition u32, offset u64 | [record](super::encoding) |

use orrery_model::record::Offset;

/// A partition of a topic by number. Topic numbers are never given twice, so a deleted topic's place stays empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    /// Topic number.
    pub topic: u32,
    /// Partition.
    pub partition: u32,
}

impl Place {
    /// Key of the record at this offset; offsets below 0 mean the first.
    pub(super) fn record(self, offset: Offset) -> [u8; 17] {
        let mut key = [RECORD; 17];
        key[1..9].copy_from_slice(&self.bytes());
        key[9..].copy_from_slice(&u64::try_from(offset).unwrap_or(0).to_be_bytes());
        key
    }

    /// Key of the end row.
    pub(super) fn end(self) -> [u8; 9] {
        self.tagged(END)
    }

    /// Key of the row of a lost range that begins there.
    pub(super) fn lost(self, from: Offset) -> [u8; 17] {
        let mut key = self.record(from);
        key[0] = LOST;
        key
    }

    /// What the keys of all its lost ranges begin with.
    pub(super) fn all_lost(self) -> [u8; 9] {
        self.tagged(LOST)
    }

    /// Key of the marks row.
    pub(super) fn marks(self) -> [u8; 9] {
        self.tagged(MARKS)
    }

    fn tagged(self, tag: u8) -> [u8; 9] {
        let mut key = [tag; 9];
        key[1..].copy_from_slice(&self.bytes());
        key
    }

    fn bytes(self) -> [u8; 8] {
        (u64::from(self.topic) << 32 | u64::from(self.partition)).to_be_bytes()
    }
}

/// Offset in a record's key.
pub(super) fn offset_of(key: &[u8]) -> Option<Offset> {
    let bytes = key.get(9..17)?.try_into().ok()?;
    Offset::try_from(u64::from_be_bytes(bytes)).ok()
}

/// Key of the format version.
pub(super) const FORMAT_KEY: [u8; 1] = [0x00];
/// Key of the number for the next topic.
pub(super) const NEXT_TOPIC_KEY: [u8; 1] = [0x05];
/// Tag of topic rows.
pub(super) const TOPIC: u8 = 0x01;
/// Tag of fence rows.
pub(super) const FENCE: u8 = 0x02;
const END: u8 = 0x03;
const MARKS: u8 = 0x04;
const LOST: u8 = 0x06;
const RECORD: u8 = 0x10;

/// Key of a row that is found by name.
pub(super) fn named(tag: u8, name: &str) -> Vec<u8> {
    [&[tag], name.as_bytes()].concat()
}

/// For each kind of row that a topic's partitions have: the first key, and the one behind the last.
pub(super) fn ranges_of(topic: u32) -> [(Vec<u8>, Vec<u8>); 4] {
    [END, MARKS, LOST, RECORD].map(|tag| {
        let first = [&[tag], topic.to_be_bytes().as_slice()].concat();
        let behind = match topic.checked_add(1) {
            Some(next) => [&[tag], next.to_be_bytes().as_slice()].concat(),
            None => vec![tag + 1],
        };
        (first, behind)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_numbers_do() {
        let key = |topic, partition, offset| Place { topic, partition }.record(offset);
        let ordered = [key(0, 0, 0), key(0, 0, 255), key(0, 0, 256), key(0, 1, 0), key(0, 300, 5), key(1, 0, 0), key(256, 0, 0)];
        assert!(ordered.is_sorted());
        assert_eq!(offset_of(&key(7, 8, 1 << 40)), Some(1 << 40));
    }

    #[test]
    fn a_topics_ranges_hold_its_keys_and_no_others() {
        for topic in [0, 1, 255, u32::MAX] {
            let [ends, marks, lost, records] = ranges_of(topic);
            let place = Place { topic, partition: u32::MAX };
            let other = Place { topic: topic.wrapping_add(1), partition: 0 };
            let inside = |(first, behind): &(Vec<u8>, Vec<u8>), key: &[u8]| first.as_slice() <= key && key < behind.as_slice();
            assert!(
                inside(&ends, &place.end())
                    && inside(&marks, &place.marks())
                    && inside(&lost, &place.lost(7))
                    && inside(&records, &place.record(Offset::MAX))
            );
            assert!(!inside(&ends, &other.end()) && !inside(&marks, &other.marks()) && !inside(&records, &other.record(0)));
        }
    }
}
