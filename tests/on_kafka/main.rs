//! Everything on real brokers: the log's conformance, the whole system through ordinary clients, and what becomes of it when its
//! parts are killed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod client;
mod conformance;
mod copied;
mod failures;
mod hostile;
mod ordinary_clients;
mod user_topics;
mod whole;
mod world;

use orrery_tests::kafka::Kafka;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// How often something is done that is done `count` times in CI: `make soak` says ORRERY_SOAK=10.
#[expect(clippy::disallowed_methods, reason = "a test that people can lengthen")]
fn times(count: usize) -> usize {
    count * std::env::var("ORRERY_SOAK").ok().and_then(|factor| factor.parse::<usize>().ok()).unwrap_or(1)
}

/// One broker for all tests that run at a time; the last one to end stops it.
fn broker() -> Arc<Kafka> {
    static SHARED: Mutex<Weak<Kafka>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let kafka = Arc::new(Kafka::start(1));
        *shared = Arc::downgrade(&kafka);
        kafka
    })
}
