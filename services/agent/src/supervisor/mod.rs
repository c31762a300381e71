//! The supervisor: one small process for all tasks of an agent, which outlives the agent.
//!
//! One thread, one epoll (a second thread lives for the length of a turn's starts, see `starting`). It starts tasks with
//! posix_spawn, each in its own session; moves their output from pipes into rotating files;
//! reaps them; kills what is left of a task's tree before it reports the end; and holds the lease: at its deadline every task is
//! killed, whatever the agent, the log or the network do. It never waits for the agent.
//!
//! Invariants: an end is reported only when nobody of the tree is left (but for what hides on purpose, see `ending`); an end
//! is in `supervisor.journal` before it is reported; nothing is started without an armed lease.

mod cgroups;
mod connection;
mod ending;
mod exec_as;
mod held;
mod holder;
mod output;
mod program;
mod recover;
mod requests;
mod resisting;
mod sandboxes;
mod spawn;
mod starting;
mod state_file;
mod timers;

pub use exec_as::{SUBCOMMAND as EXEC_AS, exec_as};
pub use holder::{SUBCOMMAND as HOLD_LEASE, hold_lease};
pub use output::Rotation;

use crate::host;
use crate::wire::{self, Ended, Event, Process, StartTask};
use connection::{Closed, Connection};
use orrery_model::id::AttemptId;
use rustix::event::epoll;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What may be set otherwise, for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Without agent and tasks for so long the supervisor ends itself.
    pub idle_ms: i64,
    /// How much output is kept.
    pub rotation: Rotation,
}

impl Default for Settings {
    fn default() -> Self {
        Self { idle_ms: IDLE_MS, rotation: Rotation::default() }
    }
}

/// Default of [`Settings::idle_ms`].
pub const IDLE_MS: i64 = 60_000;
/// Tasks alive at once; further starts wait. Two pipes each: 8,192 files of the 20,000 that the smallest known host allows.
pub const LIVE_MAX: usize = 4_096;
/// Starts that wait; further ones are refused. The agent knows at most 8,192 attempts.
pub const QUEUE_MAX: usize = 8_192;
/// Ends that the agent has not acknowledged; beyond it starts are refused. 50,000 × 400 bytes = 20 MB of memory.
pub const UNFORGOTTEN_MAX: usize = 50_000;
/// Starts per turn of the loop: 16 × 0.15 ms = 2.4 ms until output and exits have their turn.
const STARTS_PER_TURN: usize = 16;
/// Events per turn of the loop.
const EVENTS_PER_TURN: usize = 256;
/// Read buffer, shared by all: a pipe's default capacity.
const BUFFER_BYTES: usize = 64 << 10;

/// A connection that could not be taken is tried again.
const LISTEN_AGAIN_MS: i64 = 1_000;

/// Held by the supervisor of a folder.
const LOCK: &str = "supervisor.lock";
/// A holder of a lease without supervisor has the lock for a moment, once a second, to see whether it is free.
const LOCK_TRIES: usize = 10;

const LISTENER: u64 = 0;
const CONNECTION: u64 = 1;
const CHILDREN: u64 = 2;
const TIMER: u64 = 3;
/// Tokens from here on are tasks' pipes: twice the serial, plus one for standard error.
const PIPES: u64 = 4;

/// Runs the supervisor of this folder with default settings: the hidden subcommand `supervisor --dir D`.
///
/// To be called first in its process: it closes every file but the standard ones, and wants to be the only thread.
pub fn main(dir: &Path) -> ExitCode {
    main_with(dir, Settings::default())
}

/// Like [`main`]. Prints `ready` on standard output when its socket answers.
pub fn main_with(dir: &Path, settings: Settings) -> ExitCode {
    spawn::close_inherited();
    host::close_to_others();
    match Supervisor::start(dir, settings).and_then(Supervisor::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed standard error leaves nobody to tell.
            let _ = writeln!(io::stderr(), "supervisor of {}: {error}", dir.display());
            ExitCode::FAILURE
        }
    }
}

/// A started task.
struct Task {
    attempt: AttemptId,
    process: Process,
    from_boot_ms: i64,
    grace_ms: i64,
    sandbox: PathBuf,
    output_folder: PathBuf,
    outputs: [output::Output; 2],
    /// What the trampoline says if it fails.
    report: Option<OwnedFd>,
    timeout_at: Option<i64>,
    grace_at: Option<i64>,
    /// What the supervisor itself had needed: each process begins with its memory.
    own_peak: i64,
    cause: Option<Cause>,
    /// Everything of it is in there, where the machine has that.
    cgroup: Option<cgroups::Cgroup>,
    /// When it is looked at whether something of it resists its end.
    resists_at: Option<i64>,
    /// What does.
    resisted: Option<String>,
    /// Set when the leader is reaped; the tree may live on for a moment.
    exit: Option<(spawn::Exit, i64)>,
}

/// Why we end a task; the first cause counts.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cause {
    Killed(String),
    TimedOut,
    LeaseRanOut,
}

struct Supervisor {
    dir: PathBuf,
    settings: Settings,
    epoll: OwnedFd,
    listener: UnixListener,
    children_signal: UnixStream,
    children_list: File,
    null: File,
    spawner: spawn::Spawner,
    /// The soft limit of open files that tasks get; ours is the hard one.
    files_limit: rustix::process::Rlimit,
    connection: Option<Connection>,
    timers: timers::Timers,
    state: state_file::StateFile,
    sandboxes: sandboxes::Sandboxes,
    /// Why tasks have no cgroups, if they have none.
    cgroups: Result<cgroups::Cgroups, String>,
    /// When the trees of ended tasks are looked at again.
    look_at: Option<i64>,
    /// Told at the end of the turn, after the state file has it.
    news: Vec<Event>,
    /// Told at the end of the turn before those, whether or not the state file can be written.
    told_at_once: Vec<Event>,
    held: Option<held::Held>,
    /// Device and number of our folder.
    folder: (u64, u64),
    holder: holder::Holder,
    lease_until: Option<i64>,
    shutdown: bool,
    idle_at: Option<i64>,
    /// Before the last starts, bytes.
    own_peak: i64,
    queue: VecDeque<StartTask>,
    next_serial: u64,
    tasks: BTreeMap<u64, Task>,
    by_attempt: HashMap<AttemptId, u64>,
    by_pid: HashMap<i32, u64>,
    /// Leaders reaped, trees to be cleared.
    ending: BTreeSet<u64>,
    /// Children of tasks that have become ours, with what is known of their task.
    orphans: HashMap<i32, ending::Owner>,
    buffer: Vec<u8>,
    /// Held as long as this process lives: one supervisor per folder.
    _lock: File,
}

impl Supervisor {
    /// One turn: what happened, starts, state file, news.
    fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_PER_TURN);
        loop {
            self.timers.arm()?;
            let at_once = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
            let timeout = if self.may_start() { Some(&at_once) } else { None };
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            for event in &events {
                self.handle(event.data.u64(), event.flags)?;
            }
            self.fire_timers();
            self.start_queued();
            self.tell()?;
            if self.is_over() {
                return Ok(());
            }
        }
    }

    fn handle(&mut self, token: u64, flags: epoll::EventFlags) -> io::Result<()> {
        match token {
            LISTENER => self.accept()?,
            CONNECTION => {
                if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
                    self.receive();
                }
            }
            CHILDREN => self.reap_all(),
            TIMER => self.timers.acknowledge(),
            pipe => {
                let (serial, stream) = ((pipe - PIPES) / 2, usize::from((pipe - PIPES) % 2 == 1));
                if let Some(task) = self.tasks.get_mut(&serial) {
                    task.outputs[stream].take(&mut self.buffer, &task.output_folder, self.settings.rotation);
                }
            }
        }
        Ok(())
    }

    /// A new connection replaces the old one.
    fn accept(&mut self) -> io::Result<()> {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            // The agent went away between its connect and now; the next one will be told.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::WouldBlock) => return Ok(()),
            // Files are short: who waits there would wake us again and again.
            Err(_) => {
                epoll::delete(&self.epoll, &self.listener)?;
                self.timers.add(host::boot_ms() + LISTEN_AGAIN_MS, timers::Due::Listen);
                return Ok(());
            }
        };
        self.tell()?;
        self.connection = None;
        let watch = |connection: &Connection| self.watch(connection.stream(), CONNECTION);
        // Whoever cannot be served now comes again.
        let Ok(connection) = Connection::new(stream).and_then(|connection| watch(&connection).map(|()| connection)) else { return Ok(()) };
        self.connection = Some(connection);
        self.idle_at = None;
        Ok(())
    }

    fn listen_again(&mut self) {
        if self.watch(&self.listener, LISTENER).is_err() {
            self.timers.add(host::boot_ms() + LISTEN_AGAIN_MS, timers::Due::Listen);
        }
    }

    fn receive(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        match connection.receive(&mut self.buffer) {
            Ok(requests) => requests.into_iter().for_each(|request| self.handle_request(request)),
            Err(closed) => self.disconnect(&closed),
        }
    }

    fn disconnect(&mut self, why: &Closed) {
        if !matches!(why, Closed::ByPeer) {
            self.note(&format!("connection closed: {why}"));
        }
        self.connection = None;
    }

    /// First the state file, then the agent. While the file cannot be written nothing is started, and ends wait.
    fn tell(&mut self) -> io::Result<()> {
        let is_kept = self.keep();
        let mut news = std::mem::take(&mut self.told_at_once);
        if is_kept {
            news.append(&mut self.news);
        }
        let Some(connection) = &mut self.connection else { return Ok(()) };
        if news.is_empty() && !connection.is_blocked() {
            return Ok(());
        }
        let was_blocked = connection.is_blocked();
        if let Err(closed) = connection.send(&news) {
            self.disconnect(&closed);
        } else if connection.is_blocked() != was_blocked {
            let more = if connection.is_blocked() { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            let flags = epoll::EventFlags::IN | more;
            epoll::modify(&self.epoll, connection.stream(), epoll::EventData::new_u64(CONNECTION), flags)?;
        }
        Ok(())
    }

    /// Writes the state file; false if it cannot be written.
    fn keep(&mut self) -> bool {
        match self.state.flush() {
            Ok(()) => true,
            Err(error) => {
                if !self.is_held(host::boot_ms()) {
                    self.hold(format!("cannot write {}: {}", state_file::FILE, host::words(&error)));
                }
                false
            }
        }
    }

    /// Without one the lease is kept all the same, by us alone.
    fn start_holder(&mut self) {
        if let Err(error) = self.holder.start(&self.spawner, self.null.as_fd(), &self.dir) {
            self.note(&format!("the lease has no second holder, and ends no task while the supervisor is stopped: {error}"));
            if self.holder.is_possible() {
                self.timers.add(host::boot_ms() + ending::HOLDER_AGAIN_MS, timers::Due::Holder);
            }
        }
    }

    fn fire_timers(&mut self) {
        let now = host::boot_ms();
        while let Some(due) = self.timers.take(now) {
            match due {
                timers::Due::Timeout(serial) => self.kill(serial, Cause::TimedOut, None),
                timers::Due::Grace(serial) => self.kill_for_good(serial),
                timers::Due::Resists(serial) => self.tell_resisting(serial),
                timers::Due::Listen => self.listen_again(),
                timers::Due::Look => self.look_again(),
                timers::Due::Lease => self.end_lease(now),
                timers::Due::Retry => self.retry(now),
                timers::Due::Holder => self.start_holder(),
                timers::Due::Idle => {}
            }
        }
    }

    /// True when nobody has needed this process for a while. Ends that nobody acknowledged stay in the state file.
    fn is_over(&mut self) -> bool {
        if !self.tasks.is_empty() || !self.queue.is_empty() {
            self.idle_at = None;
            return false;
        }
        if self.shutdown {
            return true;
        }
        if self.connection.is_some() {
            return false;
        }
        let now = host::boot_ms();
        let at = *self.idle_at.get_or_insert_with(|| {
            self.timers.add(now + self.settings.idle_ms, timers::Due::Idle);
            now + self.settings.idle_ms
        });
        now >= at
    }

    /// Something for people, in the log file that is our standard error.
    fn note(&self, text: &str) {
        note(text);
    }

    fn watch(&self, file: impl AsFd, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, file, epoll::EventData::new_u64(token), epoll::EventFlags::IN)?)
    }

    /// Files and maps forget an attempt that is over; the news and the state file get its end.
    fn ended(&mut self, ended: Ended) {
        self.state.ended(ended.clone());
        self.news.push(Event::Ended(ended));
    }
}

impl Supervisor {
    /// Takes the folder, clears up after a predecessor that died, and listens.
    fn start(dir: &Path, settings: Settings) -> io::Result<Self> {
        // Fails where we already lead a session, which serves as well.
        let _ = rustix::process::setsid();
        std::fs::create_dir_all(dir)?;
        let dir = dir.canonicalize()?;
        let lock = lock(&dir)?;
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let (mut state, remembered) = state_file::StateFile::open(&dir)?;
        recover::end_survivors(&dir, remembered, &mut state).iter().for_each(|told| note(told));
        let (spawner, null) = (spawn::Spawner::new()?, File::open("/dev/null")?);
        let cgroups = cgroups::Cgroups::find(&dir, &spawner, null.as_fd());
        match &cgroups {
            Ok(found) => state.made_cgroups(found.folder()),
            Err(why) => note(&format!("tasks have no cgroup of their own ({why}); what hides from its task may outlive it")),
        }
        state.compact()?;
        let meta = std::fs::metadata(&dir)?;
        let mut this = Self {
            listener: listen(&dir)?,
            sandboxes: sandboxes::Sandboxes::new(&dir)?,
            folder: (meta.dev(), meta.ino()),
            held: None,
            told_at_once: Vec::new(),
            holder: holder::Holder::new(&dir),
            dir,
            settings,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            children_signal: children_signal()?,
            children_list: File::open(format!("/proc/self/task/{}/children", rustix::thread::gettid().as_raw_pid()))?,
            null,
            spawner,
            cgroups,
            look_at: None,
            files_limit: starting::raise_files_limit(),
            connection: None,
            timers: timers::Timers::new()?,
            state,
            news: Vec::new(),
            lease_until: None,
            shutdown: false,
            idle_at: None,
            own_peak: 0,
            queue: VecDeque::new(),
            next_serial: 0,
            tasks: BTreeMap::new(),
            by_attempt: HashMap::new(),
            by_pid: HashMap::new(),
            ending: BTreeSet::new(),
            orphans: HashMap::new(),
            buffer: vec![0; BUFFER_BYTES],
            _lock: lock,
        };
        this.watch(&this.listener, LISTENER)?;
        this.watch(&this.children_signal, CHILDREN)?;
        this.watch(this.timers.file(), TIMER)?;
        this.start_holder();
        announce()?;
        Ok(this)
    }
}

fn note(text: &str) {
    // A full disk must not stop the supervisor.
    let _ = writeln!(io::stderr(), "{} {text}", orrery_log::clock::wall());
}

/// Says `ready` and lets go of the agent's pipe.
fn announce() -> io::Result<()> {
    // Whoever started us may not listen any more; that changes nothing.
    let _ = writeln!(io::stdout(), "ready").and_then(|()| io::stdout().flush());
    rustix::stdio::dup2_stdout(File::options().write(true).open("/dev/null")?)?;
    Ok(())
}

fn lock(dir: &Path) -> io::Result<File> {
    let file = File::options().append(true).create(true).open(dir.join(LOCK))?;
    let pause = rustix::time::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    for _ in 0..LOCK_TRIES {
        if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(file);
        }
        // Cut short by a signal is as good.
        let _ = rustix::thread::nanosleep(&pause);
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "another supervisor serves this folder"))
}

/// Binds the socket by a relative name: absolute ones are limited to 107 bytes. Only our own user may connect.
fn listen(dir: &Path) -> io::Result<UnixListener> {
    rustix::process::chdir(dir)?;
    let _ = std::fs::remove_file(wire::SOCKET);
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(wire::SOCKET);
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o022));
    let listener = listener?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A socket that becomes readable when a child ends.
fn children_signal() -> io::Result<UnixStream> {
    let (ours, handlers) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGCHLD, handlers)?;
    Ok(ours)
}
