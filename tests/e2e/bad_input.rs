//! Bad input: each answer names the field, the value and the remedy, and nothing is lost.

use expect_test::expect;
use orrery_tests::{Server, binary};
use std::process::Command;

fn told(server: &Server, body: &str, media: &str) -> String {
    let answer = server.post_with("/api/v1/jobs", body, &[("content-type", media)]);
    format!("{} {}: {}", answer.status, answer.body["code"].as_str().unwrap_or("?"), answer.body["detail"].as_str().unwrap_or("?"))
}

#[test]
fn documents() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let yaml = "application/yaml";
    let told = [
        told(&server, "name: [a\ncommand: x", yaml),
        told(&server, "name: a\ncomand: [x]", yaml),
        told(&server, "name: a\ncommand: [x]\ntriggers: [{cron: 0 0 30 2 *}]", yaml),
        told(&server, "name: a\ncommand: [x]\ntriggers: [{cron: 0 2 * * *, zone: Europe/Pari}]", yaml),
        told(&server, "name: a\ncommand: [x]\ntriggers: [{after: [a]}]", yaml),
        told(&server, "name: a\ncommand: [x]\ntriggers: [{event: t, when: 'data.n >'}]", yaml),
        told(&server, "name: a\ncommand: [x]\nresources: {cpus: -1}", yaml),
        told(&server, "name = 'a'\ncommand = ['x']\nnonsense = 1", "application/toml"),
        told(&server, "{\"name\": \"a\", \"command\": [\"x\"], \"priority\": 101}", "application/json"),
        told(&server, "name: a\ncommand: [x]\n---\nname: b\ncommand: [x]", yaml),
    ];
    let now = server.get("/api/v1/decisions?kind=refused&limit=1").body["items"][0]["at"].as_str().unwrap().to_owned();
    expect![[r#"
        422 invalid: line 1, column 7: name: invalid type: `[a`, expected a string
        422 invalid: line 2, column 1: unknown field `comand`; did you mean `command`?
        422 invalid: triggers[0].cron: "0 0 30 2 *" never fires after NOW; look at its day, month and year: "0 0 30 2 *" names the 30th of February
        422 invalid: triggers[0].zone: "Europe/Pari" is not a time zone of the IANA database 2025b; did you mean Europe/Paris?
        422 invalid: triggers[0].after: the job would run after itself (default/a); use an interval for work that repeats
        422 invalid: triggers[0].when: it does not compile: line 1, column 9: mismatched input '<EOF>'; write for example data.amount > 100 && key != ""
        422 invalid: resources.cpus: -1 is out of range; allowed is more than 0 and at most 100000
        422 invalid: line 3, column 1: unknown field `nonsense`; known are name, description, triggers, command, shell, resources, constraints, cell, role, principal, priority, retries, timeout, grace, start_within, concurrency, catch_up, env, user, limits
        422 invalid: priority: 101 is out of range; allowed is 0 to 100, higher first
        400 malformed: there are 2 documents; send one at a time"#]].assert_eq(&told.join("\n").replace(&now, "NOW"));
    let huge = format!("{{\"name\": \"a\", \"command\": [\"{}\"]}}", "x".repeat(600 << 10));
    assert_eq!(server.post("/api/v1/jobs", &huge).status, 413);
    assert_eq!(server.get("/api/v1/jobs").body["count"], 0, "none was taken");
}

#[test]
fn requests() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    assert_eq!(server.post("/api/v1/events/t", &"x".repeat(300 << 10)).body["code"], "too_large");
    // Of ten megabytes the server reads no more than it must: the client sees the answer, or the end of the connection.
    let large = server.try_post("/api/v1/events/t", &"x".repeat(10 << 20), &[]);
    assert!(large.as_ref().map_or(true, |answer| answer.status == 413), "{large:?}");
    let ours = server.post("/api/v1/events/orrery.jobs", "{}");
    assert_eq!((ours.status, ours.body["code"].as_str()), (403, Some("reserved_topic")));
    assert_eq!(server.post("/api/v1/events/a%2Fb", "{}").status, 422);
    let nowhere = server.get("/api/v1/job");
    assert_eq!((nowhere.status, nowhere.body["hint"].as_str()), (404, Some("did you mean /api/v1/jobs?")));
    assert_eq!(server.delete("/api/v1/runs").status, 405);
    assert_eq!(server.get("/api/v1/runs?state=done").status, 400);
    assert_eq!(server.get("/api/v1/runs?cursor=x").status, 400);
    assert_eq!(server.get("/api/v1/runs/nothing").status, 404);
    assert_eq!(server.get("/api/v1/openapi.json").body["openapi"], "3.1.0");
}

#[test]
fn an_exploding_predicate_costs_little_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let when = "data.l.all(a, data.l.all(b, a + b >= 0))";
    let job = serde_json::json!({"name": "a", "command": ["true"], "triggers": [{"event": "t", "when": when}]});
    assert_eq!(server.post("/api/v1/jobs", &job.to_string()).status, 201);
    let list: Vec<u32> = (0..20_000).collect();
    server.post("/api/v1/events/t", &serde_json::json!({"l": list}).to_string());
    server.post("/api/v1/events/t", &serde_json::json!({"l": [1, 2]}).to_string());
    let listed = |found: &serde_json::Value| found["items"].as_array().is_some_and(|items| !items.is_empty());
    let failed = server.until("/api/v1/decisions?kind=predicate_failed", listed);
    let reason = failed["items"][0]["entry"]["decisions"][0]["predicate_failed"]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("too large for what the expression does"), "{reason}");
    server.until("/api/v1/runs?count=true&state=succeeded", |found| found["count"] == 1);
}

#[test]
fn strangers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let address = server.url.trim_start_matches("http://").to_owned();
    let status = |headers: &str, path: &str| {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.split(' ').nth(1).unwrap().to_owned()
    };
    let token = format!("Authorization: Bearer {}\r\n", server.token());
    assert_eq!(status(&format!("Host: {address}\r\n{token}"), "/api/v1/jobs"), "200");
    assert_eq!(status(&format!("Host: {address}\r\n"), "/api/v1/jobs"), "401");
    assert_eq!(status(&format!("Host: {address}\r\nAuthorization: Bearer x\r\n"), "/metrics"), "401");
    assert_eq!(status(&format!("Host: {address}\r\n"), "/healthz"), "200");
    assert_eq!(status(&format!("Host: evil.example\r\n{token}"), "/api/v1/jobs"), "403");
    assert_eq!(status(&format!("Host: {address}\r\nOrigin: https://evil.example\r\n{token}"), "/api/v1/jobs"), "403");
    use std::os::unix::fs::PermissionsExt;
    let mode = |name: &str| std::fs::metadata(folder.path().join("data").join(name)).unwrap().permissions().mode() & 0o777;
    // Root lets others through, not in: its tasks may be other users'.
    let through = if std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0 { 0o711 } else { 0o700 };
    assert_eq!((mode("token"), mode(""), mode("log"), mode("agent/outputs")), (0o600, through, 0o700, 0o700));
}

#[test]
fn what_cannot_start_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let start = |dir: &std::path::Path, listen: &str| {
        let done = Command::new(binary()).arg("--data-dir").arg(dir).args(["standalone", "--listen", listen]).output().unwrap();
        assert_eq!(done.status.code(), Some(1));
        String::from_utf8(done.stderr).unwrap()
    };
    let second = start(&data, "127.0.0.1:0");
    assert!(second.contains("is in use by another orrery (process "), "{second}");
    let taken = start(&folder.path().join("other"), server.url.trim_start_matches("http://"));
    assert!(taken.contains("cannot be used") && taken.contains("choose another port"), "{taken}");
    orrery_tests::server::end_supervisor(&folder.path().join("other"));
    let open = start(&folder.path().join("third"), "0.0.0.0:0");
    assert!(open.contains("is not a loopback address"), "{open}");
    std::fs::write(folder.path().join("file"), "").unwrap();
    let file = start(&folder.path().join("file"), "127.0.0.1:0");
    assert!(file.contains("--data-dir"), "{file}");
}
