//! One output stream of a task: from its pipe into files of limited size.
//!
//! The file `stdout` is made by the first byte. Full, it is renamed to `stdout.<absolute position of its first byte>` and a new one is
//! made by the next byte; beyond the number of files kept the oldest is deleted. So names alone tell which bytes are where.

use rustix::fs::OFlags;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// How much output is kept of each stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Size of a full file, bytes.
    pub file_bytes: u64,
    /// Files kept, the one being written included.
    pub files: usize,
}

impl Default for Rotation {
    /// 3 files of 10 MiB: at most 60 MiB for both streams of an attempt.
    fn default() -> Self {
        Self { file_bytes: 10 << 20, files: 3 }
    }
}

/// Read from one stream before others have their turn: 4 pipes' worth.
const TURN_BYTES: usize = 256 << 10;
/// Left in a pipe at the end: Linux lets a pipe grow to 1 MiB unless an administrator says more.
const DRAIN_BYTES: usize = 1 << 20;

/// The reading end and the files.
#[derive(Debug)]
pub(super) struct Output {
    name: &'static str,
    pipe: Option<File>,
    file: Option<File>,
    /// Absolute position of the current file's first byte.
    start: u64,
    /// Bytes in the current file.
    size: u64,
    /// Starts of full files, oldest first.
    full: Vec<u64>,
    /// Bytes that could not be written (a full disk must not stop a task).
    lost: u64,
}

impl Output {
    pub(super) fn new(name: &'static str, pipe: OwnedFd) -> Self {
        Self { name, pipe: Some(pipe.into()), file: None, start: 0, size: 0, full: Vec::new(), lost: 0 }
    }

    /// Takes what is there, one turn's worth; closes at the end of the stream.
    pub(super) fn take(&mut self, buffer: &mut [u8], sandbox: &Path, rotation: Rotation) {
        self.read_up_to(TURN_BYTES, buffer, sandbox, rotation);
    }

    /// Takes the rest, nobody of the task being left, and closes. (A file passed to a stranger would stay open for ever.)
    pub(super) fn finish(&mut self, buffer: &mut [u8], sandbox: &Path, rotation: Rotation) {
        self.read_up_to(DRAIN_BYTES, buffer, sandbox, rotation);
        self.pipe = None;
        self.file = None;
    }

    /// The reading end, while it is open.
    pub(super) const fn pipe(&self) -> Option<&File> {
        self.pipe.as_ref()
    }

    /// True if anything was written to a file.
    pub(super) fn wrote(&self) -> bool {
        self.start + self.size > 0
    }

    /// Bytes that could not be written.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    fn read_up_to(&mut self, limit: usize, buffer: &mut [u8], sandbox: &Path, rotation: Rotation) {
        let mut taken = 0;
        while taken < limit {
            let Some(pipe) = &mut self.pipe else { return };
            match pipe.read(buffer) {
                Ok(0) => self.pipe = None,
                Ok(n) => {
                    taken += n;
                    self.write(&buffer[..n], sandbox, rotation);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }

    fn write(&mut self, mut bytes: &[u8], sandbox: &Path, rotation: Rotation) {
        while !bytes.is_empty() {
            let room = usize::try_from(rotation.file_bytes.saturating_sub(self.size)).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            if self.append(now, sandbox).is_err() {
                self.lost += now.len() as u64;
                return;
            }
            if self.size >= rotation.file_bytes {
                self.rotate(sandbox, rotation);
            }
            bytes = later;
        }
    }

    fn append(&mut self, bytes: &[u8], sandbox: &Path) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(create(&sandbox.join(self.name))?),
        };
        let written = file.write_all(bytes);
        // A partial write still moves the end; the file knows best.
        self.size = match written {
            Ok(()) => self.size + bytes.len() as u64,
            Err(_) => file.metadata().map_or(self.size, |meta| meta.len()),
        };
        written
    }

    fn rotate(&mut self, sandbox: &Path, rotation: Rotation) {
        let full = |start: u64| sandbox.join(format!("{}.{start}", self.name));
        // If the task has moved its own log away, there is nothing to keep; positions go on.
        let _ = fs::rename(sandbox.join(self.name), full(self.start));
        let mut starts = std::mem::take(&mut self.full);
        starts.push(self.start);
        while starts.len() >= rotation.files.max(1) {
            let _ = fs::remove_file(full(starts.remove(0)));
        }
        self.full = starts;
        self.start += self.size;
        (self.size, self.file) = (0, None);
    }
}

/// Makes a new file and follows no link: the sandbox belongs to the task, which may have put anything there.
fn create(path: &Path) -> io::Result<File> {
    let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).expect("a flag of open(2) fits its argument");
    let open = || OpenOptions::new().append(true).create_new(true).mode(0o644).custom_flags(nofollow).open(path);
    open().or_else(|e| if e.kind() == io::ErrorKind::AlreadyExists { fs::remove_file(path).and_then(|()| open()) } else { Err(e) })
}
