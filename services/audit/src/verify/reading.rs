//! Reading a journal, and what can be checked without state: continuity and chain. It goes on ahead of deriving, on a thread of
//! its own.

use super::Divergence;
use crate::AuditError;
use crate::batch::Batches;
use crate::entries::Place;
use orrery_log::{Log, TopicPartition, pieces};
use orrery_model::codec::HEADER_LEN;
use orrery_model::decider::{Decider, Fact};
use orrery_model::journal::Entry;
use orrery_model::time::Timestamp;
use orrery_runtime::chain::{chained, is_chained};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

/// Where reading stands: the next record, and the entry before it.
pub(super) struct Reading<'a> {
    pub next: &'a mut i64,
    pub previous: &'a mut Option<Link>,
}

/// Reads the journal and checks what needs no state: continuity and chain.
pub(super) fn read_and_check<D: Decider>(
    log: &Arc<dyn Log>,
    journal: &TopicPartition,
    reading: Reading<'_>,
    end: i64,
    batches: SyncSender<Result<Vec<Checked<D>>, AuditError>>,
) {
    let entries = Batches::<D>::new();
    let mut fallible = || -> Result<(), AuditError> {
        for piece in pieces(&**log, journal, *reading.next, end) {
            for record in piece.map_err(AuditError::of_log(journal))? {
                let Some(value) = &record.value else { continue };
                let read = entries.read(value.as_bytes()).map_err(|why| AuditError::unreadable(journal, record.offset, why))?;
                let check = |(item, (entry, written))| {
                    check_link::<D>(reading.previous, journal.partition, At { offset: record.offset, item }, entry, written)
                };
                let checked = read.into_iter().enumerate().map(check).collect();
                if batches.send(Ok(checked)).is_err() {
                    return Ok(());
                }
                *reading.next = record.offset + 1;
            }
        }
        *reading.next = end;
        Ok(())
    };
    if let Err(error) = fallible() {
        let _receiver_gone = batches.send(Err(error));
    }
}

/// What the next entry must follow.
#[derive(Default)]
pub(super) struct Link {
    pub lineage: String,
    pub epoch: i64,
    pub seq: i64,
    pub at: Timestamp,
    pub chain: String,
}

impl Link {
    /// To this entry.
    pub(super) fn of<I: Fact, D: Fact>(entry: &Entry<I, D>) -> Self {
        let mut link = Self::default();
        link.move_to(entry);
        link
    }

    fn move_to<I: Fact, D: Fact>(&mut self, entry: &Entry<I, D>) {
        self.lineage.clone_from(&entry.lineage);
        self.chain.clone_from(&entry.chain);
        (self.epoch, self.seq, self.at) = (entry.epoch, entry.seq, entry.at);
    }
}

fn check_link<D: Decider>(
    previous: &mut Option<Link>,
    shard: u32,
    place: At,
    entry: Entry<D::Input, D::Decision>,
    written: Option<(&[u8; HEADER_LEN], &[u8])>,
) -> Checked<D> {
    let before = previous.as_ref().map_or("", |link| &link.chain);
    let is_proved = written.is_some_and(|(header, bytes)| is_chained(header, before, bytes));
    let recorded = if is_proved { None } else { Some(entry.chain.clone()) };
    let entry = if is_proved { entry } else { chained(D::journal(), before, entry) };
    let fault = |what: &str, recorded: serde_json::Value, derived: serde_json::Value| {
        Some(Divergence { place: place.named::<D>(shard), seq: entry.seq, what: what.into(), recorded, derived })
    };
    let wrong = match previous {
        None if entry.seq != 1 => fault("the journal does not begin with entry 1", entry.seq.into(), 1.into()),
        Some(link) if link.lineage != entry.lineage => fault("another lineage", entry.lineage.clone().into(), link.lineage.clone().into()),
        Some(link) if link.seq.checked_add(1) != Some(entry.seq) => {
            fault("entries are missing or repeated", entry.seq.into(), link.seq.saturating_add(1).into())
        }
        Some(link) if link.epoch > entry.epoch => fault("an older owner wrote later", entry.epoch.into(), link.epoch.into()),
        Some(link) if link.at > entry.at => fault("time went back", entry.at.to_string().into(), link.at.to_string().into()),
        _ => recorded.filter(|recorded| *recorded != entry.chain).and_then(|recorded| {
            fault("the hash chain is broken: this entry or the one before was altered", recorded.into(), entry.chain.clone().into())
        }),
    };
    previous.get_or_insert_default().move_to(&entry);
    Checked { place, entry, fault: wrong }
}

/// An entry's place in its journal; most of them are never named.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub offset: i64,
    pub item: usize,
}

impl At {
    pub(super) fn named<D: Decider>(self, shard: u32) -> String {
        Place { service: D::SERVICE.into(), shard, offset: self.offset, item: self.item }.to_string()
    }
}

/// An entry with its place, after its chain was checked.
pub(super) struct Checked<D: Decider> {
    pub place: At,
    pub entry: Entry<D::Input, D::Decision>,
    pub fault: Option<Divergence>,
}
