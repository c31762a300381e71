//! The image of docker/Dockerfile and the commands of docker/compose.yaml, on a real container engine and a real broker.
//!
//! The engine is Debian's, started here for these tests alone; the base image is made locally. Where there is none, because nobody
//! is root or nothing can be fetched, the tests say so loudly and end.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod engine;

use engine::{Engine, Serving};
use orrery_log::clock;
use orrery_tests::kafka::Kafka;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest wait for a run in containers.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at it.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

fn docker_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker")
}

#[test]
fn the_image_shows_what_it_is_and_serves_as_composed() {
    let Some(engine) = Engine::start() else { return };
    engine.build();
    shows_itself(&engine);
    serves_as_composed(&engine);
}

/// The demonstration ends well, as nobody in particular, without any network.
fn shows_itself(engine: &Engine) {
    let (ok, out) = engine.docker(&["run", "--rm", "--network", "none", "orrery"]);
    assert!(ok && out.contains("succeeded"), "{out}");
    let (_, who) = engine.docker(&["run", "--rm", "--network", "none", "--entrypoint", "id", "orrery", "-u"]);
    assert_eq!(who.trim(), "10001", "not root");
    let (_, size) = engine.docker(&["image", "inspect", "--format", "{{.Size}}", "orrery"]);
    println!("the image has {} MB", size.trim().parse::<u64>().unwrap() / 1_000_000);
}

/// The services of compose.yaml, with its commands and settings, against a broker of this test.
fn serves_as_composed(engine: &Engine) {
    let kafka = Kafka::start(1);
    let text = std::fs::read_to_string(docker_folder().join("compose.yaml")).unwrap();
    let compose: Value = serde_saphyr::from_str(&text).unwrap();
    let services = compose["services"].as_object().unwrap();
    let ours: Vec<&String> = services.iter().filter(|(_, service)| service["image"] == "orrery").map(|(name, _)| name).collect();
    assert_eq!(ours.len(), 10, "the topics, nine processes: {ours:?}");
    let run = |name: &str, more: &[&str]| -> Vec<String> {
        let mut arguments: Vec<String> = ["run", "--rm", "--network", "host", "--name", name].map(str::to_owned).to_vec();
        for (key, value) in services[name]["environment"].as_object().unwrap() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            // They share the loopback interface and one broker.
            let value = match key.as_str() {
                "ORRERY_KAFKA_BOOTSTRAP_SERVERS" => kafka.bootstrap(),
                "ORRERY_MONITOR" => "127.0.0.1:0".to_owned(),
                "ORRERY_REPLICATION" => "1".to_owned(),
                _ => value,
            };
            arguments.extend(["--env".to_owned(), format!("{key}={value}")]);
        }
        arguments.extend(["--env".to_owned(), format!("ORRERY_MEMBER={name}"), "orrery".to_owned()]);
        arguments.extend(services[name]["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()));
        arguments.extend(more.iter().map(|word| (*word).to_owned()));
        arguments
    };
    let words = run("topics", &[]);
    let (ok, out) = engine.docker(&words.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(ok, "{out}");
    let serving: Vec<Serving> = ours
        .iter()
        .filter(|name| name.as_str() != "topics")
        .map(|name| {
            let listen: &[&str] = if name.as_str() == "gateway" { &["--listen", "127.0.0.1:0"] } else { &[] };
            Serving::start(engine, name, &run(name, listen))
        })
        .collect();
    let said = |name: &str| serving.iter().find(|one| one.name == name).unwrap().ready.clone();
    fires_and_finishes(engine, said("gateway").split(' ').next().unwrap());
    shows_its_metrics(&["trigger-1", "trigger-2", "allocator-1", "allocator-2", "auditor"].map(said));
}

/// A job that an event fires, through the gateway, by the command line in its container.
fn fires_and_finishes(engine: &Engine, url: &str) {
    let orrery = |arguments: &[&str]| {
        let url = format!("ORRERY_URL={url}");
        engine.docker(&[&["exec", "--env", &url, "gateway", "orrery"], arguments].concat())
    };
    let (ok, out) = orrery(&["job", "create", "composed/hello", "--event", "composed", "--", "sh", "-c", "id -u"]);
    assert!(ok, "{out}");
    let deadline = clock::monotonic() + PATIENCE;
    loop {
        let (sent, out) = orrery(&["event", "send", "composed", "--data", &json!({"n": 1}).to_string()]);
        assert!(sent, "{out}");
        let (_, runs) = orrery(&["run", "list", "--job", "composed/hello"]);
        if runs.contains("succeeded") {
            return;
        }
        assert!(clock::monotonic() < deadline, "no run: {runs}");
        std::thread::park_timeout(LOOK_AGAIN);
    }
}

/// Every metric that the dashboard shows is one that somebody tells.
fn shows_its_metrics(ready: &[String]) {
    let told: String = ready
        .iter()
        .map(|said| {
            let (_, url) = said.split_once(" monitor ").unwrap();
            ureq::get(format!("{url}/metrics")).call().unwrap().body_mut().read_to_string().unwrap()
        })
        .collect();
    let dashboard = std::fs::read_to_string(docker_folder().join("grafana/dashboards/orrery.json")).unwrap();
    let words = dashboard.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let shown: BTreeSet<&str> = words.filter(|word| word.starts_with("orrery_")).collect();
    // Nothing was given up or dropped, so that nobody has counted it: what is documented is told when it happens.
    let documented = std::fs::read_to_string(docker_folder().join("../README.md")).unwrap();
    let is_known = |name: &&str| told.contains(*name) || documented.contains(&format!("`{name}`"));
    let unknown: Vec<&str> = shown.iter().copied().filter(|name| !is_known(name)).collect();
    assert!(shown.len() > 5 && unknown.is_empty(), "nobody tells {unknown:?}");
    assert!(told.contains("orrery_commit_seconds_bucket") && told.contains("orrery_input_lag"));
}
