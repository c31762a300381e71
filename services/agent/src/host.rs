//! What the kernel says about this machine and its processes: boot id, boot clock, `/proc`.

use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::process::Pid;
use std::fs;
use std::io;
use std::path::Path;

/// Mode of our own files: a folder above them may have to be open, for tasks with a user of their own.
pub(crate) const PRIVATE: u32 = 0o600;

/// Closes this process' memory, environment and open files to other processes of the same user, as its tasks are. (Root may look all
/// the same.) It writes no core either.
pub fn close_to_others() {
    // A kernel that refuses it leaves everything as it was.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Milliseconds since boot, suspended time included (CLOCK_BOOTTIME).
pub(crate) fn boot_ms() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

/// The largest resident set of this process so far, bytes; 0 where that cannot be read.
pub(crate) fn peak_memory() -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()).map_or(0, |kib| kib * 1024)
}

/// A file for ourselves and those that inherit it, gone with the last of them: in memory, or, where that is not allowed
/// (`vm.memfd_noexec=2`, filters of system calls), in this folder without a name.
pub(crate) fn unnamed_file(name: &str, dir: &Path) -> io::Result<fs::File> {
    let memory = |flags| rustix::fs::memfd_create(name, flags | MemfdFlags::CLOEXEC);
    // A kernel before 6.3 does not know that one.
    let made = memory(MemfdFlags::NOEXEC_SEAL).or_else(|_| memory(MemfdFlags::empty())).map(fs::File::from);
    made.or_else(|_| in_folder(dir))
}

fn in_folder(dir: &Path) -> io::Result<fs::File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// The kernel's boot id; "unknown" where it cannot be read, which makes every restart look like the same boot.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or_else(|_| "unknown".into(), |id| id.trim().to_owned())
}

/// What tells a folder from its copies: the machine, and the folder's number, which a copy on the same machine has of its own.
pub(crate) fn home(dir: &Path) -> io::Result<String> {
    // Where there is none (small containers) the number must do.
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    Ok(format!("{}:{}", machine.trim(), std::os::unix::fs::MetadataExt::ino(&fs::metadata(dir)?)))
}

/// A process as `/proc/PID/stat` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// `Z` and `X` are dead.
    pub(crate) state: char,
    /// Process group.
    pub(crate) group: i32,
    /// Session.
    pub(crate) session: i32,
    /// Field 22: start, in clock ticks since boot.
    pub(crate) start_ticks: i64,
}

impl Stat {
    /// Of this process; none if there is none.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name, which may hold blanks and parentheses, ends at the last `)`.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            start_ticks: fields.get(19)?.parse().ok()?,
        })
    }

    /// True if it runs, sleeps or is stopped. (PID 1 may reap late: a zombie is dead.)
    pub(crate) const fn is_alive(self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }

    /// True if a signal or a debugger has stopped it.
    pub(crate) const fn is_stopped(self) -> bool {
        matches!(self.state, 'T' | 't')
    }

    /// True if it started between these points of the boot clock; the kernel rounds to ticks.
    pub(crate) fn started_between(self, from_boot_ms: i64, to_boot_ms: i64) -> bool {
        let tick_ms = 1000 / i64::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100).max(1);
        let start_ms = self.start_ticks * tick_ms;
        start_ms >= from_boot_ms - tick_ms && start_ms <= to_boot_ms + tick_ms
    }
}

/// The value of a variable in the environment that a process was started with.
pub(crate) fn variable_of(pid: i32, name: &str) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let wanted = format!("{name}=");
    environ
        .split(|byte| *byte == 0)
        .find_map(|pair| pair.strip_prefix(wanted.as_bytes()))
        .map(|value| String::from_utf8_lossy(value).into_owned())
}

/// Every process id of the machine.
pub(crate) fn all_pids() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// A process id for rustix; none for 0 and below.
pub(crate) fn pid(raw: i32) -> Option<Pid> {
    if raw > 0 { Pid::from_raw(raw) } else { None }
}

/// The host's name as an id may begin: other characters become `-`.
pub(crate) fn name() -> String {
    /// Leaves room for the digits of an agent id (128 characters).
    const NAME_MAX: usize = 100;
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let clean = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let name: String = name.chars().map(clean).skip_while(|c| !c.is_ascii_alphanumeric()).take(NAME_MAX).collect();
    if name.is_empty() { "agent".into() } else { name }
}

/// The system's words for an error, without the number.
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// Makes a rename in this folder durable.
pub(crate) fn sync_folder(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unnamed_file_is_read_by_whoever_has_it_in_memory_or_not() {
        use std::io::Write as _;
        use std::os::fd::AsRawFd as _;
        let dir = tempfile::tempdir().unwrap();
        for mut file in [unnamed_file("test", dir.path()).unwrap(), in_folder(dir.path()).unwrap()] {
            file.write_all(b"hello").unwrap();
            assert_eq!(fs::read(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap(), b"hello");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_stat_line_with_a_hostile_name_is_read() {
        let line = "42 (a) S 1 (b) Z 1 7 8 0 -1 4194304 97 0 0 0 0 0 0 0 20 0 1 0 12345 2461696 94";
        let expected = Stat { state: 'Z', group: 7, session: 8, start_ticks: 12345 };
        assert_eq!(Stat::parse(line), Some(expected));
    }

    #[test]
    fn this_process_is_alive_and_started_in_the_past() {
        let stat = Stat::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(stat.is_alive() && stat.started_between(0, boot_ms()));
        assert!(!stat.started_between(0, 10));
    }
}
