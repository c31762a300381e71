//! What becomes of a data team's topic under jobs that wait for its events.

use crate::client::Client;
use orrery_tests::cluster::Cluster;
use orrery_tests::kafka::Kafka;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use serde_json::json;
use std::path::PathBuf;

/// A cluster of two trigger shards, a topic, and a job that writes down the number of each of its events.
pub(crate) struct Watched {
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    topic: String,
    written: PathBuf,
}

impl Watched {
    pub(crate) fn begin(kafka: &Kafka, partitions: u32) -> Self {
        let mut cluster = Cluster::make(&kafka.bootstrap(), 2, 1);
        let client = Client::new(&kafka.bootstrap(), &cluster);
        let topic = cluster.topic("watched").replace('.', "-");
        client.make_topic(&topic, partitions);
        for role in ["trigger", "allocator", "agent"] {
            cluster.start(role, role, &[]);
        }
        let written = cluster.folder().join("written");
        let append = format!("echo \"$1\" >> {}", written.display());
        let command = json!(["sh", "-c", append, "write", "{{ event.data.n }}"]);
        let triggers = json!([{"event": topic, "from": "earliest"}]);
        client.define(&json!({"name": "watched/write", "command": command, "triggers": triggers, "concurrency": "allow"}), 0);
        Self { cluster, client, topic, written }
    }

    pub(crate) fn produce(&self, partition: u32, number: &str) {
        self.client.produce(&self.topic, partition, None, &json!({"n": number}).to_string());
    }

    fn lines(&self) -> Vec<String> {
        std::fs::read_to_string(&self.written).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Waits until there are runs of all these events.
    pub(crate) fn wait_for(&mut self, numbers: &[String]) {
        let written = self.written.clone();
        let lines = || std::fs::read_to_string(&written).unwrap_or_default();
        self.client.wait("its runs", |_| numbers.iter().all(|number| lines().lines().any(|line| line == number)));
    }

    /// Nothing ran but these, each once, and every decision is derived again.
    pub(crate) fn check(&self, wanted: usize) {
        assert_eq!(self.lines().len(), wanted, "each once: {:?}", self.lines());
        let (code, out, errors) = self.cluster.cli(&["audit", "verify"]);
        assert!(code == 0 && out.contains(" 0 divergences"), "{out}{errors}");
    }
}

#[test]
fn a_topic_that_is_made_again_is_read_from_its_start() {
    let kafka = crate::broker();
    let mut watched = Watched::begin(&kafka, 2);
    for generation in 0..3 {
        let sent: Vec<String> = (0..6).map(|n| format!("{generation}-{n}")).collect();
        for (n, number) in sent.iter().enumerate() {
            watched.produce(n as u32 % 2, number);
        }
        watched.wait_for(&sent);
        let topic = watched.topic.clone();
        watched.client.remake_topic(&topic, 2);
    }
    watched.check(18);
}

#[test]
fn partitions_that_are_added_are_read() {
    let kafka = crate::broker();
    let mut watched = Watched::begin(&kafka, 1);
    watched.produce(0, "first");
    watched.wait_for(&["first".to_owned()]);
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", kafka.bootstrap()).create().unwrap();
    let (more, options) = (NewPartitions::new(&watched.topic, 4), AdminOptions::new());
    assert!(futures_executor::block_on(admin.create_partitions([&more], &options)).unwrap().iter().all(Result::is_ok));
    let sent: Vec<String> = (1..4).map(|partition| format!("added-{partition}")).collect();
    for (partition, number) in (1..4).zip(&sent) {
        watched.produce(partition, number);
    }
    watched.wait_for(&sent);
    let Watched { cluster, client, topic, .. } = &mut watched;
    client.wait("all partitions in the lag", |_| {
        let lag = cluster.items(&["cluster", "lag"]);
        lag.iter().filter(|input| input["topic"] == topic.as_str() && input["lag"] == 0).count() == 4
    });
    watched.check(4);
}

#[test]
fn a_partition_that_lost_its_tail_is_told_and_read_on() {
    let mut kafka = Kafka::start(1);
    let mut watched = Watched::begin(&kafka, 1);
    let numbers = |kind: &str| (0..6).map(|n| format!("{kind}-{n}")).collect::<Vec<_>>();
    let (before, after) = (numbers("before"), numbers("after"));
    before.iter().for_each(|number| watched.produce(0, number));
    watched.wait_for(&before);
    kafka.kill_broker(0);
    kafka.lose_tail(0, &watched.topic, 0, 2);
    kafka.start_broker(0);
    // At the offsets that four of the lost ones had, and two more.
    after.iter().for_each(|number| watched.produce(0, number));
    watched.wait_for(&after[4..]);
    let (_, told, _) = watched.cluster.cli(&["audit", "log", "--kind", "alerted"]);
    assert!(told.contains("has lost its tail since"), "{told} {:?}", watched.lines());
    println!("ran of what was written at the lost offsets: {:?}", &watched.lines()[6..]);
    let wanted = watched.lines().len();
    watched.check(wanted);
}
