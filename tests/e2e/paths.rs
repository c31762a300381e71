//! The ways in which a job runs.

use orrery_tests::Server;
use serde_json::{Value, json};

/// A folder and a server in it.
fn server() -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    (folder, server)
}

fn apply(server: &Server, job: Value) {
    let answer = server.post("/api/v1/jobs", &job.to_string());
    assert_eq!(answer.status, 201, "{answer:?}");
}

/// Waits until a run of the job has ended in this state.
fn ended(server: &Server, job: &str, state: &str) -> Value {
    let path = format!("/api/v1/runs?job={}&limit=1", job.replace('/', "%2F"));
    let found = server.until(&path, |found| found["items"][0]["id"].is_string());
    let run = server.wait(found["items"][0]["id"].as_str().unwrap());
    assert_eq!(run["state"], state, "{run}");
    run
}

fn logs(server: &Server, run: &Value, query: &str) -> String {
    let answer = server.get(&format!("/api/v1/runs/{}/logs{query}", run["id"].as_str().unwrap()));
    assert!(answer.is_good(), "{answer:?}");
    answer.body.as_str().map_or_else(|| answer.body.to_string(), str::to_owned)
}

#[test]
fn an_event_reaches_the_task() {
    let (_folder, server) = server();
    apply(
        &server,
        json!({
            "name": "orders/paid", "triggers": [{"event": "orders.paid", "when": "data.amount > 100 && headers.ce_type == 'paid'"}],
            "command": ["/bin/sh", "-c", "echo id=$1; cat $ORRERY_EVENT_FILE; env | sort >&2", "sh", "{{ event.data.id }}"],
            "env": {"STAGE": "test"},
        }),
    );
    let headers = [("ce-type", "paid"), ("ce-id", "1"), ("ce-source", "/test"), ("ce-specversion", "1.0")];
    server.post_with("/api/v1/events/orders.paid", r#"{"id": "o-0", "amount": 1}"#, &headers);
    let sent = server.post_with("/api/v1/events/orders.paid?key=k", r#"{"id": "o 1; ls", "amount": 101}"#, &headers);
    assert_eq!(sent.status, 202, "{sent:?}");
    let run = ended(&server, "orders/paid", "succeeded");
    assert_eq!(run["cause"], format!("event:orders.paid/0/{}", sent.body["offset"]));
    assert_eq!(logs(&server, &run, ""), "id=o 1; ls\n{\"id\": \"o 1; ls\", \"amount\": 101}");
    let env = logs(&server, &run, "?stream=stderr");
    for wanted in
        ["ORRERY_JOB=orders/paid", "STAGE=test", "ORRERY_CAUSE=event:orders.paid/0/", "ORRERY_ATTEMPT=", "ORRERY_FENCE=", "ORRERY_SANDBOX="]
    {
        assert!(env.contains(wanted), "{wanted} is not in\n{env}");
    }
    assert_eq!(logs(&server, &run, "?from=3&limit=3"), "o 1");
    let all = server.get("/api/v1/runs?job=orders%2Fpaid&count=true").body;
    assert_eq!(all["count"], 1, "the other event did not match");
}

#[test]
fn requests_are_answered_when_they_are_decided() {
    let (_folder, server) = server();
    apply(&server, json!({"name": "a", "command": ["echo", "{{ args.day }}"]}));
    let body = r#"{"args": {"day": "monday"}}"#;
    let started = server.post_with("/api/v1/jobs/default/a/run", body, &[("idempotency-key", "k1"), ("orrery-principal", "ann")]);
    assert_eq!(started.status, 201, "{started:?}");
    let run = server.wait(started.body["id"].as_str().unwrap());
    assert_eq!((run["state"].as_str(), logs(&server, &run, "").as_str()), (Some("succeeded"), "monday\n"));
    let again = server.post_with("/api/v1/jobs/default/a/run", body, &[("idempotency-key", "k1"), ("orrery-principal", "ann")]);
    assert_eq!(again.body["id"], started.body["id"], "the same key, the same run");
    let other = server.post_with("/api/v1/jobs/default/a/run", "", &[("idempotency-key", "k1"), ("orrery-principal", "ann")]);
    let detail = other.body["detail"].as_str().unwrap_or_default();
    assert!(other.status == 409 && other.body["code"] == "conflict" && detail.contains("\"k1\""), "other arguments: {other:?}");
    apply(&server, json!({"name": "b", "command": ["true"]}));
    let of_b = server.post_with("/api/v1/jobs/default/b/run", body, &[("idempotency-key", "k1"), ("orrery-principal", "ann")]);
    assert_eq!((of_b.status, of_b.body["job"].as_str()), (201, Some("default/b")), "a key belongs to a job: {of_b:?}");
    assert_eq!(server.post("/api/v1/jobs/default/a/pause", "").body["paused"], true);
    let refused = server.post("/api/v1/jobs/default/a/run", "{\"args\": {\"day\": \"x\"}}");
    assert_eq!((refused.status, refused.body["code"].as_str()), (409, Some("conflict")), "{refused:?}");
    server.post("/api/v1/jobs/default/a/resume", "");
    assert_eq!(server.delete("/api/v1/jobs/default/a").status, 200);
    assert_eq!(server.get("/api/v1/jobs/default/a").status, 404);
}

#[test]
fn a_running_task_can_be_cancelled_with_its_children() {
    let (folder, server) = server();
    let file = folder.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
    apply(&server, json!({"name": "long", "shell": script, "grace": "1s"}));
    let run = server.post("/api/v1/jobs/default/long/run", "").body["id"].as_str().unwrap().to_owned();
    let child = loop {
        if let Some(pid) = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<u32>().ok()) {
            break pid;
        }
        server.get(&format!("/api/v1/runs/{run}?wait=0"));
    };
    let answer = server.post(&format!("/api/v1/runs/{run}/cancel"), r#"{"reason": "wrong day"}"#);
    assert!(answer.is_good(), "{answer:?}");
    let ended = server.wait(&run);
    assert_eq!(ended["state"], "cancelled", "{ended}");
    assert!(ended["reason"].as_str().unwrap().contains("wrong day"), "{ended}");
    let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "the child lives on: {state}");
}

#[test]
fn failures_are_repeated_and_timeouts_end() {
    let (folder, server) = server();
    let marks = folder.path().join("marks");
    let script = format!("echo x >> {0}; test $(wc -l < {0}) -ge 3", marks.display());
    apply(&server, json!({"name": "flaky", "shell": script, "retries": {"max": 5, "backoff": "50ms"}}));
    let run = server.post("/api/v1/jobs/default/flaky/run", "").body["id"].as_str().unwrap().to_owned();
    let ended = server.wait(&run);
    assert_eq!((ended["state"].as_str(), ended["attempts"].as_i64()), (Some("succeeded"), Some(3)), "{ended}");
    apply(&server, json!({"name": "slow", "command": ["sleep", "1000"], "timeout": "100ms"}));
    let run = server.post("/api/v1/jobs/default/slow/run", "").body["id"].as_str().unwrap().to_owned();
    let ended = server.wait(&run);
    assert_eq!((ended["state"].as_str(), ended["end"]["kind"].as_str()), (Some("failed"), Some("timed_out")), "{ended}");
}

#[test]
fn a_task_that_fits_nowhere_waits_and_says_why() {
    let (_folder, server) = server();
    apply(&server, json!({"name": "huge", "command": ["true"], "resources": {"cpus": 5000}}));
    apply(&server, json!({"name": "far", "command": ["true"], "constraints": ["zone == mars"]}));
    let huge = server.post("/api/v1/jobs/default/huge/run", "").body["id"].as_str().unwrap().to_owned();
    let far = server.post("/api/v1/jobs/default/far/run", "").body["id"].as_str().unwrap().to_owned();
    for (run, code) in [(huge, "NEVER_FITS"), (far, "FILTERED_CONSTRAINT")] {
        let counted =
            |told: &Value| told["waits_for"].as_array().is_some_and(|reasons| !reasons.is_empty() && reasons[0]["code"] != "NO_AGENTS");
        let told = server.until(&format!("/api/v1/explain/run/{run}"), counted);
        let codes: Vec<&str> = told["waits_for"].as_array().unwrap().iter().filter_map(|reason| reason["code"].as_str()).collect();
        assert!(codes.contains(&code), "{codes:?} {told}");
    }
    let pending = server.get("/api/v1/explain/pending").body;
    assert_eq!(pending["count"], 2, "{pending}");
    let metrics = server.get("/metrics").body;
    let metrics = metrics.as_str().unwrap();
    for wanted in [
        "orrery_tasks_pending{reason=\"NEVER_FITS\"} 2",
        "orrery_runs{state=\"waiting\"} 2",
        "orrery_commit_seconds_bucket",
        "orrery_input_lag",
    ] {
        assert!(metrics.contains(wanted), "{wanted} is not in\n{metrics}");
    }
}

#[test]
fn dependent_jobs_and_streams() {
    let (_folder, server) = server();
    apply(&server, json!({"name": "a", "command": ["echo", "1"], "triggers": [{"event": "t"}]}));
    apply(&server, json!({"name": "b", "command": ["echo", "2"], "triggers": [{"event": "t"}]}));
    apply(&server, json!({"name": "c", "command": ["echo", "{{ run.cause }}"], "triggers": [{"after": ["a", "b"]}]}));
    server.post("/api/v1/events/t", "{}");
    let run = ended(&server, "default/c", "succeeded");
    assert!(logs(&server, &run, "").starts_with("after:"));
    let streamed = first_event(&server, &format!("/api/v1/decisions?from=trigger/0@0.0&run={}", run["id"].as_str().unwrap()));
    assert!(streamed.contains("id: trigger/0@") || streamed.contains("id:trigger/0@"), "{streamed}");
}

/// Reads a stream of server-sent events up to the first empty line.
fn first_event(server: &Server, path: &str) -> String {
    use std::io::{BufRead, BufReader, Write};
    let address = server.url.trim_start_matches("http://");
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let token = server.token();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nAccept: text/event-stream\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    assert!(head[0].contains("200"), "{head:?}");
    lines.skip(1).take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}
