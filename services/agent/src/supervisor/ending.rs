//! From a dead leader to a reported end: reap, clear the tree, drain the output.
//!
//! The supervisor is a subreaper: whoever loses its parent becomes our child. So after a leader's death its tree is cleared by killing
//! its group, then whichever of our children are not leaders themselves and belong to it, again and again until none is left: each kill
//! makes the next generation our children. To whom an orphan belongs is told by its session, else by `ORRERY_SANDBOX` in its environment.
//! One that has changed both hides on purpose: it is killed as soon as no task is left that could be its parent.

use super::{Cause, Supervisor, Task, spawn, timers::Due};
use crate::host;
use crate::wire::Ended;
use orrery_log::clock;
use orrery_model::messages::{End, EndKind};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Longest message that the trampoline writes; it is one line.
const REPORT_BYTES: usize = 4096;
/// Bytes of one read of the children's list: 4,096 leaders of at most 8 bytes each fit.
const LIST_BYTES: usize = 64 << 10;

/// Between two looks at trees that nobody tells us of.
const LOOK_MS: i64 = 20;
/// Until another holder of the lease is started: somebody ends them, and may go on with it.
pub(super) const HOLDER_AGAIN_MS: i64 = 1_000;

/// Whose orphan it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// This task's, alive or just ended.
    Task(u64),
    /// Of a task below this serial.
    Hidden(u64),
}

impl Supervisor {
    /// Reaps every child that has ended, then clears the trees of those that led one.
    pub(super) fn reap_all(&mut self) {
        // Takes the wake-ups; the socket is ours alone and one byte stands for any number of children.
        let _ = rustix::io::read(&self.children_signal, &mut [0_u8; 64]);
        while let Some(pid) = spawn::ended_child() {
            let leads = self.by_pid.get(&pid).copied();
            if leads.is_some() {
                // Not reaped yet, the leader keeps the group's number from being anybody else's.
                signal_group(pid, Signal::KILL);
            }
            let Some(exit) = spawn::reap(pid) else { break };
            self.orphans.remove(&pid);
            if self.holder.ended(pid) {
                self.timers.add(host::boot_ms() + HOLDER_AGAIN_MS, Due::Holder);
            }
            if let Some(serial) = leads {
                self.leader_exited(serial, pid, exit);
            }
        }
        if !self.ending.is_empty() {
            self.clear_trees();
        }
    }

    fn leader_exited(&mut self, serial: u64, pid: i32, exit: spawn::Exit) {
        self.by_pid.remove(&pid);
        self.ending.insert(serial);
        let task = self.tasks.get_mut(&serial).expect("a leader's serial is a task's until its end is reported");
        task.exit = Some((exit, host::boot_ms()));
        if let Some(cgroup) = task.cgroup.as_ref().filter(|cgroup| !cgroup.is_empty()) {
            cgroup.kill();
        }
        for (at, due) in [(task.timeout_at, Due::Timeout(serial)), (task.grace_at, Due::Grace(serial))] {
            if let Some(at) = at {
                self.timers.remove(at, due);
            }
        }
    }

    /// Kills what is left of ended tasks; those of which nothing is left are reported.
    fn clear_trees(&mut self) {
        let mut held = BTreeSet::new();
        for pid in self.children() {
            if self.by_pid.contains_key(&pid) || self.holder.is(pid) {
                continue;
            }
            let owner = match self.orphans.get(&pid) {
                Some(owner) => *owner,
                None => self.owner_of(pid),
            };
            self.orphans.insert(pid, owner);
            if self.is_due(owner) {
                // Our own child, not reaped: the number is its.
                signal(pid, Signal::KILL);
            }
            if let Owner::Task(serial) = owner {
                held.insert(serial);
            }
        }
        for serial in self.ending.difference(&held).copied().collect::<Vec<_>>() {
            if self.is_cleared(serial) {
                self.ending.remove(&serial);
                self.report_end(serial);
            }
        }
        for serial in self.ending.iter().copied().collect::<Vec<_>>() {
            self.watch_ending(serial);
        }
        if !self.ending.is_empty() && self.look_at.is_none() {
            let at = host::boot_ms() + LOOK_MS;
            self.look_at = Some(at);
            self.timers.add(at, Due::Look);
        }
    }

    /// Nobody is in its cgroup. What is, is ended again: it may have been made meanwhile.
    fn is_cleared(&self, serial: u64) -> bool {
        let left = self.tasks.get(&serial).and_then(|task| task.cgroup.as_ref()).filter(|cgroup| !cgroup.is_empty());
        left.inspect(|cgroup| cgroup.kill()).is_none()
    }

    /// Some end a moment after their parent was told, or of their own accord.
    pub(super) fn look_again(&mut self) {
        self.look_at = None;
        self.clear_trees();
    }

    /// An orphan is killed when its task is over, a hidden one when all older tasks are.
    fn is_due(&self, owner: Owner) -> bool {
        match owner {
            Owner::Task(serial) => self.tasks.get(&serial).is_none_or(|task| task.exit.is_some()),
            Owner::Hidden(below) => self.tasks.range(..below).all(|(_, task)| task.exit.is_some()),
        }
    }

    fn owner_of(&self, pid: i32) -> Owner {
        let stat = host::Stat::of(pid);
        let by_session = stat.and_then(|stat| {
            let leads = |pid: i32| self.tasks.iter().find(|(_, task)| task.process.pid == pid).map(|(serial, _)| *serial);
            self.by_pid.get(&stat.session).copied().or_else(|| leads(stat.session)).or_else(|| leads(stat.group))
        });
        let by_environment = || {
            let sandbox = host::variable_of(pid, "ORRERY_SANDBOX")?;
            let attempt = Path::new(&sandbox).strip_prefix(self.dir.join(crate::SANDBOXES)).ok()?.to_str()?;
            let attempt = orrery_model::id::AttemptId::parse(attempt).ok()?;
            // Its task is reported already, if it is in no table: any ended serial makes it due.
            Some(self.by_attempt.get(&attempt).copied().unwrap_or(u64::MAX))
        };
        by_session.or_else(by_environment).map_or(Owner::Hidden(self.next_serial), Owner::Task)
    }

    /// Our children by the kernel's list; no scan of /proc.
    fn children(&self) -> Vec<i32> {
        let (mut list, mut chunk) = (Vec::new(), vec![0; LIST_BYTES]);
        while let Ok(n @ 1..) = self.children_list.read_at(&mut chunk, list.len() as u64) {
            list.extend_from_slice(&chunk[..n]);
        }
        String::from_utf8_lossy(&list).split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Ends a task in two steps; later causes change nothing, but a shorter grace does.
    pub(super) fn kill(&mut self, serial: u64, cause: Cause, grace_ms: Option<i64>) {
        let Some(task) = self.tasks.get_mut(&serial).filter(|task| task.exit.is_none()) else { return };
        task.cause.get_or_insert(cause);
        let at = host::boot_ms().saturating_add(grace_ms.unwrap_or(task.grace_ms));
        if task.grace_at.is_some_and(|earlier| earlier <= at) {
            return;
        }
        if let Some(later) = task.grace_at.replace(at) {
            self.timers.remove(later, Due::Grace(serial));
        }
        self.timers.add(at, Due::Grace(serial));
        self.kill_group(serial, Signal::TERM);
    }

    /// Signals a live task's group.
    fn kill_group(&self, serial: u64, with: Signal) {
        // A leader that is not reaped keeps its number.
        if let Some(task) = self.tasks.get(&serial).filter(|task| task.exit.is_none()) {
            signal_group(task.process.pid, with);
        }
    }

    /// Ends all of a live task at once; without a cgroup of its own, only its group. (The rest of the tree is killed when the leader is dead.)
    pub(super) fn kill_for_good(&mut self, serial: u64) {
        if let Some(task) = self.tasks.get(&serial).filter(|task| task.exit.is_none()) {
            if let Some(cgroup) = &task.cgroup {
                cgroup.kill();
            }
            // A login may have moved it to a cgroup of its own.
            signal_group(task.process.pid, Signal::KILL);
        }
        self.watch_ending(serial);
    }

    /// Nobody of the tree is left: the rest of the output, the sandbox, the end.
    fn report_end(&mut self, serial: u64) {
        let Some(mut task) = self.tasks.remove(&serial) else { return };
        self.by_attempt.remove(&task.attempt);
        for output in &mut task.outputs {
            output.finish(&mut self.buffer, &task.output_folder, self.settings.rotation);
            if output.lost() > 0 {
                self.note(&format!("{} bytes of output of {} could not be written", output.lost(), task.attempt));
            }
        }
        if let (Some(cgroup), Ok(cgroups)) = (task.cgroup.take(), &mut self.cgroups) {
            cgroups.remove(cgroup);
        }
        if let Some(at) = task.resists_at {
            self.timers.remove(at, Due::Resists(serial));
        }
        let holds_files = !self.sandboxes.give_back(&task.sandbox);
        let sandbox_kept = holds_files || task.outputs.iter().any(super::output::Output::wrote);
        let end = end_of(&task);
        self.ended(Ended { attempt: task.attempt, process: Some(task.process), end, sandbox_kept });
    }
}

fn end_of(task: &Task) -> End {
    let (exit, at_boot_ms) = task.exit.expect("the end is reported after the leader is reaped");
    let refusal = task.report.as_ref().and_then(|pipe| {
        let mut text = vec![0; REPORT_BYTES];
        let n = rustix::io::read(pipe, &mut text).ok().filter(|n| *n > 0)?;
        Some(String::from_utf8_lossy(&text[..n]).into_owned())
    });
    let (kind, reason) = match (&task.cause, refusal) {
        (_, Some(refusal)) => (EndKind::NotStarted, Some(refusal)),
        (Some(Cause::Killed(reason)), None) => (EndKind::Killed, Some(reason.clone())),
        (Some(Cause::TimedOut), None) => (EndKind::TimedOut, None),
        (Some(Cause::LeaseRanOut), None) => (EndKind::Lost, Some("lease ran out".into())),
        (None, None) if exit.code == Some(0) => (EndKind::Succeeded, None),
        (None, None) => (EndKind::Failed, None),
    };
    let reasons: Vec<String> = reason.into_iter().chain(task.resisted.clone()).collect();
    let reason = (!reasons.is_empty()).then(|| reasons.join("; "));
    End {
        kind,
        code: exit.code,
        signal: exit.signal,
        reason,
        wall_ms: (at_boot_ms - task.from_boot_ms).max(0),
        cpu_ms: exit.cpu_ms,
        // A process begins with the supervisor's memory, until its exec, and the kernel counts that too.
        peak_memory: if exit.peak_memory > task.own_peak { exit.peak_memory } else { 0 },
        ended_at: clock::wall(),
    }
}

/// Nobody there is what a kill wants.
fn signal(pid: i32, with: Signal) {
    if let Some(pid) = host::pid(pid) {
        let _ = rustix::process::kill_process(pid, with);
    }
}

fn signal_group(pid: i32, with: Signal) {
    if let Some(pid) = host::pid(pid) {
        let _ = rustix::process::kill_process_group(pid, with);
    }
}
