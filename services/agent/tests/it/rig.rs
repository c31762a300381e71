//! A supervisor of its own folder, driven by its socket; ended with everything that it started.

use orrery_agent::link::{Link, start_supervisor};
use orrery_agent::logs::READ_MAX;
use orrery_agent::wire::{Ended, Event, Process, Request, Snapshot, StartTask};
use orrery_agent::{Stream, read_log};
use orrery_log::{Bell, clock};
use orrery_model::id::AttemptId;
use orrery_model::messages::EnvVar;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;
use tempfile::TempDir;

/// Far beyond what anything here takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// A lease that no test outlives.
const LONG_MS: i64 = 600_000;

pub(crate) struct Rig {
    pub(crate) dir: TempDir,
    pub(crate) supervisor: Option<Child>,
    pub(crate) link: Option<Link>,
    events: Vec<Event>,
}

impl Rig {
    /// A supervisor with a long lease.
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    pub(crate) fn with(options: &[&str]) -> Self {
        let rig = Self::without_lease(options);
        rig.send(Request::Lease { until_boot_ms: boot_ms() + LONG_MS });
        rig
    }

    pub(crate) fn without_lease(options: &[&str]) -> Self {
        let mut rig = Self { dir: tempfile::tempdir().unwrap(), supervisor: None, link: None, events: Vec::new() };
        rig.launch(options);
        rig
    }

    /// A supervisor, with a long lease, that this shell script begins: it gets the command line as its arguments.
    pub(crate) fn through(script: &str, prepare: impl FnOnce(&Path)) -> Self {
        let mut rig = Self { dir: tempfile::tempdir().unwrap(), supervisor: None, link: None, events: Vec::new() };
        prepare(rig.dir.path());
        let shell = ["sh", "-c", script, "sh"].map(str::to_owned);
        rig.launch_by(&[&shell[..], &command(&[])].concat());
        rig.send(Request::Lease { until_boot_ms: boot_ms() + LONG_MS });
        rig
    }

    /// A (new) supervisor process for the folder.
    pub(crate) fn launch(&mut self, options: &[&str]) -> Snapshot {
        self.launch_by(&command(options))
    }

    fn launch_by(&mut self, command: &[String]) -> Snapshot {
        self.supervisor = Some(start_supervisor(self.dir.path(), command).unwrap());
        self.connect()
    }

    /// `v2`, `v1` or `none`, as told with the last snapshot, and why.
    pub(crate) fn isolation(&mut self) -> (String, Option<String>) {
        self.find(|event| match event {
            Event::Isolation { cgroup, reason } => Some((cgroup.clone(), reason.clone())),
            _ => None,
        })
    }

    /// A (new) connection.
    pub(crate) fn connect(&mut self) -> Snapshot {
        let (link, snapshot) = Link::connect(self.dir.path()).unwrap();
        link.set_receive_timeout(Some(PATIENCE)).unwrap();
        self.link = Some(link);
        snapshot
    }

    /// What kill -9 of the agent looks like from here.
    pub(crate) fn drop_connection(&mut self) {
        self.link.take().unwrap().close();
    }

    pub(crate) fn kill_supervisor(&mut self) {
        let mut supervisor = self.supervisor.take().unwrap();
        supervisor.kill().unwrap();
        supervisor.wait().unwrap();
        self.link = None;
    }

    pub(crate) fn send(&self, request: Request) {
        self.link.as_ref().unwrap().send(&[request]).unwrap();
    }

    pub(crate) fn start(&self, task: StartTask) {
        self.send(Request::Start { tasks: vec![task] });
    }

    pub(crate) fn kill(&self, attempt: &str, reason: &str) {
        self.send(Request::Kill { attempt: id(attempt), grace_ms: None, reason: reason.into() });
    }

    /// The end of this attempt, waited for.
    pub(crate) fn ended(&mut self, attempt: &str) -> Ended {
        self.find(|event| match event {
            Event::Ended(ended) if ended.attempt.as_str() == attempt => Some(ended.clone()),
            _ => None,
        })
    }

    /// The start of this attempt, waited for.
    pub(crate) fn started(&mut self, attempt: &str) -> Process {
        self.find(|event| match event {
            Event::Started { attempt: started, process } if started.as_str() == attempt => Some(*process),
            _ => None,
        })
    }

    /// Whether anything can be started, as told next.
    pub(crate) fn unable(&mut self) -> Option<String> {
        self.find(|event| match event {
            Event::Unable { reason } => Some(reason.clone()),
            _ => None,
        })
    }

    pub(crate) fn find<T>(&mut self, wanted: impl Fn(&Event) -> Option<T>) -> T {
        loop {
            if let Some(place) = self.events.iter().position(|event| wanted(event).is_some()) {
                return wanted(&self.events.remove(place)).unwrap();
            }
            self.events.extend(self.link.as_mut().unwrap().receive().expect("an event in time"));
        }
    }

    pub(crate) fn sandbox(&self, attempt: &str) -> PathBuf {
        orrery_agent::sandbox(&self.dir.path().canonicalize().unwrap(), &id(attempt))
    }

    pub(crate) fn file(&self, attempt: &str, name: &str) -> String {
        std::fs::read_to_string(self.sandbox(attempt).join(name)).unwrap_or_default()
    }

    /// All that the task has printed.
    pub(crate) fn output(&self, attempt: &str, stream: Stream) -> String {
        let chunk = read_log(self.dir.path(), &id(attempt), stream, 0, READ_MAX).unwrap_or_default();
        String::from_utf8(chunk.bytes).unwrap()
    }

    /// Waits until the task has written this file in its sandbox.
    pub(crate) fn wait_for_file(&self, attempt: &str, name: &str) -> String {
        wait_for(name, || Some(self.file(attempt, name)).filter(|text| text.ends_with('\n')))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let Some(supervisor) = &mut self.supervisor else { return };
        if let Ok((link, snapshot)) = Link::connect(self.dir.path()) {
            let kill = |attempt| Request::Kill { attempt, grace_ms: Some(0), reason: "the test is over".into() };
            let kills = snapshot.live.into_iter().map(|live| kill(live.attempt));
            let _ = link.send(&kills.chain([Request::ShutdownWhenIdle]).collect::<Vec<_>>());
        } else {
            let _ = supervisor.kill();
        }
        let _ = supervisor.wait();
    }
}

pub(crate) fn command(options: &[&str]) -> Vec<String> {
    [env!("CARGO_BIN_EXE_orrery-supervisor-for-tests"), "supervisor"].iter().chain(options).map(|&part| part.to_owned()).collect()
}

pub(crate) fn id(attempt: &str) -> AttemptId {
    AttemptId::parse(attempt).unwrap()
}

/// A task that runs this shell script.
pub(crate) fn shell(attempt: &str, script: &str) -> StartTask {
    task(attempt, &["sh", "-c", script])
}

pub(crate) fn task(attempt: &str, argv: &[&str]) -> StartTask {
    StartTask {
        attempt: id(attempt),
        argv: argv.iter().map(|&arg| arg.to_owned()).collect(),
        env: Vec::new(),
        user: None,
        limits: Vec::new(),
        timeout_ms: None,
        grace_ms: 10_000,
        event: None,
        fence: 7,
    }
}

pub(crate) fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.into(), value: value.into() }
}

pub(crate) fn boot_ms() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

/// Looks again and again until there is something, or patience ends.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let (begin, pause) = (clock::monotonic(), Bell::default());
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock::monotonic().duration_since(begin) < PATIENCE, "{what} did not come");
        pause.wait(Duration::from_millis(2));
    }
}

/// True while there is such a process; a zombie that nobody has reaped yet is dead.
pub(crate) fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !matches!(rest.trim_start().chars().next(), Some('Z' | 'X')))
}

pub(crate) fn numbers(text: &str) -> Vec<i32> {
    text.split_whitespace().map(|word| word.parse().unwrap()).collect()
}

pub(crate) fn exists(path: &Path) -> bool {
    path.try_exists().unwrap()
}
