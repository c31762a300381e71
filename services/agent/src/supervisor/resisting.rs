//! Who does not end: a process that runs as a user whom we may not signal, or that waits in the kernel. It cannot be ended, so it is said
//! who it is and what would help: in our log, to the agent, and in the attempt's end, should there be one.

use super::{Supervisor, ending::Owner, spawn, timers::Due};
use crate::host::{self, Stat};
use crate::wire::Event;
use std::fs;

/// From SIGKILL until its survivors are told of. It takes microseconds, unless a process has much memory to give back.
const RESISTS_MS: i64 = 3_000;
/// Processes that are told of by name.
const TOLD_MAX: usize = 3;

impl Supervisor {
    /// All of a task is being ended for good: looked at once more after a while.
    pub(super) fn watch_ending(&mut self, serial: u64) {
        let at = host::boot_ms() + RESISTS_MS;
        if let Some(task) = self.tasks.get_mut(&serial).filter(|task| task.resists_at.is_none()) {
            task.resists_at = Some(at);
            self.timers.add(at, Due::Resists(serial));
        }
    }

    /// It is not over, though nothing of it may live.
    pub(super) fn tell_resisting(&mut self, serial: u64) {
        let left = self.left_of(serial);
        let Some(task) = self.tasks.get_mut(&serial).filter(|task| task.resisted.is_none()) else { return };
        if left.is_empty() {
            return;
        }
        let text = told(&left);
        task.resisted = Some(text.clone());
        let attempt = task.attempt.clone();
        self.note(&format!("attempt {attempt} cannot be ended: {text}"));
        self.told_at_once.push(Event::Resisting { attempt, reason: text });
    }

    fn left_of(&self, serial: u64) -> Vec<i32> {
        let Some(task) = self.tasks.get(&serial) else { return Vec::new() };
        let mut left: Vec<i32> = task.cgroup.iter().flat_map(super::cgroups::Cgroup::pids).collect();
        left.extend(task.exit.is_none().then_some(task.process.pid));
        left.extend(self.orphans.iter().filter(|(_, owner)| **owner == Owner::Task(serial)).map(|(pid, _)| *pid));
        left.sort_unstable();
        left.dedup();
        left.retain(|pid| Stat::of(*pid).is_some_and(Stat::is_alive));
        left
    }
}

/// In words, with what helps.
pub(super) fn told(pids: &[i32]) -> String {
    let told: Vec<String> = pids.iter().take(TOLD_MAX).map(|pid| one(*pid)).collect();
    match pids.len().saturating_sub(TOLD_MAX) {
        0 => told.join("; "),
        more => format!("{}; and {more} more", told.join("; ")),
    }
}

fn one(pid: i32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    let name = field("Name").unwrap_or("?");
    // The saved one is that which a signal is allowed by.
    let uids = field("Uid").map(|uids| uids.split('\t').filter_map(|uid| uid.parse().ok()).collect::<Vec<u32>>()).unwrap_or_default();
    let (real, saved) = (uids.first().copied().unwrap_or(0), uids.get(2).copied().unwrap_or(0));
    let own = rustix::process::geteuid().as_raw();
    let user = spawn::user_name(real);
    if own != 0 && real != own && saved != own {
        let own = spawn::user_name(own);
        return format!(
            "process {pid} ({name}) runs as user {user}, whom user {own} may not end; `kill -9 {pid}` as root, and give the agent a cgroup \
            of its own (systemd: Delegate=yes) or let it run as root"
        );
    }
    format!("process {pid} ({name}) of user {user} waits in the kernel; mend the disk or the network folder that it waits for")
}
