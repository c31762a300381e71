//! Records as they are stored.
//!
//! Value: version (1) ‖ append time i64 ‖ key ‖ value ‖ number of headers u32 ‖ each header's name and value. Key, value, names and
//! header values are a length u32 and as many bytes; length `ffff_ffff` is none. Numbers are big endian. The append time stands at
//! a fixed place: callers encode in their own thread, the leader of the group sets the time.

use super::bytes::{Bytes, NONE, put_optional};
use crate::LogError;
use orrery_model::payload::Payload;
use orrery_model::record::{NewRecord, Offset, Record};
use orrery_model::time::Timestamp;
use std::ops::Range;

/// One record as stored: 1 MiB for key and value (four times an input), 64 KiB for headers and lengths.
pub const RECORD_BYTES: usize = (1 << 20) + (64 << 10);
/// One commit as stored: 64 packed records (protocol §10.3) of 256 KiB, twice. It stands in memory up to three times.
pub const COMMIT_BYTES: usize = 32 << 20;

/// A commit's records, encoded but for their append time, in one buffer.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The records in order.
    pub records: Vec<DraftRecord>,
    /// Their values, one behind the other.
    pub bytes: Vec<u8>,
}

/// Where one record goes, and its part of the draft's bytes.
#[derive(Debug)]
pub(super) struct DraftRecord {
    /// Full topic name.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Its value in the draft.
    pub value: Range<usize>,
}

impl Draft {
    /// Encodes the records, refusing those over the limits.
    pub(super) fn new(records: Vec<NewRecord>) -> Result<Self, LogError> {
        let mut draft = Self { records: Vec::with_capacity(records.len()), bytes: Vec::with_capacity(records.iter().map(size).sum()) };
        for record in records {
            let (topic, bytes) = (&record.topic, size(&record));
            if bytes > RECORD_BYTES {
                return Err(LogError::TooLarge { topic: topic.clone(), bytes, limit: RECORD_BYTES });
            }
            let from = draft.bytes.len();
            put(&mut draft.bytes, &record);
            if draft.bytes.len() > COMMIT_BYTES {
                return Err(LogError::CommitTooLarge { bytes: draft.bytes.len(), limit: COMMIT_BYTES });
            }
            let value = from..draft.bytes.len();
            draft.records.push(DraftRecord { topic: record.topic, partition: record.partition, value });
        }
        Ok(draft)
    }

    /// Sets the append time of all records.
    pub(super) fn stamp(&mut self, appended: Timestamp) {
        for record in &self.records {
            let at = record.value.start + TIME.start;
            self.bytes[at..at + 8].copy_from_slice(&appended.0.to_be_bytes());
        }
    }
}

/// Reads a stored record.
pub(super) fn decode(offset: Offset, prev: Offset, stored: &[u8]) -> Option<Record> {
    let mut bytes = Bytes(stored);
    if bytes.u8()? != VERSION {
        return None;
    }
    let appended = Timestamp(bytes.i64()?);
    let key = bytes.optional()?.map(Payload::from);
    let value = bytes.optional()?.map(Payload::from);
    let headers = (0..bytes.u32()?).map(|_| Some((bytes.text()?.to_owned(), Payload::from(bytes.optional()??)))).collect::<Option<_>>()?;
    bytes.done(Record { offset, prev, appended, key, value, headers })
}

/// What cleanup looks at in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Glance<'a> {
    /// Append time.
    pub appended: Timestamp,
    /// Key, if any.
    pub key: Option<&'a [u8]>,
    /// False for a tombstone.
    pub has_value: bool,
}

/// Reads the beginning of a stored record.
pub(super) fn glance(stored: &[u8]) -> Option<Glance<'_>> {
    let mut bytes = Bytes(stored);
    if bytes.u8()? != VERSION {
        return None;
    }
    let appended = Timestamp(bytes.i64()?);
    let key = bytes.optional()?;
    Some(Glance { appended, key, has_value: bytes.u32()? != NONE })
}

const VERSION: u8 = 1;
const TIME: Range<usize> = 1..9;

fn put(out: &mut Vec<u8>, record: &NewRecord) {
    out.push(VERSION);
    out.extend([0; 8]);
    put_optional(out, record.key.as_ref().map(Payload::as_bytes));
    put_optional(out, record.value.as_ref().map(Payload::as_bytes));
    let headers = u32::try_from(record.headers.len()).expect("every header takes 8 bytes of the record limit, which was checked");
    out.extend(headers.to_be_bytes());
    for (name, value) in &record.headers {
        put_optional(out, Some(name.as_bytes()));
        put_optional(out, Some(value.as_bytes()));
    }
}

fn size(record: &NewRecord) -> usize {
    let payload = |p: &Option<Payload>| 4 + p.as_ref().map_or(0, |p| p.as_bytes().len());
    let headers: usize = record.headers.iter().map(|(name, value)| 8 + name.len() + value.as_bytes().len()).sum();
    TIME.end + payload(&record.key) + payload(&record.value) + 4 + headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payload() -> impl Strategy<Value = Payload> {
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| bytes.as_slice().into())
    }

    fn records() -> impl Strategy<Value = Vec<NewRecord>> {
        let headers = proptest::collection::vec(("[a-zé]{0,5}", payload()), 0..4);
        let record = (proptest::option::of(payload()), proptest::option::of(payload()), headers)
            .prop_map(|(key, value, headers)| NewRecord { topic: "t".into(), partition: 3, key, value, headers });
        proptest::collection::vec(record, 0..5)
    }

    proptest! {
        #[test]
        fn records_read_back(records in records(), time in any::<i64>()) {
            let mut draft = Draft::new(records.clone()).unwrap();
            draft.stamp(Timestamp(time));
            prop_assert_eq!(draft.bytes.len(), records.iter().map(size).sum::<usize>());
            for (record, drafted) in records.into_iter().zip(&draft.records) {
                let stored = &draft.bytes[drafted.value.clone()];
                let NewRecord { key, value, headers, .. } = record;
                let (glanced_key, has_value) = (key.clone(), value.is_some());
                prop_assert_eq!(decode(9, 5, stored), Some(Record { offset: 9, prev: 5, appended: Timestamp(time), key, value, headers }));
                let key = glanced_key.as_ref().map(Payload::as_bytes);
                prop_assert_eq!(glance(stored), Some(Glance { appended: Timestamp(time), key, has_value }));
            }
        }

        #[test]
        fn damaged_records_are_refused_without_a_panic(stored in proptest::collection::vec(any::<u8>(), 0..60), cut in 0_usize..60) {
            let _ = decode(0, 0, &stored);
            let record = NewRecord { value: Some(stored.as_slice().into()), ..NewRecord::default() };
            let draft = Draft::new(vec![record]).unwrap();
            prop_assert_eq!(decode(0, 0, &draft.bytes[..cut.min(draft.bytes.len() - 1)]), None);
        }
    }

    #[test]
    fn limits_are_refused() {
        let record = |bytes: usize| NewRecord { value: Some(vec![0; bytes].as_slice().into()), ..NewRecord::default() };
        assert!(Draft::new(vec![record(1 << 20)]).is_ok());
        assert!(matches!(Draft::new(vec![record(RECORD_BYTES)]), Err(LogError::TooLarge { limit: RECORD_BYTES, .. })));
        assert!(matches!(Draft::new(vec![record(1 << 20); 32]), Err(LogError::CommitTooLarge { .. })));
    }
}
