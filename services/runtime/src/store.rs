//! The shard's rows in RocksDB: a cache of the changelog, written only after the commit (§3 of the design).
//!
//! It holds the changelog's keys and values, and beside the head the changelog offset of that head. One write batch per
//! transaction makes the pair atomic; no fsync is needed, because what is missing is read again from the changelog.

use crate::rows::{self, Head, full_key};
use rocksdb::{BlockBasedOptions, DB, IteratorMode, Options, WriteBatch};
use std::path::{Path, PathBuf};

/// Key of the changelog offset: table tag 0 like the head, told apart by a row key.
const OFFSET_KEY: &[u8] = b"\0offset";
/// Memory for rows not yet in files.
const WRITE_BUFFER_BYTES: usize = 4 << 20;

/// Why the store cannot be used; the caller wipes it and restores from the changelog.
#[derive(Debug, thiserror::Error)]
#[error("the store in {path} {what}")]
pub struct StoreError {
    /// Its folder.
    pub path: PathBuf,
    /// What happened.
    pub what: String,
}

/// One shard's store.
pub struct Store {
    path: PathBuf,
    db: DB,
}

/// Rows as keys with values or deletions.
pub type RowBatch = Vec<(Vec<u8>, Option<Vec<u8>>)>;

impl Store {
    /// Opens or creates the store of this folder.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&rocksdb::Cache::new_lru_cache(4 << 20));
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_write_buffer_size(WRITE_BUFFER_BYTES);
        options.set_max_write_buffer_number(2);
        options.set_compression_type(rocksdb::DBCompressionType::Lz4);
        options.set_block_based_table_factory(&blocks);
        options.set_max_open_files(64);
        options.set_keep_log_file_num(2);
        options.set_max_background_jobs(1);
        let refused = |what: String| StoreError { path: path.into(), what };
        std::fs::create_dir_all(path).map_err(|e| refused(format!("cannot be made: {e}")))?;
        let db = DB::open(&options, path).map_err(|e| refused(format!("cannot be opened: {e}")))?;
        Ok(Self { path: path.into(), db })
    }

    /// Deletes everything and opens an empty store.
    pub fn wiped(self) -> Result<Self, StoreError> {
        let path = self.path.clone();
        drop(self);
        std::fs::remove_dir_all(&path).map_err(|e| StoreError { path: path.clone(), what: format!("cannot be removed: {e}") })?;
        Self::open(&path)
    }

    /// The head and the changelog offset of it; none in an empty store.
    pub fn head(&self) -> Result<Option<(Head, i64)>, StoreError> {
        let (Some(head), Some(offset)) = (self.get(&full_key(rows::HEAD, &[]))?, self.get(OFFSET_KEY)?) else { return Ok(None) };
        let head = rows::HEAD_ROW.decode(&head).map_err(|e| self.refused(format!("has an unreadable head: {e}")))?;
        let offset = <[u8; 8]>::try_from(offset.as_slice()).map_err(|_| self.refused("has an unreadable offset".into()))?;
        Ok(Some((head, i64::from_be_bytes(offset))))
    }

    /// Writes a committed transaction's rows and its head's changelog offset.
    pub fn write(&self, rows: &RowBatch, changelog_offset: i64) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        for (key, value) in rows {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        batch.put(OFFSET_KEY, changelog_offset.to_be_bytes());
        self.db.write(batch).map_err(|e| self.refused(format!("cannot be written: {e}")))
    }

    /// Calls `row` with (table, key, value) of every row, in key order.
    pub fn each_row(&self, mut row: impl FnMut(u8, &[u8], &[u8]) -> Result<(), StoreError>) -> Result<(), StoreError> {
        for item in self.db.iterator(IteratorMode::Start) {
            let (key, value) = item.map_err(|e| self.refused(format!("cannot be read: {e}")))?;
            if let Some((table, rest)) = key.split_first()
                && (*table != rows::HEAD)
            {
                row(*table, rest, &value)?;
            }
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get(key).map_err(|e| self.refused(format!("cannot be read: {e}")))
    }

    /// An error about this store.
    pub fn refused(&self, what: String) -> StoreError {
        StoreError { path: self.path.clone(), what }
    }
}
