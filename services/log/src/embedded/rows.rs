//! The small rows: topics, ends, marks. Each type's doc comment is its layout; numbers are big endian.

use super::bytes::{Bytes, put_optional};
use crate::Topic;
use orrery_model::record::Offset;
use orrery_model::time::Timestamp;
use orrery_model::topics::Cleanup;

/// A topic: version (1) ‖ number u32 ‖ partitions u32 ‖ cleanup tag u8 ‖ cleanup milliseconds i64 ‖ length u32, id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopicRow {
    /// Stands for the topic in all other keys.
    pub number: u32,
    /// The topic; its name is the key.
    pub topic: Topic,
}

impl TopicRow {
    /// The row's value.
    pub(super) fn encode(&self) -> Vec<u8> {
        let (tag, ms) = match self.topic.cleanup {
            Cleanup::Compact => (0, 0),
            Cleanup::DeleteAfterMs(ms) => (1, ms),
            Cleanup::CompactAndDeleteAfterMs(ms) => (2, ms),
            Cleanup::Forever => (3, 0),
        };
        let mut out = vec![VERSION];
        out.extend(self.number.to_be_bytes());
        out.extend(self.topic.partitions.to_be_bytes());
        out.push(tag);
        out.extend(ms.to_be_bytes());
        put_optional(&mut out, Some(self.topic.id.as_bytes()));
        out
    }

    /// Reads the row of the topic called `name`.
    pub(super) fn decode(name: &str, value: &[u8]) -> Option<Self> {
        let mut bytes = versioned(value)?;
        let (number, partitions) = (bytes.u32()?, bytes.u32()?);
        let cleanup = match (bytes.u8()?, bytes.i64()?) {
            (0, _) => Cleanup::Compact,
            (1, ms) => Cleanup::DeleteAfterMs(ms),
            (2, ms) => Cleanup::CompactAndDeleteAfterMs(ms),
            (3, _) => Cleanup::Forever,
            _ => return None,
        };
        let id = bytes.text()?.to_owned();
        bytes.done(Self { number, topic: Topic { name: name.to_owned(), id, partitions, cleanup } })
    }
}

/// A partition's end: version (1) ‖ end i64 ‖ append time i64. Written in the batch of the records that it stands behind, so the
/// end never goes back, whatever cleanup takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct EndRow {
    /// Position behind the last record.
    pub end: Offset,
    /// When that record was appended: append times go on from here after a restart.
    pub appended: Timestamp,
}

impl EndRow {
    /// The row's value.
    pub(super) fn encode(self) -> Vec<u8> {
        numbers([self.end, self.appended.0])
    }

    /// Reads the value.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let mut bytes = versioned(value)?;
        let row = Self { end: bytes.i64()?, appended: Timestamp(bytes.i64()?) };
        bytes.done(row)
    }
}

/// What cleanup has done to a partition: version (1) ‖ start i64 ‖ cleaned i64 ‖ kept i64 ‖ cleaned at i64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct MarksRow {
    /// First position that is still there.
    pub start: Offset,
    /// Below this position each key stands once.
    pub cleaned: Offset,
    /// Records below `cleaned`.
    pub kept: i64,
    /// When that was done.
    pub cleaned_at: Timestamp,
}

impl MarksRow {
    /// The row's value.
    pub(super) fn encode(self) -> Vec<u8> {
        numbers([self.start, self.cleaned, self.kept, self.cleaned_at.0])
    }

    /// Reads the value.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let mut bytes = versioned(value)?;
        let (start, cleaned, kept) = (bytes.i64()?, bytes.i64()?, bytes.i64()?);
        let row = Self { start, cleaned, kept, cleaned_at: Timestamp(bytes.i64()?) };
        bytes.done(row)
    }
}

const VERSION: u8 = 1;

fn versioned(value: &[u8]) -> Option<Bytes<'_>> {
    let mut bytes = Bytes(value);
    (bytes.u8()? == VERSION).then_some(bytes)
}

fn numbers<const N: usize>(numbers: [i64; N]) -> Vec<u8> {
    std::iter::once(VERSION).chain(numbers.into_iter().flat_map(i64::to_be_bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_read_back() {
        for cleanup in [Cleanup::Compact, Cleanup::DeleteAfterMs(5), Cleanup::CompactAndDeleteAfterMs(i64::MAX), Cleanup::Forever] {
            let row = TopicRow { number: 7, topic: Topic { name: "a.b".into(), id: "ff00".into(), partitions: 16, cleanup } };
            assert_eq!(TopicRow::decode("a.b", &row.encode()), Some(row.clone()));
            for short in 0..row.encode().len() {
                assert_eq!(TopicRow::decode("a.b", &row.encode()[..short]), None, "{short} bytes were taken");
            }
        }
        let end = EndRow { end: i64::MAX, appended: Timestamp(-1) };
        assert_eq!(EndRow::decode(&end.encode()), Some(end));
        let marks = MarksRow { start: 1, cleaned: 2, kept: 3, cleaned_at: Timestamp(4) };
        assert_eq!(MarksRow::decode(&marks.encode()), Some(marks));
        assert_eq!(MarksRow::decode(&end.encode()), None, "a row of another length was taken");
    }
}
