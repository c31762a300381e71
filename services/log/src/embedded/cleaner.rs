//! The thread that cleans from time to time, and ends with its log. It verifies, too: what is new each time it cleans, and what was
//! verified before when it begins, and then once a day, slowly.

use super::verified::Verified;
use super::{CleanReport, EmbeddedLog, Inner};
use crate::{Bell, LogError, clock};
use orrery_model::time::Timestamp;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two pieces of 1 MiB that are compared: less than 200 MB a second, so that commits have the disk.
const PIECE_EVERY: Duration = Duration::from_millis(5);
/// Between two comparisons of everything.
const VERIFY_EVERY: Duration = Duration::from_secs(86_400);

/// Handle of the cleaning thread; it may be dropped.
pub type Cleaner = JoinHandle<()>;

impl EmbeddedLog {
    /// Deletes what its topics' cleanup no longer keeps at this time. Called in turns: a second caller waits for the first.
    pub fn clean(&self, now: Timestamp) -> Result<CleanReport, LogError> {
        self.inner.clean(now)
    }

    /// Cleans every so often, on a thread of its own that ends when the log is dropped or has failed.
    pub fn spawn_cleaner(self: &Arc<Self>, every: Duration) -> std::io::Result<Cleaner> {
        let (log, dropped) = (Arc::downgrade(self), Arc::clone(&self.dropped));
        std::thread::Builder::new().name("log-cleaner".into()).spawn(move || {
            let mut verifies = clock::monotonic();
            loop {
                if clock::monotonic() >= verifies {
                    verifies += VERIFY_EVERY;
                    if has_ended_while_it_verified(&log, &dropped) {
                        return;
                    }
                }
                if dropped.wait(every) || !clean_once(&log) {
                    return;
                }
            }
        })
    }
}

/// True if the log was dropped meanwhile.
fn has_ended_while_it_verified(log: &Weak<EmbeddedLog>, dropped: &Bell) -> bool {
    // Not the log itself: it is to be dropped by those who use it.
    let Some(inner) = log.upgrade().map(|log| Arc::clone(&log.inner)) else { return true };
    let mut ended = false;
    let verified = inner.verify(&mut || {
        ended = dropped.wait(PIECE_EVERY);
        !ended
    });
    if let Err(error) = verified {
        tracing::error!(%error, "damage was found");
    }
    ended
}

impl Inner {
    /// Compares the tables that were verified before; `go_on` is asked before each piece.
    pub(super) fn verify(&self, go_on: &mut dyn FnMut() -> bool) -> Result<(), LogError> {
        self.writable()?;
        for table in self.store.tables()? {
            if !go_on() {
                break;
            }
            let compared = self.verified().compare(&self.store, &table, go_on);
            compared.map_err(|error| self.damaged(error))?;
        }
        Ok(())
    }

    /// Reads what is new, and syncs the witness.
    fn keep_evidence(&self) -> Result<(), LogError> {
        let witness = self.ledger()?.witness.clone();
        if let Some(Err(error)) = witness.map(|witness| witness.sync()) {
            tracing::warn!(%error, "the witness of the log's ends was not synced");
        }
        if self.damage.get().is_some() {
            return Ok(());
        }
        let taken = self.verified().take_new(&self.store);
        taken.map_err(|error| self.damaged(error))
    }

    /// What is wrong, if damage was found.
    pub(super) fn trouble(&self) -> Option<String> {
        self.damage.get().cloned().or_else(|| self.clock_trouble())
    }

    /// By which time to clean: not by a clock that is ahead of everything that was appended. None while the clock is not believed, or
    /// nothing more can be written.
    fn cleans_at(&self) -> Option<Timestamp> {
        let now = self.wall();
        if self.clock_trouble().is_some() {
            return None;
        }
        Some(self.ledger().ok()?.appended.min(now))
    }

    /// Damage that was found is told from now on, the first one. The next opening reads everything.
    pub(super) fn damaged(&self, error: LogError) -> LogError {
        let is_new = matches!(error, LogError::Damaged { .. }) && self.damage.set(error.to_string()).is_ok();
        if is_new {
            self.forget_verified();
        }
        error
    }

    /// The next opening reads everything.
    pub(super) fn forget_verified(&self) {
        if let Err(error) = self.verified().forget() {
            tracing::warn!(%error, "what was verified is not forgotten");
        }
    }

    fn verified(&self) -> MutexGuard<'_, Verified> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// False if there is nothing more to do.
fn clean_once(log: &Weak<EmbeddedLog>) -> bool {
    let Some(log) = log.upgrade() else { return false };
    if let Err(error) = log.inner.keep_evidence() {
        tracing::error!(%error, "the log was not verified");
    }
    let Some(now) = log.inner.cleans_at() else { return log.inner.clock_trouble().is_some() };
    match log.clean(now) {
        Ok(report) if report == CleanReport::default() => true,
        Ok(report) => {
            tracing::debug!(report.starts_moved, report.compacted, report.records_removed, "the log was cleaned");
            true
        }
        Err(error) => {
            tracing::warn!(%error, "the log was not cleaned");
            !matches!(error, LogError::Poisoned { .. } | LogError::ReadOnly)
        }
    }
}
