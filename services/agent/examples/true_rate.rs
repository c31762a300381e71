//! The supervisor alone: 10,000 × `true`, 32 in flight, beside the bare posix_spawn rate of this machine.
//!
//! `cargo run -p orrery-agent --example true_rate` (build the package's binaries first: `cargo build -p orrery-agent`).

use orrery_agent::link::{Link, start_supervisor};
use orrery_agent::wire::{Event, Request, StartTask};
use orrery_log::clock;
use orrery_model::id::AttemptId;
use orrery_model::messages::{EndKind, ProcessLimit};
use std::process::{Command, Stdio};

const TASKS: usize = 10_000;
const IN_FLIGHT: usize = 32;
const LEASE_MS: i64 = 600_000;

fn main() {
    println!("bare posix_spawn, one thread: {:.0}/s", bare());
    println!(
        "bare posix_spawn, two threads: {:.0}/s",
        std::thread::scope(|s| [s.spawn(bare), s.spawn(bare)].map(|t| t.join().expect("no panic")).iter().sum::<f64>())
    );
    println!("supervisor, {IN_FLIGHT} in flight:  {:.0}/s", supervised(false));
    println!("the same, each by one more exec of our binary (what a process per attempt costs at least): {:.0}/s", supervised(true));
    println!("bare posix_spawn, one thread: {:.0}/s", bare());
}

/// Rust's `Command` uses posix_spawn here: no pre_exec, no user, no groups.
fn bare() -> f64 {
    let begin = clock::monotonic();
    for _ in 0..TASKS {
        let mut child = Command::new("/bin/true").stdin(Stdio::null()).env_clear().spawn().expect("/bin/true starts");
        child.wait().expect("a child can be waited for");
    }
    rate(begin)
}

fn supervised(by_trampoline: bool) -> f64 {
    let dir = std::env::temp_dir().join(format!("true_rate.{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder can be made");
    let own = std::env::current_exe().expect("this program has a path");
    let binary = own.parent().and_then(|p| p.parent()).expect("target/debug/examples").join("orrery-supervisor-for-tests");
    let mut supervisor = start_supervisor(&dir, &[binary.display().to_string(), "supervisor".into()]).expect("a supervisor");
    let (mut link, _) = Link::connect(&dir).expect("it answers");
    let until_boot_ms = rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec * 1000 + LEASE_MS;
    link.send(&[Request::Lease { until_boot_ms }]).expect("it listens");
    let begin = clock::monotonic();
    let (mut sent, mut ended) = (0, 0);
    start(&link, &mut sent, IN_FLIGHT, by_trampoline);
    while ended < TASKS {
        let events = link.receive().expect("it reports");
        let ends = events.iter().filter_map(|event| if let Event::Ended(ended) = event { Some(ended) } else { None });
        let attempts: Vec<_> =
            ends.inspect(|ended| assert_eq!(ended.end.kind, EndKind::Succeeded)).map(|ended| ended.attempt.clone()).collect();
        if attempts.is_empty() {
            continue;
        }
        ended += attempts.len();
        let more = attempts.len().min(TASKS - sent);
        link.send(&[Request::Forget { attempts }]).expect("it listens");
        start(&link, &mut sent, more, by_trampoline);
    }
    let rate = rate(begin);
    let status = std::fs::read_to_string(format!("/proc/{}/status", supervisor.id())).expect("it lives");
    println!("  {}", status.lines().filter(|line| line.starts_with("VmHWM") || line.starts_with("RssAnon")).collect::<Vec<_>>().join(", "));
    link.send(&[Request::ShutdownWhenIdle]).expect("it listens");
    supervisor.wait().expect("it ends");
    std::fs::remove_dir_all(&dir).expect("our own folder");
    rate
}

fn start(link: &Link, sent: &mut usize, count: usize, by_trampoline: bool) {
    let limits = if by_trampoline { vec![ProcessLimit { name: "core".into(), value: 0 }] } else { Vec::new() };
    let task = |n| StartTask {
        attempt: AttemptId::parse(&format!("run.{n}")).expect("a valid id"),
        argv: vec!["true".into()],
        env: Vec::new(),
        user: None,
        limits: limits.clone(),
        timeout_ms: None,
        grace_ms: 1000,
        event: None,
        fence: 1,
    };
    let tasks: Vec<_> = (*sent..*sent + count).map(task).collect();
    *sent += count;
    if !tasks.is_empty() {
        link.send(&[Request::Start { tasks }]).expect("it listens");
    }
}

fn rate(begin: std::time::Instant) -> f64 {
    TASKS as f64 / clock::monotonic().duration_since(begin).as_secs_f64()
}
