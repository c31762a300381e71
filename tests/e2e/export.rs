//! `orrery audit export`: what data teams ask of the files, in the documentation's own words, and the log as evidence elsewhere.

use orrery_tests::{Server, binary};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs on request and on events that all have ended: two of `default/ok`, one of `default/bad`, three of `shop/on-paid`.
fn busy_server(folder: &Path) -> Server {
    let server = Server::start(folder);
    for job in [
        json!({"name": "ok", "command": ["true"]}),
        json!({"name": "bad", "shell": "exit 3"}),
        json!({"name": "shop/on-paid", "command": ["true"], "concurrency": "allow", "triggers": [{"event": "orders.paid"}]}),
    ] {
        assert_eq!(server.post("/api/v1/jobs", &job.to_string()).status, 201);
    }
    for job in ["ok", "ok", "bad"] {
        let started = server.post(&format!("/api/v1/jobs/default/{job}/run"), "");
        server.wait(started.body["id"].as_str().expect("a run"));
    }
    for n in 0..3 {
        assert_eq!(server.post("/api/v1/events/orders.paid", &json!({"n": n}).to_string()).status, 202);
    }
    for run in runs(&server, "shop%2Fon-paid", 3) {
        server.wait(run["id"].as_str().expect("a run"));
    }
    server
}

/// The runs of a job, by the API, once there are so many.
fn runs(server: &Server, job: &str, count: usize) -> Vec<Value> {
    let is_whole = |found: &Value| found["items"].as_array().is_some_and(|items| items.len() == count);
    server.until(&format!("/api/v1/runs?job={job}&limit=100"), is_whole)["items"].as_array().unwrap().clone()
}

/// Exports and returns the rows of each table, by its file's name.
fn export(server: &Server, format: &str, out: &Path) -> Value {
    let (code, told, errors) = server.cli(&["audit", "export", "--format", format, "--out", out.to_str().unwrap(), "-o", "json"]);
    assert_eq!(code, 0, "{told}{errors}");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["format"], format);
    told["written"].as_array().unwrap().iter().map(|one| (one["name"].as_str().unwrap().to_owned(), one["rows"].clone())).collect()
}

/// What the documentation's questions come to.
fn ask(folder: &Path, ending: &str) -> Value {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = Command::new("sh").arg(here.join("../.ci/python")).stderr(Stdio::inherit()).output().expect("a shell");
    assert!(made.status.success(), "no Python with DuckDB");
    let mut asking = Command::new(String::from_utf8(made.stdout).unwrap().trim());
    asking.arg(here.join("e2e/export.py")).arg(here.join("../docs/export.md")).arg(folder).arg(ending);
    let done = asking.stdin(Stdio::null()).output().expect("it starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

#[test]
fn the_documented_questions_are_answered_as_the_api_answers_them() {
    let folder = tempfile::tempdir().unwrap();
    let server = busy_server(&folder.path().join("data"));
    let all = server.get("/api/v1/runs?limit=100").body["items"].as_array().unwrap().clone();
    for ending in ["parquet", "jsonl"] {
        let out = folder.path().join(ending);
        let written = export(&server, ending, &out);
        let found = ask(&out, ending);
        assert_eq!(found["counts"]["runs"], all.len());
        for table in ["decisions", "entries", "runs"] {
            assert_eq!(found["counts"][table], written[format!("{table}.{ending}")], "{table}");
        }
        check_answers(&found["answers"], &all);
    }
}

/// Waiting times, ends by agent, causes by hour: each against the runs of the API.
fn check_answers(answers: &Value, all: &[Value]) {
    let count = |is: &dyn Fn(&Value) -> bool| all.iter().filter(|run| is(run)).count();
    let [waits, agents, causes] = &answers.as_array().unwrap()[..] else { panic!("three questions have three answers: {answers}") };
    let waits = waits.as_array().unwrap();
    assert_eq!(waits.len(), 3, "one row for each job: {waits:?}");
    for row in waits {
        assert_eq!(row["runs"], count(&|run: &Value| run["job"] == row["job"]), "{row}");
        let (p50, p95) = (row["p50_waited_ms"].as_f64().unwrap(), row["p95_waited_ms"].as_f64().unwrap());
        assert!(p50 <= p95 && p95 < 60_000.0, "{row}");
    }
    let [agent] = &agents.as_array().unwrap()[..] else { panic!("there is one agent: {agents}") };
    assert_eq!(agent["agent"], all[0]["agent"]);
    assert_eq!(agent["succeeded"], count(&|run: &Value| run["state"] == "succeeded"), "{agent}");
    assert_eq!((&agent["failed"], &agent["lost"]), (&json!(1), &json!(0)), "{agent}");
    for (job, kind) in [("default/ok", "request"), ("default/bad", "request"), ("shop/on-paid", "event")] {
        // The hour may have struck in between.
        let rows: Vec<&Value> = causes.as_array().unwrap().iter().filter(|row| row["job"] == job).collect();
        assert!(rows.iter().all(|row| row["cause_kind"] == kind && row["percent"] == 100.0), "{rows:?}");
        let runs: i64 = rows.iter().filter_map(|row| row["runs"].as_i64()).sum();
        assert_eq!(runs, count(&|run: &Value| run["job"] == job) as i64, "{rows:?}");
    }
}

#[test]
fn nothing_is_overwritten_and_ranges_are_kept_to() {
    let folder = tempfile::tempdir().unwrap();
    let server = busy_server(&folder.path().join("data"));
    let out = folder.path().join("out");
    let to = out.to_str().unwrap();
    export(&server, "jsonl", &out);
    let before = std::fs::read(out.join("runs.jsonl")).unwrap();
    let (code, _, errors) = server.cli(&["audit", "export", "--format", "jsonl", "--out", to]);
    assert!(code == 1 && errors.contains("decisions.jsonl is there already"), "{errors}");
    assert_eq!(std::fs::read(out.join("runs.jsonl")).unwrap(), before);
    let late = folder.path().join("late");
    let args = ["audit", "export", "--format", "jsonl", "--out", late.to_str().unwrap(), "--until", "2000-01-01T00:00:00Z", "-o", "name"];
    let (code, told, errors) = server.cli(&args);
    assert_eq!((code, told.as_str()), (0, "decisions.jsonl\nentries.jsonl\nruns.jsonl\n"), "{errors}");
    assert_eq!(std::fs::metadata(late.join("entries.jsonl")).unwrap().len(), 0);
    let (code, _, errors) = server.cli(&["audit", "export", "--format", "log", "--out", to, "--since", "2000-01-01T00:00:00Z"]);
    assert!(code == 1 && errors.contains("journals whole"), "{errors}");
}

#[test]
fn the_exported_log_verifies_without_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = busy_server(&folder.path().join("data"));
    // Once beside the running server, once without it.
    let (beside, alone) = (folder.path().join("beside"), folder.path().join("alone"));
    export(&server, "log", &beside);
    server.kill();
    export(&server, "log", &alone);
    let moved = folder.path().join("moved");
    std::fs::rename(&alone, &moved).unwrap();
    for copy in [&beside, &moved] {
        let verify = Command::new(binary()).args(["audit", "verify", "-o", "json", "--data-dir"]).arg(copy).output().unwrap();
        let told: Value = serde_json::from_slice(&verify.stdout).unwrap();
        assert!(verify.status.success() && told["divergences"] == 0, "{told}");
        for journal in told["journals"].as_array().unwrap() {
            assert!(journal["entries"].as_i64() > Some(5) && journal["state_hash"] == "equal", "{journal}");
        }
    }
    // The same places: what an answer named is found in the copy.
    let log =
        |folder: &Path| Command::new(binary()).args(["audit", "log", "-o", "json", "--data-dir"]).arg(folder).output().unwrap().stdout;
    let told = log(&folder.path().join("data"));
    assert!(!told.is_empty() && told == log(&moved), "other entries, or at other places");
    let (code, _, errors) = server.cli(&["audit", "export", "--format", "log", "--out", moved.to_str().unwrap()]);
    assert!(code == 1 && errors.contains("is there already"), "{errors}");
}
