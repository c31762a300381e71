//! Many threads: what is atomic stays atomic, what is ordered stays ordered, nobody is left waiting.

use super::{ALL, PATIENCE, at, commit, name, read_all, record, topic, values};
use crate::{Bell, Commit, Log, Topic, clock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const THREADS: usize = 4;
const COMMITS: usize = 40;

pub(super) fn order_of_each_writer(log: &dyn Log) {
    let (one, two) = (topic(log, "order-1", 1), topic(log, "order-2", 1));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (one, two) = (&one, &two);
            scope.spawn(move || {
                let mut writer = log.fence(&name(&format!("order-{thread}"))).expect("a writer");
                for n in 0..COMMITS {
                    let text = format!("{thread}/{n}");
                    let of = |topic, part| record(topic, 0, &format!("{text}/{part}"));
                    commit(&mut *writer, vec![of(one, 0), of(two, 0), of(one, 1), of(two, 1)]);
                }
            });
        }
    });
    for topic in [&one, &two] {
        let order = values(&read_all(log, &at(topic, 0)));
        assert_eq!(order.len(), THREADS * COMMITS * 2, "of {}", topic.name);
        for thread in 0..THREADS {
            let of_thread: Vec<&str> = order.iter().filter_map(|text| text.strip_prefix(&format!("{thread}/"))).collect();
            let wanted: Vec<String> = (0..COMMITS).flat_map(|n| (0..2).map(move |part| format!("{n}/{part}"))).collect();
            assert_eq!(of_thread, wanted, "thread {thread} in {}", topic.name);
        }
    }
}

pub(super) fn readers_see_whole_commits(log: &dyn Log) {
    let (one, two) = (topic(log, "whole-1", 1), topic(log, "whole-2", 3));
    let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let bell = log.bell(&[&one.name]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = log.fence(&name("whole")).expect("a writer");
            for n in 0..COMMITS * 4 {
                begun.store(n + 1, Ordering::SeqCst);
                let of = |topic, partition| record(topic, partition, &n.to_string());
                commit(&mut *writer, vec![of(&one, 0), of(&two, 0), of(&two, 1), of(&two, 2)]);
                ended.store(n + 1, Ordering::SeqCst);
            }
        });
        let count = |topic: &Topic, partition| read_all(log, &at(topic, partition)).len();
        let (mut seen, deadline) = (0, clock::monotonic() + PATIENCE);
        while seen < COMMITS * 4 {
            bell.wait(PATIENCE);
            let committed = ended.load(Ordering::SeqCst);
            seen = count(&one, 0);
            assert!(seen >= committed, "{committed} commits returned, {seen} are readable");
            assert!(seen <= begun.load(Ordering::SeqCst), "a record was seen before its commit began");
            for partition in 0..3 {
                let others = count(&two, partition);
                assert!(others >= seen, "{seen} commits are seen in one topic, {others} in another that was read later");
            }
            assert!(clock::monotonic() < deadline, "{seen} commits were seen, then no more");
        }
    });
}

pub(super) fn bells_are_not_lost(log: &dyn Log) {
    let (heard, other) = (name("bell"), name("bell-other"));
    // The bell is asked for before the topic exists, and for a second topic later.
    let bell = log.bell(&[&heard]);
    let heard = log.ensure_topic(&heard, 1, orrery_model::topics::Cleanup::Forever).expect("the topic is made");
    let other = log.ensure_topic(&other, 1, orrery_model::topics::Cleanup::Forever).expect("the topic is made");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Ping-pong: each record is written only when the one before was seen, so one lost ring would stop it.
            let pong = log.bell(&[&other.name]);
            for n in 0..COMMITS {
                log.append(vec![record(&heard, 0, &n.to_string())]).expect("the log takes appends");
                wait_for(log, &pong, &other, n + 1);
            }
            stop.store(true, Ordering::SeqCst);
        });
        for n in 0..COMMITS {
            wait_for(log, &bell, &heard, n + 1);
            log.append(vec![record(&other, 0, &n.to_string())]).expect("the log takes appends");
        }
    });
    assert!(stop.load(Ordering::SeqCst));
    while bell.wait(std::time::Duration::ZERO) {}
    log.ring_for(&[&other.name], &bell);
    for topic in [&other, &heard] {
        log.append(vec![record(topic, 0, "more")]).expect("the log takes appends");
        assert!(bell.wait(PATIENCE), "topics do not add up");
    }
}

fn wait_for(log: &dyn Log, bell: &Arc<Bell>, topic: &Topic, count: usize) {
    let (mut position, mut seen) = (0, 0);
    loop {
        let fetch = log.read(&at(topic, 0), position, ALL).expect("the range is there");
        (position, seen) = (fetch.next, seen + fetch.records.len());
        if seen >= count {
            return;
        }
        assert!(bell.wait(PATIENCE), "no ring for record {count} of {}", topic.name);
    }
}

pub(super) fn fence_is_a_barrier(log: &dyn Log) {
    let (topic, id) = (topic(log, "barrier", 1), name("barrier"));
    let first = log.fence(&id).expect("a writer");
    std::thread::scope(|scope| {
        let mut writer = first;
        for generation in 0..10 {
            let (topic, started) = (&topic, Arc::new(AtomicBool::new(false)));
            let flag = Arc::clone(&started);
            let old = scope.spawn(move || {
                while writer.commit(vec![record(topic, 0, &generation.to_string())]).expect("an answer") != Commit::Fenced {
                    flag.store(true, Ordering::SeqCst);
                }
            });
            while !started.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            let next = log.fence(&id).expect("a newer writer");
            let end = log.end_offset(&at(topic, 0)).expect("an end");
            old.join().expect("the old writer ends fenced");
            assert_eq!(log.end_offset(&at(topic, 0)).expect("an end"), end, "generation {generation} wrote after it was fenced");
            writer = next;
        }
    });
}
