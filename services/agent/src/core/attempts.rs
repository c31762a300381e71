//! The life of an attempt as the agent sees it, and its numbered updates until they are acknowledged.

use super::{AgentCore, Effect, KNOWN_MAX, Now, REGISTER_MS, STATUS_BATCH_MAX};
use crate::journal::{FORGOTTEN_MAX, Line};
use crate::wire::{Ended, Event, Process};
use orrery_model::id::AttemptId;
use orrery_model::messages::{End, EndKind, Status, StatusChange};
use orrery_model::time::Timestamp;

/// Number of the update "running".
const RUNNING_SEQ: i64 = 1;
/// Longest reason that is sent; the rest is cut off.
const REASON_MAX: usize = 300;

/// A known attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    process: Option<Process>,
    end: Option<End>,
    /// Never given to the supervisor.
    refused: bool,
    /// Number of the last update acknowledged.
    acknowledged: i64,
    /// Number of the last update sent, since it was last decided to begin again.
    sent: i64,
    queued: bool,
    /// When to send again what is not acknowledged.
    resend_at: i64,
}

impl Attempt {
    pub(super) const fn new() -> Self {
        Self { process: None, end: None, refused: false, acknowledged: 0, sent: 0, queued: false, resend_at: 0 }
    }

    /// As the journal knows it.
    pub(super) fn recovered(ended: Option<Ended>) -> Self {
        let (process, end) = ended.map_or((None, None), |ended| (ended.process, Some(ended.end)));
        Self { process, end, ..Self::new() }
    }

    pub(super) const fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    pub(super) const fn is_refused(&self) -> bool {
        self.refused
    }

    pub(super) fn started(&mut self, process: Option<Process>) {
        self.process = self.process.or(process);
    }

    /// True if it is not over and has no process that anybody told of.
    pub(super) const fn is_unstarted(&self) -> bool {
        self.process.is_none() && self.end.is_none()
    }

    /// The end of an attempt that no supervisor knows any more.
    pub(super) fn lost(&self, attempt: &AttemptId, same_boot: bool, at: Timestamp) -> Ended {
        let reason = if same_boot { "the supervisor lost it" } else { "the machine restarted" };
        Ended { attempt: attempt.clone(), process: self.process, end: simple_end(EndKind::Lost, reason.into(), at), sandbox_kept: false }
    }

    /// 2 where "running" was, or (for a lost one, in a former life of the agent) may have been, the first.
    fn end_seq(&self) -> i64 {
        let lost = self.end.as_ref().is_some_and(|end| end.kind == EndKind::Lost);
        if self.process.is_some() || lost { RUNNING_SEQ + 1 } else { RUNNING_SEQ }
    }

    fn last_seq(&self) -> i64 {
        match (&self.end, &self.process) {
            (Some(_), _) => self.end_seq(),
            (None, Some(_)) => RUNNING_SEQ,
            (None, None) => 0,
        }
    }

    /// Updates behind `after`, oldest first.
    fn changes(&self, after: i64) -> Vec<(i64, StatusChange)> {
        let running =
            self.process.map(|Process { pid, started_at }| (RUNNING_SEQ, StatusChange::TaskRunning { pid: i64::from(pid), started_at }));
        let ended = self.end.clone().map(|end| (self.end_seq(), StatusChange::TaskEnded { end }));
        running.into_iter().chain(ended).filter(|(seq, _)| *seq > after).collect()
    }
}

impl AgentCore {
    pub(super) fn take_events(&mut self, now: Now, events: Vec<Event>, out: &mut Vec<Effect>) {
        let (mut ends, mut returned) = (Vec::new(), Vec::new());
        for event in events {
            match event {
                Event::Started { attempt, process } => {
                    if let Some(known) = self.attempts.get_mut(&attempt).filter(|known| known.end.is_none()) {
                        known.started(Some(process));
                        self.queue(&attempt);
                    }
                }
                Event::Ended(ended) => ends.push(ended),
                Event::Returned { attempts } => returned.extend(attempts),
                Event::Unable { reason } | Event::Pong { unable: reason } => self.set_unable(now, reason),
                Event::Isolation { cgroup, .. } => self.attribute_changed(now, |core| core.isolation = Some(cgroup)),
                Event::Resisting { attempt, reason } => {
                    let reason = cut(reason, REASON_MAX);
                    self.attribute_changed(now, |core| drop(core.resisting.insert(attempt, reason)));
                }
                // A connection's first event, which the driver gives as an input of its own.
                Event::Snapshot(_) => {}
            }
        }
        self.take_ends(now, ends, out);
        if self.give_back(returned, out) {
            self.open_session(now, out);
        }
    }

    /// Attempts that were certainly never started are known no longer. The next session does not name them, so that the allocator
    /// places them again, here or elsewhere (protocol §8.1); true if one is needed.
    pub(super) fn give_back(&mut self, attempts: Vec<AttemptId>, out: &mut Vec<Effect>) -> bool {
        let mut lines = Vec::new();
        for attempt in attempts {
            if self.attempts.get(&attempt).is_some_and(Attempt::is_unstarted) {
                self.attempts.remove(&attempt);
                lines.push(Line::Returned { attempt });
            }
        }
        let any = !lines.is_empty();
        if any {
            out.push(Effect::Journal { lines, sync: false });
        }
        any
    }

    pub(super) fn set_unable(&mut self, now: Now, reason: Option<String>) {
        let reason = reason.map(|reason| cut(reason, REASON_MAX));
        self.attribute_changed(now, |core| core.unable = reason);
    }

    pub(super) fn set_unremovable(&mut self, now: Now, told: Option<String>) {
        let told = told.map(|told| cut(told, REASON_MAX));
        self.attribute_changed(now, |core| core.unremovable = told);
    }

    /// Said with the next heartbeat, which is due at once; not before the first snapshot.
    fn attribute_changed(&mut self, now: Now, change: impl FnOnce(&mut Self)) {
        let before = self.attributes();
        change(self);
        if self.next_heartbeat != i64::MAX && self.attributes() != before {
            self.next_heartbeat = self.next_heartbeat.min(now.boot_ms);
        }
    }

    /// Records ends; those that nobody here waits for are forgotten at once.
    pub(super) fn take_ends(&mut self, now: Now, ends: Vec<Ended>, out: &mut Vec<Effect>) {
        let (mut lines, mut unknown) = (Vec::new(), Vec::new());
        for mut ended in ends {
            if self.resisting.remove(&ended.attempt).is_some() {
                self.next_heartbeat = self.next_heartbeat.min(now.boot_ms);
            }
            let Some(attempt) = self.attempts.get_mut(&ended.attempt) else {
                unknown.push(ended.attempt);
                continue;
            };
            if attempt.end.is_some() {
                continue;
            }
            cut_reason(&mut ended.end);
            attempt.started(ended.process);
            attempt.end = Some(ended.end.clone());
            if ended.sandbox_kept {
                out.push(Effect::Finished(ended.attempt.clone()));
            }
            self.queue(&ended.attempt);
            lines.push(Line::Ended(ended));
        }
        if !lines.is_empty() {
            out.push(Effect::Journal { lines, sync: false });
        }
        if !unknown.is_empty() {
            out.push(Effect::Forget(unknown));
        }
    }

    /// A launch that is answered with its end.
    pub(super) fn refuse(&mut self, attempt: AttemptId, end: End) {
        self.attempts.insert(attempt.clone(), Attempt { end: Some(end), refused: true, ..Attempt::new() });
        self.queue(&attempt);
    }

    /// True if one more may run.
    pub(super) fn has_room(&self) -> bool {
        self.attempts.len() < KNOWN_MAX
    }

    /// The allocator has this attempt's updates up to `seq`; after the end everybody may forget it.
    pub(super) fn acknowledge(&mut self, attempt: &AttemptId, seq: i64, out: &mut Acknowledged) {
        let Some(known) = self.attempts.get_mut(attempt) else { return };
        known.acknowledged = known.acknowledged.max(seq);
        if known.end.is_none() || known.acknowledged < known.end_seq() {
            return;
        }
        let refused = known.refused;
        self.attempts.remove(attempt);
        if !refused {
            out.lines.push(Line::Forgotten { attempt: attempt.clone() });
            out.forget.push(attempt.clone());
            self.remember_forgotten(attempt);
        }
    }

    fn remember_forgotten(&mut self, attempt: &AttemptId) {
        if self.forgotten.insert(attempt.clone()) {
            self.forgotten_order.push_back(attempt.clone());
        }
        if self.forgotten_order.len() > FORGOTTEN_MAX
            && let Some(oldest) = self.forgotten_order.pop_front()
        {
            self.forgotten.remove(&oldest);
        }
    }

    /// Sends the attempt's updates behind the last sent, soon.
    pub(super) fn queue(&mut self, attempt: &AttemptId) {
        if let Some(known) = self.attempts.get_mut(attempt).filter(|known| !known.queued) {
            known.queued = true;
            self.unsent.push_back(attempt.clone());
        }
    }

    /// Sends all of the attempt's updates that are not acknowledged, soon.
    pub(super) fn queue_again(&mut self, attempt: &AttemptId) {
        if let Some(known) = self.attempts.get_mut(attempt) {
            known.sent = known.acknowledged;
            self.queue(attempt);
        }
    }

    /// A new session, or a new supervisor: everything that is not acknowledged is told (again).
    pub(super) fn queue_unacknowledged(&mut self) {
        let open = self.attempts.iter().filter(|(_, known)| known.last_seq() > known.acknowledged);
        for attempt in open.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.queue_again(&attempt);
        }
    }

    pub(super) fn queue_resends(&mut self, now: Now) {
        while let Some((at, _)) = self.awaiting.front()
            && *at <= now.boot_ms
        {
            let Some((_, attempt)) = self.awaiting.pop_front() else { return };
            // A later sending of the same attempt has a later place in this list.
            if self.attempts.get(&attempt).is_some_and(|known| known.last_seq() > known.acknowledged && known.resend_at <= now.boot_ms) {
                self.queue_again(&attempt);
            }
        }
    }

    /// Updates wait for a welcome (an allocator does not know the session before) and for the record under way.
    pub(super) fn may_send_status(&self) -> bool {
        self.registered && self.status_under_way.is_none() && !self.unsent.is_empty()
    }

    pub(super) fn send_status(&mut self, now: Now, out: &mut Vec<Effect>) {
        if !self.may_send_status() || now.boot_ms < self.status_not_before {
            return;
        }
        let (mut updates, mut attempts) = (Vec::new(), Vec::new());
        while updates.len() + 1 < STATUS_BATCH_MAX
            && let Some(attempt) = self.unsent.pop_front()
        {
            let Some(known) = self.attempts.get_mut(&attempt) else { continue };
            known.queued = false;
            let changes = known.changes(known.sent.max(known.acknowledged));
            known.sent = known.last_seq();
            let (agent, session) = (&self.agent, &self.session);
            let status = |(seq, change)| Status { agent: agent.clone(), session: session.clone(), attempt: attempt.clone(), seq, change };
            updates.extend(changes.into_iter().map(status));
            attempts.push(attempt);
        }
        if !updates.is_empty() {
            self.status_under_way = Some(attempts);
            out.push(Effect::Status(updates));
        }
    }

    /// The status record under way came back.
    pub(super) fn status_appended(&mut self, now: Now, ok: bool) {
        for attempt in self.status_under_way.take().unwrap_or_default() {
            if !ok {
                self.queue_again(&attempt);
            } else if let Some(known) = self.attempts.get_mut(&attempt) {
                known.resend_at = now.boot_ms + self.config.resend_ms;
                self.awaiting.push_back((known.resend_at, attempt));
            }
        }
        if !ok {
            self.status_not_before = now.boot_ms + REGISTER_MS;
        }
    }
}

/// What follows from a number of acknowledgements.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    pub(super) lines: Vec<Line>,
    pub(super) forget: Vec<AttemptId>,
}

pub(super) fn simple_end(kind: EndKind, reason: String, ended_at: Timestamp) -> End {
    End { kind, code: None, signal: None, reason: Some(reason), wall_ms: 0, cpu_ms: 0, peak_memory: 0, ended_at }
}

fn cut_reason(end: &mut End) {
    end.reason = end.reason.take().map(|reason| cut(reason, REASON_MAX));
}

fn cut(mut text: String, chars_max: usize) -> String {
    if let Some((place, _)) = text.char_indices().nth(chars_max) {
        text.truncate(place);
    }
    text
}
