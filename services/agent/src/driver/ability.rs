//! Whether an agent can start tasks at present, for whoever answers for its process.

use std::sync::{Arc, Mutex, PoisonError};

/// Shared by an agent and those who ask.
#[derive(Debug, Clone, Default)]
pub struct Ability(Arc<Mutex<Option<String>>>);

impl Ability {
    /// Why the agent can start nothing: its supervisor does not answer, its disk is full; none while it can.
    pub fn lacking(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn is_lacking(&self, why: Option<&str>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_deref() != why {
            *known = why.map(str::to_owned);
        }
    }
}
