//! Commits transactions on its own thread, one at a time, in order; the store follows each commit.

use super::{Lost, ShardConfig};
use crate::shard::Transaction;
use crate::store::Store;
use orrery_log::{Bell, Commit, Log, LogError, TopicPartition, Writer, clock};
use orrery_model::record::NewRecord;
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

/// Why nothing more is committed.
#[derive(Debug, Clone)]
enum Failure {
    Fenced,
    Unclean(String),
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self::Unclean(error.to_string())
    }
}

struct Shared {
    failed: Mutex<Option<Failure>>,
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
        match failed.clone() {
            None => Ok(()),
            Some(Failure::Fenced) => Err(Lost::Fenced),
            Some(Failure::Unclean(why)) => Err(Lost::Unclean(why)),
        }
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

    fn commit(&mut self, mut transaction: Transaction) -> Result<(), Failure> {
        self.place_dead_letters(&mut transaction.records)?;
        let parts = [&transaction.records[transaction.changelog.start - 1], &transaction.records[transaction.changelog.end - 1]];
        let places = parts.map(|record| TopicPartition::new(&record.topic, record.partition));
        let began = clock::monotonic();
        let committed = self.writer.commit(transaction.records)?;
        let took = began.elapsed();
        metrics::histogram!("orrery_commit_seconds", "service" => self.service).record(took.as_secs_f64());
        let offsets = match committed {
            Commit::Committed(offsets) => offsets,
            Commit::Fenced => return Err(Failure::Fenced),
            Commit::Unknown(why) => return Err(Failure::Unclean(format!("nobody knows whether it was committed ({why})"))),
        };
        metrics::counter!("orrery_entries_total", "service" => self.service).increment(transaction.entries as u64);
        let (journal_end, head_offset) = (offsets[transaction.changelog.start - 1] + 1, offsets[transaction.changelog.end - 1]);
        self.store.write(&transaction.rows, head_offset).map_err(|e| Failure::Unclean(e.to_string()))?;
        self.shared.journal_end.store(journal_end, Ordering::Release);
        if took > CLEAN_COMMIT {
            self.renew_writer(&places, [journal_end, head_offset + 1])?;
        }
        Ok(())
    }

    /// Gives dead letters a topic with as many partitions as theirs has; in one that is there already, a partition that it has.
    fn place_dead_letters(&self, records: &mut [NewRecord]) -> Result<(), LogError> {
        for record in records.iter_mut() {
            let Some(of) = record.topic.strip_suffix(DLQ_SUFFIX) else { continue };
            let topic = match self.log.topic(&record.topic)? {
                Some(topic) => topic,
                None => {
                    let partitions = self.log.topic(of)?.map_or(record.partition + 1, |topic| topic.partitions);
                    self.log.ensure_topic(&record.topic, partitions, Cleanup::DeleteAfterMs(DLQ_MS))?
                }
            };
            record.partition %= topic.partitions;
        }
        Ok(())
    }

    /// After a slow commit a late copy of it could hit the next transaction; a fence ends the old writer's chances (§1.3).
    /// Another owner may have fenced, written and been fenced by this meanwhile: then journal or changelog end elsewhere than at
    /// `ends`, this owner's last commit, and its memory is stale (§1.2).
    fn renew_writer(&mut self, places: &[TopicPartition; 2], ends: [i64; 2]) -> Result<(), Failure> {
        tracing::debug!(service = self.service, "a slow commit: using a new writer");
        self.writer = self.log.fence(&self.transactional_id)?;
        for (place, end) in places.iter().zip(ends) {
            if self.log.end_offset(place)? != end {
                return Err(Failure::Fenced);
            }
        }
        Ok(())
    }
}
