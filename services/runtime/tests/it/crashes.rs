//! Crashes at every point of the loop: the next owner goes on exactly where the log says.

use crate::faults::{Fault, FaultyLog};
use crate::fixture::{Crashed, Fixture, Hand, Told};
use crate::joins;
use orrery_log::Log;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A poison, one without effect, one that wants a tick; the last step of two ends with a drop.
const VALUES: [&str; 8] = ["1", "2", "x", "4", "100", "0", "7", "nothing"];
const TOTAL: i64 = 114;
/// `Acquired`, and four steps of two records.
const COMMITS: usize = 5;

/// Runs to the end; whoever crashes is followed by an owner that is gone right behind its acquisition, and that one by the next.
fn run(fixture: &Fixture, log: &Arc<dyn Log>) -> usize {
    for crashes in 0..3 {
        let finished = Hand::acquire(fixture, log).and_then(|mut hand| hand.finish());
        match finished {
            Ok(()) => return crashes,
            Err(Crashed(why)) => assert!(why.contains("planted"), "{why}"),
        }
        if let Err(Crashed(why)) = Hand::acquire(fixture, log) {
            panic!("{why}");
        }
    }
    panic!("a fault that comes once came more often");
}

/// Everything is there once, whatever happened.
fn check(fixture: &Fixture) {
    assert_eq!((fixture.sum(0, "total"), fixture.sum(0, "ticks")), (TOTAL, 1));
    joins::check(fixture);
    let (hand, _) = Hand::restore(fixture).expect("the rows sum up to the head");
    assert_eq!(hand.shard.decider().sum("total"), TOTAL);
    let mut told: BTreeMap<_, BTreeSet<i64>> = BTreeMap::new();
    for (id, n) in fixture.told() {
        told.entry(id).or_default().insert(n);
    }
    let numbers: Vec<i64> = told.values().flatten().copied().collect();
    assert_eq!(numbers, [1, 2, 4, 100, 7], "each message has one id, which sending it again does not change");
}

fn crash_everywhere(fault: fn() -> Fault, dead_letters: usize) {
    for commits in 0..COMMITS {
        let fixture = Fixture::new(1);
        fixture.add(0, &VALUES);
        let crashes = run(&fixture, &FaultyLog::over(&fixture.log, commits, fault()));
        assert_eq!(crashes, 1, "the fault of commit {commits} never came");
        check(&fixture);
        let dead = fixture.read("jobs.dlq", 0).len();
        assert!((dead_letters..=1).contains(&dead), "{dead} dead letters after a crash at commit {commits}");
    }
}

#[test]
fn a_crash_before_any_commit_loses_and_doubles_nothing() {
    crash_everywhere(|| Fault::Lost, 1);
}

#[test]
fn a_crash_behind_any_commit_but_before_its_store_loses_and_doubles_nothing() {
    crash_everywhere(|| Fault::Unsaid, 1);
}

#[test]
fn a_transaction_torn_behind_its_journal_is_completed_by_the_next_owner() {
    crash_everywhere(|| Fault::Torn, 0);
}

#[test]
fn a_crash_between_steps_sends_the_last_messages_again_with_their_ids() {
    let fixture = Fixture::new(1);
    fixture.add(0, &VALUES);
    for turns in 0..COMMITS {
        let before = fixture.told();
        let mut hand = Hand::acquire(&fixture, &fixture.log).expect("acquired");
        let again: Vec<Told> = fixture.told().split_off(before.len());
        assert!(again.iter().all(|told| before.contains(told)), "{again:?} was not sent before");
        if turns > 0 {
            assert!(again.contains(before.last().expect("a turn sends")), "the last message was not sent again");
        }
        hand.turn().expect("a clean turn");
    }
    Hand::acquire(&fixture, &fixture.log).expect("acquired").finish().expect("clean");
    check(&fixture);
}

#[test]
fn messages_are_sent_again_also_after_a_crash_right_behind_an_acquisition() {
    let fixture = Fixture::new(1);
    fixture.add(0, &["5", "6"]);
    Hand::acquire(&fixture, &fixture.log).expect("acquired").finish().expect("clean");
    let sent = fixture.told();
    for round in 1..4 {
        let shard = fixture.start(0);
        fixture.wait("ready", || shard.is_ready());
        shard.stop();
        assert_eq!(fixture.told()[sent.len() * round..], sent, "acquisition {round} did not send them again");
    }
}
