//! The command line against a real server.

use orrery_tests::{Server, binary};
use std::process::Command;

#[test]
fn jobs_and_runs() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let file = folder.path().join("jobs.yaml");
    std::fs::write(&file, "name: a\ncommand: [echo, '{{ args.x }}']\n---\nname: b\nshell: exit 3\n").unwrap();
    let (code, out, errors) = server.cli(&["job", "apply", "-f", file.to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (0, "job default/a version 1\njob default/b version 1\n"), "{errors}");
    let (code, out, errors) = server.cli(&["job", "run", "a", "--arg", "x=hello", "--wait", "-o", "name"]);
    assert_eq!(code, 0, "{errors}");
    let run = out.trim();
    assert_eq!(server.cli(&["run", "logs", run]).1, "hello\n");
    assert_eq!(server.cli(&["run", "logs", "-f", run]).1, "hello\n");
    assert_eq!(server.cli(&["job", "run", "b", "--wait"]).0, 5, "a run that failed");
    let (code, out, errors) = server.cli(&["cluster", "alerts", "--job", "b"]);
    assert!(code == 0 && out.contains("run_failed  default/b  it exited with 3"), "{out}{errors}");
    for not_it in [["--job", "a"], ["--code", "diverged"], ["--since", "2100-01-01T00:00:00Z"]] {
        let (code, out, errors) = server.cli(&[&["cluster", "alerts", "-o", "json"], &not_it[..]].concat());
        let told: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, &told["items"]), (0, &serde_json::json!([])), "{not_it:?}: {errors}");
    }
    let (code, _, errors) = server.cli(&["job", "get", "c"]);
    assert_eq!(code, 3, "{errors}");
    let (code, _, errors) = server.cli(&["run", "cancel", run]);
    assert_eq!(code, 4, "{errors}");
    assert_eq!(server.cli(&["run", "lst"]).0, 2, "usage");
    let (_, out, _) = server.cli(&["run", "list", "-o", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    let (code, out, errors) = server.cli(&["explain", "run", run, "-o", "wide"]);
    assert!(code == 0 && out.contains("Somebody asked for it") && out.contains("attempt wanted"), "{out}{errors}");
    let (code, out, errors) = server.cli(&["audit", "verify", "--from", "latest-snapshot"]);
    assert!(code == 0 && out.contains("0 divergences"), "{out}{errors}");
    let (code, out, errors) = server.cli(&["audit", "verify"]);
    assert!(code == 0 && out.contains("0 divergences"), "{out}{errors}");
    let (_, out, _) = server.cli(&["audit", "log", "--run", run, "-o", "name"]);
    let place = out.lines().next().unwrap();
    let (code, out, _) = server.cli(&["audit", "show", place]);
    assert!(code == 0 && out.contains(run), "{out}");
    let (_, agents, _) = server.cli(&["agent", "list", "-o", "name"]);
    let (code, out, errors) = server.cli(&["audit", "log", "--agent", agents.trim(), "--run", run]);
    assert!(code == 0 && out.contains("placed") && out.contains(" allocator/"), "{out}{errors}");
    let (code, out, errors) = server.cli(&["audit", "log", "--agent", "no-such-agent"]);
    assert_eq!((code, out.as_str()), (0, ""), "{errors}");
    for args in [
        &["agent", "list"][..],
        &["cluster", "status"],
        &["config", "show", "--origin"],
        &["completions", "bash"],
        &["job", "list", "-o", "wide"],
    ] {
        let (code, out, errors) = server.cli(args);
        assert!(code == 0 && !out.is_empty(), "{args:?}: {errors}");
    }
}

#[test]
fn the_logic_is_raised_as_far_as_the_members_have_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let (code, out, errors) = server.cli(&["cluster", "logic"]);
    assert!(code == 0 && out.contains("standalone-") && out.contains("trigger: version 1 is in force"), "{out}{errors}");
    // Built together with the simulator, the deciders have a second version.
    let (code, out, _) = server.cli(&["cluster", "logic", "--raise"]);
    assert!(code == 4 || out.contains("allocator: version 2 is in force"), "{out}");
    let (code, _, errors) = server.cli(&["cluster", "logic", "--raise"]);
    assert!(code == 4 && errors.contains("in force already"), "{errors}");
    let file = folder.path().join("job.yaml");
    std::fs::write(&file, "name: a\ncommand: [echo]\n").unwrap();
    assert_eq!(server.cli(&["job", "apply", "-f", file.to_str().unwrap()]).0, 0);
    assert_eq!(server.cli(&["job", "run", "a", "--wait"]).0, 0);
    let (code, out, errors) = server.cli(&["audit", "verify"]);
    assert!(code == 0 && out.contains("0 divergences") && !out.contains("not verified"), "{out}{errors}");
}

#[test]
fn schedules_are_read_without_a_server() {
    let next = |args: &[&str]| {
        let done = Command::new(binary()).args(["schedule", "next"]).args(args).output().unwrap();
        (done.status.code(), String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap())
    };
    let (code, out, _) = next(&["30 2 * * *", "-n", "2", "--zone", "Europe/Paris", "--from", "2026-03-28T12:00:00Z"]);
    assert_eq!(code, Some(0));
    assert!(out.ends_with("  2026-03-29T01:00:00Z\n  2026-03-30T00:30:00Z\n"), "the first instant after the gap: {out}");
    let (code, _, errors) = next(&["0 0 30 2 *"]);
    assert_eq!(code, Some(0), "{errors}");
    let (code, _, errors) = next(&["99 * * * *"]);
    assert!(code == Some(1) && errors.contains("cron"), "{errors}");
}

#[test]
fn what_is_taken_but_probably_not_meant_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let (code, out, errors) = server.cli(&["job", "create", "Reports", "--schedule", "R0//PT1H", "--cron", "*/90 * * * *", "--", "true"]);
    assert_eq!((code, out.as_str()), (0, "job default/Reports version 1\n"), "{errors}");
    let told = errors.lines().filter(|line| line.starts_with("warning: default/Reports: triggers[")).count();
    assert!(told == 2 && errors.contains("repeats 0 times") && errors.contains("R//PT1H30M"), "{errors}");
    let (code, out, errors) = server.cli(&["schedule", "next", "Reports", "-n", "1"]);
    assert!(code == 0 && out.contains("At minute 0 past every hour") && out.contains("none after"), "{out}{errors}");
    let (_, out, _) = server.cli(&["job", "list", "-o", "wide"]);
    assert!(out.contains(":00:00Z"), "a time in a list has its zone: {out}");
}

#[test]
fn without_a_server_the_error_says_what_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let done = Command::new(binary())
        .args(["run", "list", "--url", "http://127.0.0.1:1"])
        .env("ORRERY_TOKEN", "x")
        .env("ORRERY_DATA_DIR", folder.path())
        .output()
        .unwrap();
    let errors = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.code() == Some(1) && errors.contains("orrery standalone"), "{errors}");
}

#[test]
fn the_demo_ends_well() {
    let done = Command::new(binary()).arg("demo").output().unwrap();
    let out = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success() && out.ends_with("All is well.\n"), "{out}{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_flipped_byte_is_found_and_located() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = Server::start(&data);
    let job = serde_json::json!({"name": "flip", "command": ["echo", "a-text-to-be-found"]});
    server.post("/api/v1/jobs", &job.to_string());
    let run = server.post("/api/v1/jobs/default/flip/run", "").body["id"].as_str().unwrap().to_owned();
    server.wait(&run);
    server.kill();
    let flipped = flip(&data.join("log"), b"a-text-to-be-found", b"a-text-to-be-fount");
    assert!(flipped > 0, "the text stands in the journal");
    let (code, out, errors) = server.cli(&["audit", "verify"]);
    assert!(
        code == 1 && (out.contains("DIVERGENCE at ") || errors.contains("cannot be read") || errors.contains("damaged")),
        "{out}{errors}"
    );
}

/// Replaces a text in all files of a folder; how often.
fn flip(folder: &std::path::Path, from: &[u8], to: &[u8]) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            count += flip(&path, from, to);
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        while let Some(at) = bytes.windows(from.len()).position(|window| window == from) {
            bytes[at..at + to.len()].copy_from_slice(to);
            count += 1;
        }
        std::fs::write(&path, bytes).unwrap();
    }
    count
}
