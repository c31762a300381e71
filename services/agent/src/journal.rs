//! `<dir>/agent.journal`: what the agent must not forget over kill -9 and power loss.
//!
//! One record a line: 16 hexadecimal digits (FNV-1a of the JSON), a blank, the JSON. Reading stops at the first line that is not whole: only
//! the unsynced end of the file can be torn. What must be durable before something happens (a session, a launch) is written with
//! `sync`; the rest follows with the next sync, since losing it only repeats an answer. The agent's id is made with the file.

use crate::host;
use crate::wire::Ended;
use orrery_model::id::{AgentId, AttemptId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Name of the file.
pub const FILE: &str = "agent.journal";
/// Attempts remembered after they were forgotten, so that a late copy of a launch is not run: at 3,000 tasks a second the last
/// 3 seconds, and a copy comes at most one transaction after its original. 10,000 × 60 bytes = 600 KB.
pub const FORGOTTEN_MAX: usize = 10_000;
/// Compacted beyond this: ten times the forgotten attempts.
const COMPACT_BYTES: u64 = 6 << 20;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// First of a file.
    Agent {
        /// Made with the file.
        id: AgentId,
        /// Part of the identity.
        cell: i32,
        /// Machine and folder that it was made for: a copy is another agent.
        #[serde(default)]
        home: String,
    },
    /// A session was opened.
    Session {
        /// Counts from 1.
        counter: i64,
        /// In this boot.
        boot_id: String,
    },
    /// An attempt is about to be started.
    Launched {
        /// Which.
        attempt: AttemptId,
    },
    /// It is over.
    Ended(Ended),
    /// Its end is acknowledged.
    Forgotten {
        /// Which.
        attempt: AttemptId,
    },
    /// It was certainly never started, and may be launched again.
    Returned {
        /// Which.
        attempt: AttemptId,
    },
    /// Another machine has this identity, from a copy of this folder: here a new agent begins.
    Renounced {
        /// What the allocator said.
        reason: String,
    },
}

/// What the file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Who we are.
    pub agent: AgentId,
    /// Our cell.
    pub cell: i32,
    /// Where we live; empty before it is known.
    pub home: String,
    /// Sessions so far.
    pub counter: i64,
    /// Boot of the last session; empty before the first.
    pub boot_id: String,
    /// Known attempts, with the end of those that are over.
    pub attempts: BTreeMap<AttemptId, Option<Ended>>,
    /// The last ones forgotten, oldest first.
    pub forgotten: VecDeque<AttemptId>,
    /// The identity was given up.
    pub renounced: bool,
}

/// Why the journal cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Reading or writing failed.
    #[error("the agent's journal {path} cannot be used")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Another agent has it.
    #[error("the folder {dir} is in use by another agent; stop it, or choose another folder")]
    InUse {
        /// The folder.
        dir: String,
    },
    /// The identity belongs to another cell and has work there.
    #[error("agent {agent} belongs to cell {cell} and knows {attempts} attempts; drain it there before it joins cell {wanted}")]
    OtherCell {
        /// Who.
        agent: AgentId,
        /// Its cell.
        cell: i32,
        /// Attempts that are not over, or not acknowledged.
        attempts: usize,
        /// The cell asked for.
        wanted: i32,
    },
}

/// The open file.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    file: File,
    bytes: u64,
    compact_at: u64,
    /// The same as the file: what a compaction writes.
    known: Recovered,
    _lock: File,
}

impl Journal {
    /// Opens the file of this folder, or makes it with a new agent id.
    pub fn open(dir: &Path, cell: i32) -> Result<(Self, Recovered), JournalError> {
        let failed = |source| JournalError::Io { path: dir.join(FILE).display().to_string(), source };
        fs::create_dir_all(dir).map_err(failed)?;
        let lock = File::options().append(true).create(true).mode(host::PRIVATE).open(dir.join("agent.lock")).map_err(failed)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| JournalError::InUse { dir: dir.display().to_string() })?;
        let home = host::home(dir).map_err(failed)?;
        let mut known = match read(&dir.join(FILE)).map_err(failed)? {
            Some(copied) if copied.home != home && !copied.home.is_empty() => copied.made_anew(dir, cell),
            Some(renounced) if renounced.renounced => renounced.made_anew(dir, cell),
            Some(known) if known.cell == cell => known,
            Some(Recovered { agent, cell: other, attempts, .. }) if !attempts.is_empty() => {
                return Err(JournalError::OtherCell { agent, cell: other, attempts: attempts.len(), wanted: cell });
            }
            _ => Recovered::new(new_agent_id(), cell),
        };
        known.home = home;
        let file = compact(dir, &known).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let this = Self { dir: dir.to_owned(), file, bytes, compact_at: COMPACT_BYTES.max(2 * bytes), known: known.clone(), _lock: lock };
        Ok((this, known))
    }

    /// Appends; with `sync` it returns when the lines (and all before them) are durable.
    pub fn append(&mut self, lines: &[Line], sync: bool) -> Result<(), JournalError> {
        self.try_append(lines, sync).map_err(|source| JournalError::Io { path: self.dir.join(FILE).display().to_string(), source })
    }

    fn try_append(&mut self, lines: &[Line], sync: bool) -> io::Result<()> {
        let mut text = Vec::new();
        for line in lines {
            write_line(&mut text, line);
            self.known.take(line.clone());
        }
        self.file.write_all(&text)?;
        self.bytes += text.len() as u64;
        if self.bytes > self.compact_at {
            self.file = compact(&self.dir, &self.known)?;
            self.bytes = self.file.metadata()?.len();
            self.compact_at = COMPACT_BYTES.max(2 * self.bytes);
        } else if sync {
            self.file.sync_data()?;
        }
        Ok(())
    }
}

impl Recovered {
    /// A new agent.
    pub fn new(agent: AgentId, cell: i32) -> Self {
        let (home, boot_id) = (String::new(), String::new());
        Self { agent, cell, home, counter: 0, boot_id, attempts: BTreeMap::new(), forgotten: VecDeque::new(), renounced: false }
    }

    /// The folder was copied or restored: whoever it was made for lives elsewhere, or will come back there. Two of one name would be
    /// given the same tasks.
    fn made_anew(self, dir: &Path, cell: i32) -> Self {
        let anew = Self::new(new_agent_id(), cell);
        tracing::error!(
            dir = %dir.display(), copied = %self.agent, agent = %anew.agent,
            "this folder, or that of another machine, is a copy of the other; here a new agent begins, which knows nothing of that one's tasks"
        );
        anew
    }

    /// What a line says.
    pub fn take(&mut self, line: Line) {
        match line {
            Line::Agent { id, cell, home } => (self.agent, self.cell, self.home) = (id, cell, home),
            Line::Session { counter, boot_id } => (self.counter, self.boot_id) = (counter, boot_id),
            Line::Renounced { .. } => self.renounced = true,
            Line::Launched { attempt } => {
                self.attempts.insert(attempt, None);
            }
            Line::Ended(ended) => {
                self.attempts.insert(ended.attempt.clone(), Some(ended));
            }
            Line::Returned { attempt } => {
                self.attempts.remove(&attempt);
            }
            Line::Forgotten { attempt } => {
                self.attempts.remove(&attempt);
                self.forgotten.push_back(attempt);
                if self.forgotten.len() > FORGOTTEN_MAX {
                    self.forgotten.pop_front();
                }
            }
        }
    }

    fn lines(&self) -> impl Iterator<Item = Line> {
        let agent = [Line::Agent { id: self.agent.clone(), cell: self.cell, home: self.home.clone() }];
        let session = [Line::Session { counter: self.counter, boot_id: self.boot_id.clone() }];
        let forgotten = self.forgotten.iter().map(|attempt| Line::Forgotten { attempt: attempt.clone() });
        let attempts = self.attempts.iter().map(|(attempt, ended)| match ended {
            Some(ended) => Line::Ended(ended.clone()),
            None => Line::Launched { attempt: attempt.clone() },
        });
        agent.into_iter().chain(session).chain(forgotten).chain(attempts)
    }
}

/// None if there is no file, or one without its first line: nothing was ever started from such a one.
fn read(path: &Path) -> io::Result<Option<Recovered>> {
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut found: Option<Recovered> = None;
    for line in content.split_inclusive(|byte| *byte == b'\n').map_while(parse_line) {
        match (&mut found, line) {
            (Some(known), line) => known.take(line),
            (none, Line::Agent { id, cell, home }) => *none = Some(Recovered { home, ..Recovered::new(id, cell) }),
            (None, _) => return Ok(None),
        }
    }
    Ok(found)
}

/// Writes a new file, takes it in place of the old one, and makes both steps durable.
fn compact(dir: &Path, known: &Recovered) -> io::Result<File> {
    let mut text = Vec::new();
    known.lines().for_each(|line| write_line(&mut text, &line));
    let temporary = dir.join(format!("{FILE}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(host::PRIVATE).open(&temporary)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(FILE))?;
    host::sync_folder(dir)?;
    OpenOptions::new().append(true).open(dir.join(FILE))
}

fn write_line(out: &mut Vec<u8>, line: &Line) {
    let json = serde_json::to_vec(line).expect("lines have only text keys");
    out.extend(format!("{:016x} ", checksum(&json)).into_bytes());
    out.extend(json);
    out.push(b'\n');
}

fn parse_line(line: &[u8]) -> Option<Line> {
    let (sum, rest) = line.split_at_checked(16)?;
    let json = rest.strip_prefix(b" ")?.strip_suffix(b"\n")?;
    let sum = u64::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    (sum == checksum(json)).then(|| serde_json::from_slice(json).ok())?
}

/// FNV-1a, 64 bits: enough to tell a torn line from a whole one.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// `hostname-<8 hexadecimal digits>`.
fn new_agent_id() -> AgentId {
    let id = format!("{}-{}", crate::host::name(), random_digits());
    AgentId::parse(&id).expect("a cleaned host name and hexadecimal digits are an id")
}

/// Eight hexadecimal digits, from the kernel's randomness.
pub(crate) fn random_digits() -> String {
    let mut random = [0; 4];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random));
    if read.is_err() {
        // Without it, time and process tell two agents of one host apart.
        random = (checksum(format!("{} {} {}", host::boot_id(), host::boot_ms(), std::process::id()).as_bytes()) as u32).to_be_bytes();
    }
    orrery_model::codec::hex(&random)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(name: &str) -> AttemptId {
        AttemptId::parse(name).unwrap()
    }

    #[test]
    fn a_torn_tail_is_left_out_and_the_rest_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, new) = Journal::open(dir.path(), 3).unwrap();
        journal.append(&[Line::Session { counter: 1, boot_id: "b".into() }, Line::Launched { attempt: attempt("a.1") }], true).unwrap();
        journal.append(&[Line::Launched { attempt: attempt("b.1") }, Line::Forgotten { attempt: attempt("a.1") }], true).unwrap();
        drop(journal);
        let whole = fs::read(dir.path().join(FILE)).unwrap();
        let mut last = None;
        for length in (0..=whole.len()).rev() {
            fs::write(dir.path().join(FILE), &whole[..length]).unwrap();
            let known = read(&dir.path().join(FILE)).unwrap();
            last.get_or_insert(known.clone());
            if let Some(known) = known {
                assert_eq!(known.agent, new.agent);
            }
        }
        let last = last.flatten().unwrap();
        assert_eq!((last.counter, last.attempts.len(), last.forgotten.len()), (1, 1, 1));
    }

    #[test]
    fn a_copy_of_a_folder_is_another_agent() {
        let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (mut journal, first) = Journal::open(dir.path(), 0).unwrap();
        journal.append(&[Line::Session { counter: 7, boot_id: "b".into() }, Line::Launched { attempt: attempt("a.1") }], true).unwrap();
        fs::copy(dir.path().join(FILE), copy.path().join(FILE)).unwrap();
        let (_second, other) = Journal::open(copy.path(), 0).unwrap();
        assert!(other.agent != first.agent && other.counter == 0 && other.attempts.is_empty(), "{other:?}");
        drop(journal);
        let moved = dir.path().with_extension("moved");
        fs::rename(dir.path(), &moved).unwrap();
        let (_journal, same) = Journal::open(&moved, 0).unwrap();
        assert_eq!((same.agent, same.counter, same.attempts.len()), (first.agent, 7, 1), "a folder that was moved is the same");
        fs::rename(moved, dir.path()).unwrap();
    }

    #[test]
    fn an_identity_that_was_given_up_is_another_agent_s() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, first) = Journal::open(dir.path(), 0).unwrap();
        journal.append(&[Line::Launched { attempt: attempt("a.1") }, Line::Renounced { reason: "run twice".into() }], true).unwrap();
        drop(journal);
        let (journal, other) = Journal::open(dir.path(), 0).unwrap();
        assert!(other.agent != first.agent && other.attempts.is_empty() && !other.renounced, "{other:?}");
        drop(journal);
        assert_eq!(Journal::open(dir.path(), 0).unwrap().1.agent, other.agent, "once");
    }

    #[test]
    fn the_identity_stays_and_its_cell_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, first) = Journal::open(dir.path(), 0).unwrap();
        assert!(matches!(Journal::open(dir.path(), 0), Err(JournalError::InUse { .. })));
        journal.append(&[Line::Launched { attempt: attempt("a.1") }], true).unwrap();
        drop(journal);
        assert!(matches!(Journal::open(dir.path(), 1), Err(JournalError::OtherCell { attempts: 1, .. })));
        let (mut journal, again) = Journal::open(dir.path(), 0).unwrap();
        assert_eq!(again.agent, first.agent);
        journal.append(&[Line::Forgotten { attempt: attempt("a.1") }], true).unwrap();
        drop(journal);
        let (_, moved) = Journal::open(dir.path(), 1).unwrap();
        assert_ne!(moved.agent, first.agent);
    }
}
