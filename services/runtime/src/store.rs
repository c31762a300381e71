//! The shard's rows on this machine: a cache of the changelog, written only after the commit (§3 of the design).
//!
//! It holds the changelog's keys and values, and beside the head the changelog offset of that head; both change together.

mod rocks;

pub use rocks::RocksStore;

use crate::rows::Head;
use orrery_model::payload::Payload;
use std::ops::RangeInclusive;

/// Why the store cannot be used; the caller wipes it and restores from the changelog.
#[derive(Debug, thiserror::Error)]
#[error("the store in {store} {what}")]
pub struct StoreError {
    /// Its folder, or its name.
    pub store: String,
    /// What happened.
    pub what: String,
}

/// Rows as keys with values or deletions.
pub type RowBatch = Vec<(Payload, Option<Payload>)>;

/// Full keys from one on, up to but without another, or to the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// The first.
    pub from: Vec<u8>,
    /// The first that is not in it.
    pub to: Option<Vec<u8>>,
}

impl KeyRange {
    /// Those of these tables.
    pub fn of_tables(tables: RangeInclusive<u8>) -> Self {
        Self { from: vec![*tables.start()], to: tables.end().checked_add(1).map(|next| vec![next]) }
    }
    /// Divided before these keys, which lie in it and ascend.
    pub fn divided(self, before: Vec<Vec<u8>>) -> Vec<Self> {
        let from = std::iter::once(self.from).chain(before.clone());
        let to = before.into_iter().map(Some).chain([self.to]);
        from.zip(to).map(|(from, to)| Self { from, to }).collect()
    }
}

/// Full keys of two rows.
pub type FirstAndLast = (Vec<u8>, Vec<u8>);

/// Takes (table, key, value) of a row.
pub type EachRow<'r> = dyn FnMut(u8, &[u8], &[u8]) -> Result<(), StoreError> + 'r;

/// One shard's store, in a folder of its own: whoever opens it, owner or standby, goes on where the last one stood. What was written last may be lost with the machine, never a part of one write.
pub trait Store: Send + Sync {
    /// Where it is, for messages.
    fn name(&self) -> String;
    /// The head and the changelog offset of it; none in an empty store.
    fn head(&self) -> Result<Option<(Head, i64)>, StoreError>;
    /// Writes a committed transaction's rows and its head's changelog offset, all or nothing.
    fn write(&mut self, rows: &RowBatch, changelog_offset: i64) -> Result<(), StoreError>;
    /// Calls `row` for every row of these keys, in their order; several threads may read at once.
    fn each_row(&self, keys: &KeyRange, row: &mut EachRow<'_>) -> Result<(), StoreError>;
    /// The first and the last of these keys that there is a row of.
    fn ends(&self, keys: &KeyRange) -> Result<Option<FirstAndLast>, StoreError>;
    /// Identity of the changelog that it was filled from ([`CHANGELOG_ID`](crate::rows::CHANGELOG_ID)); none if it does not say.
    fn changelog_id(&self) -> Result<Option<String>, StoreError>;
    /// Its rows as they are now, to be read while it goes on.
    fn freeze(&self) -> Result<Box<dyn Frozen>, StoreError>;
    /// Deletes everything.
    fn wipe(&mut self) -> Result<(), StoreError>;

    /// An error about this store.
    fn refused(&self, what: String) -> StoreError {
        StoreError { store: self.name(), what }
    }
}

/// The rows of a store as they were at one moment, read from another thread.
pub trait Frozen: Send {
    /// Rows but the head, in order of their full keys, from this key on, at least one if there is one, then as many as `max_bytes`
    /// hold.
    fn rows_from(&self, key: &[u8], max_bytes: usize) -> Result<Vec<FullRow>, StoreError>;
}

/// Full key and value of a row.
pub type FullRow = (Vec<u8>, Vec<u8>);

/// Opens a shard's store, one that was there before or an empty one.
pub type OpenStore<'o> = &'o dyn Fn() -> Result<Box<dyn Store>, StoreError>;
