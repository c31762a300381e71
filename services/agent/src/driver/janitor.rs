//! Finished sandboxes are removed oldest first, beyond a number and a size. Each is measured once, when its attempt ends.

use orrery_model::id::AttemptId;
use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
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
    /// Begins with all sandboxes but those of these attempts.
    pub(super) fn start(sandboxes: PathBuf, live: BTreeSet<AttemptId>) -> std::io::Result<Self> {
        let (queue, finished) = mpsc::sync_channel(QUEUE_MAX);
        let body = move || {
            let mut kept = Kept::default();
            for name in by_age(&sandboxes).into_iter().filter(|name| !live.contains(name)) {
                kept.add(&sandboxes, name);
            }
            for attempt in finished {
                kept.add(&sandboxes, attempt);
            }
        };
        Ok(Self { queue: Some(queue), thread: Some(super::spawn("agent-janitor", body)?) })
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
    fn add(&mut self, folder: &Path, attempt: AttemptId) {
        let bytes = size_of(&folder.join(attempt.as_str()));
        self.bytes += bytes;
        self.sandboxes.push_back((attempt, bytes));
        while self.sandboxes.len() > SANDBOXES_MAX || self.bytes > SANDBOX_BYTES_MAX {
            let Some((oldest, bytes)) = self.sandboxes.pop_front() else { return };
            self.bytes -= bytes;
            // Links inside are removed, not followed. What cannot be removed is found again at the next start.
            let _ = fs::remove_dir_all(folder.join(oldest.as_str()));
        }
    }
}

/// Sandboxes by the time of their last change, oldest first.
fn by_age(folder: &Path) -> Vec<AttemptId> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<(SystemTime, AttemptId)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let attempt = AttemptId::parse(entry.file_name().to_str()?).ok()?;
            Some((entry.metadata().ok()?.modified().ok()?, attempt))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, attempt)| attempt).collect()
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
            bytes += meta.blocks() * 512;
            if meta.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    bytes
}
