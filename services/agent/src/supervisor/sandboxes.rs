//! Folders of attempts. One in which nothing was left is put by, and becomes the next attempt's.
//!
//! That saves two inodes made and two deleted per attempt, which ext4 is slow at: it looks for an inode that was not deleted in the
//! last seconds (measured: a third of the supervisor's time at 800 attempts per second).

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Holds the data of the event that fired the run.
pub(super) const EVENT_FILE: &str = "event.json";
/// Folders put by, beside the sandboxes.
const SPARES: &str = "spares";
/// Made and removed to see whether a folder can be made.
const SPARES_TRIAL: &str = "spares.trial";
/// Most of them: as many as attempts end between two starts in a burst.
const SPARES_MAX: usize = 256;
const MODE: u32 = 0o700;
/// What it is for folders that others go through, without seeing what is there.
const THROUGH: u32 = 0o711;
/// Without it the next attempt's event could not be written.
const OURS_TO_WRITE: u32 = 0o200;

pub(super) struct Sandboxes {
    dir: PathBuf,
    spares: Vec<PathBuf>,
    numbered: u64,
    owner: u32,
}

impl Sandboxes {
    /// Spares of a supervisor that is dead are of no use.
    pub(super) fn new(dir: &Path) -> io::Result<Self> {
        let sandboxes = dir.join(crate::SANDBOXES);
        fs::create_dir_all(&sandboxes)?;
        fs::DirBuilder::new().recursive(true).mode(MODE).create(dir.join(crate::OUTPUTS))?;
        let spares = dir.join(SPARES);
        if spares.exists() {
            fs::remove_dir_all(&spares)?;
        }
        fs::DirBuilder::new().mode(MODE).create(&spares)?;
        let this = Self { dir: dir.to_owned(), spares: Vec::new(), numbered: 0, owner: rustix::process::geteuid().as_raw() };
        this.open_to_tasks(dir)?;
        this.open_to_tasks(&sandboxes)?;
        Ok(this)
    }

    /// An empty folder for this attempt alone, whatever a predecessor left there; with an event it holds the event's file.
    pub(super) fn take(&mut self, sandbox: &Path, event: Option<&[u8]>) -> io::Result<()> {
        self.make(sandbox).or_else(|error| {
            if !is_taken(&error) {
                return Err(error);
            }
            fs::remove_dir_all(sandbox)?;
            self.make(sandbox)
        })?;
        let file = sandbox.join(EVENT_FILE);
        match event {
            Some(bytes) => overwrite(&file, bytes),
            None => fs::remove_file(&file).or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) }),
        }
    }

    /// Makes a folder and removes it.
    pub(super) fn trial(&self) -> io::Result<()> {
        let folder = self.dir.join(crate::SANDBOXES);
        fs::DirBuilder::new().recursive(true).create(&folder)?;
        let trial = self.dir.join(SPARES_TRIAL);
        fs::DirBuilder::new().mode(MODE).create(&trial).or_else(|e| if is_taken(&e) { Ok(()) } else { Err(e) })?;
        fs::remove_dir(trial)
    }

    fn make(&mut self, sandbox: &Path) -> io::Result<()> {
        if let Some(spare) = self.spares.pop() {
            match fs::rename(&spare, sandbox) {
                Err(error) if is_taken(&error) => {
                    self.spares.push(spare);
                    return Err(error);
                }
                // Somebody took the spare away: a new folder does as well.
                Err(_) => {}
                Ok(()) => return Ok(()),
            }
        }
        let make = || fs::DirBuilder::new().mode(MODE).create(sandbox);
        make().or_else(|error| match error.kind() {
            // All sandboxes were removed. (If our whole folder was, this fails again.)
            io::ErrorKind::NotFound => self.make_parent().and_then(|()| make()),
            _ => Err(error),
        })
    }

    fn make_parent(&self) -> io::Result<()> {
        let folder = self.dir.join(crate::SANDBOXES);
        fs::create_dir(&folder)?;
        self.open_to_tasks(&folder)
    }

    /// Only root can start tasks as other users, who then must get through to their sandboxes.
    fn open_to_tasks(&self, folder: &Path) -> io::Result<()> {
        if self.owner == 0 { fs::set_permissions(folder, fs::Permissions::from_mode(THROUGH)) } else { Ok(()) }
    }

    /// False if there is something to keep in it; else it is no longer there.
    pub(super) fn give_back(&mut self, sandbox: &Path) -> bool {
        let names = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name());
        let Ok(mut all) = fs::read_dir(sandbox) else { return true };
        if !all.all(|entry| names(entry).is_ok_and(|name| name == EVENT_FILE)) {
            return false;
        }
        if self.spares.len() < SPARES_MAX && self.is_as_made(sandbox) {
            self.numbered += 1;
            let spare = self.dir.join(SPARES).join(self.numbered.to_string());
            if fs::rename(sandbox, &spare).is_ok() {
                self.spares.push(spare);
                return true;
            }
        }
        fs::remove_dir_all(sandbox).is_ok()
    }

    /// A task may have changed its folder, or its event's file, or be another user's.
    fn is_as_made(&self, sandbox: &Path) -> bool {
        let made = |meta: fs::Metadata| meta.is_dir() && meta.uid() == self.owner && meta.mode() & 0o7777 == MODE;
        let plain =
            |meta: fs::Metadata| meta.is_file() && meta.uid() == self.owner && meta.nlink() == 1 && meta.mode() & OURS_TO_WRITE != 0;
        let file = match fs::symlink_metadata(sandbox.join(EVENT_FILE)) {
            Ok(meta) => plain(meta),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        file && fs::symlink_metadata(sandbox).is_ok_and(made)
    }
}

/// Writes a file from its beginning and cuts it to length. Not `fs::write`: ext4 takes the end of a file that was cut to nothing
/// first for the end of a careful replacement, and begins to write it to the disk at once.
fn overwrite(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(file)?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)
}

/// True if a predecessor left something there.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty)
}
