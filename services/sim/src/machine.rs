//! One machine: its supervisor and its processes. This is what really happens, whatever anybody records.

use crate::history::History;
use orrery_agent::wire::{Ended, Event, Live, Process, Snapshot, StartTask};
use orrery_model::id::AttemptId;
use orrery_model::messages::{End, EndKind};
use orrery_model::time::Timestamp;
use std::collections::BTreeMap;

/// From SIGTERM to the end of a process that obeys.
const OBEYS_US: i64 = 20_000;

/// A machine between two reboots.
#[derive(Default)]
pub struct Machine {
    boots: u32,
    booted_us: i64,
    /// The supervisor's own timer; none before the first lease, and after its end.
    lease_until_boot_ms: Option<i64>,
    live: BTreeMap<AttemptId, Running>,
    ended: BTreeMap<AttemptId, Ended>,
    pids: i32,
}

struct Running {
    /// By which the history knows it.
    start: usize,
    process: Process,
    started_us: i64,
    ends_us: i64,
    kind: EndKind,
    reason: Option<String>,
}

/// How long a process runs, and how it ends.
#[derive(Debug, Clone, Copy)]
pub struct Fortune {
    /// From start to end.
    pub runs_us: i64,
    /// Succeeded or failed.
    pub kind: EndKind,
}

impl Machine {
    /// The kernel's boot id.
    pub fn boot_id(&self) -> String {
        format!("boot-{}", self.boots)
    }

    /// Milliseconds since boot.
    pub const fn boot_ms(&self, now_us: i64) -> i64 {
        (now_us - self.booted_us) / 1_000
    }

    /// What the supervisor tells first of all.
    pub fn snapshot(&self) -> Snapshot {
        let live = self.live.iter().map(|(attempt, running)| Live { attempt: attempt.clone(), process: Some(running.process) });
        Snapshot { supervisor_pid: 1, live: live.collect(), ended: self.ended.values().cloned().collect(), unable: None }
    }

    /// Starts a task; without a lease it is over at once.
    pub fn start(&mut self, task: &StartTask, fortune: Fortune, who: &str, now_us: i64, history: &mut History) -> Event {
        let lease_holds = self.lease_until_boot_ms.is_some_and(|until| until > self.boot_ms(now_us));
        if !lease_holds {
            let end = end(EndKind::Lost, Some("lease ran out".into()), 0, now_us);
            let ended = Ended { attempt: task.attempt.clone(), process: None, end, sandbox_kept: false };
            self.ended.insert(task.attempt.clone(), ended.clone());
            return Event::Ended(ended);
        }
        self.pids += 1;
        let process = Process { pid: self.pids, started_at: wall(now_us) };
        let start = history.started(&task.attempt, who, now_us);
        let running = Running { start, process, started_us: now_us, ends_us: now_us + fortune.runs_us, kind: fortune.kind, reason: None };
        self.live.insert(task.attempt.clone(), running);
        Event::Started { attempt: task.attempt.clone(), process }
    }

    /// Ends a task soon.
    pub fn kill(&mut self, attempt: &AttemptId, reason: &str, now_us: i64) {
        if let Some(running) = self.live.get_mut(attempt)
            && running.kind != EndKind::Killed
        {
            running.ends_us = running.ends_us.min(now_us + OBEYS_US);
            (running.kind, running.reason) = (EndKind::Killed, Some(reason.into()));
        }
    }

    /// Arms the supervisor's timer.
    pub const fn extend_lease(&mut self, until_boot_ms: i64) {
        self.lease_until_boot_ms = Some(until_boot_ms);
    }

    /// Forgets ends.
    pub fn forget(&mut self, attempts: &[AttemptId]) {
        attempts.iter().for_each(|attempt| drop(self.ended.remove(attempt)));
    }

    /// Ends before this time that the supervisor still keeps, as nobody has told it to forget them.
    pub fn ended_before(&self, at_us: i64) -> Vec<AttemptId> {
        self.ended.iter().filter(|(_, ended)| ended.end.ended_at < wall(at_us)).map(|(attempt, _)| attempt.clone()).collect()
    }

    /// When something happens here by itself.
    pub fn next_us(&self) -> Option<i64> {
        let lease = self.lease_until_boot_ms.map(|until| self.booted_us + until * 1_000);
        self.live.values().map(|running| running.ends_us).chain(lease).min()
    }

    /// Lets what is due happen: the lease first, as the kernel's timer does not wait.
    pub fn pass(&mut self, now_us: i64, history: &mut History) -> Vec<Event> {
        if self.lease_until_boot_ms.is_some_and(|until| until <= self.boot_ms(now_us)) {
            self.lease_until_boot_ms = None;
            for running in self.live.values_mut() {
                (running.ends_us, running.kind, running.reason) = (now_us, EndKind::Lost, Some("lease ran out".into()));
            }
        }
        let due: Vec<AttemptId> = self.live.iter().filter(|(_, r)| r.ends_us <= now_us).map(|(attempt, _)| attempt.clone()).collect();
        due.into_iter().filter_map(|attempt| self.end(&attempt, now_us, history)).collect()
    }

    fn end(&mut self, attempt: &AttemptId, now_us: i64, history: &mut History) -> Option<Event> {
        let Running { start, process, started_us, kind, reason, .. } = self.live.remove(attempt)?;
        history.ended(start, kind, now_us);
        let end = end(kind, reason, (now_us - started_us) / 1_000, now_us);
        let ended = Ended { attempt: attempt.clone(), process: Some(process), end, sandbox_kept: false };
        self.ended.insert(attempt.clone(), ended.clone());
        Some(Event::Ended(ended))
    }

    /// The supervisor dies; the next one finds its tasks, ends them, and reports them lost.
    pub fn lose_supervisor(&mut self, now_us: i64, history: &mut History) {
        let live: Vec<AttemptId> = self.live.keys().cloned().collect();
        for attempt in live {
            if let Some(running) = self.live.get_mut(&attempt) {
                (running.kind, running.reason) = (EndKind::Lost, Some("the supervisor died".into()));
            }
            self.end(&attempt, now_us, history);
        }
        self.lease_until_boot_ms = None;
    }

    /// Power is lost and comes back: nothing runs, and only files remain.
    pub fn reboot(&mut self, now_us: i64, history: &mut History) {
        self.live.values().for_each(|running| history.ended(running.start, EndKind::Lost, now_us));
        *self = Self { boots: self.boots + 1, booted_us: now_us, pids: self.pids, ..Self::default() };
    }
}

fn end(kind: EndKind, reason: Option<String>, wall_ms: i64, now_us: i64) -> End {
    let code = match kind {
        EndKind::Succeeded => Some(0),
        EndKind::Failed => Some(1),
        _ => None,
    };
    End { kind, code, signal: None, reason, wall_ms, cpu_ms: 0, peak_memory: 0, ended_at: wall(now_us) }
}

/// True time as wall time: the clocks of Europe go back an hour when the world is an hour old.
pub const fn wall(now_us: i64) -> Timestamp {
    Timestamp(BEGIN_US + now_us)
}

/// 2026-10-25T00:00:00Z.
const BEGIN_US: i64 = 1_792_886_400_000_000;
