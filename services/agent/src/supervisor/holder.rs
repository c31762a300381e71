//! The lease's second holder: a process that ends tasks whose lease has run out when the supervisor does not, as it is gone or stopped.
//!
//! It is the same binary, started by the supervisor, which writes the deadline into memory that both have open. It looks once a second and
//! does nothing else while the supervisor lives and keeps the lease. Without a supervisor it stays until no task is left, or another
//! supervisor serves the folder.

use super::{recover, spawn, state_file};
use crate::host::{self, Stat};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::time::Timespec;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The hidden subcommand's name: `orrery hold-lease DIR PID`.
pub const SUBCOMMAND: &str = "hold-lease";
/// Between two looks; also the time that a supervisor has, awake, to end its tasks before this process does.
const LOOK_MS: i64 = 1_000;

/// The supervisor's side.
#[derive(Debug)]
pub(super) struct Holder {
    /// Why there is none, if it cannot be shared.
    lease: io::Result<File>,
    pid: Option<i32>,
}

impl Holder {
    /// Nobody yet; [`Holder::start`] follows.
    pub(super) fn new(dir: &Path) -> Self {
        let lease = host::unnamed_file("orrery-lease", dir);
        let lease = lease.and_then(|lease| lease.write_all_at(&0_i64.to_le_bytes(), 0).map(|()| lease));
        Self { lease, pid: None }
    }

    /// False where no start can succeed.
    pub(super) const fn is_possible(&self) -> bool {
        self.lease.is_ok()
    }

    fn lease(&self) -> io::Result<&File> {
        self.lease.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))
    }

    /// Starts the process.
    pub(super) fn start(&mut self, spawner: &spawn::Spawner, null: BorrowedFd<'_>, dir: &Path) -> io::Result<()> {
        let folder = CString::new(dir.as_os_str().as_bytes())?;
        let own_pid = CString::new(rustix::process::getpid().as_raw_nonzero().to_string())?;
        let argv = [c"orrery".to_owned(), CString::new(SUBCOMMAND)?, folder, own_pid];
        let lease = self.lease()?.as_fd();
        let inherited = Some([lease, lease]);
        let program =
            spawn::Program { path: c"/proc/self/exe", argv: &argv, env: &[], cwd: c"/", stdio: [null; 3], inherited, entrance: None };
        let started = spawner.spawn(&program)?;
        self.pid = Some(started.as_raw_nonzero().get());
        Ok(())
    }

    /// Tasks may live until then.
    pub(super) fn set(&self, until_boot_ms: i64) -> io::Result<()> {
        // Without one nobody else holds it, which was told.
        let Ok(lease) = &self.lease else { return Ok(()) };
        lease.write_all_at(&until_boot_ms.to_le_bytes(), 0)
    }

    /// True of its process.
    pub(super) fn is(&self, pid: i32) -> bool {
        self.pid == Some(pid)
    }

    /// Its process has ended; true if it was this one.
    pub(super) fn ended(&mut self, pid: i32) -> bool {
        let was = self.is(pid);
        if was {
            self.pid = None;
        }
        was
    }
}

/// Runs the subcommand with the arguments that follow its name.
pub fn hold_lease(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    // It has files 3 and 4, both the lease; whatever else it were given it must not keep open.
    let lease = File::open("/proc/self/fd/3");
    let (dir, pid) = (args.next().map(PathBuf::from), args.next().and_then(|pid| pid.to_str()?.parse::<i32>().ok()));
    let (Ok(lease), Some(dir), Some(pid)) = (lease, dir, pid) else { return ExitCode::from(2) };
    host::close_to_others();
    // A signal to the supervisor's group is not for us, nor is its terminal's.
    let _ = rustix::process::setsid();
    let is_parent = rustix::process::getppid().is_some_and(|parent| parent.as_raw_nonzero().get() == pid);
    let supervisor = host::pid(pid).filter(|_| is_parent).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    Watch { dir, lease, pid, supervisor, settled: 0 }.run();
    ExitCode::SUCCESS
}

struct Watch {
    dir: PathBuf,
    lease: File,
    pid: i32,
    /// None when it is gone.
    supervisor: Option<OwnedFd>,
    /// The deadline after which nobody was left: it needs no second look.
    settled: i64,
}

impl Watch {
    fn run(mut self) {
        let mut overdue = None;
        loop {
            let until = self.until();
            if self.supervisor.is_none() && (self.is_served() || !recover::any_survivor(&self.dir)) {
                return;
            }
            let is_over = until != 0 && until != self.settled && until <= host::boot_ms();
            match overdue {
                // It has had its time since the look before, and that time was ours too.
                Some(before) if is_over && before == until => {
                    self.end_all(until);
                    (self.settled, overdue) = (until, None);
                }
                _ => overdue = is_over.then_some(until),
            }
            self.wait();
        }
    }

    fn until(&self) -> i64 {
        let mut bytes = [0; 8];
        self.lease.read_exact_at(&mut bytes, 0).map_or(0, |()| i64::from_le_bytes(bytes))
    }

    fn wait(&mut self) {
        let limit = Timespec { tv_sec: LOOK_MS / 1000, tv_nsec: (LOOK_MS % 1000) * 1_000_000 };
        let gone = match &self.supervisor {
            Some(supervisor) => matches!(poll(&mut [PollFd::new(supervisor, PollFlags::IN)], Some(&limit)), Ok(1..)),
            None => {
                let _ = poll(&mut [], Some(&limit));
                false
            }
        };
        if gone {
            self.supervisor = None;
        }
    }

    /// Another supervisor has the folder, and has ended what it found.
    fn is_served(&self) -> bool {
        // A folder that is gone is served by nobody.
        let Ok(lock) = File::open(self.dir.join(super::LOCK)) else { return false };
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err()
    }

    /// Tasks first; then a supervisor that is stopped, whose place another one can only take when it is gone.
    /// A lease that is renewed meanwhile ends nobody more: new tasks may run under it.
    fn end_all(&self, until: i64) {
        let remembered = state_file::remembered(&self.dir).unwrap_or_default();
        let is_over = || self.until() == until;
        // Whoever lives on all the same is told of by the supervisor, this one or the next.
        let _ = recover::kill_survivors(&self.dir, &remembered, &is_over);
        if is_over()
            && let Some(supervisor) = &self.supervisor
            && Stat::of(self.pid).is_some_and(Stat::is_stopped)
        {
            let _ = pidfd_send_signal(supervisor, Signal::KILL);
        }
    }
}
