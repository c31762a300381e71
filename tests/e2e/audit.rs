//! Auditors' commands beside a running server; `week.rs` asks the ten questions of the documentation.

use orrery_tests::Server;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// A server with a past: a job in two versions, events that match and one that does not, runs one after another for want of room.
struct Past {
    server: Server,
    values: BTreeMap<&'static str, String>,
}

impl Past {
    fn make(folder: &Path) -> Self {
        let server = Server::start(&folder.join("data"));
        let agent = first(&server, "/api/v1/agents");
        let all_cpus = agent["total"]["cpus"].clone();
        let define = |document: Value| assert!(server.post("/api/v1/jobs", &document.to_string()).is_good(), "{document}");
        let receipt = |limit: i64| {
            let triggers = json!([{"event": "orders.paid", "when": format!("data.amount > {limit}")}]);
            json!({"name": "shop/receipt", "command": ["true"], "concurrency": "allow", "triggers": triggers})
        };
        define(receipt(10));
        for (name, priority) in [("low", 10), ("high", 90)] {
            let resources = json!({"cpus": all_cpus});
            define(json!({"name": name, "command": ["sleep", "2"], "priority": priority, "concurrency": "allow", "resources": resources}));
        }
        let start = |job: &str| server.post(&format!("/api/v1/jobs/default/{job}/run"), "").body["id"].as_str().unwrap().to_owned();
        let runs: Vec<String> = ["low", "low", "low", "high"].into_iter().map(start).collect();
        let last: Vec<Value> = runs.iter().map(|run| server.wait(run)).collect();
        let before = last[0]["created_at"].as_str().unwrap().to_owned();
        define(receipt(100));
        assert!(server.post("/api/v1/events/orders.paid", r#"{"amount": 200}"#).is_good());
        let paid = first(&server, "/api/v1/runs?job=shop%2Freceipt")["id"].as_str().unwrap().to_owned();
        assert!(server.post("/api/v1/events/orders.paid", r#"{"amount": 50}"#).is_good());
        let ended = server.wait(&paid);
        define(json!({"name": "giant", "command": ["true"], "resources": {"cpus": 100_000}}));
        start("giant");
        let after = server.wait(&start("high"))["ended_at"].as_str().unwrap().to_owned();
        let agents = format!("- {{agent: a1, cpus: {all_cpus}, memory: 256GiB}}\n- {{agent: a2, cpus: {all_cpus}, memory: 256GiB}}\n");
        let path = |name: &str| folder.join(name).display().to_string();
        std::fs::write(folder.join("agents.yaml"), &agents).unwrap();
        let values = BTreeMap::from([
            ("RUN", paid),
            ("AGENT", agent["agent"].as_str().or(agent["id"].as_str()).unwrap().to_owned()),
            ("BEFORE", before),
            ("AFTER", after),
            ("KEY", path("key")),
            ("KEY.pub", path("key.pub")),
            ("ANCHORS", path("anchors.jsonl")),
            ("AGENTS", path("agents.yaml")),
        ]);
        assert_eq!(ended["state"], "succeeded");
        Self { server, values }
    }

    /// A command with our values; it must succeed.
    fn ask(&self, command: &str) -> String {
        let words = command.split(' ').map(|word| self.values.get(word).map_or(word, String::as_str));
        let (code, out, errors) = self.server.cli(&words.collect::<Vec<_>>());
        assert_eq!(code, 0, "{command}: {out}{errors}");
        out
    }
}

/// The first item of a list, once there is one.
fn first(server: &Server, path: &str) -> Value {
    server.until(path, |list| !list["items"][0].is_null())["items"][0].clone()
}

/// Commands that read the journals while their server writes on, and what tells that each is answered.
const BESIDE: [(&str, &str); 9] = [
    ("audit verify", " 0 divergences"),
    ("audit key KEY", ""),
    ("audit anchor --key KEY --anchors ANCHORS", "0 divergences"),
    ("audit verify --anchors ANCHORS --trust KEY.pub", "anchored entries stand as they were signed"),
    ("explain run RUN", "orders.paid/0/0"),
    ("audit diff BEFORE AFTER job shop/receipt", "document.triggers"),
    ("audit state --at AFTER", "shop/receipt"),
    ("audit state --at AFTER agent AGENT", "joined_at"),
    ("audit replay --order fifo", "the first difference"),
];

#[test]
fn the_journals_are_asked_beside_the_server_that_writes_them() {
    let folder = tempfile::tempdir().unwrap();
    let past = Past::make(folder.path());
    for (command, telling) in BESIDE {
        let told = past.ask(command);
        assert!(told.contains(telling), "{command}\n{told}");
    }
}

#[test]
fn a_replay_is_the_same_each_time_and_another_agent_shortens_the_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let mut past = Past::make(folder.path());
    // A server goes on with its journals, if only to say that it is idle.
    past.server.kill();
    let told = past.ask("audit replay --agents AGENTS -o json");
    assert_eq!(told, past.ask("audit replay --agents AGENTS -o json"));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["recorded"]["runs"], told["changed"]["runs"], "{told}");
    assert_eq!(told["recorded"]["states"]["succeeded"], told["baseline"]["states"]["succeeded"], "{told}");
    assert!(told["gained"].as_array().unwrap().iter().any(|wait| wait["job"] == "default/low"), "{told}");
    let waited = |world: &str| told[world]["waited"].as_array().unwrap().iter().any(|wait| wait["job"] == "default/low");
    assert!(waited("baseline"), "{told}");
    assert!(told["first_difference"]["at"].is_string() && told["lost"] == json!([]), "{told}");
}
