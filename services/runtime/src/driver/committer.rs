//! Commits transactions on its own thread, one at a time, in order.

use super::snapshotting::Snapshotting;
use crate::committing::Committing;
use crate::owner::{Commits, Lost};
use crate::shard::Transaction;
use orrery_log::{Bell, Log, clock};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Faster commits are not waited for: a step is made while one is under way (§10.3).
const QUICK: Duration = Duration::from_millis(2);

/// The committer's side that the shard's thread holds.
pub(super) struct Committer {
    work: Option<SyncSender<Transaction>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// Why nothing more is committed.
    failed: Mutex<Option<Lost>>,
    journal_end: AtomicI64,
    pace: Mutex<Pace>,
}

/// How fast commits are, and where the one under way stands.
#[derive(Default)]
struct Pace {
    began: Option<Instant>,
    took: Duration,
    waiting: usize,
}

impl Pace {
    /// How long to wait before the next step, which takes `step`.
    fn room_in(&self, step: Duration) -> Duration {
        match self.began {
            _ if self.waiting > 0 => self.took.max(QUICK),
            Some(began) if self.took > QUICK => self.took.saturating_sub(step).saturating_sub(began.elapsed()),
            _ => Duration::ZERO,
        }
    }
}

impl Committer {
    /// Zero when a step is to be made now. While a commit is under way that takes longer than a step, what arrives is left for one
    /// step that ends as the commit does: made at once, it would wait, and whatever comes behind it would wait for two commits.
    pub(super) fn room_in(&self, step: Duration) -> Duration {
        self.shared.pace().room_in(step)
    }

    pub(super) fn start(name: String, mut committing: Committing, log: Arc<dyn Log>, bell: Arc<Bell>) -> Self {
        let (work, transactions) = sync_channel::<Transaction>(1);
        let shared = Arc::new(Shared { failed: Mutex::new(None), journal_end: AtomicI64::new(-1), pace: Mutex::default() });
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn({
                let shared = shared.clone();
                move || {
                    if let Err(why) = run(&mut committing, &log, &transactions, &shared, &bell) {
                        *shared.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                        bell.ring();
                    }
                }
            })
            .expect("a process that runs a shard can start one more thread");
        Self { work: Some(work), shared, thread: Some(thread) }
    }

    /// Waits until everything handed over is committed; used at both ends of an ownership.
    pub(super) fn settle(&mut self) -> Result<(), Lost> {
        let Some(work) = &self.work else { return self.check() };
        // Two empty transactions fill the queue behind the last real one; the second is taken only after that one is done.
        for _ in 0..2 {
            work.send(Transaction::nothing()).map_err(|_| self.why())?;
        }
        self.check()
    }

    fn why(&self) -> Lost {
        self.check().err().unwrap_or_else(|| Lost::Unclean("the committer has ended".into()))
    }
}

impl Shared {
    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(
    committing: &mut Committing,
    log: &Arc<dyn Log>,
    transactions: &Receiver<Transaction>,
    shared: &Shared,
    bell: &Bell,
) -> Result<(), Lost> {
    let mut snapshotting: Option<Snapshotting> = None;
    while let Ok(transaction) = transactions.recv() {
        if transaction.entries > 0 {
            let began = clock::monotonic();
            let quick = {
                let mut pace = shared.pace();
                (pace.began, pace.waiting) = (Some(began), pace.waiting - 1);
                pace.took <= QUICK
            };
            let journal_end = committing.commit(transaction, &mut || began.elapsed())?;
            shared.journal_end.store(journal_end, Ordering::Release);
            committing.settle()?;
            let took = began.elapsed();
            {
                let mut pace = shared.pace();
                (pace.began, pace.took) = (None, took);
            }
            if !quick || took > QUICK {
                bell.ring();
            }
            if let Some(snapshot) = committing.take_snapshot() {
                snapshotting = Some(Snapshotting::start(log.clone(), snapshot));
            }
        }
    }
    drop(snapshotting);
    Ok(())
}

impl Commits for Committer {
    /// Waits while one transaction is under way and another waits.
    fn hand_over(&mut self, transaction: Transaction) -> Result<(), Lost> {
        self.check()?;
        let Some(work) = &self.work else { return Err(self.why()) };
        self.shared.pace().waiting += 1;
        match work.try_send(transaction) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(transaction)) => work.send(transaction).map_err(|_| self.why()),
            Err(TrySendError::Disconnected(_)) => Err(self.why()),
        }
    }

    fn check(&self) -> Result<(), Lost> {
        self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    fn journal_end(&self) -> Option<i64> {
        Some(self.shared.journal_end.load(Ordering::Acquire)).filter(|end| *end >= 0)
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}
