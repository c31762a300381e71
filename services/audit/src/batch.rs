//! A journal record's entries, each with the bytes that it was written as.

use crate::AuditError;
use orrery_log::{Log, TopicPartition, pieces};
use orrery_model::codec::{Codec, HEADER_LEN, read_long};
use orrery_model::decider::Decider;
use orrery_model::journal::Entry;
use std::ops::ControlFlow;

/// Calls `take` with the entries of a journal as it is now, from the record at `from` on, in order, until it breaks.
pub(crate) fn each_entry<D: Decider>(
    log: &dyn Log,
    journal: &TopicPartition,
    from: i64,
    mut take: impl FnMut(Entry<D::Input, D::Decision>) -> ControlFlow<()>,
) -> Result<(), AuditError> {
    let refused = AuditError::of_log(journal);
    let (start, end) = (log.start_offset(journal).map_err(refused)?, log.end_offset(journal).map_err(refused)?);
    for piece in pieces(log, journal, from.max(start), end) {
        for record in piece.map_err(refused)? {
            let Some(value) = &record.value else { continue };
            let batch = D::journal().decode(value.as_bytes()).map_err(|e| AuditError::unreadable(journal, record.offset, e))?;
            if batch.entries.into_iter().try_for_each(&mut take).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Reads records of one service's journals.
pub(crate) struct Batches<D: Decider> {
    items: Codec<Entry<D::Input, D::Decision>>,
}

/// An entry, and how it was written: the record's header, and the bytes between it and the next entry. None where the record was
/// written by another schema, or in another way.
pub(crate) type Written<'v, D> = (Entry<<D as Decider>::Input, <D as Decider>::Decision>, Option<(&'v [u8; HEADER_LEN], &'v [u8])>);

impl<D: Decider> Batches<D> {
    pub(crate) fn new() -> Self {
        Self { items: D::journal().items().expect("a journal record is a list of entries") }
    }

    /// The entries of a record's value, or what is wrong with it.
    pub(crate) fn read<'v>(&self, value: &'v [u8]) -> Result<Vec<Written<'v, D>>, String> {
        let Some((header, mut rest)) = value.split_first_chunk::<HEADER_LEN>() else { return Err("it is too short".into()) };
        let count = read_long(&mut rest).filter(|count| *count >= 0);
        let Some(count) = count.filter(|_| D::journal().wrote(header)) else {
            let batch = D::journal().decode(value).map_err(|e| e.to_string())?;
            return Ok(batch.entries.into_iter().map(|entry| (entry, None)).collect());
        };
        let mut read = Vec::new();
        for _ in 0..count {
            let before = rest;
            let entry = self.items.read_datum(&mut rest).map_err(|e| e.to_string())?;
            read.push((entry, Some((header, &before[..before.len() - rest.len()]))));
        }
        if rest == [0] || (count == 0 && rest.is_empty()) { Ok(read) } else { Err("something is left over behind its entries".into()) }
    }
}
