//! The shard's rows on this machine: a cache of the changelog, written only after the commit (§3 of the design).
//!
//! It holds the changelog's keys and values, and beside the head the changelog offset of that head; both change together.

mod rocks;

pub use rocks::RocksStore;

use crate::rows::Head;
use orrery_model::payload::Payload;

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

/// Takes (table, key, value) of a row.
pub type EachRow<'r> = dyn FnMut(u8, &[u8], &[u8]) -> Result<(), StoreError> + 'r;

/// One shard's store. What was written last may be lost with the machine, never a part of one write.
pub trait Store: Send {
    /// Where it is, for messages.
    fn name(&self) -> String;
    /// The head and the changelog offset of it; none in an empty store.
    fn head(&self) -> Result<Option<(Head, i64)>, StoreError>;
    /// Writes a committed transaction's rows and its head's changelog offset, all or nothing.
    fn write(&mut self, rows: &RowBatch, changelog_offset: i64) -> Result<(), StoreError>;
    /// Calls `row` for every row but the head, in key order.
    fn each_row(&self, row: &mut EachRow<'_>) -> Result<(), StoreError>;
    /// Deletes everything.
    fn wipe(&mut self) -> Result<(), StoreError>;

    /// An error about this store.
    fn refused(&self, what: String) -> StoreError {
        StoreError { store: self.name(), what }
    }
}

/// Opens a shard's store, one that was there before or an empty one.
pub type OpenStore<'o> = &'o dyn Fn() -> Result<Box<dyn Store>, StoreError>;
