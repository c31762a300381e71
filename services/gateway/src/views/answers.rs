//! From an appended record to the decisions about it: whoever appended waits for the journal entry that names the record.

use super::Views;
use orrery_model::time::Timestamp;
use orrery_trigger::Decision;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Decisions kept for those who have appended but do not wait yet.
const RECENT: usize = 10_000;

/// What was decided on a record.
#[derive(Debug, Clone)]
pub struct Decided {
    /// Position behind the journal record: `Orrery-Position`.
    pub position: i64,
    /// When.
    pub at: Timestamp,
    /// All decisions of the entry.
    pub decisions: Vec<Decision>,
}

type Source = (String, u32, i64);

#[derive(Default)]
pub(super) struct Answers {
    expected: AtomicUsize,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    waiting: BTreeMap<Source, oneshot::Sender<Decided>>,
    recent: VecDeque<(Source, Decided)>,
}

impl Answers {
    /// From now on decisions are looked at, until the expectation ends.
    pub(super) fn begin(&self) {
        self.expected.fetch_add(1, Ordering::AcqRel);
    }

    /// True if anybody wants to know.
    pub(super) fn are_expected(&self) -> bool {
        self.expected.load(Ordering::Acquire) > 0
    }

    pub(super) fn decided(&self, source: Source, decided: Decided) {
        let mut found = self.lock();
        match found.waiting.remove(&source) {
            Some(waiter) => drop(waiter.send(decided)),
            None => {
                found.recent.push_back((source, decided));
                if found.recent.len() > RECENT {
                    found.recent.pop_front();
                }
            }
        }
    }

    fn end(&self) {
        if self.expected.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.lock().recent.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody's interest in the decision on a record.
pub struct Expectation {
    views: Arc<Views>,
}

impl Expectation {
    pub(super) fn new(views: Arc<Views>) -> Self {
        Self { views }
    }

    /// The decisions on the record at this place, once they are in the journal.
    pub async fn of(&self, topic: &str, partition: u32, offset: i64) -> Option<Decided> {
        let source = (topic.to_owned(), partition, offset);
        let answer = {
            let mut found = self.views.answers.lock();
            if let Some(at) = found.recent.iter().position(|(place, _)| *place == source) {
                return found.recent.remove(at).map(|(_, decided)| decided);
            }
            let (sender, receiver) = oneshot::channel();
            found.waiting.insert(source, sender);
            receiver
        };
        answer.await.ok()
    }
}

impl Drop for Expectation {
    fn drop(&mut self) {
        self.views.answers.lock().waiting.retain(|_, waiter| !waiter.is_closed());
        self.views.answers.end();
    }
}
