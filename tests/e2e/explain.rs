//! `explain`: a person who asks why is told the reason, its code, and what would help; now and as of any time before.

use orrery_tests::Server;
use serde_json::{Value, json};

fn explained(server: &Server, path: &str, done: impl Fn(&Value) -> bool) -> Value {
    server.until(&format!("/api/v1/explain/{path}"), done)
}

fn define(server: &Server, job: &Value) {
    let answer = server.post("/api/v1/jobs", &job.to_string());
    assert_eq!(answer.status, 201, "{answer:?}");
}

fn start(server: &Server, job: &str) -> String {
    server.post(&format!("/api/v1/jobs/default/{job}/run"), "").body["id"].as_str().unwrap().to_owned()
}

fn has(lines: &Value, code: &str) -> bool {
    lines.as_array().is_some_and(|lines| lines.iter().any(|line| line["code"] == code))
}

#[test]
fn a_task_that_fits_nowhere_says_what_would_help() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    define(&server, &json!({"name": "huge", "command": ["true"], "resources": {"cpus": 4000}}));
    let run = start(&server, "huge");
    let counted = |told: &Value| told["waits_in"] == json!({"cell": 0, "agents": 1}) && has(&told["story"]["next"], "NEVER_FITS");
    let told = explained(&server, &format!("run/{run}"), counted);
    let story = &told["story"];
    assert_eq!(told["cut_off"], json!([]), "{told}");
    assert_eq!(story["headline"]["word"], "WAITING", "{story}");
    assert!(has(&story["placement"], "NEVER_FITS") && has(&story["placement"], "INSUFFICIENT_CPUS"), "{story}");
    assert!(story["headline"]["place"].as_str().is_some() && story["headline"]["epoch"].as_i64() > Some(0), "{story}");
    let (code, out, errors) = server.cli(&["explain", "run", &run]);
    assert!(code == 0 && out.contains("✗ NEVER_FITS") && out.contains("eligible, not placed"), "{out}{errors}");
    assert!(out.contains("It waits in cell 0, because") && out.contains("start an agent in cell 0"), "{out}");
    let pending = server.get("/api/v1/explain/pending").body;
    assert_eq!((&pending["count"], &pending["story"]["count"]), (&json!(1), &json!(1)), "{pending}");
    let groups = pending["story"]["groups"].as_array().unwrap();
    assert!(groups.iter().any(|group| group["code"] == "NEVER_FITS" && group["cell"] == 0 && group["tasks"] == 1), "{pending}");
    assert_eq!((&pending["story"]["or_more"], &pending["items"][0]["cell"]), (&json!(false), &json!(0)), "{pending}");
    let (code, out, _) = server.cli(&["explain", "pending"]);
    assert!(code == 0 && out.starts_with("1 wait") && out.contains("NEVER_FITS           in cell 0: "), "{out}");
}

#[test]
fn an_event_that_does_not_match_names_the_part_that_failed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let trigger = json!({"event": "orders.paid", "when": "data.amount > 100 && data.kind == 'sale'"});
    define(&server, &json!({"name": "receipt", "command": ["true"], "triggers": [trigger]}));
    server.post("/api/v1/events/orders.paid", r#"{"amount": 50, "kind": "sale"}"#);
    let nearest = |told: &Value| told["story"]["topics"][0]["events"][0]["code"] == "NO_TRIGGER_MATCH";
    let story = explained(&server, "job/default/receipt", nearest)["story"].clone();
    let event = &story["topics"][0]["events"][0];
    assert_eq!(event["text"], "data.amount > 100 is false: data.amount = 50", "{story}");
    let parts = event["trace"]["parts"].as_array().unwrap();
    assert_eq!((&parts[0]["result"], &parts[1]["result"]), (&json!(false), &json!(true)), "{story}");
    let at = event["appended"].as_str().unwrap();
    let (code, out, errors) = server.cli(&["explain", "job", "receipt", "--at", at]);
    assert!(code == 0 && out.contains("✗ data.amount > 100") && out.contains("data.amount = 50"), "{out}{errors}");
}

#[test]
fn an_event_is_told_by_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let trigger = json!({"event": "orders.paid", "when": "data.amount > 100 && data.kind == 'sale'"});
    define(&server, &json!({"name": "receipt", "command": ["true"], "triggers": [trigger]}));
    let send = |body: &str| server.post("/api/v1/events/orders.paid", body).body["offset"].as_i64().unwrap();
    let (fires, misses) = (send(r#"{"amount": 120, "kind": "sale"}"#), send(r#"{"amount": 50, "kind": "sale"}"#));
    let line = |lines: &Value, code: &str| lines.as_array().unwrap().iter().find(|line| line["code"] == code).cloned().unwrap_or_default();

    let ended = |told: &Value| has(&told["story"]["jobs"][0]["lines"], "SUCCEEDED");
    let story = explained(&server, &format!("event/orders.paid/0/{fires}"), ended)["story"].clone();
    let job = &story["jobs"][0];
    assert_eq!((&job["job"], &job["shard"], &story["others"]), (&json!("default/receipt"), &json!(0), &json!(0)), "{story}");
    assert!(has(&story["record"], "EVENT") && has(&job["lines"], "TRIGGER_MATCH"), "{story}");
    // The entry that took the event is the one that made the run.
    let place = line(&story["reading"], "READ")["place"].clone();
    assert!(place.as_str().is_some_and(|place| place.starts_with("trigger/0@")), "{story}");
    assert_eq!(line(&job["lines"], "RUN")["place"], place, "{story}");
    let (code, out, errors) = server.cli(&["explain", "event", &format!("orders.paid/0@{fires}")]);
    assert!(code == 0 && out.contains("has fired default/receipt") && out.contains(job["run"].as_str().unwrap()), "{out}{errors}");

    // That it was read without effect is journalled after a while.
    let read = |told: &Value| has(&told["story"]["reading"], "READ");
    let story = explained(&server, &format!("event/orders.paid/0/{misses}"), read)["story"].clone();
    assert!(line(&story["reading"], "READ")["place"].as_str().is_some(), "{story}");
    let missed = &story["jobs"][0]["lines"][0];
    assert_eq!((&missed["code"], &missed["text"]), (&json!("NO_TRIGGER_MATCH"), &json!("data.amount > 100 is false: data.amount = 50")));
    let parts = story["jobs"][0]["traces"][0]["parts"].as_array().unwrap();
    assert_eq!((&parts[0]["result"], &parts[1]["result"]), (&json!(false), &json!(true)), "{story}");
    assert!(has(&story["next"], "NO_TRIGGER_MATCH"), "{story}");
    let (code, out, errors) = server.cli(&["explain", "event", &format!("orders.paid/0/{misses}")]);
    assert!(code == 0 && out.contains("✗ data.amount > 100") && out.contains("✓ data.kind == 'sale'"), "{out}{errors}");
}

#[test]
fn a_place_without_an_event_is_refused_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let sent = server.post("/api/v1/events/orders.paid", "{}").body["offset"].as_i64().unwrap();
    let nobody = server.get(&format!("/api/v1/explain/event/orders.paid/0/{sent}")).body;
    assert!(has(&nobody["story"]["reading"], "NOT_READ") && has(&nobody["story"]["next"], "NOT_READ"), "{nobody}");
    let refused = |path: &str| {
        let answer = server.get(&format!("/api/v1/explain/event/{path}"));
        (answer.status, format!("{} {}", answer.body["detail"], answer.body["hint"]))
    };
    let cases = [
        ("orders.paid/0/999999", 404, "lies beyond its end"),
        ("orders.paid/7/0", 404, "has no partition 7"),
        ("orders.pade/0/0", 404, "did you mean orders.paid?"),
        ("orders.paid/0/-1", 400, "write TOPIC/PARTITION@OFFSET"),
        ("orrery.jobs/0/0", 403, "orrery audit log"),
    ];
    for (path, status, words) in cases {
        let (found, told) = refused(path);
        assert!(found == status && told.contains(words), "{path}: {found} {told}");
    }
    let (code, _, errors) = server.cli(&["explain", "event", "orders.paid/0@999999"]);
    assert!(code == 3 && errors.contains("offset 999999 of orders.paid/0 lies beyond its end"), "{errors}");
    let (code, _, errors) = server.cli(&["explain", "event", "orders.paid"]);
    assert!(code == 2 && errors.contains("write TOPIC/PARTITION@OFFSET"), "{errors}");
}

#[test]
fn a_held_run_names_the_run_that_it_waits_for() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    define(&server, &json!({"name": "turns", "command": ["sleep", "600"], "concurrency": "queue"}));
    let (first, second) = (start(&server, "turns"), start(&server, "turns"));
    let story = explained(&server, &format!("run/{second}"), |told| has(&told["story"]["gates"], "CONCURRENCY"))["story"].clone();
    assert!(story["gates"][0]["text"].as_str().unwrap().contains(&first), "{story}");
    assert!(story["next"][0]["text"].as_str().unwrap().contains(&format!("run {first} of the same job must end")), "{story}");
    let pending = server.get("/api/v1/explain/pending").body;
    let groups = pending["story"]["groups"].as_array().unwrap();
    assert!(groups.iter().any(|group| group["code"] == "CONCURRENCY"), "{pending}");
    server.post(&format!("/api/v1/runs/{second}/cancel"), "");
    server.post(&format!("/api/v1/runs/{first}/cancel"), "");
    server.wait(&first);
}

#[test]
fn a_run_that_has_ended_is_told_whole_and_as_of_before() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    define(&server, &json!({"name": "bad", "shell": "sleep 1; exit 3", "triggers": [{"event": "orders.paid", "when": "data.n == 1"}]}));
    server.post("/api/v1/events/orders.paid", r#"{"n": 1}"#);
    let told = explained(&server, "job/default/bad", |told| told["recent"][0]["state"] == "failed");
    let run = told["recent"][0]["id"].as_str().unwrap().to_owned();
    let story = explained(&server, &format!("run/{run}"), |told| has(&told["story"]["placement"], "PLACED"))["story"].clone();
    assert_eq!(story["headline"]["word"], "FAILED");
    let cause = story["trigger"][0]["text"].as_str().unwrap();
    assert!(cause.contains("orders.paid/0/0") && cause.contains("data.n == 1"), "{story}");
    let ended = story["attempts"].as_array().unwrap().iter().find(|line| line["code"] == "FAILED").unwrap();
    assert!(ended["text"].as_str().unwrap().contains("exited with 3"), "{story}");
    // As of when it was said to run.
    let started = story["attempts"].as_array().unwrap().iter().find(|line| line["code"] == "STARTED");
    let at = started.and_then(|line| line["at"].as_str()).expect("it has started");
    let then = server.get(&format!("/api/v1/explain/run/{run}?at={at}")).body;
    assert_eq!(then["story"]["headline"]["word"], "RUNNING", "{then}");
    let early = server.get(&format!("/api/v1/explain/run/{run}?at=2000-01-01T00:00:00Z"));
    assert_eq!(early.status, 404, "{early:?}");
    let agent = told["recent"][0]["agent"].as_str().unwrap();
    let (code, out, errors) = server.cli(&["explain", "agent", agent]);
    assert!(code == 0 && out.contains("of cell 0 JOINED") && out.contains("was placed here"), "{out}{errors}");
    let (code, _, errors) = server.cli(&["explain", "run", "abcdefghij234567"]);
    assert!(code == 3 && errors.contains("for 30 days") && errors.contains("`orrery audit log --run abcdefghij234567`"), "{errors}");
    assert_eq!(server.get("/api/v1/explain/run/abcdefghij234567").status, 404);
}
