//! The whole system, as data teams and SREs meet it.

use crate::client::Client;
use orrery_tests::cluster::Cluster;
use serde_json::json;

#[test]
fn an_event_of_an_ordinary_client_fires_a_run_and_its_result_is_read_from_runs() {
    let kafka = crate::broker();
    let mut cluster = Cluster::make(&kafka.bootstrap(), 2, 2);
    let mut client = Client::new(&kafka.bootstrap(), &cluster);
    let orders = cluster.topic("orders").replace('.', "-");
    client.make_topic(&orders, 3);
    for (name, role, cell) in
        [("trigger", "trigger", "0"), ("allocator", "allocator", "0"), ("agent-0", "agent", "0"), ("agent-1", "agent", "1")]
    {
        cluster.start(name, role, &[("ORRERY_CELL", cell)]);
    }
    let written = cluster.folder().join("written");
    let job = |name: &str, when: &str, command: serde_json::Value| json!({"name": name, "command": command, "triggers": [{"event": orders, "when": when}], "concurrency": "allow"});
    // Neither of the two partitions of `jobs` is the right one for both names: what is in the wrong one is forwarded (§4.2).
    let append = format!("echo \"$1\" >> {}", written.display());
    client.define(&job("shop/write", "data.n >= 0", json!(["sh", "-c", append, "write", "{{ event.data.n }}"])), 0);
    client.define(&job("shop/fail", "data.n < 0", json!(["sh", "-c", "exit 3"])), 0);
    // A definition begins with the events behind it: one that fires says that the definition was taken.
    let mut first = String::new();
    client.wait("a first run", |client| {
        if first.is_empty() || !client.has_ended(&first) {
            first = client.produce(&orders, 0, None, r#"{"n": 0}"#);
        }
        client.runs.values().any(|run| run.job.as_str() == "shop/write" && run.ended_at.is_some())
    });
    let causes: Vec<String> = (1..=9).map(|n| client.produce(&orders, n % 3, Some(&n.to_string()), &json!({"n": n}).to_string())).collect();
    let failing = client.produce(&orders, 1, None, r#"{"n": -1}"#);
    client.wait("all runs", |client| causes.iter().chain([&failing]).all(|cause| client.has_ended(cause)));
    // A definition is taken a little after it was produced: runs of the parent, until one has led to another.
    client.define(&json!({"name": "shop/after", "command": ["true"], "triggers": [{"after": ["shop/write"]}]}), 1);
    client.wait("a run after them", |client| {
        client.produce(&orders, 0, None, r#"{"n": 0}"#);
        client.runs.values().any(|run| run.job.as_str() == "shop/after" && run.ended_at.is_some())
    });
    assert!(causes.iter().all(|cause| client.runs[cause].state.to_string() == "succeeded"), "{:#?}", client.runs);
    assert_eq!(client.runs[&failing].state.to_string(), "failed");
    let text = std::fs::read_to_string(&written).unwrap();
    for n in 1..=9 {
        assert_eq!(text.lines().filter(|line| *line == n.to_string()).count(), 1, "event {n} of {text:?}");
    }
    let (code, out, errors) = cluster.cli(&["audit", "verify"]);
    assert_eq!(code, 0, "{out}{errors}");
    assert!(out.contains(" 0 divergences"), "{out}");
    // Handed over in order, everything ends without force.
    for name in ["trigger", "allocator", "agent-0", "agent-1"] {
        cluster.stop(name);
    }
}

#[test]
fn topics_are_planned_made_and_checked() {
    let kafka = crate::broker();
    let cluster = Cluster::make(&kafka.bootstrap(), 2, 1);
    assert_eq!(cluster.cli(&["topics", "plan"]).0, 0, "nothing is left to do");
    let (code, out, _) = cluster.cli(&["topics", "verify"]);
    assert_eq!((code, out.trim()), (0, "19 topics are as they should be"));
    // Another number of shards would move keys: refused, by plan and by services, and nothing is changed.
    let other = |arguments: &[&str]| cluster.cli_with(&[("ORRERY_TRIGGER_SHARDS", "3")], arguments);
    for command in ["plan", "apply", "verify"] {
        let (code, _, errors) = other(&["topics", command]);
        assert_eq!(code, 1);
        assert!(errors.contains("exists with 2 partitions, not 3; the number is fixed"), "{errors}");
    }
    let (code, _, errors) = other(&["--data-dir", "/nonexistent/orrery", "serve", "trigger"]);
    assert_eq!(code, 1, "{errors}");
    let (code, out, _) = cluster.cli_with(&[("ORRERY_PREFIX", "elsewhere.")], &["topics", "plan", "-o", "json"]);
    assert_eq!(code, 6);
    assert!(out.contains("elsewhere.trigger.journal") && out.contains("missing"), "{out}");
    // A setting that the client does not know, and one that would break a promise.
    let (code, _, errors) = cluster.cli_with(&[("ORRERY_KAFKA_BOOTSTRAP_SERVER", "x")], &["topics", "plan"]);
    assert!(
        code == 1 && errors.contains("did you mean bootstrap.servers?") && errors.contains("ORRERY_KAFKA_BOOTSTRAP_SERVER"),
        "{errors}"
    );
    let (code, _, errors) = cluster.cli_with(&[("ORRERY_KAFKA_ISOLATION_LEVEL", "read_uncommitted")], &["topics", "plan"]);
    assert!(code == 1 && errors.contains("would break what the log promises"), "{errors}");
}
