//! `<dir>/supervisor.journal`: what lives and what has ended, for the supervisor after this one.
//!
//! One JSON record a line. It is not fsynced: it must survive kill -9, which the page cache does; after a reboot nothing lives
//! anyway. A torn or foreign line is skipped. Ends are kept until the agent acknowledges them.

use crate::host;
use crate::wire::{Ended, Process};
use orrery_model::id::AttemptId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Name of the file.
pub(super) const FILE: &str = "supervisor.journal";
/// Compacted beyond this: about 10,000 attempts at 400 bytes for start, end and forget.
const COMPACT_BYTES: u64 = 4 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// First of a file: starts of another boot are over.
    Boot { id: String },
    /// A process, with the two points of the boot clock between which it was made.
    Started { attempt: AttemptId, process: Process, from_boot_ms: i64, to_boot_ms: i64 },
    /// Over.
    Ended(Ended),
    /// Acknowledged.
    Forgotten { attempt: AttemptId },
}

/// A process as the file remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Started {
    pub(super) process: Process,
    pub(super) from_boot_ms: i64,
    pub(super) to_boot_ms: i64,
}

/// What a file told.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    /// True if it was written since this boot.
    pub(super) same_boot: bool,
    pub(super) started: BTreeMap<AttemptId, Started>,
    pub(super) ended: BTreeMap<AttemptId, Ended>,
}

/// The open file and what it says.
#[derive(Debug)]
pub(super) struct StateFile {
    dir: PathBuf,
    file: File,
    bytes: u64,
    compact_at: u64,
    pending: Vec<u8>,
    started: BTreeMap<AttemptId, Started>,
    ended: BTreeMap<AttemptId, Ended>,
}

impl StateFile {
    /// Opens or makes the file, and tells what it holds; [`StateFile::compact`] then begins a new one.
    pub(super) fn open(dir: &Path) -> io::Result<(Self, Remembered)> {
        let remembered =
            read(&fs::read(dir.join(FILE)).or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(Vec::new()) } else { Err(e) })?);
        let this = Self {
            dir: dir.to_owned(),
            file: OpenOptions::new().append(true).create(true).open(dir.join(FILE))?,
            bytes: 0,
            compact_at: 0,
            pending: Vec::new(),
            started: BTreeMap::new(),
            ended: remembered.ended.clone(),
        };
        Ok((this, remembered))
    }

    pub(super) fn started(&mut self, attempt: &AttemptId, started: Started) {
        self.started.insert(attempt.clone(), started);
        let Started { process, from_boot_ms, to_boot_ms } = started;
        self.add(&Line::Started { attempt: attempt.clone(), process, from_boot_ms, to_boot_ms });
    }

    pub(super) fn ended(&mut self, ended: Ended) {
        self.started.remove(&ended.attempt);
        self.add(&Line::Ended(ended.clone()));
        self.ended.insert(ended.attempt.clone(), ended);
    }

    pub(super) fn forget(&mut self, attempt: &AttemptId) {
        if self.ended.remove(attempt).is_some() {
            self.add(&Line::Forgotten { attempt: attempt.clone() });
        }
    }

    /// Ends that are not acknowledged.
    pub(super) fn unforgotten(&self) -> &BTreeMap<AttemptId, Ended> {
        &self.ended
    }

    /// Writes what was added: once per turn of the loop, before anybody is told.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.file.write_all(&self.pending)?;
        self.bytes += self.pending.len() as u64;
        self.pending.clear();
        if self.bytes > self.compact_at { self.compact() } else { Ok(()) }
    }

    fn add(&mut self, line: &Line) {
        serde_json::to_writer(&mut self.pending, line).expect("lines have only text keys, and a Vec takes every write");
        self.pending.push(b'\n');
    }

    /// Writes a new file with what is live and takes it in place of the old one.
    pub(super) fn compact(&mut self) -> io::Result<()> {
        self.pending.clear();
        self.add(&Line::Boot { id: host::boot_id() });
        for (attempt, Started { process, from_boot_ms, to_boot_ms }) in self.started.clone() {
            self.add(&Line::Started { attempt, process, from_boot_ms, to_boot_ms });
        }
        for ended in self.ended.clone().into_values() {
            self.add(&Line::Ended(ended));
        }
        let content = std::mem::take(&mut self.pending);
        let temporary = self.dir.join(format!("{FILE}.new"));
        fs::write(&temporary, &content)?;
        fs::rename(&temporary, self.dir.join(FILE))?;
        self.file = OpenOptions::new().append(true).open(self.dir.join(FILE))?;
        self.bytes = content.len() as u64;
        // Twice what is live, so that a large live part is not rewritten at every turn.
        self.compact_at = COMPACT_BYTES.max(2 * self.bytes);
        Ok(())
    }
}

fn read(content: &[u8]) -> Remembered {
    let mut found = Remembered::default();
    for line in content.split(|byte| *byte == b'\n') {
        match serde_json::from_slice(line) {
            Ok(Line::Boot { id }) => found.same_boot = id == host::boot_id(),
            Ok(Line::Started { attempt, process, from_boot_ms, to_boot_ms }) => {
                found.started.insert(attempt, Started { process, from_boot_ms, to_boot_ms });
            }
            Ok(Line::Ended(ended)) => {
                found.started.remove(&ended.attempt);
                found.ended.insert(ended.attempt.clone(), ended);
            }
            Ok(Line::Forgotten { attempt }) => {
                found.ended.remove(&attempt);
            }
            Err(_) => {}
        }
    }
    found
}
