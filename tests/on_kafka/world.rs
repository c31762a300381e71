//! A cluster under load. The oracle is what tasks append and fsync, and what brokers acknowledged.

use crate::client::Client;
use orrery_tests::cluster::Cluster;
use orrery_tests::kafka::Kafka;
use orrery_tests::oracle::{Oracle, script};
use serde_json::{Value, json};

/// Events under way at once.
pub(crate) const UNDER_WAY: usize = 20;
/// Between two faults, this many runs end.
pub(crate) const RUNS_PER_FAULT: usize = 40;

/// What runs, and in which cell an agent is.
pub(crate) const SERVICES: [(&str, &str, &str); 6] = [
    ("trigger-a", "trigger", "0"),
    ("trigger-b", "trigger", "0"),
    ("allocator-a", "allocator", "0"),
    ("allocator-b", "allocator", "0"),
    ("agent-0", "agent", "0"),
    ("agent-1", "agent", "1"),
];

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    topic: String,
    causes: Vec<String>,
    requests: usize,
}

impl World {
    pub(crate) fn begin(kafka: &Kafka) -> Self {
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
        let mut world = Self { cluster, client, topic, causes: Vec::new(), requests: 0 };
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
    pub(crate) fn run(&mut self, more: usize) {
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

    /// Load until it is so.
    pub(crate) fn run_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..RUNS_PER_FAULT * 10 {
            if is_so(self) {
                return;
            }
            self.run(1);
        }
        panic!("{what} did not come");
    }

    /// So many events more, without waiting for anything.
    pub(crate) fn produce(&mut self, more: usize) {
        for _ in 0..more {
            self.causes.push(self.client.produce(&self.topic, (self.causes.len() % 2) as u32, None, "{}"));
        }
    }

    /// A run of this job, which is defined if it is not; returns its cause once the run is known.
    pub(crate) fn run_now(&mut self, job: &Value) -> String {
        let name = job["name"].as_str().unwrap_or_default().to_owned();
        if !self.client.runs.values().any(|run| run.job.as_str() == name) {
            self.client.define(job, 0);
        }
        self.requests += 1;
        let (key, topic) = (format!("asked-{}", self.requests), self.cluster.topic("requests"));
        let request = json!({"request": {"run_job": {"job": name}}, "idempotency_key": key});
        let cause = format!("request:*/{key}");
        // Sent again until the definition is taken: it is one request, as it has a key.
        self.client.wait("a run that was asked for", |client| {
            client.produce(&topic, 0, Some(&name), &request.to_string());
            client.runs.contains_key(&cause)
        });
        cause
    }

    /// Asks for a run's end.
    pub(crate) fn cancel(&self, cause: &str) {
        let run = &self.client.runs[cause];
        let request = json!({"request": {"cancel_run": {"run": run.run}}});
        self.client.produce(&self.cluster.topic("requests"), 1, Some(run.job.as_str()), &request.to_string());
    }

    /// Waits until a member holds a shard: it may have come back just now.
    pub(crate) fn wait_until_it_owns(&mut self, name: &str) {
        let Self { cluster, client, .. } = self;
        client.wait("a shard is assigned to it", |_| {
            let members = cluster.items(&["cluster", "members"]);
            members.iter().any(|member| member["member"] == name && member["shards"].as_array().is_some_and(|list| !list.is_empty()))
        });
    }

    /// Waits until every event so far has led to the end of a run.
    pub(crate) fn settle(&mut self) {
        let Self { client, causes, cluster, topic, .. } = self;
        let open = |client: &Client| causes.iter().find(|cause| !client.has_ended(cause)).cloned();
        if !client.comes(|client| open(client).is_none()) {
            let cause = open(client).unwrap_or_default();
            let run = client.runs.get(&cause);
            let (of, which) = run.map_or(("--topic", topic.clone()), |run| ("--run", run.run.to_string()));
            let (_, out, errors) = cluster.cli(&["audit", "log", of, &which]);
            panic!("the end of {cause} did not come: {run:#?}\n{out}{errors}");
        }
    }

    pub(crate) fn check(mut self) {
        self.settle();
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
