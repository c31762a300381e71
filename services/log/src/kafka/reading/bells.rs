//! Who wants to be woken for which topics. Records ring as they are fetched; topics that are not there yet are looked for.

use super::Topics;
use crate::{Bell, bells};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Between two looks for topics that are missing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(in super::super) struct Bells {
    bells: bells::Bells,
    /// Topics that somebody waits for and nobody has seen.
    unseen: Mutex<BTreeSet<String>>,
    wake: Bell,
    stopped: AtomicBool,
}

impl Bells {
    pub(super) fn start(topics: Arc<Topics>) -> Arc<Self> {
        let bells =
            Self { bells: bells::Bells::default(), unseen: Mutex::default(), wake: Bell::default(), stopped: AtomicBool::new(false) };
        let bells = Arc::new(bells);
        let watched = bells.clone();
        let watch = move || watched.watch(&topics);
        if let Err(error) = std::thread::Builder::new().name("kafka-topics".into()).spawn(watch) {
            tracing::warn!(%error, "no thread to look for new topics");
        }
        bells
    }

    pub(in super::super) fn add(&self, topic: &str, bell: &Arc<Bell>) {
        self.bells.add(topic, bell);
        self.unseen().insert(topic.to_owned());
        self.wake.ring();
    }

    pub(in super::super) fn ring(&self, topic: &str) {
        self.bells.ring(topic);
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake.ring();
    }

    fn watch(&self, topics: &Topics) {
        while !self.stopped.load(Ordering::Acquire) {
            let unseen: Vec<String> = self.unseen().iter().cloned().collect();
            if unseen.is_empty() {
                // Whoever adds a topic rings.
                self.wake.wait(LOOK_EVERY * 60);
                continue;
            }
            let mut waits = false;
            for topic in unseen {
                match topics.is_there(&topic) {
                    Ok(true) => {
                        self.unseen().remove(&topic);
                        self.ring(&topic);
                    }
                    Ok(false) | Err(_) => waits = true,
                }
            }
            if waits {
                self.wake.wait(LOOK_EVERY);
            }
        }
    }

    fn unseen(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.unseen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
