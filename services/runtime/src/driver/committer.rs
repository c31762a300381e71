//! Commits transactions on its own thread, one at a time, in order; the store follows each commit.

use super::{Lost, ShardConfig};
use crate::shard::Transaction;
use crate::store::Store;
use orrery_log::{Bell, Commit, Log, Writer, clock};
use orrery_model::topics::{Cleanup, DLQ_SUFFIX};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A commit slower than this is not clean: the writer is not used again (§1.3).
pub(super) const CLEAN_COMMIT: Duration = Duration::from_millis(250);
/// How long dead letters are kept.
const DLQ_MS: i64 = 30 * 86_400_000;

/// The committer's side that the shard's thread holds.
pub(super) struct Committer {
    work: Option<SyncSender<Transaction>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    failed: Mutex<Option<String>>,
    journal_end: AtomicI64,
}

struct Worker {
    log: Arc<dyn Log>,
    writer: Box<dyn Writer>,
    store: Store,
    service: &'static str,
    transactional_id: String,
    shared: Arc<Shared>,
    bell: Arc<Bell>,
}

impl Committer {
    pub(super) fn start(config: &ShardConfig, writer: Box<dyn Writer>, store: Store, service: &'static str, bell: Arc<Bell>) -> Self {
        let (work, transactions) = sync_channel::<Transaction>(1);
        let shared = Arc::new(Shared { failed: Mutex::new(None), journal_end: AtomicI64::new(-1) });
        let transactional_id = format!("{}{service}.{}", config.cluster.prefix, config.shard);
        let worker = Worker { log: config.log.clone(), writer, store, service, transactional_id, shared: shared.clone(), bell };
        let thread = std::thread::Builder::new()
            .name(format!("{service}-{}-commit", config.shard))
            .spawn(move || worker.run(&transactions))
            .expect("a process that runs a shard can start one more thread");
        Self { work: Some(work), shared, thread: Some(thread) }
    }

    /// Gives a transaction to the thread, waiting while one is under way and another waits.
    pub(super) fn hand_over(&mut self, transaction: Transaction) -> Result<(), Lost> {
        self.check()?;
        let Some(work) = &self.work else { return Err(Lost::Unclean("the committer has ended".into())) };
        match work.try_send(transaction) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(transaction)) => work.send(transaction).map_err(|_| self.why()),
            Err(TrySendError::Disconnected(_)) => Err(self.why()),
        }
    }

    /// An error if a commit has failed.
    pub(super) fn check(&self) -> Result<(), Lost> {
        let failed = self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.clone().map_or(Ok(()), |why| Err(Lost::Unclean(why)))
    }

    /// Waits until everything handed over is committed, and ends the thread's first life; used at both ends of an ownership.
    pub(super) fn settle(&mut self) -> Result<(), Lost> {
        let Some(work) = &self.work else { return self.check() };
        // Two empty transactions fill the queue behind the last real one; the second is taken only after that one is done.
        for _ in 0..2 {
            work.send(Transaction::nothing()).map_err(|_| self.why())?;
        }
        self.check()
    }

    /// The journal's end after the last commit, if there was one.
    pub(super) fn journal_end(&self) -> Option<i64> {
        Some(self.shared.journal_end.load(Ordering::Acquire)).filter(|end| *end >= 0)
    }

    fn why(&self) -> Lost {
        self.check().err().unwrap_or_else(|| Lost::Unclean("the committer has ended".into()))
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

impl Worker {
    fn run(mut self, transactions: &Receiver<Transaction>) {
        while let Ok(transaction) = transactions.recv() {
            if transaction.entries == 0 {
                continue;
            }
            if let Err(why) = self.commit(transaction) {
                *self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                self.bell.ring();
                return;
            }
        }
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), String> {
        for record in transaction.records.iter().filter(|r| r.topic.ends_with(DLQ_SUFFIX)) {
            let ensured = self.log.ensure_topic(&record.topic, record.partition + 1, Cleanup::DeleteAfterMs(DLQ_MS));
            ensured.map_err(|e| e.to_string())?;
        }
        let began = clock::monotonic();
        let committed = self.writer.commit(transaction.records).map_err(|e| e.to_string())?;
        let took = began.elapsed();
        metrics::histogram!("orrery_commit_seconds", "service" => self.service).record(took.as_secs_f64());
        let offsets = match committed {
            Commit::Committed(offsets) => offsets,
            Commit::Fenced => return Err("another owner has fenced this one".into()),
            Commit::Unknown(why) => return Err(format!("nobody knows whether it was committed ({why})")),
        };
        let head_offset = offsets[transaction.changelog.end - 1];
        self.store.write(&transaction.rows, head_offset).map_err(|e| e.to_string())?;
        self.shared.journal_end.store(offsets[transaction.changelog.start - 1] + 1, Ordering::Release);
        if took > CLEAN_COMMIT {
            self.renew_writer()?;
        }
        Ok(())
    }

    /// After a slow commit a late copy of it could hit the next transaction; a fence ends the old writer's chances (§1.3).
    /// The epoch in our rows stays: this member still owns the shard, and the fence showed that nobody else wrote.
    fn renew_writer(&mut self) -> Result<(), String> {
        tracing::debug!(service = self.service, "a slow commit: using a new writer");
        self.writer = self.log.fence(&self.transactional_id).map_err(|e| e.to_string())?;
        Ok(())
    }
}
