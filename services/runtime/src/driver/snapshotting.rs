//! Writes a snapshot on a thread of its own, beside the loop (§9.6).

use crate::snapshots::Snapshot;
use orrery_log::Log;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A snapshot that is being written. Dropped before its end it is torn, and readers leave it out.
pub(super) struct Snapshotting {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Snapshotting {
    /// Without a thread there is no snapshot: the next one is due later.
    pub(super) fn start(log: Arc<dyn Log>, snapshot: Snapshot) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let write = move || {
            if let Err(error) = write(&*log, snapshot, &stopped) {
                tracing::warn!(error, "a snapshot was not written to its end");
            }
        };
        let thread = std::thread::Builder::new().name("snapshot".into()).spawn(write);
        Self { stop, thread: thread.inspect_err(|error| tracing::warn!(%error, "no thread for a snapshot")).ok() }
    }
}

fn write(log: &dyn Log, mut snapshot: Snapshot, stop: &AtomicBool) -> Result<(), Box<dyn Error>> {
    while let Some(record) = snapshot.next_record()? {
        log.append(vec![record])?;
        if stop.load(Ordering::Acquire) {
            return Err("its owner has ended".into());
        }
    }
    Ok(())
}

impl Drop for Snapshotting {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}
