//! What finished attempts left, sandbox and output, is removed oldest first, beyond a number and a size. Each is measured once, when
//! its attempt ends.

use super::inbox::Inbox;
use orrery_model::id::AttemptId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::SystemTime;

/// Finished sandboxes kept: a folder of 10,000 entries is still quick to list.
pub const SANDBOXES_MAX: usize = 10_000;
/// Their size together: 2 GiB of disk.
pub const SANDBOX_BYTES_MAX: u64 = 2 << 30;
/// Files of one sandbox that are measured; a task that writes more is measured by these.
const FILES_MAX: usize = 10_000;
/// Ends waiting to be measured; beyond it a sandbox waits for the next start of the agent.
const QUEUE_MAX: usize = 10_000;

/// The queue to the janitor's thread; dropping it ends the thread.
pub(super) struct Janitor {
    queue: Option<mpsc::SyncSender<AttemptId>>,
    thread: Option<JoinHandle<()>>,
}

impl Janitor {
    /// Begins with what all attempts below the agent's folder left, but these.
    pub(super) fn start(dir: PathBuf, live: BTreeSet<AttemptId>, inbox: &Arc<Inbox>) -> std::io::Result<Self> {
        let (queue, finished) = mpsc::sync_channel(QUEUE_MAX);
        let body = move || {
            let mut kept = Kept::default();
            for name in by_age(&dir).into_iter().filter(|name| !live.contains(name)) {
                kept.add(&dir, name);
            }
            for attempt in finished {
                kept.add(&dir, attempt);
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
}

impl Kept {
    fn add(&mut self, dir: &Path, attempt: AttemptId) {
        let bytes = folders(dir, &attempt).iter().fold(0, |sum: u64, folder| sum.saturating_add(size_of(folder)));
        self.bytes = self.bytes.saturating_add(bytes);
        self.sandboxes.push_back((attempt, bytes));
        while self.sandboxes.len() > SANDBOXES_MAX || self.bytes > SANDBOX_BYTES_MAX {
            let Some((oldest, bytes)) = self.sandboxes.pop_front() else { return };
            self.bytes = self.bytes.saturating_sub(bytes);
            // Links inside are removed, not followed. What cannot be removed is found again at the next start.
            for folder in folders(dir, &oldest) {
                let _ = fs::remove_dir_all(folder);
            }
        }
    }
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
