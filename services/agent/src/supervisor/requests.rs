//! What the agent asks for: one function per request.

use super::{Cause, QUEUE_MAX, Supervisor, UNFORGOTTEN_MAX, timers::Due};
use crate::host;
use crate::wire::{Event, Live, Request, Snapshot, StartTask};
use orrery_model::id::AttemptId;
use orrery_model::messages::EndKind;

impl Supervisor {
    pub(super) fn handle_request(&mut self, request: Request) {
        match request {
            Request::Hello => self.hello(),
            Request::Start { tasks } => tasks.into_iter().for_each(|task| self.enqueue(task)),
            Request::Kill { attempt, grace_ms, reason } => self.kill_attempt(&attempt, grace_ms, reason),
            Request::Lease { until_boot_ms } => self.extend_lease(until_boot_ms),
            Request::Forget { attempts } => attempts.iter().for_each(|attempt| self.state.forget(attempt)),
            Request::Ping => self.told_at_once.push(Event::Pong { unable: self.unable() }),
            Request::ShutdownWhenIdle => self.shutdown = true,
        }
    }

    /// What is told in the snapshot need not be told again.
    fn hello(&mut self) {
        let queued = self.queue.iter().map(|task| Live { attempt: task.attempt.clone(), process: None });
        let running = self.tasks.values().map(|task| Live { attempt: task.attempt.clone(), process: Some(task.process) });
        let snapshot = Snapshot {
            supervisor_pid: rustix::process::getpid().as_raw_nonzero().get(),
            live: running.chain(queued).collect(),
            ended: self.state.unforgotten().values().cloned().collect(),
            unable: self.unable(),
        };
        self.news.clear();
        self.told_at_once = vec![Event::Snapshot(snapshot), self.isolation()];
        let resisting = self.tasks.values().filter_map(|task| task.resisted.clone().map(|reason| (task.attempt.clone(), reason)));
        self.told_at_once.extend(resisting.map(|(attempt, reason)| Event::Resisting { attempt, reason }));
        if let Some(connection) = &mut self.connection {
            connection.greet();
        }
    }

    /// How tasks are kept together.
    fn isolation(&self) -> Event {
        let (cgroup, reason) = match &self.cgroups {
            Ok(cgroups) => (cgroups.word().to_owned(), None),
            Err(why) => ("none".to_owned(), Some(why.clone())),
        };
        Event::Isolation { cgroup, reason }
    }

    /// A start of a known attempt changes nothing; one that cannot be taken has ended.
    fn enqueue(&mut self, task: StartTask) {
        let known = self.by_attempt.contains_key(&task.attempt)
            || self.state.unforgotten().contains_key(&task.attempt)
            || self.queue.iter().any(|queued| queued.attempt == task.attempt);
        if known {
            return;
        }
        if !self.lease_holds(host::boot_ms()) {
            self.never_ran(task.attempt, EndKind::Lost, "no lease was armed".into());
        } else if self.queue.len() >= QUEUE_MAX || self.state.unforgotten().len() >= UNFORGOTTEN_MAX {
            self.never_ran(task.attempt, EndKind::NotStarted, "the supervisor has too much to do".into());
        } else {
            self.queue.push_back(task);
        }
    }

    fn kill_attempt(&mut self, attempt: &AttemptId, grace_ms: Option<i64>, reason: String) {
        if let Some(place) = self.queue.iter().position(|task| task.attempt == *attempt) {
            self.queue.remove(place);
            self.never_ran(attempt.clone(), EndKind::Killed, reason);
        } else if let Some(serial) = self.by_attempt.get(attempt) {
            self.kill(*serial, Cause::Killed(reason), grace_ms);
        }
    }

    fn extend_lease(&mut self, until_boot_ms: i64) {
        if self.lease_until.is_some_and(|until| until >= until_boot_ms) {
            return;
        }
        if let Some(until) = self.lease_until.replace(until_boot_ms) {
            self.timers.remove(until, Due::Lease);
        }
        self.timers.add(until_boot_ms, Due::Lease);
        if let Err(error) = self.holder.set(until_boot_ms) {
            self.note(&format!("the lease's second holder is not told of it: {error}"));
        }
    }

    pub(super) fn lease_holds(&self, now_boot_ms: i64) -> bool {
        self.lease_until.is_some_and(|until| until > now_boot_ms)
    }

    /// The deadline has come: nothing that was started before may live on, whatever arrives later.
    pub(super) fn end_lease(&mut self, now_boot_ms: i64) {
        if self.lease_holds(now_boot_ms) || self.lease_until.is_none() {
            return;
        }
        self.lease_until = None;
        for task in std::mem::take(&mut self.queue) {
            self.never_ran(task.attempt, EndKind::Lost, "lease ran out".into());
        }
        for serial in self.tasks.keys().copied().collect::<Vec<_>>() {
            if let Some(task) = self.tasks.get_mut(&serial).filter(|task| task.exit.is_none()) {
                // Whatever else was under way: the allocator will have declared it lost.
                task.cause = Some(Cause::LeaseRanOut);
            }
            self.kill_for_good(serial);
        }
    }
}
