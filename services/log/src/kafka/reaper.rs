//! Clients are dropped on a thread of their own: the library closes them without a deadline, and an owner that was fenced, or a
//! member whose broker is gone, must not wait for that.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};

type Anything = Box<dyn Send>;

static REAPER: OnceLock<Mutex<Sender<Anything>>> = OnceLock::new();

/// Drops a client elsewhere.
pub(super) fn reap(client: impl Send + 'static) {
    let reaper = REAPER.get_or_init(|| {
        let (dead, taken) = channel::<Anything>();
        // One thread for each client: one that does not end must not keep the others.
        let reap = move || {
            for client in taken {
                let dropping = std::thread::Builder::new().name("kafka-reaper".into()).spawn(move || drop(client));
                if let Err(error) = dropping {
                    tracing::warn!(%error, "no thread to close a client; it was closed in line");
                }
            }
        };
        std::thread::Builder::new().name("kafka-reaper".into()).spawn(reap).expect("a process that speaks to Kafka can start a thread");
        Mutex::new(dead)
    });
    let _never_gone = reaper.lock().unwrap_or_else(PoisonError::into_inner).send(Box::new(client));
}

/// A client that is dropped by the reaper.
pub(super) struct Reaped<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Reaped<T> {
    pub(super) const fn new(client: T) -> Self {
        Self(Some(client))
    }
}

impl<T: Send + 'static> std::ops::Deref for Reaped<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is taken only when dropped")
    }
}

impl<T: Send + 'static> Drop for Reaped<T> {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            reap(client);
        }
    }
}
