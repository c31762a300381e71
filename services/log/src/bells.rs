//! Who wants to be woken for which topics.

use crate::Bell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Bells by topic name, held weakly; those that are gone are cleared away when their topic is next asked for or rung.
#[derive(Debug, Default)]
pub struct Bells(Mutex<BTreeMap<String, Vec<Weak<Bell>>>>);

impl Bells {
    /// Rings this bell from now on for this topic.
    pub fn add(&self, topic: &str, bell: &Arc<Bell>) {
        let mut topics = self.lock();
        let bells = topics.entry(topic.to_owned()).or_default();
        bells.retain(|known| known.strong_count() > 0);
        let bell = Arc::downgrade(bell);
        if !bells.iter().any(|known| known.ptr_eq(&bell)) {
            bells.push(bell);
        }
    }

    /// Rings the bells of a topic.
    pub fn ring(&self, topic: &str) {
        if let Some(bells) = self.lock().get_mut(topic) {
            ring_living(bells);
        }
    }

    /// Rings all: the log has failed, and whoever waits for records should learn it.
    pub fn ring_all(&self) {
        self.lock().values_mut().for_each(ring_living);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Weak<Bell>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ring_living(bells: &mut Vec<Weak<Bell>>) {
    bells.retain(|bell| bell.upgrade().inspect(|bell| bell.ring()).is_some());
}
