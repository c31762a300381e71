//! kill -9 of anything at any moment, under load. The oracle is what tasks append and fsync, and what brokers acknowledged.

use crate::client::Client;
use orrery_log::clock;
use orrery_tests::cluster::{Cluster, signal};
use orrery_tests::kafka::Kafka;
use orrery_tests::oracle::{Oracle, script};
use serde_json::json;

/// Events under way at once.
const UNDER_WAY: usize = 20;
/// Between two faults, this many runs end.
const RUNS_PER_FAULT: usize = 40;

/// What runs, and in which cell an agent is.
const SERVICES: [(&str, &str, &str); 6] = [
    ("trigger-a", "trigger", "0"),
    ("trigger-b", "trigger", "0"),
    ("allocator-a", "allocator", "0"),
    ("allocator-b", "allocator", "0"),
    ("agent-0", "agent", "0"),
    ("agent-1", "agent", "1"),
];

struct World {
    cluster: Cluster,
    client: Client,
    topic: String,
    causes: Vec<String>,
}

impl World {
    fn begin(kafka: &Kafka) -> Self {
        let mut cluster = Cluster::make(&kafka.bootstrap(), 2, 2);
        let client = Client::new(&kafka.bootstrap(), &cluster);
        let topic = cluster.topic("events").replace('.', "-");
        client.make_topic(&topic, 2);
        for (name, role, cell) in SERVICES {
            cluster.start(name, role, &[("ORRERY_CELL", cell)]);
        }
        let shell = script(&cluster.folder().join("oracle"), "0.05");
        let resources = json!({"cpus": "50m", "memory": "16MiB"});
        let job = json!({"name": "crash/event", "shell": shell, "triggers": [{"event": topic}], "concurrency": "allow",
            "resources": resources, "retries": {"max": 0, "on_lost": true}});
        client.define(&job, 0);
        let mut world = Self { cluster, client, topic, causes: Vec::new() };
        // An event that fires says that the definition was taken.
        let mut tried: Vec<String> = Vec::new();
        let World { client, topic, .. } = &mut world;
        client.wait("a first run", |client| {
            tried.push(client.produce(topic, 0, None, "{}"));
            tried.iter().any(|cause| client.has_ended(cause))
        });
        world
    }

    /// Goes on with load until so many more events have ended.
    fn run(&mut self, more: usize) {
        let Self { client, topic, causes, .. } = self;
        let wanted = causes.len() + more;
        client.wait("the runs", |client| {
            let open = causes.iter().filter(|cause| !client.has_ended(cause)).count();
            for _ in open..UNDER_WAY.min(wanted - causes.len() + open) {
                causes.push(client.produce(topic, (causes.len() % 2) as u32, None, "{}"));
            }
            causes.len() >= wanted && open <= UNDER_WAY / 2
        });
    }

    fn check(mut self) {
        let Self { client, causes, .. } = &mut self;
        client.wait("all ends", |client| causes.iter().all(|cause| client.has_ended(cause)));
        let oracle = Oracle::read(&self.cluster.folder().join("oracle"));
        oracle.check_nothing_doubled();
        for cause in &self.causes {
            assert_eq!(self.client.runs[cause].state.to_string(), "succeeded", "{:#?}", self.client.runs[cause]);
            assert_eq!(oracle.ends.get(cause).map_or(0, std::collections::BTreeSet::len), 1, "ends of {cause}");
        }
        let (code, out, errors) = self.cluster.cli(&["audit", "verify"]);
        assert!(code == 0 && out.contains(" 0 divergences"), "{out}{errors}");
        println!("{} events, {} attempts; {}", self.causes.len(), oracle.starts.len(), out.lines().last().unwrap_or_default());
    }
}

#[test]
fn killed_services_lose_nothing_and_run_nothing_twice() {
    let seed = u64::from(std::process::id());
    let mut chance = fastrand::Rng::with_seed(seed);
    println!("seed {seed}");
    let kafka = crate::broker();
    let mut world = World::begin(&kafka);
    for _ in 0..8 {
        world.run(RUNS_PER_FAULT);
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
    for name in ["trigger-a", "allocator-a", "trigger-b", "allocator-b"] {
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
    for (name, role, cell) in SERVICES {
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
fn one_of_three_brokers_may_be_lost() {
    let mut kafka = Kafka::start(3);
    let mut world = World::begin(&kafka);
    for n in [0, 1] {
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
    for _ in 0..3 {
        world.run(RUNS_PER_FAULT);
        let began = clock::monotonic();
        kafka.kill_broker(0);
        kafka.start_broker(0);
        let back = began.elapsed();
        world.run(UNDER_WAY);
        println!("the broker was back after {back:?}; {UNDER_WAY} runs later: {:?}", began.elapsed());
    }
    world.check();
}
