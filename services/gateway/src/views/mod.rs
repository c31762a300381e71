//! What the API shows: runs, jobs, agents and tasks, followed from the log; rebuilt from it at every start.

mod answers;
mod cells;
mod follow;
mod runs;
#[cfg(test)]
pub(crate) mod tests;

pub use answers::{Decided, Expectation};
pub use cells::CellView;
pub use follow::Follower;
pub use runs::{RUNS_SHOWN, RunFilter, RunPage, RunsView};

use answers::Answers;
use orrery_log::{Bell, Log, LogError, clock};
use orrery_model::id::JobName;
use orrery_model::messages::CatalogEntry;
use orrery_runtime::messages::Cluster;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// All views.
pub struct Views {
    state: RwLock<ViewState>,
    seen: watch::Sender<Seen>,
    answers: Answers,
    /// When the log was last read to its end.
    turned: Mutex<Instant>,
    stop: AtomicBool,
    bell: Arc<Bell>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What is shown.
#[derive(Default)]
pub struct ViewState {
    /// Runs.
    pub runs: RunsView,
    /// Accepted definitions.
    pub jobs: BTreeMap<JobName, CatalogEntry>,
    /// Agents and tasks, by cell.
    pub cells: BTreeMap<u32, CellView>,
}

/// How far the views have come: ends of the journals whose effects they show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Of `trigger.journal`.
    pub trigger: i64,
    /// Of `allocator.journal`.
    pub allocator: i64,
    /// True once all that was there at the start has been read.
    pub ready: bool,
}

/// How long a read waits for the position that it names (§10.1).
const POSITION_WAIT: Duration = Duration::from_secs(2);

impl Views {
    /// Empty views, and what follows the log into them: no thread, no waiting.
    pub fn begin(log: Arc<dyn Log>, cluster: Cluster) -> Result<(Arc<Self>, Follower), LogError> {
        let views = Arc::new(Self {
            state: RwLock::default(),
            seen: watch::Sender::new(Seen::default()),
            answers: Answers::default(),
            turned: Mutex::new(clock::monotonic()),
            stop: AtomicBool::new(false),
            bell: follow::bell(&log, &cluster),
            thread: Mutex::new(None),
        });
        Ok((views, Follower::new(log, cluster)?))
    }

    /// Starts to follow the log on a thread of its own.
    pub fn follow(log: Arc<dyn Log>, cluster: Cluster) -> Result<Arc<Self>, LogError> {
        let (views, mut follower) = Self::begin(log, cluster)?;
        let (shared, bell) = (views.clone(), views.bell.clone());
        let body = move || {
            while !shared.stop.load(Ordering::Acquire) {
                let turned = follower.turn(&shared);
                if turned.is_ok() {
                    *shared.turned.lock().unwrap_or_else(PoisonError::into_inner) = clock::monotonic();
                }
                match turned {
                    Ok(true) => {}
                    Ok(false) => drop(bell.wait(Duration::from_secs(1))),
                    Err(error) => {
                        tracing::error!(%error, "the views cannot follow the log");
                        bell.wait(Duration::from_secs(1));
                    }
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("views".into())
            .spawn(body)
            .map_err(|e| LogError::Poisoned { why: format!("no thread for the views: {e}") })?;
        *views.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(views)
    }

    /// The views, to look at.
    pub fn read(&self) -> RwLockReadGuard<'_, ViewState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far they have come.
    pub fn seen(&self) -> Seen {
        *self.seen.borrow()
    }

    /// How long they have not come to the log's end: a second or so, where they can.
    pub fn silent_for(&self) -> Duration {
        self.turned.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// To wait for more.
    pub fn changes(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// Waits until the trigger journal's `position` is shown; false if it takes too long.
    pub async fn wait_for(&self, position: i64) -> bool {
        let mut changes = self.seen.subscribe();
        let reached = changes.wait_for(|seen| seen.trigger >= position);
        tokio::time::timeout(POSITION_WAIT, reached).await.is_ok()
    }

    /// Announces that a record is about to be appended whose decision is of interest.
    pub fn expect(self: &Arc<Self>) -> Expectation {
        self.answers.begin();
        Expectation::new(self.clone())
    }

    /// True if nothing follows the log any more, though nobody has asked for that.
    pub fn has_ended(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().is_some_and(JoinHandle::is_finished) && !self.stop.load(Ordering::Acquire)
    }

    /// Ends the thread.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.bell.ring();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ended = thread.join();
        }
    }
}
