//! What other threads have for the loop, and the bell that wakes it: the log's own, so that one wait covers everything.

use crate::core::Input;
use orrery_log::Bell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// News for the loop.
#[derive(Debug)]
pub(super) enum News {
    /// An input for the core.
    Input(Input),
    /// Events of the supervisor's connection of this number.
    Events(u64, Vec<crate::wire::Event>),
    /// The connection of this number is over.
    Disconnected(u64),
    /// The thread of this name is missing from now on.
    Panicked(&'static str),
}

/// Bounded by what the loop itself has asked for: two appends under way, and at most three events per attempt that it started
/// (25,000 for all known attempts).
#[derive(Debug)]
pub(super) struct Inbox {
    bell: Arc<Bell>,
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    news: Vec<News>,
    stopped: bool,
}

impl Inbox {
    pub(super) fn new(bell: Arc<Bell>) -> Self {
        Self { bell, content: Mutex::default() }
    }

    pub(super) fn push(&self, news: News) {
        self.content.lock().unwrap_or_else(PoisonError::into_inner).news.push(news);
        self.bell.ring();
    }

    pub(super) fn stop(&self) {
        self.content.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        self.bell.ring();
    }

    /// All news, and whether to stop.
    pub(super) fn take(&self) -> (Vec<News>, bool) {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut content.news), content.stopped)
    }

    pub(super) fn wait(&self, at_most: Duration) {
        self.bell.wait(at_most);
    }
}
