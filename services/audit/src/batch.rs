//! A journal record's entries, each with the bytes that it was written as.

use crate::AuditError;
use orrery_log::{Log, TopicPartition, pieces};
use orrery_model::codec::{HEADER_LEN, decode_item, read_long};
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

/// How an entry was written: the record's header, and the bytes between it and the next entry. None where the record was written by
/// another schema, or in another way.
pub(crate) type Written<'v> = Option<(&'v [u8; HEADER_LEN], &'v [u8])>;

/// Calls `take` with each entry of a record's value and its number therein, until it breaks; or says what is wrong with the value.
pub(crate) fn each_written<'v, D: Decider, B>(
    value: &'v [u8],
    mut take: impl FnMut(usize, Entry<D::Input, D::Decision>, Written<'v>) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, String> {
    let Some((header, mut rest)) = value.split_first_chunk::<HEADER_LEN>() else { return Err("it is too short".into()) };
    let count = read_long(&mut rest).and_then(|count| usize::try_from(count).ok());
    let Some(count) = count.filter(|_| D::journal().wrote(header)) else {
        let batch = D::journal().decode(value).map_err(|e| e.to_string())?;
        return Ok(batch.entries.into_iter().enumerate().try_for_each(|(item, entry)| take(item, entry, None)));
    };
    for item in 0..count {
        let before = rest;
        let entry = decode_item(&mut rest).map_err(|e| e.to_string())?;
        let taken = take(item, entry, Some((header, &before[..before.len() - rest.len()])));
        if taken.is_break() {
            return Ok(taken);
        }
    }
    let is_whole = rest == [0] || (count == 0 && rest.is_empty());
    if is_whole { Ok(ControlFlow::Continue(())) } else { Err("something is left over behind its entries".into()) }
}
