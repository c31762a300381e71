//! A cgroup for each attempt, without limits: whoever a task's processes are, whatever user, session and environment they have, they are found
//! and ended together.
//!
//! Version 2 is taken where it can be (the kernel ends all of one in one step, also what we may not signal), else the freezer
//! of version 1. They lie in one folder, of which the state file tells the next supervisor, below the supervisor's own
//! cgroup: what a service manager or a container limits stays limited. A cgroup serves one attempt and is never used again: a kernel may
//! end at its birth what is made in one that was once ended.

use super::spawn::{Entrance, Program, Spawner};
use crate::host;
use orrery_model::id::AttemptId;
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Begins the name of each: the kernel's own files lie beside them.
const PREFIX: &str = "task-";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Where they are made.
#[derive(Debug)]
pub(super) struct Cgroups {
    version: Version,
    folder: PathBuf,
    numbered: u64,
    /// Those that could not be removed yet.
    leftovers: Vec<PathBuf>,
}

/// One attempt's.
#[derive(Debug)]
pub(super) struct Cgroup {
    version: Version,
    folder: PathBuf,
    /// Version 2: the folder; version 1: the list of processes.
    file: OwnedFd,
}

impl Cgroups {
    /// Tries what this machine allows; the error says why tasks go without.
    pub(super) fn find(dir: &Path, spawner: &Spawner, null: BorrowedFd<'_>) -> Result<Self, String> {
        let mut refused = Vec::new();
        for version in [Version::Two, Version::One] {
            let tried = own_folder(version).and_then(|own| {
                let meta = fs::metadata(dir).map_err(|e| host::words(&e))?;
                let folder = own.join(format!("orrery-{}-{}", meta.dev(), meta.ino()));
                let mut this = Self { version, folder, numbered: 0, leftovers: Vec::new() };
                this.try_out(spawner, null).map_err(|e| format!("{}: {}", own.display(), host::words(&e))).map(|()| this)
            });
            match tried {
                Ok(found) => return Ok(found),
                Err(why) => refused.push(format!("version {}: {why}", version.number())),
            }
        }
        Err(refused.join("; "))
    }

    /// Makes one, starts a process in it, and looks whether it was there: a right, the kernel or a filter of system calls may be missing.
    fn try_out(&mut self, spawner: &Spawner, null: BorrowedFd<'_>) -> io::Result<()> {
        let trial = self.make("trial")?;
        // It ends at once, since it finds nothing to do.
        let argv = [c"orrery".to_owned(), super::exec_as::SUBCOMMAND_C.to_owned()];
        let (stdio, entrance) = ([null; 3], Some(trial.entrance()));
        let program = Program { path: c"/proc/self/exe", argv: &argv, env: &[], cwd: c"/", stdio, inherited: None, entrance };
        let started = spawner.spawn(&program);
        if let Ok(pid) = started {
            // Our own child, reaped here and nowhere else.
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        }
        self.remove(trial);
        started.map(drop)
    }

    /// A new one for this attempt.
    pub(super) fn take(&mut self, attempt: &AttemptId) -> io::Result<Cgroup> {
        self.leftovers.retain(|folder| !remove(folder));
        self.make(attempt.as_str())
    }

    fn make(&mut self, name: &str) -> io::Result<Cgroup> {
        self.numbered += 1;
        let folder = self.folder.join(format!("{PREFIX}{name}.{}", self.numbered));
        fs::create_dir(&folder).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => fs::create_dir_all(&self.folder).and_then(|()| fs::create_dir(&folder)),
            _ => Err(error),
        })?;
        let file: io::Result<OwnedFd> = match self.version {
            Version::Two => {
                rustix::fs::open(&folder, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(Into::into)
            }
            Version::One => File::options().write(true).open(folder.join("cgroup.procs")).map(Into::into),
        };
        match file {
            Ok(file) => Ok(Cgroup { version: self.version, folder, file }),
            Err(error) => {
                self.leftovers.push(folder);
                Err(error)
            }
        }
    }

    /// Nobody is left in it. (The kernel may see that a moment later.)
    pub(super) fn remove(&mut self, cgroup: Cgroup) {
        if !remove(&cgroup.folder) {
            self.leftovers.push(cgroup.folder);
        }
    }

    /// The folder of all, for the next supervisor.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// For people and as an attribute.
    pub(super) const fn word(&self) -> &'static str {
        match self.version {
            Version::One => "v1",
            Version::Two => "v2",
        }
    }
}

impl Drop for Cgroups {
    /// A supervisor that ends has no tasks.
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

impl Cgroup {
    /// For the process that is to be in it.
    pub(super) fn entrance(&self) -> Entrance<'_> {
        match self.version {
            Version::One => Entrance::List(self.file.as_fd()),
            Version::Two => Entrance::Folder(self.file.as_fd()),
        }
    }

    /// True if nobody lives in it.
    pub(super) fn is_empty(&self) -> bool {
        is_empty(&self.folder)
    }

    /// Ends all that is in it.
    pub(super) fn kill(&self) {
        kill(&self.folder);
    }

    /// Who is in it.
    pub(super) fn pids(&self) -> Vec<i32> {
        pids(&self.folder)
    }
}

/// Ends everything in this folder and below.
pub(super) fn kill(folder: &Path) {
    if fs::write(folder.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    // A kernel without that: whoever is frozen makes no children meanwhile. Where nothing can be frozen the next look ends them.
    let freezer = folder.join("freezer.state");
    let is_frozen = fs::write(&freezer, "FROZEN").is_ok();
    for pid in pids(folder).into_iter().filter_map(host::pid) {
        // Gone already is as good; what we may not end is told of.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    if is_frozen {
        let _ = fs::write(&freezer, "THAWED");
    }
}

/// Who lives in this folder and below.
pub(super) fn pids(folder: &Path) -> Vec<i32> {
    let mut found = Vec::new();
    for folder in with_below(folder) {
        let list = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        found.extend(list.lines().filter_map(|line| line.parse::<i32>().ok()));
    }
    found
}

fn is_empty(folder: &Path) -> bool {
    match fs::read_to_string(folder.join("cgroup.events")) {
        Ok(events) => !events.lines().any(|line| line == "populated 1"),
        Err(_) => pids(folder).is_empty(),
    }
}

/// Removes it with what a task has made in it; false if it is still there.
pub(super) fn remove(folder: &Path) -> bool {
    if fs::remove_dir(folder).is_ok() {
        return true;
    }
    let mut all = with_below(folder);
    all.reverse();
    all.iter().for_each(|folder| drop(fs::remove_dir(folder)));
    !folder.exists()
}

/// Those of the tasks in this folder of all.
pub(super) fn tasks(folder: &Path) -> Vec<PathBuf> {
    with_below(folder).into_iter().filter(|below| below.parent() == Some(folder)).collect()
}

/// It and all folders in it, each before those in it.
fn with_below(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![folder.to_owned()];
    let mut next = 0;
    while let Some(folder) = all.get(next) {
        let below = fs::read_dir(folder).into_iter().flatten().flatten();
        let below: Vec<_> = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect();
        all.extend(below);
        next += 1;
    }
    all
}

/// True if this name, of a folder of a task, is of this attempt.
pub(super) fn is_of(folder: &Path, attempt: &AttemptId) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(PREFIX)?.rsplit_once('.'));
    name.is_some_and(|(name, _)| name == attempt.as_str())
}

impl Version {
    const fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

/// The folder of the cgroup that this process is in.
fn own_folder(version: Version) -> Result<PathBuf, String> {
    let read = |path| fs::read_to_string(path).map_err(|e| format!("{path}: {}", host::words(&e)));
    own_folder_of(version, &read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)
}

fn own_folder_of(version: Version, mounts: &str, own: &str) -> Result<PathBuf, String> {
    let of_kind = |line: &str| match version {
        Version::Two => line.strip_prefix("0::").map(str::to_owned),
        Version::One => {
            let mut parts = line.splitn(3, ':').skip(1);
            let is_freezer = parts.next()?.split(',').any(|controller| controller == "freezer");
            parts.next().filter(|_| is_freezer).map(str::to_owned)
        }
    };
    let own = own.lines().find_map(of_kind).ok_or("this process is in none")?;
    let mounted = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        let (mut place, mut kind) = (place.split(' ').skip(3), kind.split(' '));
        let (root, at) = (place.next()?.to_owned(), place.next()?.to_owned());
        let is_it = match (version, kind.next()?) {
            (Version::Two, "cgroup2") => true,
            (Version::One, "cgroup") => kind.nth(1)?.split(',').any(|option| option == "freezer"),
            _ => false,
        };
        // A mount may show a part of the tree only.
        let below = Path::new(&own).strip_prefix(&root).ok().filter(|_| is_it)?.to_owned();
        Some(Path::new(&at).join(below))
    };
    mounts.lines().find_map(mounted).ok_or_else(|| format!("no mount shows {own}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_cgroup_is_found_under_hybrid_pure_and_partial_mounts() {
        let hybrid = "37 31 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n41 31 0:38 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n";
        let own = "6:freezer:/a\n1:cpu,cpuacct:/\n0::/b/c\n";
        assert_eq!(own_folder_of(Version::Two, hybrid, own), Ok("/sys/fs/cgroup/unified/b/c".into()));
        assert_eq!(own_folder_of(Version::One, hybrid, own), Ok("/sys/fs/cgroup/freezer/a".into()));
        let part = "30 23 0:26 /docker/x /sys/fs/cgroup ro - cgroup2 cgroup rw,nsdelegate\n";
        assert_eq!(own_folder_of(Version::Two, part, "0::/docker/x/y\n"), Ok("/sys/fs/cgroup/y".into()));
        assert_eq!(own_folder_of(Version::Two, part, "0::/elsewhere\n"), Err("no mount shows /elsewhere".into()));
        assert_eq!(own_folder_of(Version::One, part, "0::/docker/x/y\n"), Err("this process is in none".into()));
    }

    #[test]
    fn an_attempt_s_folder_is_known_by_its_name() {
        let attempt = AttemptId::parse("a.1").unwrap();
        assert!(is_of(Path::new("/x/task-a.1.7"), &attempt));
        assert!(!is_of(Path::new("/x/task-a.11.7"), &attempt) && !is_of(Path::new("/x/a.1.7"), &attempt));
    }
}
