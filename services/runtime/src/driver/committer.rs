//! Commits transactions on its own thread, one at a time, in order.

use super::snapshotting::Snapshotting;
use crate::committing::Committing;
use crate::owner::{Commits, Lost};
use crate::shard::Transaction;
use orrery_log::{Bell, Log, clock};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

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
}

impl Committer {
    pub(super) fn start(name: String, mut committing: Committing, log: Arc<dyn Log>, bell: Arc<Bell>) -> Self {
        let (work, transactions) = sync_channel::<Transaction>(1);
        let shared = Arc::new(Shared { failed: Mutex::new(None), journal_end: AtomicI64::new(-1) });
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn({
                let shared = shared.clone();
                move || {
                    if let Err(why) = run(&mut committing, &log, &transactions, &shared) {
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

fn run(committing: &mut Committing, log: &Arc<dyn Log>, transactions: &Receiver<Transaction>, shared: &Shared) -> Result<(), Lost> {
    let mut snapshotting: Option<Snapshotting> = None;
    while let Ok(transaction) = transactions.recv() {
        if transaction.entries > 0 {
            let began = clock::monotonic();
            let journal_end = committing.commit(transaction, &mut || began.elapsed())?;
            shared.journal_end.store(journal_end, Ordering::Release);
            committing.settle()?;
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
