//! One output stream of a task: from its pipe into files of limited size.
//!
//! The folder is ours alone, so that no file of the task's is taken for its output, or replaced by it. The file `stdout` is made by the first byte. Full, it is renamed to `stdout.<absolute position of its first byte>` and a new one is
//! made by the next byte; beyond the number of files kept the oldest is deleted. So names alone tell which bytes are where.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
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
/// What a task prints may be secret: it is for our own user.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

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
    pub(super) fn take(&mut self, buffer: &mut [u8], folder: &Path, rotation: Rotation) {
        self.read_up_to(TURN_BYTES, buffer, folder, rotation);
    }

    /// Takes the rest, nobody of the task being left, and closes. (A file passed to a stranger would stay open for ever.)
    pub(super) fn finish(&mut self, buffer: &mut [u8], folder: &Path, rotation: Rotation) {
        self.read_up_to(DRAIN_BYTES, buffer, folder, rotation);
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

    fn read_up_to(&mut self, limit: usize, buffer: &mut [u8], folder: &Path, rotation: Rotation) {
        let mut taken = 0;
        while taken < limit {
            let Some(pipe) = &mut self.pipe else { return };
            match pipe.read(buffer) {
                Ok(0) => self.pipe = None,
                Ok(n) => {
                    taken += n;
                    self.write(&buffer[..n], folder, rotation);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }

    fn write(&mut self, mut bytes: &[u8], folder: &Path, rotation: Rotation) {
        while !bytes.is_empty() {
            let room = usize::try_from(rotation.file_bytes.saturating_sub(self.size)).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            if self.append(now, folder).is_err() {
                self.lost += now.len() as u64;
                return;
            }
            if self.size >= rotation.file_bytes {
                self.rotate(folder, rotation);
            }
            bytes = later;
        }
    }

    fn append(&mut self, bytes: &[u8], folder: &Path) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(create(folder, self.name)?),
        };
        let written = file.write_all(bytes);
        // A partial write still moves the end; the file knows best.
        self.size = match written {
            Ok(()) => self.size + bytes.len() as u64,
            Err(_) => file.metadata().map_or(self.size, |meta| meta.len()),
        };
        written
    }

    fn rotate(&mut self, folder: &Path, rotation: Rotation) {
        let full = |start: u64| folder.join(format!("{}.{start}", self.name));
        // If somebody has taken the file away, there is nothing to keep; positions go on.
        let _ = fs::rename(folder.join(self.name), full(self.start));
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

/// Makes a new file, and the folder with the first of them. Nothing that stands in its place is written to or followed.
fn create(folder: &Path, name: &str) -> io::Result<File> {
    let path = folder.join(name);
    let open = || OpenOptions::new().append(true).create_new(true).mode(FILE_MODE).open(&path);
    open().or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => create_folder(folder).and_then(|()| open()),
        io::ErrorKind::AlreadyExists => fs::remove_file(&path).and_then(|()| open()),
        _ => Err(error),
    })
}

/// With the folder of all output, should somebody have removed it, but never with the agent's own: that may have been moved.
fn create_folder(folder: &Path) -> io::Result<()> {
    let create = |folder: &Path| fs::DirBuilder::new().mode(FOLDER_MODE).create(folder);
    create(folder).or_else(|error| match folder.parent() {
        Some(all) if error.kind() == io::ErrorKind::NotFound => create(all).and_then(|()| create(folder)),
        _ => Err(error),
    })
}
