//! A wall clock that steps ahead, under a shard on the embedded log: followed at once, or held.

use crate::counting::{Counting, Decision, Input};
use crate::fixture::Fixture;
use crate::joins;
use orrery_log::clock;
use orrery_log::embedded::{Clocks, EmbeddedOptions, Machine};
use orrery_model::decider::Decider;
use orrery_model::journal::Observation;
use orrery_model::time::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};
use std::time::Duration;

const MINUTE_MS: i64 = 60_000;

/// The machine's clocks, the wall clock off by so many milliseconds.
#[derive(Debug, Default)]
struct Off {
    ms: AtomicI64,
    synchronised: AtomicBool,
}

impl Clocks for Off {
    fn wall(&self) -> Timestamp {
        clock::wall().plus_ms(self.ms.load(SeqCst))
    }
    fn since_boot(&self) -> Duration {
        Machine.since_boot()
    }
    fn boot_id(&self) -> String {
        Machine.boot_id()
    }
    fn is_synchronised(&self) -> bool {
        self.synchronised.load(SeqCst)
    }
}

fn fixture() -> (Fixture, Arc<Off>) {
    let off = Arc::new(Off::default());
    (Fixture::with_options(1, EmbeddedOptions { clocks: off.clone(), ..EmbeddedOptions::default() }), off)
}

/// The steps that the shard was told of.
fn steps(fixture: &Fixture) -> Vec<(Timestamp, Timestamp, Timestamp)> {
    let step = |entry: orrery_model::journal::Entry<Input, Decision>| match Counting::observation(&entry.input) {
        Some(Observation::ClockStepped { from, to }) => Some((entry.at, *from, *to)),
        _ => None,
    };
    fixture.entries(0).into_iter().filter_map(step).collect()
}

#[test]
fn a_step_of_ten_minutes_is_told_and_followed_at_once() {
    let (fixture, off) = fixture();
    fixture.add(0, &["1"]);
    let shard = fixture.start(0);
    fixture.wait_total(0, 1);
    off.ms.store(10 * MINUTE_MS, SeqCst);
    fixture.wait("the step", || !steps(&fixture).is_empty());
    fixture.add(0, &["2"]);
    fixture.wait_total(0, 3);
    shard.stop();
    let [(at, from, to)] = steps(&fixture).try_into().expect("one step");
    assert!((9 * MINUTE_MS..11 * MINUTE_MS).contains(&to.since_ms(from)), "{from} to {to}");
    assert!((0..MINUTE_MS).contains(&at.since_ms(to)), "told at {at}, when it was {to}");
    assert_eq!(fixture.log.trouble(), None);
    joins::check(&fixture);
}

#[test]
fn ticks_wait_while_a_clock_is_not_believed_and_inputs_do_not() {
    let (fixture, off) = fixture();
    fixture.add(0, &["1"]);
    let shard = fixture.start(0);
    fixture.wait_total(0, 1);
    let before = clock::wall();
    off.ms.store((3_650 * 24 * 60 + 1) * MINUTE_MS, SeqCst);
    fixture.add(0, &["100"]);
    fixture.wait_total(0, 101);
    assert!(fixture.log.holds_ticks() && fixture.log.trouble().is_some_and(|why| why.contains("87600 h ahead")));
    assert_eq!(fixture.sum(0, "ticks"), 0, "what is due waits");
    let at = fixture.head(0).at;
    assert!(at.since_ms(before) < MINUTE_MS, "its time goes on, and no faster: {at}");
    assert!(fixture.read("jobs", 0).last().is_some_and(|record| record.appended.since_ms(before) < MINUTE_MS), "so does the log's");
    off.synchronised.store(true, SeqCst);
    fixture.wait("the tick", || fixture.sum(0, "ticks") == 1);
    shard.stop();
    assert_eq!((fixture.log.trouble(), steps(&fixture).len()), (None, 1));
}
