//! The folder's lock: one process writes, and a second one is told which process that is.
//!
//! `lock` is held with flock and contains the holder's process id in decimal. The lock ends with the process, however it ends;
//! the file stays.

use crate::{LogError, clock};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

/// How long a lock is waited for: a process that its holder starts has a copy of it until its exec, also when the holder has ended.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Takes the lock; it is held as long as the file is open.
pub(super) fn hold(folder: &Path) -> Result<File, LogError> {
    let cannot = |e: std::io::Error| LogError::CannotOpen { path: folder.display().to_string(), why: e.to_string() };
    std::fs::create_dir_all(folder).map_err(cannot)?;
    let path = folder.join("lock");
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(cannot)?;
    let deadline = clock::monotonic() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if clock::monotonic() < deadline => std::thread::park_timeout(LOOK_EVERY),
            Err(TryLockError::WouldBlock) => return Err(LogError::InUse { path: folder.display().to_string(), holder: holder(&mut file) }),
            Err(TryLockError::Error(e)) => return Err(cannot(e)),
        }
    }
    file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(cannot)?;
    write!(file, "{}", std::process::id()).map_err(cannot)?;
    Ok(file)
}

/// The holder may be between taking the lock and writing its id.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.read_to_string(&mut text);
    if read.is_ok() && text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() { text } else { "unknown".to_owned() }
}
