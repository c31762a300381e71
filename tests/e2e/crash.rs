//! kill -9 at random moments under load, again and again, on one data folder: nothing accepted is lost, nothing is run twice.

use orrery_tests::oracle::{Oracle, script};
use orrery_tests::{Answer, Server};
use serde_json::json;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Kills of one test.
const KILLS: usize = 40;
/// Requests between two kills, at most: the moment is drawn from what has been accepted and from a fraction of the next one.
const MOST_ACCEPTED: u64 = 60;

/// Small numbers that follow from a seed (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % n
    }
}

fn seed() -> u64 {
    let drawn = std::collections::hash_map::RandomState::new();
    std::hash::BuildHasher::hash_one(&drawn, 1) | 1
}

/// What was accepted: causes whose runs must come to their ends.
type Accepted = Arc<Mutex<Vec<String>>>;

#[test]
fn nothing_is_lost_or_doubled_by_kills() {
    crash_loop(false);
}

#[test]
fn nor_when_the_local_store_is_gone_as_well() {
    crash_loop(true);
}

fn crash_loop(lose_store: bool) {
    let seed = seed();
    println!("seed {seed}");
    let mut random = Random(seed);
    let folder = tempfile::tempdir().unwrap();
    let (data, oracle) = (folder.path().join("data"), folder.path().join("oracle"));
    let accepted: Accepted = Arc::default();
    let mut server = Server::start(&data);
    define(&server, &oracle);
    for round in 0..KILLS {
        let load = Load::start(&server, round, accepted.clone());
        load.wait_for(1 + random.below(MOST_ACCEPTED), Duration::from_micros(random.below(20_000)));
        server.kill();
        load.stop();
        if lose_store && random.below(2) == 0 {
            std::fs::remove_dir_all(data.join("store")).unwrap();
        }
        server.start_again();
    }
    settle(&server);
    check(&server, &oracle, &accepted, seed);
}

/// A job by events, one by requests, one by the clock; each writes to the oracle.
fn define(server: &Server, oracle: &Path) {
    let needs = json!({"cpus": "1m", "memory": "1MiB"});
    let jobs = [
        json!({"name": "crash/event", "shell": script(oracle, "0.05"), "triggers": [{"event": "crash"}], "concurrency": "allow", "resources": needs}),
        json!({"name": "crash/request", "shell": script(oracle, "0.3"), "concurrency": "allow", "resources": needs}),
        json!({"name": "crash/tick", "shell": script(oracle, "0"), "triggers": [{"interval": "R//PT1S"}], "concurrency": "allow",
               "resources": needs, "catch_up": {"policy": "all"}}),
    ];
    for job in jobs {
        let answer = server.post("/api/v1/jobs", &job.to_string());
        assert_eq!(answer.status, 201, "{answer:?}");
    }
}

/// A client that sends until the server dies.
struct Load {
    progress: Receiver<()>,
    stop: Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Load {
    fn start(server: &Server, round: usize, accepted: Accepted) -> Self {
        let (told, progress) = channel();
        let (stop, stopped) = channel();
        let (url, token) = (server.url.clone(), server.token());
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(20))).build().into();
        let thread = std::thread::spawn(move || {
            for n in 0.. {
                let post = |path: &str, body: &str, key: &str| {
                    orrery_tests::server::client_post(&agent, &url, &token, path, body, &[("idempotency-key", key)])
                };
                let key = format!("{round}-{n}");
                let cause = if n % 3 == 2 {
                    post("/api/v1/jobs/crash/request/run", "", &key).ok().and_then(|answer| request_cause(&answer, &key))
                } else {
                    post("/api/v1/events/crash", "{}", &key).ok().and_then(|answer| event_cause(&answer))
                };
                match cause {
                    Some(cause) => accepted.lock().unwrap().push(cause),
                    None => return,
                }
                if told.send(()).is_err() || !matches!(stopped.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty)) {
                    return;
                }
            }
        });
        Self { progress, stop, thread }
    }

    /// Waits for so many acceptances, and a little longer.
    fn wait_for(&self, accepted: u64, longer: Duration) {
        for _ in 0..accepted {
            self.progress.recv_timeout(Duration::from_secs(30)).expect("the server accepts");
        }
        // The moment of the kill lies within the handling of what comes next.
        let (_silent, nothing) = channel::<()>();
        let _later = nothing.recv_timeout(longer);
    }

    fn stop(self) {
        let _gone = self.stop.send(());
        self.thread.join().unwrap();
    }
}

fn event_cause(answer: &Answer) -> Option<String> {
    (answer.status == 202).then(|| format!("event:crash/{}/{}", answer.body["partition"], answer.body["offset"]))
}

/// 201 is decided; 202 is durable, and will be.
fn request_cause(answer: &Answer, key: &str) -> Option<String> {
    matches!(answer.status, 201 | 202).then(|| format!("request:*/{key}"))
}

/// No more slots, and everything that was begun ends.
fn settle(server: &Server) {
    assert!(server.post("/api/v1/jobs/crash/tick/pause", "").is_good());
    loop {
        let open = server.get("/api/v1/runs?state=waiting,starting,running&limit=1").body;
        match open["items"][0]["id"].as_str() {
            Some(run) => drop(server.wait(run)),
            None => return,
        }
    }
}

fn check(server: &Server, file: &Path, accepted: &Accepted, seed: u64) {
    let oracle = Oracle::read(file);
    oracle.check_nothing_doubled();
    let accepted = accepted.lock().unwrap();
    for cause in accepted.iter() {
        let ends = oracle.ends.get(cause).map_or(0, std::collections::BTreeSet::len);
        assert_eq!(ends, 1, "{cause} was accepted and came to {ends} ends (seed {seed})");
    }
    check_slots(&oracle, seed);
    let failed = server.get("/api/v1/runs?state=failed,lost,cancelled,skipped&limit=1").body;
    assert_eq!(failed["items"].as_array().map(Vec::len), Some(0), "{failed} (seed {seed})");
    let (code, out, errors) = server.cli(&["audit", "verify"]);
    assert!(code == 0 && out.contains("0 divergences"), "{out}{errors} (seed {seed})");
    println!("{} accepted, {} attempts; {}", accepted.len(), oracle.starts.len(), out.lines().last().unwrap_or_default());
}

/// Every second between the first and the last slot was run once.
fn check_slots(oracle: &Oracle, seed: u64) {
    let slot = |cause: &String| cause.strip_prefix("time:").map(second_of_month);
    let mut slots: Vec<i64> = oracle.ends.keys().filter_map(slot).collect();
    slots.sort_unstable();
    for pair in slots.windows(2) {
        assert_eq!(pair[0] + 1, pair[1], "a slot between {} and {} was not run (seed {seed})", pair[0], pair[1]);
    }
    assert!(slots.len() > 2, "{} slots (seed {seed})", slots.len());
}

/// Seconds of the month of an RFC 3339 time; a test does not run over midnight of two days.
fn second_of_month(text: &str) -> i64 {
    let clock: Vec<i64> = text[11..19].split(':').map(|part| part.parse().unwrap()).collect();
    let day: i64 = text[8..10].parse().unwrap();
    ((day * 24 + clock[0]) * 60 + clock[1]) * 60 + clock[2]
}
