//! After a supervisor that died: what it started is found, killed with its whole tree, and recorded as lost.
//!
//! Nobody is signalled by a remembered number alone. A survivor is a process that our predecessor's file names, in this boot, with
//! the same start time, and its session; or one whose environment says that its sandbox is ours (a task started in the very
//! moment of the death is not in the file), or one in a cgroup that our predecessor made. The exit status of a survivor would go to another parent, so it cannot be adopted.

use super::state_file::{Remembered, Started, StateFile};
use super::{cgroups, resisting};
use crate::host::{self, Stat};
use crate::wire::{Ended, Process};
use orrery_log::clock;
use orrery_model::id::AttemptId;
use orrery_model::messages::{End, EndKind};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::time::Timespec;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Rounds of look and kill: each kills a generation that the one before made in between. Beyond it something forks faster than
/// we look; the next supervisor's start tries again, and our own subreaping does not reach it.
const ROUNDS_MAX: usize = 100;
/// How long one killed process is waited for. SIGKILL takes microseconds, unless the process waits for a disk.
const DEATH_SECONDS: i64 = 10;

/// Kills every survivor and records the ends.
/// What could not be ended is told.
pub(super) fn end_survivors(dir: &Path, remembered: Remembered, state: &mut StateFile) -> Vec<String> {
    let resisting = kill_survivors(dir, &remembered, &|| true);
    let in_cgroups: Vec<PathBuf> = cgroups_of(&remembered).flat_map(cgroups::tasks).collect();
    let told = |attempt: &AttemptId, process: Option<Process>| {
        let own = in_cgroups.iter().filter(|folder| cgroups::is_of(folder, attempt)).flat_map(|folder| cgroups::pids(folder));
        let mut own: BTreeSet<i32> = own.collect();
        let leads = |pid: &&i32| process.is_some_and(|process| Stat::of(**pid).is_some_and(|stat| stat.session == process.pid));
        own.extend(resisting.iter().filter(leads));
        let left: Vec<i32> = resisting.intersection(&own).copied().collect();
        if left.is_empty() { String::new() } else { format!("; {}", resisting::told(&left)) }
    };
    let sandboxes = dir.join(crate::SANDBOXES);
    let reason = if remembered.same_boot { "the supervisor died" } else { "the machine restarted" };
    let (boot_ms, wall) = (host::boot_ms(), clock::wall());
    for (attempt, Started { process, from_boot_ms, .. }) in remembered.started {
        let wall_ms = if remembered.same_boot { boot_ms - from_boot_ms } else { wall.since_ms(process.started_at) };
        let (kind, reason) = (EndKind::Lost, Some(format!("{reason}{}", told(&attempt, Some(process)))));
        let end = End { kind, code: None, signal: None, reason, wall_ms: wall_ms.max(0), cpu_ms: 0, peak_memory: 0, ended_at: wall };
        let sandbox_kept = sandboxes.join(attempt.as_str()).exists() || crate::output_folder(dir, &attempt).exists();
        state.ended(Ended { attempt, process: Some(process), end, sandbox_kept });
    }
    for attempt in remembered.starting {
        let (kind, reason) = (EndKind::Lost, Some(format!("{reason} in the moment of its start")));
        let end = End { kind, code: None, signal: None, reason, wall_ms: 0, cpu_ms: 0, peak_memory: 0, ended_at: wall };
        state.ended(Ended { attempt, process: None, end, sandbox_kept: false });
    }
    // One in which somebody lives on stays known, until a later supervisor finds it empty.
    for folder in remembered.cgroups.iter().filter(|folder| !cgroups::remove(folder) && remembered.same_boot) {
        state.made_cgroups(folder);
    }
    if resisting.is_empty() { Vec::new() } else { vec![resisting::told(&resisting.into_iter().collect::<Vec<_>>())] }
}

/// Those of this boot: a name may be another's after it.
fn cgroups_of(remembered: &Remembered) -> impl Iterator<Item = &Path> {
    remembered.cgroups.iter().filter(|_| remembered.same_boot).map(PathBuf::as_path)
}

/// Kills what is left of a supervisor's tasks, round by round, as long as that is wanted; returns who lives on all the same.
pub(super) fn kill_survivors(dir: &Path, remembered: &Remembered, is_wanted: &dyn Fn() -> bool) -> BTreeSet<i32> {
    let (sandboxes, sessions) = (dir.join(crate::SANDBOXES), sessions(remembered));
    let mut resisting = BTreeSet::new();
    for _ in 0..ROUNDS_MAX {
        let contained: BTreeSet<i32> = cgroups_of(remembered).flat_map(cgroups::pids).collect();
        let left = host::all_pids().into_iter().filter(|pid| !resisting.contains(pid));
        let found: Vec<(i32, OwnedFd)> =
            left.filter_map(|pid| Some((pid, open_survivor(pid, &sandboxes, &sessions, &contained)?))).collect();
        if found.is_empty() || !is_wanted() {
            return resisting;
        }
        // Also those that we may not signal.
        cgroups_of(remembered).flat_map(cgroups::tasks).for_each(|folder| cgroups::kill(&folder));
        let mut refused = BTreeSet::new();
        for (pid, process) in &found {
            // Gone already is as good.
            if pidfd_send_signal(process, Signal::KILL) == Err(Errno::PERM) {
                refused.insert(*pid);
            }
        }
        for (pid, process) in &found {
            // Whom only its cgroup can end is dead by now, or is never.
            let tv_sec = if refused.contains(pid) { 1 } else { DEATH_SECONDS };
            let limit = Timespec { tv_sec, tv_nsec: 0 };
            if poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&limit)) == Ok(0) {
                resisting.insert(*pid);
            }
        }
    }
    resisting
}

/// True if anything is left of this folder's tasks.
pub(super) fn any_survivor(dir: &Path) -> bool {
    let remembered = super::state_file::remembered(dir).unwrap_or_default();
    let sessions = sessions(&remembered);
    let sandboxes = dir.join(crate::SANDBOXES);
    let contained = cgroups_of(&remembered).flat_map(cgroups::pids).collect();
    host::all_pids().into_iter().any(|pid| open_survivor(pid, &sandboxes, &sessions, &contained).is_some())
}

fn sessions(remembered: &Remembered) -> BTreeSet<i32> {
    let started = remembered.started.values().filter(|started| remembered.same_boot && is_same(started));
    started.map(|started| started.process.pid).collect()
}

/// The process is held open before it is looked at: from then on its number cannot become another's unseen.
fn open_survivor(pid: i32, sandboxes: &Path, sessions: &BTreeSet<i32>, contained: &BTreeSet<i32>) -> Option<OwnedFd> {
    let process = pidfd_open(host::pid(pid)?, PidfdFlags::empty()).ok()?;
    let stat = Stat::of(pid).filter(|stat| stat.is_alive())?;
    let ours = || host::variable_of(pid, "ORRERY_SANDBOX").is_some_and(|sandbox| Path::new(&sandbox).starts_with(sandboxes));
    let own_pid = rustix::process::getpid().as_raw_nonzero().get();
    (pid != own_pid && (contained.contains(&pid) || sessions.contains(&stat.session) || ours())).then_some(process)
}

fn is_same(started: &Started) -> bool {
    Stat::of(started.process.pid).is_some_and(|stat| stat.started_between(started.from_boot_ms, started.to_boot_ms))
}
