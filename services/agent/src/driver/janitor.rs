//! What finished attempts left, sandbox and output, is removed oldest first, beyond a number and a size. Each is measured once, when
//! its attempt ends.

use super::inbox::{Inbox, News};
use crate::core::Input;
use crate::host;
use orrery_model::id::AttemptId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// Finished sandboxes kept: a folder of 10,000 entries is still quick to list.
pub const SANDBOXES_MAX: usize = 10_000;
/// Their size together: 2 GiB of disk.
pub const SANDBOX_BYTES_MAX: u64 = 2 << 30;
/// Files of one sandbox that are measured; a task that writes more is measured by these.
const FILES_MAX: usize = 10_000;
/// Ends waiting to be measured; beyond it a sandbox waits for the next start of the agent.
const QUEUE_MAX: usize = 10_000;

/// What could not be removed is tried again when nothing has ended for so long.
const RETRY: Duration = Duration::from_secs(60);

/// The queue to the janitor's thread; dropping it ends the thread.
pub(super) struct Janitor {
    queue: Option<mpsc::SyncSender<AttemptId>>,
    thread: Option<JoinHandle<()>>,
}

impl Janitor {
    /// Begins with what all attempts below the agent's folder left, but these.
    pub(super) fn start(dir: PathBuf, live: BTreeSet<AttemptId>, inbox: &Arc<Inbox>) -> std::io::Result<Self> {
        let (queue, finished) = mpsc::sync_channel(QUEUE_MAX);
        let told = inbox.clone();
        let body = move || {
            let mut kept = Kept::default();
            let tell = |kept: &Kept| told.push(News::Input(Input::Unremovable(kept.stuck())));
            for name in by_age(&dir).into_iter().filter(|name| !live.contains(name)) {
                if kept.add(&dir, name) {
                    tell(&kept);
                }
            }
            loop {
                let has_changed = match finished.recv_timeout(RETRY) {
                    Ok(attempt) => kept.add(&dir, attempt),
                    Err(mpsc::RecvTimeoutError::Timeout) => kept.retry(&dir),
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                };
                if has_changed {
                    tell(&kept);
                }
            }
        };
        Ok(Self { queue: Some(queue), thread: Some(super::spawn_beside("agent-janitor", inbox, body)?) })
    }

    /// This attempt is over.
    pub(super) fn finished(&self, attempt: AttemptId) {
        if let Some(queue) = &self.queue
            && queue.try_send(attempt).is_err()
        {
            tracing::debug!("the janitor has too much to do; a sandbox stays until the agent's next start");
        }
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was reported by the panic hook.
            let _ = thread.join();
        }
    }
}

/// Finished sandboxes, oldest first.
#[derive(Default)]
struct Kept {
    sandboxes: VecDeque<(AttemptId, u64)>,
    bytes: u64,
    /// Those whose folders could not be removed. They count: what they hold is on the disk.
    stuck: BTreeMap<AttemptId, Stuck>,
}

/// What could not be removed.
struct Stuck {
    bytes: u64,
    /// The first file or folder that stands in the way, and the system's words.
    why: String,
}

impl Kept {
    /// One more; the oldest ones go. True if what is stuck has changed.
    fn add(&mut self, dir: &Path, attempt: AttemptId) -> bool {
        let bytes = measured(dir, &attempt);
        self.bytes = self.bytes.saturating_add(bytes);
        self.sandboxes.push_back((attempt, bytes));
        let mut has_changed = false;
        while self.sandboxes.len() + self.stuck.len() > SANDBOXES_MAX || self.bytes > SANDBOX_BYTES_MAX {
            let Some((oldest, bytes)) = self.sandboxes.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(bytes);
            has_changed |= self.remove(dir, oldest);
        }
        has_changed
    }

    /// Removes what an attempt left; what resists is told once, and counts from now on.
    fn remove(&mut self, dir: &Path, attempt: AttemptId) -> bool {
        match remove(dir, &attempt) {
            Ok(()) => false,
            Err(why) => {
                tracing::warn!(%attempt, %why, remedy = REMEDY, "what a finished attempt left cannot be removed; it counts as kept");
                let bytes = measured(dir, &attempt);
                self.bytes = self.bytes.saturating_add(bytes);
                self.stuck.insert(attempt, Stuck { bytes, why });
                true
            }
        }
    }

    /// Somebody may have mended it meanwhile. True if what is stuck has changed.
    fn retry(&mut self, dir: &Path) -> bool {
        let before = self.stuck.len();
        let bytes = &mut self.bytes;
        self.stuck.retain(|attempt, stuck| {
            let resists = remove(dir, attempt).is_err();
            if !resists {
                *bytes = bytes.saturating_sub(stuck.bytes);
            }
            resists
        });
        self.stuck.len() != before
    }

    /// How many, how much and the first of them, for the agent's attribute.
    fn stuck(&self) -> Option<String> {
        let (attempt, first) = self.stuck.first_key_value()?;
        let bytes = self.stuck.values().fold(0, |sum: u64, stuck| sum.saturating_add(stuck.bytes));
        let count = self.stuck.len();
        Some(format!("{count} finished sandboxes with {bytes} bytes cannot be removed; of {attempt}: {}; {REMEDY}", first.why))
    }
}

/// What helps where a folder cannot be removed.
const REMEDY: &str = "as root: unmount what is mounted in it (findmnt), chattr -R -i it, and remove it, or let the agent run as root";

/// Removes both folders of an attempt. Links inside are removed, not followed. The error names what stands in the way.
fn remove(dir: &Path, attempt: &AttemptId) -> Result<(), String> {
    for folder in folders(dir, attempt) {
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(format!("{}: {}", folder.display(), host::words(&error))),
            _ => {}
        }
    }
    Ok(())
}

fn measured(dir: &Path, attempt: &AttemptId) -> u64 {
    folders(dir, attempt).iter().fold(0, |sum: u64, folder| sum.saturating_add(size_of(folder)))
}

/// Where an attempt leaves something.
fn folders(dir: &Path, attempt: &AttemptId) -> [PathBuf; 2] {
    [crate::sandbox(dir, attempt), crate::output_folder(dir, attempt)]
}

/// Attempts that left something, by the time of its last change, oldest first.
fn by_age(dir: &Path) -> Vec<AttemptId> {
    let mut found: BTreeMap<AttemptId, SystemTime> = BTreeMap::new();
    for folder in [dir.join(crate::SANDBOXES), dir.join(crate::OUTPUTS)] {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for (attempt, changed) in entries.filter_map(left_by) {
            found.entry(attempt).and_modify(|latest| *latest = changed.max(*latest)).or_insert(changed);
        }
    }
    let mut found: Vec<_> = found.into_iter().map(|(attempt, changed)| (changed, attempt)).collect();
    found.sort();
    found.into_iter().map(|(_, attempt)| attempt).collect()
}

fn left_by(entry: io::Result<fs::DirEntry>) -> Option<(AttemptId, SystemTime)> {
    let entry = entry.ok()?;
    let attempt = AttemptId::parse(entry.file_name().to_str()?).ok()?;
    Some((attempt, entry.metadata().ok()?.modified().ok()?))
}

/// Disk space of what lies below, links not followed.
fn size_of(folder: &Path) -> u64 {
    let (mut bytes, mut files, mut folders) = (0, 0, vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            files += 1;
            if files > FILES_MAX {
                return bytes;
            }
            let Ok(meta) = entry.metadata() else { continue };
            bytes = u64::saturating_add(bytes, meta.blocks().saturating_mul(512));
            if meta.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn attempt(name: &str) -> AttemptId {
        AttemptId::parse(name).unwrap()
    }

    fn left(dir: &Path, name: &str, bytes: usize) -> PathBuf {
        let file = crate::sandbox(dir, &attempt(name)).join("file");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, vec![1; bytes]).unwrap();
        file
    }

    fn immutable(file: &Path, flag: &str) -> bool {
        Command::new("chattr").arg(flag).arg(file).output().is_ok_and(|done| done.status.success())
    }

    #[test]
    fn what_cannot_be_removed_counts_is_told_and_goes_when_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let file = left(dir.path(), "a.1", 9_000);
        if !immutable(&file, "+i") {
            return println!("skipped: chattr +i is not allowed here, or not by this file system");
        }
        let mut kept = Kept::default();
        assert!(!kept.add(dir.path(), attempt("a.1")));
        let bytes = kept.bytes;
        assert!(bytes >= 9_000);
        kept.sandboxes.clear();
        kept.bytes = 0;
        assert!(kept.remove(dir.path(), attempt("a.1")), "it is told");
        assert_eq!((kept.bytes, kept.stuck.len()), (bytes, 1), "it counts");
        let told = kept.stuck().unwrap();
        assert!(told.starts_with("1 finished sandboxes with") && told.contains("a.1: ") && told.contains("chattr -R -i"), "{told}");
        assert!(!kept.retry(dir.path()), "nothing has changed");
        assert!(immutable(&file, "-i"));
        assert!(kept.retry(dir.path()));
        assert_eq!((kept.bytes, kept.stuck(), file.exists()), (0, None, false));
    }
}
