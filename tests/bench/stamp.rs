//! Stamps: a started program tells a socket of the benchmark when its `main` began, so that nothing the product says is trusted.

use crate::Result;
use crate::clock::{SECOND, monotonic_ns};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Longest datagram: a label is an index, a name, or a time.
const DATAGRAM_BYTES: usize = 512;

/// One start.
#[derive(Debug)]
pub(crate) struct Stamp {
    pub(crate) label: String,
    /// Monotonic clock.
    pub(crate) at: i64,
}

/// The socket that stamps come to. It also paces: every pause of a measurement is a wait for a stamp.
pub(crate) struct Stamps {
    socket: UnixDatagram,
    path: PathBuf,
    program: PathBuf,
    _folder: TempDir,
}

impl Stamps {
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
        let path = folder.path().join("stamps");
        let socket = UnixDatagram::bind(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let program = std::env::current_exe().map_err(|e| format!("our own path: {e}"))?.with_file_name("orrery-stamp");
        if !program.is_file() {
            return Err(format!("{} is not built; run `cargo build --workspace` first", program.display()));
        }
        Ok(Self { socket, path, program, _folder: folder })
    }

    /// The stamping program, with this label or template of one.
    pub(crate) fn command(&self, label: &str) -> Vec<String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        vec![text(&self.program), text(&self.path), label.into()]
    }

    /// The same for us to start.
    pub(crate) fn bare(&self, label: &str) -> Command {
        let words = self.command(label);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }

    /// The next stamp, or none by this reading of the monotonic clock. Polls, because a socket's own timeout counts in ticks of
    /// up to 10 ms.
    pub(crate) fn next(&self, until: i64) -> Result<Option<Stamp>> {
        loop {
            let left = (until - monotonic_ns()).max(0);
            let timeout = Timespec { tv_sec: left / SECOND, tv_nsec: left % SECOND };
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => return Ok(None),
                Ok(_) => return self.receive().map(Some),
                Err(Errno::INTR) => {}
                Err(e) => return Err(format!("poll: {e}")),
            }
        }
    }

    /// Waits, where no stamp may come.
    pub(crate) fn pause(&self, ns: i64) -> Result<()> {
        match self.next(monotonic_ns() + ns)? {
            None => Ok(()),
            Some(stamp) => Err(format!("a stamp came that nobody asked for: {stamp:?}")),
        }
    }

    /// The stamp of this label, which has to be the next one.
    pub(crate) fn expect(&self, label: &str, seconds: i64) -> Result<i64> {
        match self.next(monotonic_ns() + seconds * SECOND)? {
            Some(stamp) if stamp.label == label => Ok(stamp.at),
            Some(stamp) => Err(format!("{stamp:?} came where {label:?} was due: it ran twice, or out of turn")),
            None => Err(format!("{label:?} did not start within {seconds} s")),
        }
    }

    fn receive(&self) -> Result<Stamp> {
        let mut bytes = [0; DATAGRAM_BYTES];
        let length = self.socket.recv(&mut bytes).map_err(|e| format!("the socket of the stamps: {e}"))?;
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        let parts = text.rsplit_once(' ').and_then(|(label, at)| Some((label.to_owned(), at.parse().ok()?)));
        parts.map(|(label, at)| Stamp { label, at }).ok_or_else(|| format!("{text:?} is no stamp"))
    }
}
