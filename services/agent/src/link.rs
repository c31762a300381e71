//! The agent's end of the supervisor's socket, and the start of a supervisor where none answers.

use crate::host::{PRIVATE, Stat};
use crate::wire::{self, Event, FrameError, Frames, Request, Snapshot};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A supervisor that takes no bytes for so long is given up. It takes them between two turns of its loop, which last milliseconds.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// Same for its first answer, which may follow the killing of a predecessor's tasks.
pub(crate) const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// What the supervisor writes for people; begun anew at a start beyond this size.
const LOG_FILE: &str = "supervisor.log";
const LOG_MAX_BYTES: u64 = 1 << 20;
/// What of our environment a supervisor gets: what the loader and a panic need.
const KEPT_VARIABLES: [&str; 3] = ["PATH", "LD_LIBRARY_PATH", "RUST_BACKTRACE"];

/// Why there is no supervisor to talk to.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The command cannot be run.
    #[error("cannot start the supervisor with {command:?}")]
    Spawn {
        /// Program and arguments.
        command: Vec<String>,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It ended, or closed its standard output, before it was ready.
    #[error("the supervisor started with {command:?} did not become ready; its log is {log}")]
    NotReady {
        /// Program and arguments.
        command: Vec<String>,
        /// File with what it said.
        log: String,
    },
    /// The socket does not work.
    #[error("no connection to the supervisor in {dir}")]
    Socket {
        /// The agent's folder.
        dir: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It speaks another language.
    #[error("the supervisor's answer is not understood")]
    Frame(#[from] FrameError),
    /// It does not begin with a snapshot.
    #[error("the supervisor's first answer is not a snapshot")]
    NoSnapshot,
}

/// A connection to the supervisor.
#[derive(Debug)]
pub struct Link {
    stream: UnixStream,
    frames: Frames,
    /// What came with the snapshot.
    early: Vec<Event>,
}

impl Link {
    /// Connects and says hello; the snapshot is complete as of the connection.
    pub fn connect(dir: &Path) -> Result<(Self, Snapshot), LinkError> {
        let failed = |source| LinkError::Socket { dir: dir.display().to_string(), source };
        let stream = open_socket(dir).map_err(failed)?;
        wake(&stream);
        stream.set_write_timeout(Some(SEND_TIMEOUT)).map_err(failed)?;
        stream.set_read_timeout(Some(HELLO_TIMEOUT)).map_err(failed)?;
        let mut link = Self { stream, frames: Frames::default(), early: Vec::new() };
        link.send(&[Request::Hello]).map_err(failed)?;
        let first = link.receive().map_err(failed)?;
        link.stream.set_read_timeout(None).map_err(failed)?;
        let mut first = first.into_iter();
        match first.next() {
            Some(Event::Snapshot(snapshot)) => {
                link.early.extend(first);
                Ok((link, snapshot))
            }
            _ => Err(LinkError::NoSnapshot),
        }
    }

    /// Sends requests in one frame.
    pub fn send(&self, requests: &[Request]) -> io::Result<()> {
        (&self.stream).write_all(&wire::encode(requests))
    }

    /// Waits for the next events; an end of the stream is an error.
    pub fn receive(&mut self) -> io::Result<Vec<Event>> {
        if !self.early.is_empty() {
            return Ok(self.take_early());
        }
        let mut buffer = [0; 16 << 10];
        loop {
            if let Some(events) = self.frames.take_frame().map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))? {
                return Ok(events);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.frames.push(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// What came with the snapshot, and is part of it.
    pub(crate) fn take_early(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.early)
    }

    /// Longest wait of [`Link::receive`]; none waits for ever.
    pub fn set_receive_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.set_read_timeout(timeout)
    }

    /// A second handle on the connection, for sending only.
    pub fn sender(&self) -> io::Result<Self> {
        Ok(Self { stream: self.stream.try_clone()?, frames: Frames::default(), early: Vec::new() })
    }

    /// Tells a supervisor that was stopped to go on.
    pub(crate) fn wake(&self) {
        wake(&self.stream);
    }

    /// Ends the connection for all handles; a waiting [`Link::receive`] returns.
    pub fn close(&self) {
        // Closed already is as good.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// A supervisor that was stopped by a signal goes on: with its tasks, none of which it could watch.
pub(crate) fn wake(stream: &UnixStream) {
    let Ok(peer) = rustix::net::sockopt::socket_peercred(stream) else { return };
    if Stat::of(peer.pid.as_raw_nonzero().get()).is_some_and(Stat::is_stopped) {
        tracing::error!(pid = %peer.pid.as_raw_nonzero(), "the supervisor was stopped by a signal; it is told to go on");
        // Gone meanwhile is found out by the next message.
        let _ = rustix::process::kill_process(peer.pid, rustix::process::Signal::CONT);
    }
}

/// Ends the supervisor that listens in this folder: it does not answer, and holds the folder.
pub(crate) fn kill_supervisor(dir: &Path) {
    if let Ok(peer) = open_socket(dir).and_then(|stream| Ok(rustix::net::sockopt::socket_peercred(&stream)?)) {
        let _ = rustix::process::kill_process(peer.pid, rustix::process::Signal::KILL);
    }
}

/// Starts a supervisor for this folder (`--dir D` is added to the command) and waits until it is ready. It runs on without us.
pub fn start_supervisor(dir: &Path, command: &[String]) -> Result<Child, LinkError> {
    let spawn_failed = |source| LinkError::Spawn { command: command.to_vec(), source };
    let (program, args) = command.split_first().ok_or_else(|| spawn_failed(io::ErrorKind::InvalidInput.into()))?;
    let log = dir.join(LOG_FILE);
    let fresh = std::fs::metadata(&log).is_ok_and(|meta| meta.len() > LOG_MAX_BYTES);
    let log_file =
        OpenOptions::new().create(true).write(true).append(!fresh).truncate(fresh).mode(PRIVATE).open(&log).map_err(spawn_failed)?;
    let mut command_line = Command::new(program);
    command_line.args(args).arg("--dir").arg(dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log_file);
    // Our environment may hold secrets, and a task may look into that of its parent.
    command_line.env_clear().envs(KEPT_VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    let mut child = command_line.spawn().map_err(spawn_failed)?;
    let mut first = [0; 5];
    let ready = child.stdout.take().is_some_and(|mut out| out.read_exact(&mut first).is_ok() && first == *b"ready");
    if ready {
        return Ok(child);
    }
    // It has closed its standard output without a word: it is over or useless.
    let _ = child.kill().and_then(|()| child.wait());
    Err(LinkError::NotReady { command: command.to_vec(), log: log.display().to_string() })
}

/// Connects by the folder's open file: a socket's own path is limited to 107 bytes.
fn open_socket(dir: &Path) -> io::Result<UnixStream> {
    let folder = File::open(dir)?;
    UnixStream::connect(format!("/proc/self/fd/{}/{}", folder.as_raw_fd(), wire::SOCKET))
}
