//! `<dir>/supervisor.journal`: what lives and what has ended, for the supervisor after this one.
//!
//! One JSON record a line. It is not fsynced: it must survive kill -9, which the page cache does; after a reboot nothing lives
//! anyway. A torn or foreign line is skipped. Ends are kept until the agent acknowledges them.

use crate::host;
use crate::wire::{Ended, Process};
use orrery_model::id::AttemptId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Name of the file.
pub(super) const FILE: &str = "supervisor.journal";
/// Compacted beyond this: about 10,000 attempts at 400 bytes for start, end and forget.
const COMPACT_BYTES: u64 = 4 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// First of a file: starts of another boot are over, and starts of a folder that this one is a copy of are none of ours.
    Boot { id: String },
    /// Where cgroups of tasks are made.
    Cgroups { folder: PathBuf },
    /// A process is about to be made: without this line there never was one.
    Starting { attempt: AttemptId },
    /// A process, with the two points of the boot clock between which it was made.
    Started { attempt: AttemptId, process: Process, from_boot_ms: i64, to_boot_ms: i64 },
    /// Over.
    Ended(Ended),
    /// Acknowledged; or not started after all.
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
    /// Where cgroups of tasks were made.
    pub(super) cgroups: BTreeSet<PathBuf>,
    /// Nobody knows whether there is a process.
    pub(super) starting: BTreeSet<AttemptId>,
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
    /// The last write failed, and may have left a part of a line.
    torn: bool,
    cgroups: BTreeSet<PathBuf>,
    starting: BTreeSet<AttemptId>,
    started: BTreeMap<AttemptId, Started>,
    ended: BTreeMap<AttemptId, Ended>,
}

impl StateFile {
    /// Opens or makes the file, and tells what it holds; [`StateFile::compact`] then begins a new one.
    pub(super) fn open(dir: &Path) -> io::Result<(Self, Remembered)> {
        let remembered = remembered(dir)?;
        let this = Self {
            dir: dir.to_owned(),
            file: OpenOptions::new().append(true).create(true).mode(host::PRIVATE).open(dir.join(FILE))?,
            bytes: 0,
            compact_at: 0,
            pending: Vec::new(),
            torn: false,
            cgroups: BTreeSet::new(),
            starting: BTreeSet::new(),
            started: BTreeMap::new(),
            ended: remembered.ended.clone(),
        };
        Ok((this, remembered))
    }

    /// From the next compaction on.
    pub(super) fn made_cgroups(&mut self, folder: &Path) {
        self.cgroups.insert(folder.to_owned());
    }

    /// To be flushed before the process is made.
    pub(super) fn starting(&mut self, attempt: &AttemptId) {
        self.starting.insert(attempt.clone());
        self.add(&Line::Starting { attempt: attempt.clone() });
    }

    /// There is no process, and the attempt waits again.
    pub(super) fn not_starting(&mut self, attempt: &AttemptId) {
        if self.starting.remove(attempt) {
            self.add(&Line::Forgotten { attempt: attempt.clone() });
        }
    }

    pub(super) fn started(&mut self, attempt: &AttemptId, started: Started) {
        self.starting.remove(attempt);
        self.started.insert(attempt.clone(), started);
        let Started { process, from_boot_ms, to_boot_ms } = started;
        self.add(&Line::Started { attempt: attempt.clone(), process, from_boot_ms, to_boot_ms });
    }

    pub(super) fn ended(&mut self, ended: Ended) {
        self.starting.remove(&ended.attempt);
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

    /// Writes what was added: once per turn of the loop, before anybody is told. What cannot be written stays for the next time.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.torn) {
            // The part of a line ends here, and is skipped by the next reader.
            self.pending.insert(0, b'\n');
        }
        if let Err(error) = self.file.write_all(&self.pending) {
            self.torn = true;
            return Err(error);
        }
        self.bytes = self.bytes.saturating_add(self.pending.len() as u64);
        self.pending.clear();
        if self.bytes > self.compact_at && self.compact().is_err() {
            // The old file is whole; a new one is tried when it has doubled.
            self.compact_at = self.bytes.saturating_mul(2);
        }
        Ok(())
    }

    fn add(&mut self, line: &Line) {
        serde_json::to_writer(&mut self.pending, line).expect("lines have only text keys, and a Vec takes every write");
        self.pending.push(b'\n');
    }

    /// Writes a new file with what is live and takes it in place of the old one.
    pub(super) fn compact(&mut self) -> io::Result<()> {
        self.pending.clear();
        self.add(&Line::Boot { id: boot(&self.dir)? });
        for folder in self.cgroups.clone() {
            self.add(&Line::Cgroups { folder });
        }
        for attempt in self.starting.clone() {
            self.add(&Line::Starting { attempt });
        }
        for (attempt, Started { process, from_boot_ms, to_boot_ms }) in self.started.clone() {
            self.add(&Line::Started { attempt, process, from_boot_ms, to_boot_ms });
        }
        for ended in self.ended.clone().into_values() {
            self.add(&Line::Ended(ended));
        }
        let content = std::mem::take(&mut self.pending);
        let temporary = self.dir.join(format!("{FILE}.new"));
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().append(true).create_new(true).mode(host::PRIVATE).open(&temporary)?;
        file.write_all(&content)?;
        fs::rename(&temporary, self.dir.join(FILE))?;
        // The one that has the name now: nothing may fail between the two, or lines would go to a file that nobody reads.
        self.file = file;
        self.bytes = content.len() as u64;
        // Twice what is live, so that a large live part is not rewritten at every turn.
        self.compact_at = COMPACT_BYTES.max(2 * self.bytes);
        Ok(())
    }
}

/// What the file of this folder says.
pub(super) fn remembered(dir: &Path) -> io::Result<Remembered> {
    match fs::read(dir.join(FILE)) {
        Ok(content) => Ok(read(&content, &boot(dir)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Remembered::default()),
        Err(error) => Err(error),
    }
}

/// This boot, in this folder.
fn boot(dir: &Path) -> io::Result<String> {
    Ok(format!("{} {}", host::boot_id(), host::home(dir)?))
}

fn read(content: &[u8], boot: &str) -> Remembered {
    let mut found = Remembered::default();
    for line in content.split(|byte| *byte == b'\n') {
        match serde_json::from_slice(line) {
            Ok(Line::Boot { id }) => found.same_boot = id == boot,
            Ok(Line::Cgroups { folder }) => {
                found.cgroups.insert(folder);
            }
            Ok(Line::Starting { attempt }) => {
                found.starting.insert(attempt);
            }
            Ok(Line::Started { attempt, process, from_boot_ms, to_boot_ms }) => {
                found.starting.remove(&attempt);
                found.started.insert(attempt, Started { process, from_boot_ms, to_boot_ms });
            }
            Ok(Line::Ended(ended)) => {
                found.starting.remove(&ended.attempt);
                found.started.remove(&ended.attempt);
                found.ended.insert(ended.attempt.clone(), ended);
            }
            Ok(Line::Forgotten { attempt }) => {
                found.starting.remove(&attempt);
                found.ended.remove(&attempt);
            }
            Err(_) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_full_disk_refused_is_written_when_there_is_room_again() {
        let dir = tempfile::tempdir().unwrap();
        let attempt = |name: &str| AttemptId::parse(name).unwrap();
        let (mut file, _) = StateFile::open(dir.path()).unwrap();
        file.compact().unwrap();
        file.starting(&attempt("a.1"));
        file.flush().unwrap();
        let good = std::mem::replace(&mut file.file, OpenOptions::new().write(true).open("/dev/full").unwrap());
        file.starting(&attempt("b.1"));
        assert_eq!(file.flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
        file.starting(&attempt("c.1"));
        assert!(file.flush().is_err());
        file.file = good;
        // What a partial write may have left.
        file.file.write_all(b"{\"started\":{").unwrap();
        file.flush().unwrap();
        file.not_starting(&attempt("c.1"));
        file.flush().unwrap();
        let found = remembered(dir.path()).unwrap();
        assert!(found.same_boot);
        assert_eq!(found.starting.iter().map(AttemptId::as_str).collect::<Vec<_>>(), ["a.1", "b.1"]);
    }
}
