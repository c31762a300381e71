//! What data teams have: kcat, and Python with confluent-kafka. They need nothing of ours but a schema.

use crate::client::Client;
use orrery_tests::cluster::Cluster;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// A cluster that runs what it is told to, and a topic for events.
fn begin(bootstrap: &str) -> (Cluster, Client, String) {
    let mut cluster = Cluster::make(bootstrap, 3, 1);
    let client = Client::new(bootstrap, &cluster);
    let topic = cluster.topic("ordinary").replace('.', "-");
    client.make_topic(&topic, 3);
    for role in ["trigger", "allocator", "agent"] {
        cluster.start(role, role, &[]);
    }
    (cluster, client, topic)
}

#[test]
fn kcat_defines_a_job_fires_it_and_reads_its_run() {
    let kafka = crate::broker();
    let (cluster, mut client, topic) = begin(&kafka.bootstrap());
    let kcat = |arguments: &[&str], input: &str| -> String {
        let mut command = Command::new("kcat");
        command.args(["-q", "-b", &kafka.bootstrap()]).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("kcat; `make setup-tests` installs it");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", done.status);
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    let job = format!(r#"{{"name": "kcat/hello", "command": ["true"], "triggers": [{{"event": "{topic}", "from": "earliest"}}]}}"#);
    kcat(&["-P", "-t", &cluster.topic("jobs"), "-k", "kcat/hello"], &job);
    kcat(&["-P", "-t", &topic], r#"{"n": 1}"#);
    client.wait("its run", |client| client.runs.values().any(|run| run.ended_at.is_some()));
    let run = client.runs.values().next().unwrap();
    let read = kcat(&["-C", "-t", &cluster.topic("runs"), "-o", "beginning", "-e", "-f", "%k %s\n"], "");
    assert!(read.contains(run.run.as_str()) && read.contains("kcat/hello"), "{read:?}");
}

#[test]
fn python_defines_a_job_fires_it_and_reads_its_runs() {
    let kafka = crate::broker();
    let (cluster, _, topic) = begin(&kafka.bootstrap());
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = Command::new("sh").arg(here.join("../.ci/python")).stderr(Stdio::inherit()).output().expect("a shell");
    assert!(made.status.success(), "no Python with the clients");
    let python = String::from_utf8(made.stdout).unwrap();
    let mut client = Command::new(python.trim());
    client.arg(here.join("on_kafka/client.py")).arg(kafka.bootstrap());
    client.args([cluster.topic("jobs"), topic, cluster.topic("runs")]).arg(here.join("../schemas/run.avsc"));
    let done = client.stdin(Stdio::null()).output().expect("it starts");
    assert!(done.status.success(), "{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
}
