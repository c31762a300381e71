//! Clients that say nothing, half of something, or take nothing: what they cost is bounded, and nobody else waits for them.

use orrery_log::clock;
use orrery_tests::Server;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long anybody else may wait while they are there, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long until what an agent lacks is told.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// Lets this process open as many files as it may; returns how many connections that is.
fn connections(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let most = usize::try_from(maximum.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    wanted.min(most.saturating_sub(200))
}

/// An event is taken, and soon.
fn sends_an_event(server: &Server) {
    let began = clock::monotonic();
    let sent = server.post("/api/v1/events/t", "{}");
    assert_eq!(sent.status, 202, "{sent:?}");
    assert!(began.elapsed() < PATIENCE, "an event waited for {:?}", began.elapsed());
}

/// What the server answers to these bytes before it ends the connection, as they ask it to.
pub(crate) fn answer_to(server: &Server, text: &str) -> String {
    let mut stream = server.connect().unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn silence_takes_no_files_from_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with_files(&folder.path().join("data"), 1_024);
    let mut silent = Vec::new();
    for n in 0..connections(1_200) {
        silent.push(server.connect().unwrap());
        if n % 100 == 99 {
            sends_an_event(&server);
        }
    }
    assert_eq!(server.get("/readyz").status, 200);
    let end = |found: &serde_json::Value| {
        let topics = found["topics"].as_array().into_iter().flatten();
        topics.filter(|topic| topic["topic"] == "t").any(|topic| topic["end"].as_i64() >= Some(10))
    };
    server.until("/api/v1/cluster", end);
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    assert!(files < 1_000, "{files} files are open of 1024");
}

#[test]
fn half_heads_are_small_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    sends_an_event(&server);
    let before = server.resident_mib();
    let half = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(200 << 10));
    let mut waiting: Vec<TcpStream> = Vec::new();
    for n in 0..connections(3_000) {
        let mut stream = server.connect().unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        // One half ends before the limit, the other is refused at it.
        let _may_be_refused = stream.write_all(if n % 2 == 0 { &half.as_bytes()[..12 << 10] } else { half.as_bytes() });
        waiting.push(stream);
    }
    sends_an_event(&server);
    let grown = server.resident_mib().saturating_sub(before);
    assert!(grown < 150, "{} half heads take {grown} MiB", waiting.len());
    // The newest one of the small ones has not made room for others: its time ends it.
    let mut last = waiting.swap_remove((waiting.len() - 1) / 2 * 2);
    last.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let end = last.read(&mut [0; 100]).map_or_else(|error| error.kind(), |_| ErrorKind::UnexpectedEof);
    assert!(matches!(end, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{end}");
}

#[test]
fn a_length_that_is_told_twice_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let head =
        format!("POST /api/v1/events/t HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {}\r\n", server.token());
    let (length, encoding, body) = ("Content-Length: 7\r\n", "Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n");
    for both in [format!("{head}{length}{encoding}\r\n{body}"), format!("{head}{encoding}{length}\r\n{body}")] {
        let answer = answer_to(&server, &both);
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("Transfer-Encoding"), "{answer}");
    }
    let answer = answer_to(&server, &format!("{head}{encoding}\r\n{body}"));
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
}

/// Fills the journal with entries of so many bytes each.
fn fills_the_journal(server: &Server, entries: usize, bytes: usize) {
    let job = r#"{"name": "a", "command": ["true"], "concurrency": "allow", "triggers": [{"event": "large"}]}"#;
    assert_eq!(server.post("/api/v1/jobs", job).status, 201);
    let event = serde_json::json!({"text": "x".repeat(bytes)}).to_string();
    for _ in 0..entries {
        assert_eq!(server.post("/api/v1/events/large", &event).status, 202);
    }
    server.until("/api/v1/runs?count=true&state=succeeded", |found| found["count"] == entries);
}

#[test]
fn followers_that_do_not_read_are_bounded_in_number_and_memory() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    sends_an_event(&server);
    let before = server.resident_mib();
    let ask = format!(
        "GET /api/v1/decisions?from=trigger/0@0.0 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nAccept: text/event-stream\r\n\r\n",
        server.token()
    );
    let mut followers = Vec::new();
    for _ in 0..connections(400) {
        let mut stream = server.connect().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(ask.as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        followers.push((stream, String::from_utf8_lossy(&status).into_owned()));
    }
    let of = |status: &str| followers.iter().filter(|(_, told)| told.ends_with(status)).count();
    assert!((32..=256).contains(&of("200")), "{} follow", of("200"));
    assert_eq!(of("200") + of("429"), followers.len(), "the others are told to come again");
    followers.truncate(32);
    fills_the_journal(&server, 30, 200 << 10);
    sends_an_event(&server);
    let grown = server.resident_mib().saturating_sub(before);
    assert!(grown < 400, "32 followers take {grown} MiB");
}

#[test]
fn readings_are_bounded_and_an_event_does_not_wait_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    fills_the_journal(&server, 40, 200 << 10);
    let path = "/api/v1/decisions?limit=1000";
    let (mut seen, mut from) = (0, None::<i64>);
    loop {
        let query = from.map_or_else(String::new, |from| format!("&from={from}"));
        let page = server.get(&format!("{path}{query}")).body;
        assert!(page.to_string().len() < 8 << 20, "a page has {} bytes", page.to_string().len());
        seen += page["items"].as_array().unwrap().iter().filter(|item| item["kinds"][0] == "event_kept").count();
        from = page["next"].as_i64();
        if page["more"] != true {
            break;
        }
    }
    assert_eq!(seen, 40, "all entries are on one of the pages");
    let ask = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", server.token());
    let before = server.resident_mib();
    let readings: Vec<TcpStream> = (0..connections(600))
        .map(|_| {
            let mut stream = server.connect().unwrap();
            stream.write_all(ask.as_bytes()).unwrap();
            stream
        })
        .collect();
    for _ in 0..10 {
        sends_an_event(&server);
    }
    let grown = server.resident_mib().saturating_sub(before);
    assert!(grown < 400, "{} readings take {grown} MiB", readings.len());
}

#[test]
fn an_agent_that_can_start_nothing_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let until = |status: u16, wanted: &str| {
        let began = clock::monotonic();
        loop {
            let told = server.get("/readyz");
            if told.status == status && told.body.to_string().contains(wanted) {
                break;
            }
            assert!(began.elapsed() < TOLD_WITHIN, "{wanted}: {told:?}");
        }
    };
    until(200, "ready");
    assert_eq!(server.post("/api/v1/jobs", r#"{"name": "a", "command": ["true"]}"#).status, 201);
    std::fs::rename(data.join("agent"), data.join("away")).unwrap();
    let run = server.post("/api/v1/jobs/default/a/run", "{}").body["id"].as_str().unwrap().to_owned();
    until(503, "put it back");
    std::fs::rename(data.join("away"), data.join("agent")).unwrap();
    until(200, "ready");
    assert_eq!(server.wait(&run)["state"], "succeeded");
}
