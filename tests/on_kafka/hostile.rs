//! A network, clocks, settings and people that do their worst: what brokers and clients cannot be made to do by kill -9.

use crate::times;
use crate::world::{RUNS_PER_FAULT, UNDER_WAY, World};
use orrery_log::clock;
use orrery_tests::cluster::Cluster;
use orrery_tests::kafka::Kafka;
use orrery_tests::oracle::{Oracle, script};
use orrery_tests::proxy::Proxy;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;
use std::process::Command;
use std::time::Duration;

/// Longest wait for the brokers' answer to another client.
const REQUEST: Duration = Duration::from_secs(30);

/// Starts a service again, which comes to the brokers through the proxy only.
fn move_behind(world: &mut World, proxy: &Proxy, name: &str, more: &[(&str, &str)]) {
    let role = world.cluster.stop(name);
    let address = proxy.address();
    world.cluster.start(name, &role, &[&[("ORRERY_KAFKA_BOOTSTRAP_SERVERS", address.as_str())], more].concat());
}

/// Compiles what puts a process's clock an hour ahead.
fn preloaded(cluster: &Cluster) -> String {
    let library = cluster.folder().join("an_hour_ahead.so").display().to_string();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/on_kafka/an_hour_ahead.c");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o", &library, source]).status().expect("a C compiler, as for building");
    assert!(made.success());
    library
}

#[test]
fn an_end_of_a_transaction_that_arrives_late_ends_no_other() {
    let (kafka, proxy) = Kafka::start_behind_proxy();
    let mut world = World::begin(&kafka);
    for name in ["trigger-a", "allocator-a"] {
        move_behind(&mut world, &proxy, name, &[]);
        for _ in 0..times(2) {
            world.wait_until_it_owns(name);
            world.run(UNDER_WAY);
            let (late, began) = (proxy.late_ends(), clock::monotonic());
            proxy.hold_an_end();
            world.run_until("a late end", |_| proxy.late_ends() > late);
            world.run(UNDER_WAY);
            println!("an end of {name} came late; {UNDER_WAY} runs later: {:?}", began.elapsed());
        }
    }
    world.check();
}

#[test]
fn who_is_cut_off_is_replaced_and_comes_back() {
    let (kafka, proxy) = Kafka::start_behind_proxy();
    let mut world = World::begin(&kafka);
    for name in ["allocator-a", "trigger-a"] {
        move_behind(&mut world, &proxy, name, &[]);
        for _ in 0..times(2) {
            world.wait_until_it_owns(name);
            world.run(UNDER_WAY);
            let began = clock::monotonic();
            proxy.cut();
            // The group gives its shards to the other one, which fences it.
            world.run(UNDER_WAY);
            println!("{name} cut off; {UNDER_WAY} runs later: {:?}", began.elapsed());
            proxy.heal();
            world.run(UNDER_WAY);
        }
    }
    world.check();
}

#[test]
fn a_task_of_an_agent_that_is_cut_off_ends_before_another_takes_its_place() {
    let (kafka, proxy) = Kafka::start_behind_proxy();
    let mut world = World::begin(&kafka);
    move_behind(&mut world, &proxy, "agent-0", &[("ORRERY_ATTRIBUTES", "rack=r0")]);
    for _ in 0..times(3) {
        world.run(UNDER_WAY);
        proxy.cut();
        // What is placed there waits.
        world.produce(UNDER_WAY);
        proxy.heal();
        world.run(UNDER_WAY);
    }
    // Beyond the lease (60 s): its first attempt would go on for ever, a second one comes to its end.
    let file = world.cluster.folder().join("long");
    let written = script(&file, "$(case $ORRERY_ATTEMPT in *.1) echo 600;; *) echo 0;; esac)");
    let job = json!({"name": "cut/long", "shell": written, "constraints": ["rack == r0"], "retries": {"max": 0, "on_lost": true}});
    let run = world.run_now(&job);
    let started = |attempt: usize| Oracle::read(&file).starts.keys().any(|name| name.ends_with(&format!(".{attempt}")));
    world.client.wait("its first attempt", |_| started(1));
    // A task that came to its end in the dark would be run again, and rightly: nobody has heard of its success (§6.2).
    world.settle();
    let began = clock::monotonic();
    proxy.cut();
    world.cluster.start("agent-2", "agent", &[("ORRERY_CELL", "1"), ("ORRERY_ATTRIBUTES", "rack=r0")]);
    world.client.wait("its attempt is lost", |client| client.runs[&run].attempts > 1);
    println!("given up after {:?}", began.elapsed());
    proxy.heal();
    world.client.wait("its second attempt", |client| client.has_ended(&run));
    let oracle = Oracle::read(&file);
    oracle.check_nothing_doubled();
    assert_eq!((oracle.starts.len(), oracle.ends[&run].len()), (2, 1), "the first attempt never comes to its end: {oracle:?}");
    world.check();
}

#[test]
fn a_member_whose_clock_is_wrong_leaves_its_shards_to_others() {
    let kafka = crate::broker();
    let mut world = World::begin(&kafka);
    let library = preloaded(&world.cluster);
    for (name, other) in [("trigger-a", "trigger-b"), ("allocator-a", "allocator-b")] {
        world.run(UNDER_WAY);
        let role = world.cluster.stop(name);
        world.cluster.start(name, &role, &[("LD_PRELOAD", &library)]);
        world.client.wait("it is told", |_| world.cluster.said(name).contains("set it right"));
        let began = clock::monotonic();
        // It has taken a part of the shards from the group, and gives them back.
        world.run(RUNS_PER_FAULT);
        println!("{name} an hour ahead; {RUNS_PER_FAULT} runs later: {:?}", began.elapsed());
        assert!(!world.cluster.said(other).contains("set it right"));
        world.cluster.stop(name);
    }
    world.check();
}

/// True if a member said that it has given a shard up.
fn yielded(cluster: &Cluster, name: &str) -> bool {
    cluster.said(name).contains("another owner has fenced this one")
}

#[test]
fn of_two_members_that_are_set_to_the_same_shards_one_yields() {
    let kafka = crate::broker();
    let mut world = World::begin(&kafka);
    for role in ["trigger", "allocator"] {
        let [first, second, other] = ["a", "b", "c"].map(|letter| format!("{role}-{letter}"));
        world.cluster.stop(&first);
        world.cluster.stop(&second);
        let said = |cluster: &Cluster| cluster.said(&first).matches(" acquired ").count();
        let before = said(&world.cluster);
        world.cluster.start(&first, role, &[("ORRERY_SHARDS", "0-1")]);
        world.run(UNDER_WAY);
        // Of two that acquire at the same time either may be the newer one.
        world.client.wait("it holds both", |_| said(&world.cluster) >= before + 2);
        world.cluster.start(&other, role, &[("ORRERY_SHARDS", "0,1")]);
        world.run(RUNS_PER_FAULT);
        // Who was fenced learns it with its next commit: there is load until then.
        world.run_until("that the older one yields", |world| yielded(&world.cluster, &first));
        // The newer one may have yielded as well: the older one fences anew behind a commit that was slow or is not known of (§1.3),
        // before it learns of the other. Their assignments still stand: who is left takes them back, after a pause.
        world.cluster.kill(&other);
        world.run(UNDER_WAY);
    }
    let (code, _, errors) = world.cluster.cli_with(&[("ORRERY_SHARDS", "0-2")], &["serve", "trigger"]);
    assert!(code == 1 && errors.contains("shards: \"0-2\" is not a list of numbers from 0 to 1"), "{errors}");
    world.check();
}

#[test]
fn nothing_is_acquired_behind_a_transaction_that_is_open() {
    let kafka = crate::broker();
    let mut world = World::begin(&kafka);
    for role in ["trigger", "allocator"] {
        world.run(UNDER_WAY);
        let shard = ["journal", "changelog"].map(|kind| world.cluster.topic(&format!("{role}.{kind}")));
        let other = open_transaction(&kafka.bootstrap(), &shard);
        // Who owns goes on: what it commits from here on cannot be read, and is not lost.
        world.run(RUNS_PER_FAULT);
        let members = ["a", "b"].map(|letter| format!("{role}-{letter}"));
        for name in &members {
            world.cluster.stop(name);
            world.cluster.start(name, role, &[]);
        }
        let refused = |cluster: &Cluster| members.iter().any(|name| cluster.said(name).contains("a transaction is open in"));
        world.client.wait("nobody acquires it", |_| refused(&world.cluster));
        world.produce(UNDER_WAY);
        other.abort_transaction(REQUEST).unwrap();
        world.run(UNDER_WAY);
    }
    world.check();
}

/// Another client writes to these topics and does not end its transaction.
fn open_transaction(bootstrap: &str, topics: &[String]) -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("transactional.id", "somebody-else")
        .set("transaction.timeout.ms", "600000")
        .create()
        .unwrap();
    producer.init_transactions(REQUEST).unwrap();
    producer.begin_transaction().unwrap();
    for topic in topics {
        producer.send(BaseRecord::<(), _>::to(topic).partition(0).payload("left open")).unwrap();
    }
    producer.flush(REQUEST).unwrap();
    producer
}

#[test]
fn a_cancel_and_a_hand_back_may_cross() {
    let seed = u64::from(std::process::id());
    let mut chance = fastrand::Rng::with_seed(seed);
    println!("seed {seed}");
    let kafka = crate::broker();
    let mut world = World::begin(&kafka);
    let file = world.cluster.folder().join("crossing");
    // Cells that have not got the attribute hand the task back; half of the runs are cancelled on its way.
    let job = json!({"name": "cross/run", "shell": script(&file, "0.2"), "constraints": ["rack == r9"], "concurrency": "allow",
        "resources": {"cpus": "50m", "memory": "16MiB"}});
    world.cluster.stop("agent-1");
    world.cluster.start("agent-1", "agent", &[("ORRERY_CELL", "1"), ("ORRERY_ATTRIBUTES", "rack=r9")]);
    let mut runs = vec![world.run_now(&job)];
    for _ in 1..times(30) {
        runs.push(world.run_now(&job));
        let patience = Duration::from_millis(chance.u64(0..60));
        let (until, which) = (clock::monotonic() + patience, chance.usize(..runs.len()));
        world.client.wait("a moment to pass", |_| clock::monotonic() >= until);
        world.cancel(&runs[which]);
    }
    world.client.wait("all end", |client| runs.iter().all(|run| client.has_ended(run)));
    let oracle = Oracle::read(&file);
    oracle.check_nothing_doubled();
    let states: Vec<String> = runs.iter().map(|run| world.client.runs[run].state.to_string()).collect();
    for (run, state) in runs.iter().zip(&states) {
        let ends = oracle.ends.get(run).map_or(0, std::collections::BTreeSet::len);
        assert!(matches!((state.as_str(), ends), ("succeeded", 1) | ("cancelled", 0 | 1)), "{run}: {state}, {ends} ends");
    }
    println!("{} of {} were cancelled", states.iter().filter(|state| *state == "cancelled").count(), states.len());
    world.check();
}
