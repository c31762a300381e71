//! Which table files were read whole, and what was in them: a flipped bit is found where nobody reads, too.
//!
//! RocksDB compares a block's checksum when it reads that block, which may be years later. So a table that is new is read through
//! once, and the digest of its file is kept in `verified`. Opening reads what is new since then; what was verified before is compared
//! in the background ([`super::cleaner`]). Tables never change: another digest is damage.
//!
//! File: a line `NAME BYTES BLAKE3` for each table, then the digest of all that. One that cannot be read is as if it were not there.

use super::store::{Store, Table};
use super::witness::replace;
use crate::LogError;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Beside the database's folder.
const FILE: &str = "verified";
/// Read at a time.
const PIECE_BYTES: usize = 1 << 20;

/// The tables that were read whole.
#[derive(Debug)]
pub(super) struct Verified {
    folder: PathBuf,
    tables: BTreeMap<String, Sum>,
}

/// Size and digest of a table's file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sum {
    bytes: u64,
    digest: String,
}

impl Verified {
    /// What the folder says was verified.
    pub(super) fn read(folder: &Path) -> Self {
        let text = std::fs::read_to_string(folder.join(FILE)).unwrap_or_default();
        Self { folder: folder.to_owned(), tables: parse(&text).unwrap_or_default() }
    }

    /// Reads the tables that are new, and forgets those that are gone. The first one that is damaged is an error.
    pub(super) fn take_new(&mut self, store: &Store) -> Result<(), LogError> {
        let there = store.tables()?;
        let known = self.tables.len();
        self.tables.retain(|name, _| there.iter().any(|table| table.name == *name));
        let mut changed = self.tables.len() < known;
        for table in there {
            if self.tables.contains_key(&table.name) {
                continue;
            }
            store.read_through(&table)?;
            // One that a compaction has taken away meanwhile needs no digest.
            if let Some(sum) = sum(&table, &mut || true).map_err(|error| unread(store, &table, &error))? {
                self.tables.insert(table.name, sum);
                changed = true;
            }
        }
        if changed { self.write(store) } else { Ok(()) }
    }

    /// Compares a table that was verified before; `go_on` is asked before each piece.
    pub(super) fn compare(&self, store: &Store, table: &Table, go_on: &mut dyn FnMut() -> bool) -> Result<(), LogError> {
        let Some(before) = self.tables.get(&table.name) else { return Ok(()) };
        match sum(table, go_on).map_err(|error| unread(store, table, &error))? {
            Some(now) if now != *before => {
                Err(store.damaged(format!("table {} is not what was written: a part of it has changed on the disk", table.name)))
            }
            _ => Ok(()),
        }
    }

    /// Forgets everything, so that the next opening reads all tables.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        self.tables.clear();
        forget(&self.folder)
    }

    fn write(&self, store: &Store) -> Result<(), LogError> {
        let mut text = String::new();
        for (name, Sum { bytes, digest }) in &self.tables {
            text += &format!("{name} {bytes} {digest}\n");
        }
        text += &format!("{}\n", blake3::hash(text.as_bytes()).to_hex());
        replace(&self.folder, FILE, text.as_bytes()).map(drop).map_err(|error| store.cannot(format!("{FILE} cannot be written: {error}")))
    }
}

/// Forgets what the folder says.
pub(super) fn forget(folder: &Path) -> io::Result<()> {
    match std::fs::remove_file(folder.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Size and digest of a table as it is on the disk; none if it is gone, or if it is not to be read to its end.
fn sum(table: &Table, go_on: &mut dyn FnMut() -> bool) -> io::Result<Option<Sum>> {
    let mut file = match File::open(&table.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let (mut hasher, mut bytes, mut piece) = (blake3::Hasher::new(), 0, vec![0; PIECE_BYTES]);
    loop {
        if !go_on() {
            return Ok(None);
        }
        match file.read(&mut piece)? {
            0 => return Ok(Some(Sum { bytes, digest: hasher.finalize().to_hex().to_string() })),
            read => {
                hasher.update(&piece[..read]);
                bytes += read as u64;
            }
        }
    }
}

fn unread(store: &Store, table: &Table, error: &io::Error) -> LogError {
    store.damaged(format!("table {} cannot be read: {error}", table.name))
}

fn parse(text: &str) -> Option<BTreeMap<String, Sum>> {
    let lines = text.trim_end().rfind('\n').map_or(0, |newline| newline + 1);
    let (tables, told) = text.split_at(lines);
    if blake3::hash(tables.as_bytes()).to_hex().as_str() != told.trim_end() {
        return None;
    }
    let line = |line: &str| {
        let mut words = line.split(' ');
        let (name, bytes, digest) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        Some((name.to_owned(), Sum { bytes, digest: digest.to_owned() }))
    };
    tables.lines().map(line).collect()
}
