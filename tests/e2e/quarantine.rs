//! Records that are set aside: while the server runs, and while it does not.

use orrery_tests::Server;

#[test]
fn a_record_is_set_aside_and_everything_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(&folder.path().join("data"));
    let job = r#"{"name": "a", "command": ["true"], "triggers": [{"event": "shop"}], "concurrency": "allow"}"#;
    assert!(server.post("/api/v1/jobs", job).is_good());
    for (shard, record) in [("trigger/1", "shop/0@0"), ("gateway/0", "shop/0@0"), ("trigger/0", "shop@0")] {
        let (code, _, errors) = server.cli(&["dlq", "quarantine", shard, record]);
        assert!(code != 0 && !errors.is_empty(), "{shard} {record}: {errors}");
    }
    // The first record of a topic that is to come.
    let (code, out, errors) = server.cli(&["dlq", "quarantine", "trigger/0", "shop/0@0", "--reason", "of a test"]);
    assert!(code == 0 && out.contains("shop/0@0"), "{out}{errors}");
    let sent = |server: &Server| server.post("/api/v1/events/shop", r#"{"n": 1}"#).body["offset"].as_i64().unwrap();
    assert_eq!(sent(&server), 0);
    let second = sent(&server);
    let cause = format!("event:shop/0/{second}");
    server.until("/api/v1/runs?job=default/a&state=succeeded", |page| page["items"][0]["cause"] == cause.as_str());
    let (_, told, errors) = server.cli(&["explain", "event", "shop/0@0"]);
    assert!(told.contains("set it aside without deciding on it"), "{told}{errors}");
    let (_, alerts, _) = server.cli(&["cluster", "alerts", "--code", "record_quarantined"]);
    assert!(alerts.contains("shop/0@0 was set aside") && alerts.contains("of a test"), "{alerts}");
    let (_, letters, _) = server.cli(&["dlq", "list"]);
    assert!(letters.contains("quarantined"), "{letters}");
    // Nobody serves: it is written to the log itself, and counts from the next start on.
    server.kill();
    let third = second + 100;
    let place = format!("shop/0@{third}");
    let (code, out, errors) = server.cli(&["dlq", "quarantine", "trigger/0", &place]);
    assert!(code == 0 && out.contains(&place), "{out}{errors}");
    server.start_again();
    let (code, out, errors) = server.cli(&["audit", "verify"]);
    assert!(code == 0 && out.contains("0 divergences"), "{out}{errors}");
    assert_eq!(server.get("/api/v1/runs?job=default/a&count=true").body["count"], 1);
}
