//! The output of attempts, read by absolute byte position over rotated files (which file holds what: see the supervisor's `output`).
//!
//! A name that is not exactly what the supervisor writes, or whose bytes would not end before 2^63, is no output, whoever put it there.

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
    /// The file's name in the output folder.
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
    #[error("no output of attempt {attempt} is kept: it wrote nothing, ran elsewhere, or is too old")]
    NoOutput {
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
    let folder = crate::output_folder(dir, attempt);
    let mut tries = 0;
    loop {
        tries += 1;
        match try_read(&folder, stream, from, max.min(READ_MAX), tries == TRIES_MAX) {
            Ok(Some(chunk)) => return Ok(chunk),
            Ok(None) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(ReadLogError::NoOutput { attempt: attempt.clone() }),
            Err(source) => return Err(ReadLogError::Io { attempt: attempt.clone(), stream, source }),
        }
    }
}

/// The file that is being written, for people and their tools; earlier ones lie beside it.
pub fn log_path(dir: &Path, attempt: &AttemptId, stream: Stream) -> PathBuf {
    crate::output_folder(dir, attempt).join(stream.name())
}

/// None if the files were rotated meanwhile.
fn try_read(folder: &Path, stream: Stream, from: u64, max: usize, last_try: bool) -> io::Result<Option<LogChunk>> {
    let starts = full_files(folder, stream)?;
    let mut files = Vec::new();
    for start in &starts {
        let found = open(&folder.join(format!("{}.{start}", stream.name())))?;
        files.extend(found.filter(|(_, size)| ends_in_range(*start, *size)).map(|(file, size)| (*start, size, file)));
    }
    let current_start = files.last().map_or(0, |(start, size, _)| start + size);
    let current = open(&folder.join(stream.name()))?.filter(|(_, size)| ends_in_range(current_start, *size));
    files.extend(current.map(|(file, size)| (current_start, size, file)));
    if !last_try && full_files(folder, stream)? != starts {
        return Ok(None);
    }
    let start = files.first().map_or(0, |(start, ..)| *start);
    let end = files.last().map_or(0, |(start, size, _)| start + size);
    // What is missing in the middle is passed over, as what is missing at the beginning is.
    let from = files.iter().find(|(start, size, _)| from < start + size).map_or(end, |(start, ..)| from.max(*start));
    let mut bytes = Vec::new();
    for (file_start, size, file) in &files {
        let position = from + bytes.len() as u64;
        if (*file_start..file_start + size).contains(&position) && bytes.len() < max {
            let wanted = usize::try_from(file_start + size - position).unwrap_or(usize::MAX).min(max - bytes.len());
            read_exactly(file, position - file_start, wanted, &mut bytes)?;
        }
    }
    Ok(Some(LogChunk { from, bytes, start, end }))
}

/// Positions of the first bytes of full files, ascending.
fn full_files(folder: &Path, stream: Stream) -> io::Result<Vec<u64>> {
    let mut starts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix(stream.name())?.strip_prefix('.'));
        // `+5` and `05` are numbers too, and no names of ours.
        starts.extend(digits.and_then(|digits| digits.parse::<u64>().ok().filter(|start| start.to_string() == digits)));
    }
    starts.sort_unstable();
    Ok(starts)
}

/// Positions travel as i64.
fn ends_in_range(start: u64, size: u64) -> bool {
    start.checked_add(size).is_some_and(|end| i64::try_from(end).is_ok())
}

/// A regular file and its size. What else stands there is not ours, and not followed.
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
