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
        422 invalid: line 1, column 7: name: invalid type: `[a`, expected a string; put it in quotes
        422 invalid: line 2, column 1: unknown field `comand`; did you mean `command`?
        422 invalid: triggers[0].cron: "0 0 30 2 *" never fires after NOW; look at its day, month and year: "0 0 30 2 *" names the 30th of February
        422 invalid: triggers[0].zone: "Europe/Pari" is not a time zone of the IANA database 2026f; did you mean Europe/Paris?
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
    assert!(reason.contains("too large for what is done with it"), "{reason}");
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

#[test]
fn what_a_shard_could_not_take_is_refused_before_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    assert_eq!(server.post("/api/v1/jobs", r#"{"name": "a", "command": ["true"]}"#).status, 201);
    let run = |headers: &[(&str, &str)]| server.post_with("/api/v1/jobs/default/a/run", "{}", headers);
    for bad in ["a\tb", "", &"x".repeat(129)] {
        let told = run(&[("idempotency-key", bad)]);
        assert_eq!((told.status, told.body["code"].as_str()), (400, Some("malformed")), "{bad:?}: {told:?}");
        let told = server.post_with("/api/v1/events/t", "{}", &[("idempotency-key", bad)]);
        assert_eq!(told.status, 400, "{bad:?}: {told:?}");
    }
    for header in ["Orrery-Principal", "Idempotency-Key"] {
        let token = server.token();
        let head = format!(
            "POST /api/v1/jobs/default/a/run HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n"
        );
        let told = crate::hostile::answer_to(&server, &format!("{head}{header}: \u{e9}\r\nContent-Length: 2\r\n\r\n{{}}"));
        assert!(told.starts_with("HTTP/1.1 400"), "{told}");
    }
    assert_eq!(run(&[("idempotency-key", "a"), ("idempotency-key", "b")]).status, 400);
    let packed = server.post_with("/api/v1/events/t", "{}", &[("content-encoding", "gzip")]);
    assert_eq!((packed.status, packed.body["code"].as_str()), (415, Some("encoded")));
    let head = format!("POST /api/v1/events/t HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n", server.token());
    for bad in ["Host: localhost\r\nContent-Length: 2\r\n\r\n{}", "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nnumber\r\n"] {
        let told = crate::hostile::answer_to(&server, &format!("{head}Connection: close\r\n{bad}"));
        assert!(told.starts_with("HTTP/1.1 400") && told.contains("\"malformed\""), "{bad}: {told}");
    }
    // As large as a request may be.
    let args = serde_json::json!({"args": {"a": "x".repeat(100 << 10)}}).to_string();
    assert_eq!(server.post("/api/v1/jobs/default/a/run", &args).status, 201);
    let told = server.post("/api/v1/jobs/default/a/run", &serde_json::json!({"args": {"a": "x".repeat(300 << 10)}}).to_string());
    assert_eq!((told.status, told.body["code"].as_str()), (413, Some("too_large")));
    let (_, dead, _) = server.cli(&["dlq", "list", "-o", "json"]);
    assert!(!dead.contains("requests"), "{dead}");
}

#[test]
fn each_event_of_a_batch_has_its_own_key() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let job = r#"{"name": "a", "command": ["true"], "concurrency": "allow", "triggers": [{"event": "t", "when": "data.n > 0"}]}"#;
    assert_eq!(server.post("/api/v1/jobs", job).status, 201);
    for _ in 0..2 {
        let headers = [("content-type", "application/x-ndjson"), ("idempotency-key", "k")];
        let sent = server.post_with("/api/v1/events/t", "{\"n\": 1}\n{\"n\": 2}\n{\"n\": 3}\n", &headers);
        assert_eq!((sent.status, sent.body["items"].as_array().map(Vec::len)), (202, Some(3)), "{sent:?}");
    }
    let event = |id: u32| serde_json::json!({"specversion": "1.0", "id": id.to_string(), "source": "/s", "type": "t", "data": {"n": id}});
    let batch = serde_json::json!([event(4), event(5)]).to_string();
    let sent = server.post_with("/api/v1/events/t", &batch, &[("content-type", "application/cloudevents-batch+json")]);
    assert_eq!(sent.status, 202, "{sent:?}");
    server.until("/api/v1/runs?count=true&state=succeeded", |found| found["count"] == 5);
    let last = server.post("/api/v1/events/t", "{\"n\": 6}").body["offset"].clone();
    server.until(&format!("/api/v1/explain/event/t/0/{last}"), |found| found["decisions"].as_array().is_some_and(|all| !all.is_empty()));
    assert_eq!(server.get("/api/v1/runs?count=true").body["count"], 6, "the repeat fired nothing");
    let told = server.post_with("/api/v1/events/t", "[{\"id\": \"1\"}]", &[("content-type", "application/cloudevents-batch+json")]);
    assert!(told.status == 400 && told.body["detail"].as_str().unwrap().contains("[0]: missing field"), "{told:?}");
}

#[test]
fn a_reason_does_not_steer_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    assert_eq!(server.post("/api/v1/jobs", r#"{"name": "a", "command": ["sleep", "60"]}"#).status, 201);
    let run = server.post("/api/v1/jobs/default/a/run", "{}").body["id"].as_str().unwrap().to_owned();
    let steering = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}";
    let (code, shown, told) = server.cli(&["run", "cancel", &run, "--reason", steering]);
    assert_eq!(code, 0, "{told}");
    let mut all = vec![shown, told];
    for command in [["run", "get"], ["explain", "run"]] {
        for format in ["table", "wide", "json", "yaml", "name"] {
            let (code, shown, told) = server.cli(&[command[0], command[1], &run, "-o", format]);
            assert_eq!(code, 0, "{told}");
            all.extend([shown, told]);
        }
    }
    all.push(server.cli(&["run", "list", "-o", "wide"]).1);
    all.push(server.cli(&["audit", "log", "--run", &run]).1);
    assert!(all.iter().any(|text| text.contains("\\u001b]0;owned")), "it is shown as what it is");
    for text in all {
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']), "{text:?}");
    }
}

#[test]
fn a_terminal_that_hangs_up_ends_the_server_in_order_unless_it_was_told_to_stay() {
    use std::io::Read;
    let folder = tempfile::tempdir().unwrap();
    let ends = |ignored: bool| {
        let data = folder.path().join(format!("data-{ignored}"));
        let mut command = Command::new("sh");
        let trap = if ignored { "trap '' HUP; exec \"$0\" \"$@\"" } else { "exec \"$0\" \"$@\"" };
        command.args(["-c", trap]).arg(binary()).arg("--data-dir").arg(&data).args(["standalone", "--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        let kill = |signal: &str| assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        kill("-HUP");
        if ignored {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
            assert_eq!(u64::from_str_radix(mask, 16).unwrap() & 1, 1, "SIGHUP is still ignored");
            kill("-TERM");
        }
        let status = child.wait().unwrap();
        orrery_tests::server::end_supervisor(&data);
        status.code()
    };
    assert_eq!((ends(false), ends(true)), (Some(0), Some(0)));
}

#[test]
fn numbers_and_times_at_their_ends_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let job = r#"{"name": "a", "command": ["echo", "x"], "triggers": [{"event": "t"}]}"#;
    assert_eq!(server.post("/api/v1/jobs", job).status, 201);
    assert_eq!(server.post("/api/v1/events/t", "{}").status, 202);
    let run = server.post("/api/v1/jobs/default/a/run", "{}").body["id"].as_str().unwrap().to_owned();
    server.wait(&run);
    let numbers =
        ["0", "-1", "2147483647", "-2147483648", "4294967296", "9223372036854775807", "-9223372036854775808", "18446744073709551615"];
    let times = ["0001-01-01T00:00:00Z", "-9999-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "+262142-12-31T23:59:59Z", "0", ""];
    let with_number = [
        format!("/api/v1/runs/{run}/logs?from=#"),
        format!("/api/v1/runs/{run}/logs?limit=#"),
        format!("/api/v1/runs/{run}/logs?from=#&limit=#"),
        format!("/api/v1/runs/{run}/logs?attempt=#"),
        format!("/api/v1/runs/{run}?wait=#"),
        "/api/v1/runs?limit=#".to_owned(),
        format!("/api/v1/runs?cursor=#.{run}"),
        "/api/v1/jobs?limit=#".to_owned(),
        "/api/v1/agents?limit=#".to_owned(),
        "/api/v1/decisions?limit=#".to_owned(),
        "/api/v1/decisions?from=#".to_owned(),
        "/api/v1/decisions?from=trigger/#@#.#".to_owned(),
        "/api/v1/explain/event/t/0/#".to_owned(),
        "/api/v1/explain/event/t/#/0".to_owned(),
    ];
    let with_time = [
        "/api/v1/runs?since=#".to_owned(),
        "/api/v1/decisions?since=#".to_owned(),
        "/api/v1/decisions?until=#".to_owned(),
        format!("/api/v1/explain/run/{run}?at=#"),
        "/api/v1/explain/job/default/a?at=#".to_owned(),
    ];
    let agent = server.get("/api/v1/agents").body["items"][0]["id"].as_str().unwrap().to_owned();
    let of_agent = format!("/api/v1/explain/agent/{agent}?at=#");
    let asked = |paths: &[String], values: &[&str]| -> Vec<String> {
        paths.iter().flat_map(|path| values.iter().map(|value| path.replace('#', &value.replace('+', "%2B")))).collect()
    };
    for path in [asked(&with_number, &numbers), asked(&with_time, &times), asked(&[of_agent], &times)].concat() {
        let told = server.get(&path);
        assert!(told.status < 500, "{path}: {told:?}");
    }
    let token = server.token();
    for range in ["0-18446744073709551615", "18446744073709551615-", "9223372036854775808-9223372036854775809", "5-2"] {
        let path = format!("/api/v1/runs/{run}/logs");
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n");
        let told = crate::hostile::answer_to(&server, &format!("{head}Range: bytes={range}\r\n\r\n"));
        assert!(!told.starts_with("HTTP/1.1 5"), "{range}: {told}");
    }
}
