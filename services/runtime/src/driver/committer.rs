//! Commits transactions on its own thread, one at a time, in order.

use super::snapshotting::Snapshotting;
use crate::committing::Committing;
use crate::owner::{Commits, Lost};
use crate::shard::Transaction;
use orrery_log::{Bell, Log, clock};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// The committer's side that the shard's thread holds.
pub(super) struct Committer {
    work: Option<SyncSender<Transaction>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// Rings when nothing is left to do, or nothing more is done.
    rested: Condvar,
    journal_end: AtomicI64,
}

#[derive(Default)]
struct State {
    /// Transactions handed over and not done.
    under_way: usize,
    /// Why nothing more is committed.
    failed: Option<Lost>,
    ended: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn done(&self) {
        let mut state = self.state();
        state.under_way -= 1;
        if state.under_way == 0 {
            self.rested.notify_all();
        }
    }
}

/// Whoever waits for a thread that has ended, even by a panic, is told.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.state().ended = true;
        self.0.rested.notify_all();
    }
}

impl Committer {
    pub(super) fn start(name: String, mut committing: Committing, log: Arc<dyn Log>, bell: Arc<Bell>) -> Self {
        let (work, transactions) = sync_channel::<Transaction>(1);
        let shared = Arc::new(Shared { state: Mutex::default(), rested: Condvar::new(), journal_end: AtomicI64::new(-1) });
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn({
                let ending = Ending(shared.clone());
                move || {
                    if let Err(why) = run(&mut committing, &log, &transactions, &ending.0) {
                        ending.0.state().failed = Some(why);
                        bell.ring();
                    }
                }
            })
            .expect("a process that runs a shard can start one more thread");
        Self { work: Some(work), shared, thread: Some(thread) }
    }

    /// Waits until everything handed over is committed.
    pub(super) fn settle(&self) -> Result<(), Lost> {
        let state = self.shared.state();
        let waited = self.shared.rested.wait_while(state, |state| state.under_way > 0 && !state.ended);
        drop(waited);
        self.check()
    }

    fn ended() -> Lost {
        Lost::Unclean("the committer has ended".into())
    }
}

fn run(committing: &mut Committing, log: &Arc<dyn Log>, transactions: &Receiver<Transaction>, shared: &Shared) -> Result<(), Lost> {
    let mut snapshotting: Option<Snapshotting> = None;
    while let Ok(transaction) = transactions.recv() {
        let began = clock::monotonic();
        let journal_end = committing.commit(transaction, &mut || began.elapsed())?;
        shared.journal_end.store(journal_end, Ordering::Release);
        committing.settle()?;
        if let Some(snapshot) = committing.take_snapshot() {
            snapshotting = Some(Snapshotting::start(log.clone(), snapshot));
        }
        shared.done();
    }
    drop(snapshotting);
    Ok(())
}

impl Commits for Committer {
    /// Waits while one transaction is under way and another waits.
    fn hand_over(&mut self, transaction: Transaction) -> Result<(), Lost> {
        self.check()?;
        let Some(work) = &self.work else { return Err(Self::ended()) };
        self.shared.state().under_way += 1;
        work.send(transaction).map_err(|_| self.check().err().unwrap_or_else(Self::ended))
    }

    fn check(&self) -> Result<(), Lost> {
        let state = self.shared.state();
        match &state.failed {
            Some(why) => Err(why.clone()),
            None if state.ended => Err(Self::ended()),
            None => Ok(()),
        }
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
