//! RocksDB as the log uses it: small, one column family, every write behind an fsync.
//!
//! What is there after a crash is a prefix of what was written, batch by batch. Only a tail that was never acknowledged can be
//! torn, because every batch is synced before the next one begins: a short or zeroed tail is cut off, and the [witness](super::witness)
//! says whether anything acknowledged was in it. Anything else that is broken in the write-ahead log refuses to open, until a person
//! asks for a [salvage](super::salvage), which reads by point-in-time recovery: it drops what lies behind the damage. (As the rule it
//! would silently drop what was acknowledged behind a flipped bit, of journals and changelogs alike.)

use super::keys::Place;
use crate::LogError;
use orrery_model::record::Offset;
use rocksdb::{BlockBasedOptions, Cache, DB, DBCompressionType, DBRawIterator, DBRecoveryMode, InfoLogger, LogLevel, Options, ReadOptions};
use rocksdb::{WriteBatch, WriteOptions};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Blocks of the process's RocksDB instances share this many bytes.
pub const BLOCK_CACHE_BYTES: usize = 16 << 20;
/// One write buffer; there are at most two. The idle one holds 1 MiB, RocksDB's arena block for this size.
const WRITE_BUFFER_BYTES: usize = 8 << 20;
/// The write-ahead log is cut by flushing when it is over four write buffers.
const WAL_BYTES: u64 = 32 << 20;
/// Table files held open: with files of 64 MiB enough for 16 GiB, at about 50 KiB of memory each for index and filter.
const OPEN_FILES: i32 = 256;
/// A read-only opener races the owner's file deletions; three attempts outlast any single flush or compaction.
const READ_ONLY_ATTEMPTS: usize = 3;

/// The block cache that all RocksDB instances of this process should share, so that three of them cost as much as one.
pub fn block_cache() -> Cache {
    static CACHE: OnceLock<Cache> = OnceLock::new();
    CACHE.get_or_init(|| Cache::new_lru_cache(BLOCK_CACHE_BYTES)).clone()
}

/// What an opening reads comes from the disk, also where this process has read the same tables before.
fn forget_blocks() {
    let mut cache = block_cache();
    cache.set_capacity(0);
    cache.set_capacity(BLOCK_CACHE_BYTES);
}

/// Ends the names of table files.
pub(super) const TABLE_EXTENSION: &str = "sst";

/// Key and value.
pub(super) type Row = (Vec<u8>, Vec<u8>);

/// A table file of the database.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// Its file's name.
    pub name: String,
    /// Where that is.
    pub path: PathBuf,
    keys: Option<(Vec<u8>, Vec<u8>)>,
}

/// The open database.
pub(super) struct Store {
    db: DB,
    folder: PathBuf,
}

impl Store {
    /// Opens for writing, making it if it is missing.
    pub(super) fn open(folder: &Path) -> Result<Self, LogError> {
        forget_blocks();
        let db = DB::open(&options(), path(folder)).map_err(|e| cannot_open(folder, &e))?;
        Ok(Self { db, folder: folder.to_owned() })
    }

    /// Opens a damaged database that nobody needs any more afterwards, with what lies before the damage of its write-ahead log; what
    /// its manifest does not tell any more is gathered from its tables. True if whole tables are left out: reading does not meet them.
    pub(super) fn open_damaged(folder: &Path) -> Result<(Self, bool), LogError> {
        forget_blocks();
        let mut options = options();
        options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        // A table that cannot be opened is met when it is read.
        options.set_paranoid_checks(false);
        let open = || DB::open(&options, path(folder));
        let repaired = || DB::repair(&options, path(folder)).and_then(|()| open());
        let db = open().or_else(|_| repaired()).map_err(|e| cannot_open(folder, &e))?;
        let left_out = std::fs::read_dir(path(folder).join("lost"))
            .is_ok_and(|lost| lost.flatten().any(|file| file.path().extension().is_some_and(|extension| extension == TABLE_EXTENSION)));
        Ok((Self { db, folder: folder.to_owned() }, left_out))
    }

    /// Opens what is there now, beside the process that writes.
    pub(super) fn open_read_only(folder: &Path) -> Result<Self, LogError> {
        // The binding makes missing folders before RocksDB looks, even to read.
        if !path(folder).is_dir() {
            return Err(LogError::CannotOpen { path: folder.display().to_string(), why: "there is no log".to_owned() });
        }
        let open = || DB::open_for_read_only(&options(), path(folder), false);
        let mut opened = open();
        for _ in 1..READ_ONLY_ATTEMPTS {
            opened = opened.or_else(|_| open());
        }
        Ok(Self { db: opened.map_err(|e| cannot_open(folder, &e))?, folder: folder.to_owned() })
    }

    /// Writes all of the batch or nothing; it is on disk when this returns.
    pub(super) fn write(&self, batch: WriteBatch) -> Result<(), rocksdb::Error> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(batch, &options)
    }

    /// One row.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LogError> {
        self.db.get(key).map_err(|e| self.damaged(e.into_string()))
    }

    /// The row read by `decode`, or its default if it is missing.
    pub(super) fn row<T: Default>(&self, key: &[u8], decode: impl Fn(&[u8]) -> Option<T>) -> Result<T, LogError> {
        match self.get(key)? {
            None => Ok(T::default()),
            Some(value) => decode(&value).ok_or_else(|| self.damaged(format!("row {key:02x?} holds {value:02x?}"))),
        }
    }

    /// All rows of a tag by name.
    pub(super) fn named(&self, tag: u8) -> Result<Vec<(String, Vec<u8>)>, LogError> {
        let mut rows = Vec::new();
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound([tag + 1]);
        let mut at = self.db.raw_iterator_opt(options);
        at.seek([tag]);
        while let Some((key, value)) = at.item() {
            let name = std::str::from_utf8(&key[1..]).map_err(|_| self.damaged(format!("row {key:02x?} has no name")))?;
            rows.push((name.to_owned(), value.to_owned()));
            at.next();
        }
        self.finished(&at).map(|()| rows)
    }

    /// Records of a partition below `end`, standing before the first at `from` or later. It shows the moment it was made.
    pub(super) fn records(&self, place: Place, from: Offset, end: Offset, fill_cache: bool) -> DBRawIterator<'_> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(place.record(end));
        options.fill_cache(fill_cache);
        let mut at = self.db.raw_iterator_opt(options);
        at.seek(place.record(from));
        at
    }

    /// Whether the iterator ended because nothing more was there.
    pub(super) fn finished(&self, at: &DBRawIterator<'_>) -> Result<(), LogError> {
        at.status().map_err(|e| self.damaged(e.into_string()))
    }

    /// All rows whose keys begin so.
    pub(super) fn beginning_with(&self, prefix: &[u8]) -> Result<Vec<Row>, LogError> {
        let (mut rows, mut at) = (Vec::new(), self.db.raw_iterator());
        at.seek(prefix);
        while let Some((key, value)) = at.item().filter(|(key, _)| key.starts_with(prefix)) {
            rows.push((key.to_owned(), value.to_owned()));
            at.next();
        }
        self.finished(&at).map(|()| rows)
    }

    /// The table files that there are now.
    pub(super) fn tables(&self) -> Result<Vec<Table>, LogError> {
        let files = self.db.live_files().map_err(|e| self.damaged(e.into_string()))?;
        let table = |file: rocksdb::LiveFile| {
            let name = file.name.trim_start_matches('/').to_owned();
            Table { path: path(&self.folder).join(&name), name, keys: file.start_key.zip(file.end_key) }
        };
        Ok(files.into_iter().map(table).collect())
    }

    /// Reads every block of a table, what is deleted too, and so compares their checksums; also of what other tables hold in between.
    #[expect(deprecated, reason = "what a range deletion hides is read by compactions, which fail by its damage")]
    pub(super) fn read_through(&self, table: &Table) -> Result<(), LogError> {
        let Some((first, last)) = &table.keys else { return Ok(()) };
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        options.set_ignore_range_deletions(true);
        options.set_iterate_upper_bound([last.as_slice(), &[0]].concat());
        let mut at = self.db.raw_iterator_opt(options);
        at.seek(first);
        while at.valid() {
            at.next();
        }
        at.status().map_err(|e| self.damaged(format!("table {} cannot be read: {e}", table.name)))
    }

    /// Drops files that hold nothing but records of the partition below `before`, which must be deleted already.
    pub(super) fn drop_files(&self, place: Place, before: Offset) {
        if let Err(error) = self.db.delete_file_in_range(place.record(0), place.record(before - 1)) {
            tracing::warn!(%error, "files of expired records stay until the next compaction");
        }
    }

    /// Identity of this database; a new one has another.
    pub(super) fn identity(&self) -> Result<Vec<u8>, LogError> {
        self.db.get_db_identity().map_err(|e| self.damaged(e.into_string()))
    }

    /// Where the log lies.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The error for a folder that cannot be used as it is.
    pub(super) fn cannot(&self, why: String) -> LogError {
        LogError::CannotOpen { path: self.folder.display().to_string(), why }
    }

    /// The error for something stored that cannot be read.
    pub(super) fn damaged(&self, why: String) -> LogError {
        LogError::Damaged { path: self.folder.display().to_string(), why }
    }
}

/// RocksDB has a folder of its own: beside it stands our lock, whose name would be RocksDB's on some file systems.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join("rocksdb")
}

fn cannot_open(folder: &Path, error: &rocksdb::Error) -> LogError {
    let (path, why) = (folder.display().to_string(), error.to_string());
    // What the database names and the disk does not have was lost, as what is there and makes no sense.
    let is_missing = error.kind() == rocksdb::ErrorKind::IOError && why.contains("No such file");
    let makes_no_sense = matches!(error.kind(), rocksdb::ErrorKind::Corruption | rocksdb::ErrorKind::NotFound);
    if is_missing || makes_no_sense { LogError::Damaged { path, why } } else { LogError::CannotOpen { path, why } }
}

fn options() -> Options {
    let mut tables = BlockBasedOptions::default();
    tables.set_block_cache(&block_cache());
    tables.set_block_size(16 << 10);
    tables.set_cache_index_and_filter_blocks(true);
    let mut options = Options::default();
    options.create_if_missing(true);
    // A torn tail is what a crash leaves. Damage before it must not silently cost what was acknowledged behind it.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_block_based_table_factory(&tables);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(2);
    options.set_max_total_wal_size(WAL_BYTES);
    options.set_max_open_files(OPEN_FILES);
    options.set_max_background_jobs(2);
    options.set_max_manifest_file_size(4 << 20);
    options.set_skip_stats_update_on_db_open(true);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Warn, |_, text| tracing::warn!(target: "rocksdb", "{text}")));
    options
}
