//! From a start request to a process: sandbox, event file, environment, pipes, spawn.

use super::cgroups::Cgroup;
use super::exec_as::{self, ExecAs};
use super::held::Refusal;
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
        !self.queue.is_empty() && self.tasks.len() < LIVE_MAX && !self.is_held(host::boot_ms())
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
        let (mut prepared, mut outcome) = (Vec::with_capacity(count), Outcome::default());
        for task in tasks {
            match self.prepare(&task) {
                Ok(files) => prepared.push(Ready { start: task, files }),
                Err(refusal) => self.refused(task, refusal, &mut outcome),
            }
        }
        // Known before there is a process: what is not in the file was certainly never started.
        prepared.iter().for_each(|ready| self.state.starting(&ready.start.attempt));
        if !prepared.is_empty() && !self.keep() {
            return self.put_back(prepared.into_iter().map(|ready| ready.start).chain(outcome.held));
        }
        self.own_peak = host::peak_memory();
        let spawned = self.spawn_all(&prepared);
        for (ready, pid) in prepared.into_iter().zip(spawned) {
            match pid {
                Ok(pid) => {
                    outcome.started = true;
                    self.started(ready, pid);
                }
                Err(refusal) => self.refused(ready.start, refusal, &mut outcome),
            }
        }
        if let Some(reason) = outcome.reason {
            self.hold(reason);
        } else if outcome.started {
            self.release();
        }
        self.put_back(outcome.held);
    }

    fn refused(&mut self, start: StartTask, refusal: Refusal, outcome: &mut Outcome) {
        let attempt = &start.attempt;
        // An attempt that never ran leaves no sandbox.
        let _ = fs::remove_dir_all(crate::sandbox(&self.dir, attempt));
        match refusal {
            Refusal::Final(why) => self.never_ran(start.attempt, EndKind::NotStarted, why),
            Refusal::ForNow(why) => {
                outcome.reason = Some(why);
                outcome.held.push(start);
            }
        }
    }

    /// An attempt that ends without ever having had a process.
    pub(super) fn never_ran(&mut self, attempt: AttemptId, kind: EndKind, reason: String) {
        let (code, signal) = (None, None);
        let end = End { kind, code, signal, reason: Some(reason), wall_ms: 0, cpu_ms: 0, peak_memory: 0, ended_at: clock::wall() };
        self.ended(Ended { attempt, process: None, end, sandbox_kept: false });
    }

    fn prepare(&mut self, start: &StartTask) -> Result<Files, Refusal> {
        let sandbox = crate::sandbox(&self.dir, &start.attempt);
        let event_file = start.event.as_ref().map(|_| sandbox.join(EVENT_FILE));
        let taken = self.sandboxes.take(&sandbox, start.event.as_ref().map(|event| event.bytes()).as_deref());
        if let Err(error) = taken {
            self.check_folder().map_err(Refusal::ForNow)?;
            return Err(Refusal::of_ours(&format!("cannot make the sandbox {}", sandbox.display()), &error));
        }
        let made = self.cgroups.as_mut().ok().map(|cgroups| cgroups.take(&start.attempt)).transpose();
        let cgroup = made.map_err(|error| Refusal::of_ours("cannot make a cgroup", &error))?;
        let env = environment(start, &sandbox, event_file.as_deref());
        let output = [pipe()?, pipe()?];
        let (program, trampoline) = if needs_trampoline(start) {
            let (program, wanted) = through_trampoline(start, &sandbox, &env)?;
            (program, Some(Trampoline { report: pipe()?, wanted }))
        } else {
            (directly(start, &sandbox, &env).map_err(Refusal::Final)?, None)
        };
        Ok(Files { sandbox, cgroup, program, output, trampoline, from_boot_ms: host::boot_ms() })
    }

    /// Spawns them, in order, by two threads if there are several: each waits for its child's exec, which another one can use.
    fn spawn_all(&self, ready: &[Ready]) -> Vec<Result<i32, Refusal>> {
        // The children inherit the limit of this moment.
        let own = rustix::process::getrlimit(Resource::Nofile);
        let _ = rustix::process::setrlimit(Resource::Nofile, self.files_limit);
        let (spawner, null) = (&self.spawner, self.null.as_fd());
        let spawn = |ready: &[Ready]| ready.iter().map(|ready| ready.spawn(spawner, null)).collect::<Vec<_>>();
        let (first, second) = ready.split_at(if ready.len() < PARALLEL_FROM { ready.len() } else { ready.len() / 2 });
        let spawned = std::thread::scope(|scope| {
            // Without a thread to be had the work is done all the same.
            let thread = (!second.is_empty()).then(|| std::thread::Builder::new().spawn_scoped(scope, || spawn(second)));
            let mut spawned = spawn(first);
            match thread {
                Some(Ok(thread)) => spawned.extend(thread.join().expect("spawning does not panic")),
                Some(Err(_)) => spawned.extend(spawn(second)),
                None => {}
            }
            spawned
        });
        let _ = rustix::process::setrlimit(Resource::Nofile, own);
        spawned
    }

    fn started(&mut self, ready: Ready, pid: i32) {
        let Ready { start, files } = ready;
        let Files { sandbox, cgroup, output: [out, err], trampoline, from_boot_ms, .. } = files;
        let timeout_at = start.timeout_ms.map(|ms| from_boot_ms.saturating_add(ms));
        self.register(Task {
            output_folder: crate::output_folder(&self.dir, &start.attempt),
            attempt: start.attempt,
            process: Process { pid, started_at: clock::wall() },
            from_boot_ms,
            grace_ms: start.grace_ms.max(0),
            sandbox,
            outputs: [Output::new("stdout", out.0), Output::new("stderr", err.0)],
            report: trampoline.map(|trampoline| trampoline.report.0),
            timeout_at,
            grace_at: None,
            own_peak: self.own_peak,
            cause: None,
            cgroup,
            resists_at: None,
            resisted: None,
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

/// What became of a turn's starts.
#[derive(Default)]
struct Outcome {
    started: bool,
    /// Why some were held back, and which.
    reason: Option<String>,
    held: Vec<StartTask>,
}

/// A task with everything that its process needs.
struct Ready {
    start: StartTask,
    files: Files,
}

/// All of it that was made for the task.
struct Files {
    sandbox: PathBuf,
    cgroup: Option<Cgroup>,
    program: Arguments,
    /// Standard output and error: reading and writing ends.
    output: [(OwnedFd, OwnedFd); 2],
    trampoline: Option<Trampoline>,
    from_boot_ms: i64,
}

/// What passes between the supervisor and the trampoline.
struct Trampoline {
    /// Reading and writing end of what it says if it fails.
    report: (OwnedFd, OwnedFd),
    /// What it is to do.
    wanted: OwnedFd,
}

impl Ready {
    /// The process id; the error is in words.
    fn spawn(&self, spawner: &spawn::Spawner, null: BorrowedFd<'_>) -> Result<i32, Refusal> {
        let Files { cgroup, program, output: [out, err], trampoline, .. } = &self.files;
        let program = spawn::Program {
            path: &program.path,
            argv: &program.argv,
            env: &program.env,
            cwd: &program.cwd,
            stdio: [null, out.1.as_fd(), err.1.as_fd()],
            inherited: trampoline.as_ref().map(|files| [files.report.1.as_fd(), files.wanted.as_fd()]),
            entrance: cgroup.as_ref().map(Cgroup::entrance),
        };
        let name = || self.start.argv.first().map_or("", String::as_str);
        let pid = spawner.spawn(&program).map_err(|e| Refusal::of_call(&format!("cannot start {:?}", name()), &e))?;
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

fn directly(start: &StartTask, sandbox: &Path, env: &BTreeMap<String, String>) -> Result<Arguments, String> {
    let name = start.argv.first().map_or("", String::as_str);
    let path = program::find(name, env.get("PATH").map_or("", String::as_str), sandbox)?;
    Ok(Arguments { path, argv: program::c_strings(&start.argv)?, env: program::c_strings(&pairs(env))?, cwd: folder(sandbox)? })
}

/// The trampoline's own environment names the sandbox only, so that it can be found if everybody dies.
fn through_trampoline(start: &StartTask, sandbox: &Path, env: &BTreeMap<String, String>) -> Result<(Arguments, OwnedFd), Refusal> {
    let own = env.get_key_value("ORRERY_SANDBOX").map(|(name, value)| (name.clone(), value.clone())).into_iter().collect();
    let limits = start.limits.iter().map(|limit| (limit.name.clone(), u64::try_from(limit.value).unwrap_or(0))).collect();
    let (argv, sandbox_name) = (start.argv.clone(), sandbox.display().to_string());
    let wanted = ExecAs { env: pairs(env), user: start.user.clone(), limits, argv, sandbox: sandbox_name };
    let file = wanted.to_file(sandbox).map_err(|e| Refusal::of_ours("cannot hand over the environment", &e))?;
    let argv = vec![c"orrery".to_owned(), exec_as::SUBCOMMAND_C.to_owned()];
    let arguments = |env: Vec<CString>| Ok(Arguments { path: c"/proc/self/exe".to_owned(), argv, env, cwd: folder(sandbox)? });
    let program = program::c_strings(&pairs(&own)).and_then(arguments).map_err(Refusal::Final)?;
    Ok((program, file))
}

fn pairs(env: &BTreeMap<String, String>) -> Vec<String> {
    env.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn folder(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| "the sandbox's path contains a NUL character".to_owned())
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
pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd), Refusal> {
    let failed = |e: rustix::io::Errno| Refusal::of_ours("cannot make a pipe", &e.into());
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    rustix::io::ioctl_fionbio(&reader, true).map_err(failed)?;
    Ok((reader, writer))
}
