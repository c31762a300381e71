//! Readings of a journal that end at a limit, for those who wait for the answer: which of the limits it was is told with what was found.

use crate::entries::{begin_of, journal_of};
use crate::{AuditError, EntryView, Filter, Place, read_some};
use orrery_log::Log;
use orrery_model::time::Timestamp;
use orrery_runtime::messages::Cluster;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;

/// What one reading may come to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Entries that it finds.
    pub entries: usize,
    /// Bytes of the journal that it looks at.
    pub bytes: usize,
}

/// What kept a reading from all that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// It found so many entries.
    Entries(usize),
    /// It looked at so many bytes.
    Bytes(usize),
    /// It began so many offsets before its end.
    Offsets(i64),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entries(entries) => write!(f, "{entries} entries"),
            Self::Bytes(bytes) => write!(f, "{} MiB", bytes >> 20),
            Self::Offsets(offsets) => write!(f, "{offsets} offsets"),
        }
    }
}

/// What one reading found.
#[derive(Debug)]
pub struct Reading {
    /// The entries, in order.
    pub entries: Vec<EntryView>,
    /// The record to go on from.
    pub next: i64,
    /// Why it ended before the journal did.
    pub limit: Option<Limit>,
}

/// The first entries that are wanted of a journal, from the record at `from` on.
pub fn read_first(
    log: &dyn Log,
    cluster: &Cluster,
    at: (&str, u32),
    from: i64,
    limits: Limits,
    filter: &Filter,
) -> Result<Reading, AuditError> {
    let journal = journal_of(cluster, at.0, at.1);
    let end = log.end_offset(&journal).map_err(AuditError::of_log(&journal))?;
    let (mut entries, mut full_at) = (Vec::new(), None);
    let read = read_some(log, cluster, at, (from, limits.bytes), filter, &mut |entry| {
        if entries.len() >= limits.entries {
            // Entries of its record may have been taken: it is read once more.
            full_at = Some(entry.place.offset);
            return ControlFlow::Break(());
        }
        entries.push(entry);
        ControlFlow::Continue(())
    })?;
    let limit = match full_at {
        Some(_) => Some(Limit::Entries(limits.entries)),
        None => (read < end).then_some(Limit::Bytes(limits.bytes)),
    };
    Ok(Reading { entries, next: full_at.unwrap_or(read), limit })
}

/// The wanted entries of a journal from the first of these times on, which ascend: where a reading ends at a limit, another one goes on
/// from the next time. Says which limit left something out.
pub fn read_from(
    log: &dyn Log,
    cluster: &Cluster,
    at: (&str, u32),
    begins: &[Timestamp],
    limits: Limits,
    filter: &Filter,
) -> Result<(Vec<EntryView>, Option<Limit>), AuditError> {
    let journal = journal_of(cluster, at.0, at.1);
    let filter = Filter { since: begins.first().copied(), ..filter.clone() };
    let mut found: BTreeMap<Place, EntryView> = BTreeMap::new();
    let (mut next, mut last, mut left_out) = (0, None, None);
    for begin in begins {
        let from = begin_of(log, &journal, *begin)?;
        if from > next {
            left_out = left_out.or(last);
        }
        let reading = read_first(log, cluster, at, from.max(next), limits, &filter)?;
        found.extend(reading.entries.into_iter().map(|entry| (entry.place.clone(), entry)));
        (next, last) = (reading.next, reading.limit);
        if last.is_none() {
            break;
        }
    }
    Ok((found.into_values().collect(), left_out.or(last)))
}
