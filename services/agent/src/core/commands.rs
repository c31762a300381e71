//! What the allocator orders, and which of its commands are void (protocol §8.1, §8.3).

use super::attempts::{Acknowledged, Attempt, simple_end};
use super::{AgentCore, CommandRecord, Effect, KNOWN_MAX, Now, REFUSED_MAX};
use crate::journal::Line;
use crate::wire::{STARTS_PER_FRAME, StartTask};
use orrery_model::id::AttemptId;
use orrery_model::messages::{COMMANDS, Command, End, EndKind, Order, TaskSpec};
use orrery_model::planted::{Bug, planted};
use orrery_model::record::{ID_HEADER, MessageId, Record};
use std::collections::BTreeSet;

/// Why a command was not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dropped {
    /// Of another cell's allocator.
    OtherCell,
    /// Of an allocator that a newer one has replaced.
    OldEpoch,
    /// For a session that is not this one.
    OtherSession,
    /// A second welcome, whose list is older than the launches that followed the first.
    WelcomedAlready,
    /// Before the welcome.
    NotWelcomed,
    /// A launch of an attempt that is over and acknowledged.
    LaunchForgotten,
    /// A launch that not even an answer is kept for: beyond [`REFUSED_MAX`].
    TooMany,
    /// A kill of an attempt that is not known.
    KillUnknown,
}

impl CommandRecord {
    /// Reads a record of `commands`; none if it is not an allocator's.
    pub fn read(record: &Record) -> Option<Self> {
        let id = record.header(ID_HEADER).and_then(MessageId::parse);
        let packed = record.value.as_ref().map(|value| COMMANDS.decode(value.as_bytes()));
        match (id, packed) {
            (Some(id), Some(Ok(packed))) => {
                let commands = packed.items.into_iter().map(|item| (item.seq, item.body)).collect();
                Some(Self { cell: i32::try_from(id.shard).ok()?, lineage: id.lineage, epoch: id.epoch, commands })
            }
            (None, _) => {
                tracing::warn!(offset = record.offset, "a record on commands has no orrery-id; it is left out");
                None
            }
            (_, None) => None,
            (_, Some(Err(error))) => {
                tracing::warn!(offset = record.offset, %error, "a record on commands cannot be read; it is left out");
                None
            }
        }
    }
}

impl Dropped {
    /// For metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::OtherCell => "other_cell",
            Self::OldEpoch => "old_epoch",
            Self::OtherSession => "other_session",
            Self::WelcomedAlready => "welcomed_already",
            Self::NotWelcomed => "not_welcomed",
            Self::LaunchForgotten => "launch_forgotten",
            Self::TooMany => "too_many",
            Self::KillUnknown => "kill_unknown",
        }
    }
}

/// What the commands of one read add up to: one sync for all launches.
#[derive(Debug, Default)]
struct Orders {
    launched: Vec<Line>,
    starts: Vec<StartTask>,
    kills: Vec<(AttemptId, String)>,
    acknowledged: Acknowledged,
    register: bool,
}

impl AgentCore {
    pub(super) fn take_commands(&mut self, now: Now, records: Vec<CommandRecord>, out: &mut Vec<Effect>) {
        let mut orders = Orders::default();
        for record in records {
            let mine = record.commands.iter().any(|(_, command)| command.agent == self.agent);
            if record.cell != self.cell {
                self.count(Dropped::OtherCell, mine);
                continue;
            }
            // Of one lineage only: behind a salvage its allocator counts from an earlier epoch on.
            let (lineage, epoch) = &self.allocator;
            if record.lineage == *lineage && record.epoch < *epoch {
                self.count(Dropped::OldEpoch, mine);
                continue;
            }
            self.allocator = (record.lineage, record.epoch);
            for (seq, command) in record.commands {
                if command.agent != self.agent {
                    continue;
                }
                self.take_command(now, seq, command, &mut orders, out);
                if std::mem::take(&mut orders.register) {
                    // What follows in this read may be for the session that is over, and is checked against the new one.
                    self.open_session(now, out);
                }
            }
        }
        orders.into_effects(out);
    }

    fn take_command(&mut self, now: Now, seq: i64, command: Command, orders: &mut Orders, out: &mut Vec<Effect>) {
        if let (Order::Launch { spec }, true) = (&command.order, planted(Bug::DeadSession)) {
            return self.launch(now, seq, spec.clone(), orders);
        }
        if command.session != self.session {
            return self.count(Dropped::OtherSession, true);
        }
        match command.order {
            Order::Welcome { adopted } if !self.registered => {
                // It may be read before any append has come back, and long after it was written: of the session's heartbeats only the
                // first was certainly sent before it.
                if let Some(sent_boot_ms) = self.first_heartbeat {
                    self.renew_lease(now, sent_boot_ms, out);
                }
                self.welcome(now, adopted.into_iter().collect(), orders);
            }
            Order::Welcome { .. } => self.count(Dropped::WelcomedAlready, true),
            Order::Register { .. } => orders.register = true,
            Order::Renounce { reason } => self.renounce(reason, out),
            Order::Launch { .. } | Order::Kill { .. } if !self.registered => self.count(Dropped::NotWelcomed, true),
            Order::Launch { spec } => self.launch(now, seq, spec, orders),
            Order::Kill { attempt, reason } => match self.attempts.get(&attempt) {
                Some(known) if known.end().is_none() => orders.kills.push((attempt, reason)),
                Some(_) => self.queue_again(&attempt),
                None => self.count(Dropped::KillUnknown, true),
            },
            Order::Acknowledge { attempt, seq } => self.acknowledge(&attempt, seq, &mut orders.acknowledged),
        }
    }

    fn welcome(&mut self, now: Now, adopted: BTreeSet<AttemptId>, orders: &mut Orders) {
        self.registered = true;
        self.next_heartbeat = now.boot_ms + self.config.heartbeat_ms;
        let alive = self.attempts.iter().filter(|(_, known)| known.end().is_none());
        let unwanted = alive.filter(|(id, _)| !adopted.contains(*id));
        orders.kills.extend(unwanted.map(|(id, _)| (id.clone(), "the allocator did not adopt it".to_owned())));
        self.queue_unacknowledged();
    }

    fn launch(&mut self, now: Now, fence: i64, spec: TaskSpec, orders: &mut Orders) {
        let attempt = spec.attempt.clone();
        if self.attempts.contains_key(&attempt) && planted(Bug::RunAgain) {
            orders.starts.push(StartTask::new(spec, fence));
        } else if self.attempts.contains_key(&attempt) {
            self.queue_again(&attempt);
        } else if self.forgotten.contains(&attempt) {
            self.count(Dropped::LaunchForgotten, true);
            self.answer_forgotten(attempt, now);
        } else if self.has_room() {
            self.attempts.insert(attempt.clone(), Attempt::new());
            orders.launched.push(Line::Launched { attempt });
            orders.starts.push(StartTask::new(spec, fence));
        } else {
            let reason = format!("the agent knows {KNOWN_MAX} attempts already");
            self.answer(attempt, simple_end(EndKind::NotStarted, reason, now.wall));
        }
    }

    /// Its end was acknowledged: either this is a copy of a launch long past, and the answer means nothing to anybody, or the
    /// allocator's log has lost that end since, and the answer spares it from waiting for ever.
    fn answer_forgotten(&mut self, attempt: AttemptId, now: Now) {
        let reason = "this agent has run it before, and no longer knows how it ended";
        self.answer(attempt, simple_end(EndKind::Lost, reason.into(), now.wall));
    }

    fn answer(&mut self, attempt: AttemptId, end: End) {
        if self.attempts.len() < KNOWN_MAX + REFUSED_MAX {
            self.refuse(attempt, end);
        } else {
            self.count(Dropped::TooMany, true);
        }
    }

    /// Nothing may run here under this name, nor be heard of it. The driver ends; the next start is another agent's.
    fn renounce(&mut self, reason: String, out: &mut Vec<Effect>) {
        out.push(Effect::Journal { lines: vec![Line::Renounced { reason: reason.clone() }], sync: true });
        let alive = self.attempts.iter().filter(|(_, known)| known.end().is_none());
        out.extend(alive.map(|(attempt, _)| Effect::Kill { attempt: attempt.clone(), reason: reason.clone() }));
        self.renounced = Some(reason);
    }

    fn count(&mut self, why: Dropped, mine: bool) {
        if mine {
            *self.dropped.entry(why).or_default() += 1;
        }
    }
}

impl Orders {
    fn into_effects(self, out: &mut Vec<Effect>) {
        if !self.launched.is_empty() {
            out.push(Effect::Journal { lines: self.launched, sync: !planted(Bug::LaunchUnsynced) });
        }
        let mut starts = self.starts.into_iter().peekable();
        while starts.peek().is_some() {
            out.push(Effect::Start(starts.by_ref().take(STARTS_PER_FRAME).collect()));
        }
        out.extend(self.kills.into_iter().map(|(attempt, reason)| Effect::Kill { attempt, reason }));
        let Acknowledged { lines, forget } = self.acknowledged;
        if !lines.is_empty() {
            out.push(Effect::Journal { lines, sync: false });
            out.push(Effect::Forget(forget));
        }
    }
}
