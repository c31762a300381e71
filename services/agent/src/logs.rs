//! The output of attempts, read by absolute byte position over rotated files (which file holds what: see the supervisor's `output`).

use orrery_model::id::AttemptId;
use rustix::fs::OFlags;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Most bytes of one read.
pub const READ_MAX: usize = 1 << 20;
/// A rotation between listing and opening is seen and the read begins again; ten in a row mean gigabytes a second.
const TRIES_MAX: usize = 10;

/// Which output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The file's name in the sandbox.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A piece of output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogChunk {
    /// Position of the first byte: as asked, or [`LogChunk::start`] where earlier bytes were rotated away.
    pub from: u64,
    /// The bytes; empty at the end.
    pub bytes: Vec<u8>,
    /// Position of the first byte that is still there.
    pub start: u64,
    /// Position behind the last byte so far.
    pub end: u64,
}

/// Why there is no output to read.
#[derive(Debug, thiserror::Error)]
pub enum ReadLogError {
    /// Never there, empty, or removed as too old.
    #[error("no sandbox of attempt {attempt} is kept: it wrote nothing, ran elsewhere, or is too old")]
    NoSandbox {
        /// Which.
        attempt: AttemptId,
    },
    /// Reading failed.
    #[error("the {} of attempt {attempt} cannot be read", stream.name())]
    Io {
        /// Which.
        attempt: AttemptId,
        /// Which output.
        stream: Stream,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Output of an attempt from an absolute position, at most `max` bytes (and [`READ_MAX`]).
pub fn read_log(dir: &Path, attempt: &AttemptId, stream: Stream, from: u64, max: usize) -> Result<LogChunk, ReadLogError> {
    let sandbox = crate::sandbox(dir, attempt);
    let mut tries = 0;
    loop {
        tries += 1;
        match try_read(&sandbox, stream, from, max.min(READ_MAX), tries == TRIES_MAX) {
            Ok(Some(chunk)) => return Ok(chunk),
            Ok(None) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(ReadLogError::NoSandbox { attempt: attempt.clone() }),
            Err(source) => return Err(ReadLogError::Io { attempt: attempt.clone(), stream, source }),
        }
    }
}

/// The file that is being written, for people and their tools; earlier ones lie beside it.
pub fn log_path(dir: &Path, attempt: &AttemptId, stream: Stream) -> PathBuf {
    crate::sandbox(dir, attempt).join(stream.name())
}

/// None if the files were rotated meanwhile.
fn try_read(sandbox: &Path, stream: Stream, from: u64, max: usize, last_try: bool) -> io::Result<Option<LogChunk>> {
    let starts = full_files(sandbox, stream)?;
    let mut files = Vec::new();
    for start in &starts {
        files.extend(open(&sandbox.join(format!("{}.{start}", stream.name())))?.map(|(file, size)| (*start, size, file)));
    }
    let current_start = files.last().map_or(0, |(start, size, _)| start + size);
    files.extend(open(&sandbox.join(stream.name()))?.map(|(file, size)| (current_start, size, file)));
    if !last_try && full_files(sandbox, stream)? != starts {
        return Ok(None);
    }
    let start = files.first().map_or(0, |(start, ..)| *start);
    let end = files.last().map_or(0, |(start, size, _)| start + size);
    let from = from.clamp(start, end);
    let mut bytes = Vec::new();
    for (file_start, size, file) in &files {
        let position = from + bytes.len() as u64;
        if position < file_start + size && bytes.len() < max {
            let wanted = usize::try_from(file_start + size - position).unwrap_or(usize::MAX).min(max - bytes.len());
            read_exactly(file, position.saturating_sub(*file_start), wanted, &mut bytes)?;
        }
    }
    Ok(Some(LogChunk { from, bytes, start, end }))
}

/// Positions of the first bytes of full files, ascending.
fn full_files(sandbox: &Path, stream: Stream) -> io::Result<Vec<u64>> {
    let mut starts = Vec::new();
    for entry in fs::read_dir(sandbox)? {
        let name = entry?.file_name();
        let start: Option<u64> = name.to_str().and_then(|name| name.strip_prefix(stream.name())?.strip_prefix('.')?.parse().ok());
        starts.extend(start);
    }
    starts.sort_unstable();
    Ok(starts)
}

/// A regular file and its size; the sandbox is its task's, so that links and pipes may stand there and are not followed.
fn open(path: &Path) -> io::Result<Option<(File, u64)>> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).expect("flags of open(2) fit its argument");
    let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open(path) else { return Ok(None) };
    let meta = file.metadata()?;
    Ok(meta.is_file().then_some((file, meta.len())))
}

fn read_exactly(file: &File, at: u64, wanted: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    let begin = bytes.len();
    bytes.resize(begin + wanted, 0);
    let mut done = 0;
    while done < wanted {
        match file.read_at(&mut bytes[begin + done..], at + done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    bytes.truncate(begin + done);
    Ok(())
}
