//! kill -9 of anything at any moment, frozen owners, replaced replicas, lost brokers: under load.

use crate::times;
use crate::world::{RUNS_PER_FAULT, SERVICES, UNDER_WAY, World};
use orrery_log::clock;
use orrery_tests::cluster::signal;
use orrery_tests::kafka::Kafka;

#[test]
fn killed_services_lose_nothing_and_run_nothing_twice() {
    let seed = u64::from(std::process::id());
    let mut chance = fastrand::Rng::with_seed(seed);
    println!("seed {seed}");
    let kafka = crate::broker();
    let mut world = World::begin(&kafka);
    for _ in 0..times(50) {
        world.run(chance.usize(1..UNDER_WAY));
        let (name, role, cell) = SERVICES[chance.usize(..SERVICES.len())];
        let began = clock::monotonic();
        world.cluster.kill(name);
        world.cluster.start(name, role, &[("ORRERY_CELL", cell)]);
        world.run(UNDER_WAY);
        println!("{name} killed; {UNDER_WAY} runs later: {:?}", began.elapsed());
    }
    world.check();
}

#[test]
fn a_killed_owner_is_replaced_and_replicas_come_and_go() {
    let kafka = crate::broker();
    let mut world = World::begin(&kafka);
    world.run(RUNS_PER_FAULT);
    // Without being started again: the others take its shards over.
    for name in ["trigger-a", "allocator-b"] {
        let began = clock::monotonic();
        world.cluster.kill(name);
        world.run(UNDER_WAY);
        println!("{name} killed for good; {UNDER_WAY} runs later: {:?}", began.elapsed());
    }
    // From one allocator to three, and back to one.
    for name in ["allocator-d", "allocator-e"] {
        world.cluster.start(name, "allocator", &[]);
        world.run(UNDER_WAY);
    }
    for name in ["allocator-d", "allocator-e"] {
        world.cluster.stop(name);
        world.run(UNDER_WAY);
    }
    // In order, one after the other.
    for (name, role) in [("trigger-b", "trigger"), ("allocator-a", "allocator")] {
        let other = format!("{role}-c");
        world.cluster.start(&other, role, &[]);
        let began = clock::monotonic();
        world.cluster.stop(name);
        world.run(UNDER_WAY);
        println!("{name} stopped; {UNDER_WAY} runs later: {:?}", began.elapsed());
    }
    world.check();
}

#[test]
fn an_owner_that_was_frozen_is_fenced_and_yields() {
    let kafka = crate::broker();
    let mut world = World::begin(&kafka);
    for name in ["trigger-a", "allocator-a", "trigger-b", "allocator-b", "trigger-a"].repeat(times(1)) {
        world.run(RUNS_PER_FAULT);
        let (pid, began) = (world.cluster.pid(name), clock::monotonic());
        signal(pid, libc::SIGSTOP);
        // The group gives its shards to the other one, which fences it. It may be in the middle of a transaction.
        world.run(UNDER_WAY);
        signal(pid, libc::SIGCONT);
        world.run(UNDER_WAY);
        println!("{name} frozen; {} runs later: {:?}", 2 * UNDER_WAY, began.elapsed());
    }
    world.check();
}

#[test]
fn replicas_are_replaced_one_after_the_other() {
    let kafka = crate::broker();
    let mut world = World::begin(&kafka);
    for (name, role, cell) in SERVICES.repeat(times(3)) {
        world.run(UNDER_WAY);
        let began = clock::monotonic();
        world.cluster.stop(name);
        world.cluster.start(name, role, &[("ORRERY_CELL", cell)]);
        world.run(UNDER_WAY);
        println!("{name} restarted in order; {UNDER_WAY} runs later: {:?}", began.elapsed());
    }
    world.check();
}

#[test]
fn the_newer_group_protocol_gives_shards_and_takes_them() {
    let kafka = crate::broker();
    let mut world = World::begin(&kafka);
    let newer = |cell| [("ORRERY_CELL", cell), ("ORRERY_KAFKA_GROUP_PROTOCOL", "consumer")];
    for (name, ..) in SERVICES {
        world.cluster.stop(name);
    }
    for (name, role, cell) in SERVICES {
        world.cluster.start(name, role, &newer(cell));
    }
    world.run(RUNS_PER_FAULT);
    for (name, role, cell) in SERVICES.iter().filter(|(name, ..)| name.ends_with("-a")) {
        let began = clock::monotonic();
        world.cluster.stop(name);
        world.run(UNDER_WAY);
        println!("{name} stopped; {UNDER_WAY} runs later: {:?}", began.elapsed());
        world.cluster.start(name, role, &newer(cell));
        world.run(UNDER_WAY);
        world.wait_until_it_owns(name);
    }
    world.check();
}

#[test]
fn one_of_three_brokers_may_be_lost() {
    let mut kafka = Kafka::start(3);
    let mut world = World::begin(&kafka);
    for n in [0, 1].repeat(times(1)) {
        world.run(RUNS_PER_FAULT);
        let began = clock::monotonic();
        kafka.kill_broker(n);
        world.run(UNDER_WAY);
        println!("broker {n} killed; {UNDER_WAY} runs later: {:?}", began.elapsed());
        kafka.start_broker(n);
        world.run(UNDER_WAY);
    }
    world.check();
}

#[test]
fn a_broker_that_comes_back_is_waited_for() {
    let mut kafka = Kafka::start(1);
    let mut world = World::begin(&kafka);
    for n in 0..times(4) {
        world.run(RUNS_PER_FAULT);
        let began = clock::monotonic();
        // One that ends in order is back with another epoch before clients have missed it.
        if n % 2 == 0 {
            kafka.kill_broker(0)
        } else {
            kafka.stop_broker(0)
        }
        kafka.start_broker(0);
        let back = began.elapsed();
        world.run(UNDER_WAY);
        println!("the broker was back after {back:?}; {UNDER_WAY} runs later: {:?}", began.elapsed());
    }
    world.check();
}
