//! Two owners of one shard: the older one writes nothing more, and keeps away.

use crate::faults::{Fault, FaultyLog};
use crate::fixture::{Crashed, Fixture, Hand};
use crate::joins;
use orrery_log::{Bell, Log};
use orrery_model::topics;
use std::sync::Arc;
use std::time::Duration;

/// Another member takes the shard over, with a store of its own.
fn take_over(fixture: &Fixture) -> Hand {
    Hand::acquire_in(fixture, &fixture.log, &fixture.store(77)).expect("acquired")
}

#[test]
fn a_fenced_owner_writes_nothing_more() {
    let fixture = Fixture::new(1);
    let mut old = Hand::acquire(&fixture, &fixture.log).expect("acquired");
    let mut new = take_over(&fixture);
    fixture.add(0, &["1"]);
    let journal = fixture.at(topics::TRIGGER_JOURNAL, 0);
    let end = fixture.log.end_offset(&journal).expect("asked");
    assert_eq!(old.turn(), Err(Crashed("Fenced".into())));
    assert_eq!(fixture.log.end_offset(&journal).expect("asked"), end);
    new.finish().expect("the new owner is not disturbed");
    assert_eq!(fixture.sum(0, "total"), 1);
    joins::check(&fixture);
}

#[test]
fn a_fenced_shard_is_given_up_and_not_taken_back_at_once() {
    let fixture = Fixture::new(1);
    let shard = fixture.start(0);
    fixture.add(0, &["1"]);
    fixture.wait_total(0, 1);
    let mut new = take_over(&fixture);
    fixture.add(0, &["2"]);
    fixture.wait("the old owner to give up", || !shard.is_ready());
    new.finish().expect("the new owner is not fenced back");
    shard.stop();
    fixture.add(0, &["3"]);
    new.finish().expect("the new owner is not fenced back");
    assert_eq!((fixture.sum(0, "total"), fixture.head(0).epoch), (6, 2));
    joins::check(&fixture);
}

/// A commit that was too slow makes the owner fence again. If somebody else owned the shard meanwhile, its memory is stale.
#[test]
fn an_owner_that_fences_back_after_a_slow_commit_sees_that_another_one_wrote() {
    let fixture = Arc::new(Fixture::new(1));
    let meanwhile = {
        let fixture = Arc::clone(&fixture);
        move || {
            take_over(&fixture).finish().expect("clean");
            Bell::default().wait(Duration::from_millis(300));
        }
    };
    fixture.add(0, &["1"]);
    let log: Arc<dyn Log> = FaultyLog::over(&fixture.log, 1, Fault::Slow(Box::new(meanwhile)));
    let shard = fixture.start_on(log, 0);
    fixture.wait("the other owner", || fixture.head(0).epoch == 2);
    fixture.add(0, &["2"]);
    fixture.wait("the first owner to give up", || !shard.is_ready());
    shard.stop();
    assert_eq!(fixture.head(0).epoch, 2, "it wrote with a stale memory");
    take_over(&fixture).finish().expect("clean");
    assert_eq!(fixture.sum(0, "total"), 3);
    joins::check(&fixture);
}
