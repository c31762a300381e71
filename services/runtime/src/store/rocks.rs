//! The store in RocksDB: one write batch per transaction; no fsync, because what is missing is read again from the changelog.

use super::{EachRow, FirstAndLast, Frozen, FullRow, KeyRange, RowBatch, Store, StoreError};
use crate::rows::{self, Head, full_key};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{BlockBasedOptions, DB, Direction, IteratorMode, Options, ReadOptions, WriteBatch};
use std::path::{Path, PathBuf};

/// Key of the changelog offset: table tag 0 like the head, told apart by a row key.
const OFFSET_KEY: &[u8] = b"\0offset";
/// Memory for rows not yet in files.
const WRITE_BUFFER_BYTES: usize = 4 << 20;
/// Read from a file at once where all of it is wanted.
const READ_AHEAD_BYTES: usize = 1 << 20;

/// One shard's store in a folder of its own.
pub struct RocksStore {
    path: PathBuf,
    /// None only while it is wiped.
    db: Option<DB>,
}

impl RocksStore {
    /// Opens the store of this folder; one that cannot be opened is removed and begun anew.
    pub fn open_or_begin(path: &Path) -> Result<Self, StoreError> {
        Self::open(path).or_else(|error| {
            tracing::warn!(%error, "wiping the local store");
            Self::remove(path)?;
            Self::open(path)
        })
    }

    /// The same; one that could not be read or written when it was last used is begun anew, too.
    pub fn open_after(path: &Path, failed: bool) -> Result<Self, StoreError> {
        if failed && path.exists() {
            tracing::warn!(store = %path.display(), "wiping the local store: it failed");
            Self::remove(path)?;
        }
        Self::open_or_begin(path)
    }

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
        let refused = |what: String| StoreError { store: path.display().to_string(), what };
        std::fs::create_dir_all(path).map_err(|e| refused(format!("cannot be made: {e}")))?;
        let frozen = frozen_path(path);
        if frozen.exists() {
            // Of a process that ended while it wrote a snapshot.
            Self::remove(&frozen)?;
        }
        let db = DB::open(&options, path).map_err(|e| refused(format!("cannot be opened: {e}")))?;
        Ok(Self { path: path.into(), db: Some(db) })
    }

    fn remove(path: &Path) -> Result<(), StoreError> {
        std::fs::remove_dir_all(path).map_err(|e| StoreError { store: path.display().to_string(), what: format!("cannot be removed: {e}") })
    }

    fn db(&self) -> Result<&DB, StoreError> {
        self.db.as_ref().ok_or_else(|| self.refused("could not be opened again after it was wiped".into()))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db()?.get(key).map_err(|e| self.refused(format!("cannot be read: {e}")))
    }
}

impl Store for RocksStore {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn wipe(&mut self) -> Result<(), StoreError> {
        self.db = None;
        Self::remove(&self.path)?;
        *self = Self::open(&self.path)?;
        Ok(())
    }

    fn head(&self) -> Result<Option<(Head, i64)>, StoreError> {
        let (Some(head), Some(offset)) = (self.get(&full_key(rows::HEAD, &[]))?, self.get(OFFSET_KEY)?) else { return Ok(None) };
        let head = rows::HEAD_ROW.decode(&head).map_err(|e| self.refused(format!("has an unreadable head: {e}")))?;
        let offset = <[u8; 8]>::try_from(offset.as_slice()).map_err(|_| self.refused("has an unreadable offset".into()))?;
        Ok(Some((head, i64::from_be_bytes(offset))))
    }

    fn write(&mut self, rows: &RowBatch, changelog_offset: i64) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        for (key, value) in rows {
            match value {
                Some(value) => batch.put(key.as_bytes(), value.as_bytes()),
                None => batch.delete(key.as_bytes()),
            }
        }
        batch.put(OFFSET_KEY, changelog_offset.to_be_bytes());
        self.db()?.write(batch).map_err(|e| self.refused(format!("cannot be written: {e}")))
    }

    fn changelog_id(&self) -> Result<Option<String>, StoreError> {
        let id = self.get(rows::CHANGELOG_ID)?;
        id.map(|id| String::from_utf8(id).map_err(|_| self.refused("names an unreadable changelog".into()))).transpose()
    }

    fn freeze(&self) -> Result<Box<dyn Frozen>, StoreError> {
        let path = frozen_path(&self.path);
        let checkpoint = Checkpoint::new(self.db()?).and_then(|checkpoint| checkpoint.create_checkpoint(&path));
        checkpoint.map_err(|e| self.refused(format!("cannot be frozen: {e}")))?;
        let frozen = DB::open_for_read_only(&Options::default(), &path, false);
        let db = frozen.map_err(|e| self.refused(format!("cannot be read where it was frozen: {e}")))?;
        Ok(Box::new(FrozenRocks { path, db }))
    }

    fn each_row(&self, keys: &KeyRange, row: &mut EachRow<'_>) -> Result<(), StoreError> {
        let mut options = within(keys);
        // All of it is read, once.
        options.set_readahead_size(READ_AHEAD_BYTES);
        options.fill_cache(false);
        let mut at = self.db()?.raw_iterator_opt(options);
        at.seek_to_first();
        while let Some((key, value)) = at.item() {
            let (table, key) = key.split_first().ok_or_else(|| self.refused("has a row without a table".into()))?;
            row(*table, key, value)?;
            at.next();
        }
        at.status().map_err(|e| self.refused(format!("cannot be read: {e}")))
    }

    fn ends(&self, keys: &KeyRange) -> Result<Option<FirstAndLast>, StoreError> {
        let mut at = self.db()?.raw_iterator_opt(within(keys));
        at.seek_to_first();
        let first = at.key().map(<[u8]>::to_vec);
        at.seek_to_last();
        let last = at.key().map(<[u8]>::to_vec);
        at.status().map_err(|e| self.refused(format!("cannot be read: {e}")))?;
        Ok(first.zip(last))
    }
}

fn within(keys: &KeyRange) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(keys.from.clone());
    if let Some(to) = &keys.to {
        options.set_iterate_upper_bound(to.clone());
    }
    options
}

/// Hard links to the files of a store; there is at most one of each, until it is dropped.
struct FrozenRocks {
    path: PathBuf,
    db: DB,
}

impl Frozen for FrozenRocks {
    fn rows_from(&self, key: &[u8], max_bytes: usize) -> Result<Vec<FullRow>, StoreError> {
        let refused = |what: String| StoreError { store: self.path.display().to_string(), what };
        let (mut found, mut bytes) = (Vec::new(), 0);
        for item in self.db.iterator(IteratorMode::From(key, Direction::Forward)) {
            let (key, value) = item.map_err(|e| refused(format!("cannot be read: {e}")))?;
            bytes += key.len() + value.len();
            if bytes > max_bytes && !found.is_empty() {
                break;
            }
            if key.first() != Some(&rows::HEAD) {
                found.push((key.into_vec(), value.into_vec()));
            }
        }
        Ok(found)
    }
}

impl Drop for FrozenRocks {
    fn drop(&mut self) {
        // Open files stay readable for the database until it is dropped, right after this.
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a frozen store stays until its store is opened again");
        }
    }
}

/// Beside the store, on the same file system, as hard links ask for.
fn frozen_path(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".frozen");
    name.into()
}
