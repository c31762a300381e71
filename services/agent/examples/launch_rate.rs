//! The whole agent on a log in memory: launch readable → process started, and 10,000 × `true`, journalled and acknowledged.
//!
//! `cargo run -p orrery-agent --example launch_rate` (build the package's binaries first: `cargo build -p orrery-agent`).

#[path = "../tests/it/cluster.rs"]
#[expect(dead_code, reason = "the tests use all of it")]
mod cluster;
#[path = "../tests/it/fake_log.rs"]
#[expect(dead_code, reason = "the tests use all of it")]
mod fake_log;

use cluster::Cluster;
use orrery_log::clock;
use orrery_model::id::AttemptId;
use orrery_model::messages::{Order, Session, StatusChange};
use std::collections::BTreeSet;

const LATENCIES: usize = 1_000;
const TASKS: usize = 10_000;
const IN_FLIGHT: usize = 64;

fn main() {
    let own = std::env::current_exe().expect("this program has a path");
    let binary = own.parent().and_then(|p| p.parent()).expect("target/debug/examples").join("orrery-supervisor-for-tests");
    let mut cluster = Cluster::new(vec![binary.display().to_string(), "supervisor".into()]);
    cluster.start();
    let session = cluster.welcome(<[_]>::to_vec).session;
    let mut micros: Vec<i64> = (0..LATENCIES).map(|n| latency(&mut cluster, &session, n)).collect();
    micros.sort_unstable();
    println!("launch readable → started: p50 {} µs, p99 {} µs, max {} µs", micros[500], micros[990], micros[999]);
    println!("10,000 × true, {IN_FLIGHT} in flight: {:.0}/s", rate(&mut cluster, &session));
}

fn latency(cluster: &mut Cluster, session: &Session, n: usize) -> i64 {
    let attempt = format!("latency.{n}");
    let begin = clock::wall();
    cluster.launch(session, &attempt, &["true"]);
    let status = cluster.running(&attempt);
    let StatusChange::TaskRunning { started_at, .. } = status.change else { unreachable!("a running status") };
    cluster.ended(&attempt);
    acknowledge(cluster, session, status.attempt);
    cluster.news();
    started_at.0 - begin.0
}

fn rate(cluster: &mut Cluster, session: &Session) -> f64 {
    let begin = clock::monotonic();
    let (mut sent, mut over) = (0, BTreeSet::new());
    while over.len() < TASKS {
        while sent < TASKS && sent < over.len() + IN_FLIGHT {
            cluster.launch(session, &format!("rate.{sent}"), &["true"]);
            sent += 1;
        }
        let news = cluster.news();
        let ends = news.iter().filter(|status| matches!(status.change, StatusChange::TaskEnded { .. }));
        let ended: Vec<AttemptId> = ends.map(|status| status.attempt.clone()).collect();
        for attempt in ended {
            acknowledge(cluster, session, attempt.clone());
            over.insert(attempt);
        }
    }
    TASKS as f64 / clock::monotonic().duration_since(begin).as_secs_f64()
}

fn acknowledge(cluster: &Cluster, session: &Session, attempt: AttemptId) {
    cluster.order(session, Order::Acknowledge { attempt, seq: 2 });
}
