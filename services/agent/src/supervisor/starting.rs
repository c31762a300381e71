//! From a start request to a process: sandbox, event file, environment, pipes, spawn.

use super::exec_as::ExecAs;
use super::output::Output;
use super::sandboxes::EVENT_FILE;
use super::{LIVE_MAX, PIPES, STARTS_PER_TURN, Supervisor, Task, program, spawn, state_file, timers::Due};
use crate::host;
use crate::wire::{Ended, Event, Process, StartTask};
use orrery_log::clock;
use orrery_model::id::AttemptId;
use orrery_model::messages::{End, EndKind};
use rustix::pipe::PipeFlags;
use rustix::process::{Resource, Rlimit};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// From so many starts on a second thread is worth its own start.
const PARALLEL_FROM: usize = 4;

/// PATH of a task that sets none.
pub(super) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// LANG of a task that sets none.
pub(super) const DEFAULT_LANG: &str = "C.UTF-8";

/// Our own open files get the hard limit; what is returned is for tasks (programs that use select(2) break above 1,024).
pub(super) fn raise_files_limit() -> Rlimit {
    let before = rustix::process::getrlimit(Resource::Nofile);
    // Refused, we live with what we have.
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: before.maximum, maximum: before.maximum });
    before
}

impl Supervisor {
    pub(super) fn may_start(&self) -> bool {
        !self.queue.is_empty() && self.tasks.len() < LIVE_MAX
    }

    /// Starts what waits, a turn's worth: prepared one by one, spawned by two threads, registered one by one.
    pub(super) fn start_queued(&mut self) {
        if !self.may_start() {
            return;
        }
        if !self.lease_holds(host::boot_ms()) {
            return self.end_lease(host::boot_ms());
        }
        let count = self.queue.len().min(STARTS_PER_TURN).min(LIVE_MAX - self.tasks.len());
        let tasks: Vec<StartTask> = self.queue.drain(..count).collect();
        let mut prepared = Vec::with_capacity(count);
        for task in tasks {
            let attempt = task.attempt.clone();
            match self.prepare(task) {
                Ok(ready) => prepared.push(ready),
                Err(why) => self.did_not_start(attempt, why),
            }
        }
        let spawned = self.spawn_all(&prepared);
        for (ready, pid) in prepared.into_iter().zip(spawned) {
            match pid {
                Ok(pid) => self.started(ready, pid),
                Err(why) => self.did_not_start(ready.start.attempt, why),
            }
        }
    }

    fn did_not_start(&mut self, attempt: AttemptId, why: String) {
        self.discard_sandbox(&attempt);
        self.never_ran(attempt, EndKind::NotStarted, why);
    }

    /// An attempt that ends without ever having had a process.
    pub(super) fn never_ran(&mut self, attempt: AttemptId, kind: EndKind, reason: String) {
        let (code, signal) = (None, None);
        let end = End { kind, code, signal, reason: Some(reason), wall_ms: 0, cpu_ms: 0, peak_memory: 0, ended_at: clock::wall() };
        self.ended(Ended { attempt, process: None, end, sandbox_kept: false });
    }

    /// An attempt that never ran leaves no sandbox.
    fn discard_sandbox(&self, attempt: &AttemptId) {
        let _ = fs::remove_dir_all(crate::sandbox(&self.dir, attempt));
    }

    fn prepare(&mut self, start: StartTask) -> Result<Ready, String> {
        let sandbox = crate::sandbox(&self.dir, &start.attempt);
        let event_file = start.event.as_ref().map(|_| sandbox.join(EVENT_FILE));
        let taken = self.sandboxes.take(&sandbox, start.event.as_ref().map(|event| event.bytes()).as_deref());
        taken.map_err(|e| format!("cannot make the sandbox {}: {}", sandbox.display(), host::words(&e)))?;
        let env = environment(&start, &sandbox, event_file.as_deref());
        let output = [pipe()?, pipe()?];
        let report = if needs_trampoline(&start) { Some(pipe()?) } else { None };
        let program = program_of(&start, &sandbox, env, report.is_some())?;
        Ok(Ready { start, sandbox, program, output, report, from_boot_ms: host::boot_ms() })
    }

    /// Spawns them, in order, by two threads if there are several: each waits for its child's exec, which another one can use.
    fn spawn_all(&self, ready: &[Ready]) -> Vec<Result<i32, String>> {
        // The children inherit the limit of this moment.
        let own = rustix::process::getrlimit(Resource::Nofile);
        let _ = rustix::process::setrlimit(Resource::Nofile, self.files_limit);
        let (spawner, null) = (&self.spawner, self.null.as_fd());
        let spawn = |ready: &[Ready]| ready.iter().map(|ready| ready.spawn(spawner, null)).collect::<Vec<_>>();
        let (first, second) = ready.split_at(if ready.len() < PARALLEL_FROM { ready.len() } else { ready.len() / 2 });
        let spawned = std::thread::scope(|scope| {
            let second = (!second.is_empty()).then(|| scope.spawn(|| spawn(second)));
            let mut spawned = spawn(first);
            spawned.extend(second.into_iter().flat_map(|thread| thread.join().expect("spawning does not panic")));
            spawned
        });
        let _ = rustix::process::setrlimit(Resource::Nofile, own);
        spawned
    }

    fn started(&mut self, ready: Ready, pid: i32) {
        let Ready { start, sandbox, output: [out, err], report, from_boot_ms, .. } = ready;
        let timeout_at = start.timeout_ms.map(|ms| from_boot_ms.saturating_add(ms));
        self.register(Task {
            attempt: start.attempt,
            process: Process { pid, started_at: clock::wall() },
            from_boot_ms,
            grace_ms: start.grace_ms.max(0),
            sandbox,
            outputs: [Output::new("stdout", out.0), Output::new("stderr", err.0)],
            report: report.map(|r| r.0),
            timeout_at,
            grace_at: None,
            cause: None,
            exit: None,
        });
    }

    /// The task is known to every table before anything else happens.
    fn register(&mut self, task: Task) {
        let serial = self.next_serial;
        self.next_serial += 1;
        for (pipe, token) in task.outputs.iter().zip(PIPES + 2 * serial..) {
            // Unwatched output is still read at the end.
            if let Err(error) = pipe.pipe().map_or(Ok(()), |pipe| self.watch(pipe, token)) {
                self.note(&format!("output of {} is not watched: {error}", task.attempt));
            }
        }
        if let Some(at) = task.timeout_at {
            self.timers.add(at, Due::Timeout(serial));
        }
        let (attempt, process) = (task.attempt.clone(), task.process);
        let started = state_file::Started { process, from_boot_ms: task.from_boot_ms, to_boot_ms: host::boot_ms() };
        self.state.started(&attempt, started);
        self.by_pid.insert(process.pid, serial);
        self.by_attempt.insert(attempt.clone(), serial);
        self.tasks.insert(serial, task);
        self.news.push(Event::Started { attempt, process });
    }
}

/// A task with everything that its process needs.
struct Ready {
    start: StartTask,
    sandbox: PathBuf,
    program: Arguments,
    /// Standard output and error: reading and writing ends.
    output: [(OwnedFd, OwnedFd); 2],
    report: Option<(OwnedFd, OwnedFd)>,
    from_boot_ms: i64,
}

impl Ready {
    /// The process id; the error is in words.
    fn spawn(&self, spawner: &spawn::Spawner, null: BorrowedFd<'_>) -> Result<i32, String> {
        let [out, err] = &self.output;
        let program = spawn::Program {
            path: &self.program.path,
            argv: &self.program.argv,
            env: &self.program.env,
            cwd: &self.program.cwd,
            stdio: [null, out.1.as_fd(), err.1.as_fd()],
            report: self.report.as_ref().map(|report| report.1.as_fd()),
        };
        let name = || self.start.argv.first().map_or("", String::as_str);
        let pid = spawner.spawn(&program).map_err(|e| format!("cannot start {:?}: {}", name(), host::words(&e)))?;
        Ok(pid.as_raw_nonzero().get())
    }
}

/// What exec is given.
struct Arguments {
    path: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
    cwd: CString,
}

fn program_of(start: &StartTask, sandbox: &Path, env: BTreeMap<String, String>, trampoline: bool) -> Result<Arguments, String> {
    let pairs = |env: &BTreeMap<String, String>| env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
    let (path, argv, env) = if trampoline {
        // The trampoline's own environment names the sandbox only, so that it can be found if everybody dies.
        let own: BTreeMap<_, _> = env.get_key_value("ORRERY_SANDBOX").map(|(n, v)| (n.clone(), v.clone())).into_iter().collect();
        let limits = start.limits.iter().map(|limit| (limit.name.clone(), u64::try_from(limit.value).unwrap_or(0))).collect();
        let wanted = ExecAs { env: pairs(&env), user: start.user.clone(), limits, argv: start.argv.clone() };
        let argv = [vec!["orrery".to_owned()], wanted.to_args()].concat();
        (c"/proc/self/exe".to_owned(), argv, pairs(&own))
    } else {
        let name = start.argv.first().map_or("", String::as_str);
        (program::find(name, env.get("PATH").map_or("", String::as_str), sandbox)?, start.argv.clone(), pairs(&env))
    };
    let cwd = CString::new(sandbox.as_os_str().as_bytes()).map_err(|_| "the sandbox's path contains a NUL character".to_owned())?;
    Ok(Arguments { path, argv: program::c_strings(&argv)?, env: program::c_strings(&env)?, cwd })
}

/// posix_spawn can set neither user nor limits.
fn needs_trampoline(start: &StartTask) -> bool {
    start.user.is_some() || !start.limits.is_empty()
}

/// PATH, HOME and LANG unless the task sets them, the task's own, and ours, which nobody else sets.
fn environment(start: &StartTask, sandbox: &Path, event_file: Option<&Path>) -> BTreeMap<String, String> {
    let folder = sandbox.display().to_string();
    let defaults = [("PATH", DEFAULT_PATH), ("HOME", &folder), ("LANG", DEFAULT_LANG)];
    let mut env: BTreeMap<String, String> = defaults.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    env.extend(start.env.iter().map(|variable| (variable.name.clone(), variable.value.clone())));
    env.remove("ORRERY_EVENT_FILE");
    env.extend(event_file.map(|path| ("ORRERY_EVENT_FILE".to_owned(), path.display().to_string())));
    env.insert("ORRERY_ATTEMPT".to_owned(), start.attempt.to_string());
    env.insert("ORRERY_FENCE".to_owned(), start.fence.to_string());
    env.insert("ORRERY_SANDBOX".to_owned(), folder);
    env
}

/// Reading and writing end; ours does not wait.
fn pipe() -> Result<(OwnedFd, OwnedFd), String> {
    let failed = |e: rustix::io::Errno| format!("cannot make a pipe: {}", host::words(&e.into()));
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    rustix::io::ioctl_fionbio(&reader, true).map_err(failed)?;
    Ok((reader, writer))
}
