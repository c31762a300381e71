//! Records as another log has them, with their offsets and append times: for copies in which places must stay what they are.

use super::encoding::Draft;
use super::rows::EndRow;
use super::{EmbeddedLog, Inner};
use crate::{LogError, TopicPartition};
use orrery_model::record::{NewRecord, Record};
use rocksdb::WriteBatch;

impl EmbeddedLog {
    /// Writes records of another log at their offsets and with their append times, all or none. The partition must end at or before
    /// the first of them: a copy is made in order.
    pub fn copy_in(&self, at: &TopicPartition, records: Vec<Record>) -> Result<(), LogError> {
        self.inner.copy_in(at, records)
    }
}

impl Inner {
    fn copy_in(&self, at: &TopicPartition, records: Vec<Record>) -> Result<(), LogError> {
        let mut ledger = self.ledger()?;
        let (place, span) = self.catalog().at(at)?;
        let mut batch = WriteBatch::default();
        let mut row = EndRow { end: span.end, appended: ledger.appended };
        for Record { offset, appended, key, value, headers, .. } in records {
            let (topic, partition) = (at.topic.to_string(), at.partition);
            if offset < row.end {
                return Err(LogError::OutOfRange { topic, partition, asked: offset, start: span.start, end: row.end });
            }
            let mut draft = Draft::new(vec![NewRecord { topic, partition, key, value, headers }])?;
            draft.stamp(appended);
            batch.put(place.record(offset), &draft.bytes);
            row = EndRow { end: offset + 1, appended };
        }
        if row.end == span.end {
            return Ok(());
        }
        batch.put(place.end(), row.encode());
        self.write(&mut ledger, batch)?;
        ledger.appended = ledger.appended.max(row.appended);
        self.tell_witness(&ledger, &[(place, row.end)]);
        self.publish(&[(place, row.end)]);
        Ok(())
    }
}
