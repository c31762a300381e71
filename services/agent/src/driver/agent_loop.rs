//! The loop: news of other threads, commands of the log, time; each becomes an input of the core, whose effects are carried out at once.

use super::inbox::{Inbox, News};
use super::janitor::Janitor;
use super::sender::Sender;
use super::supervision::{PING_MS, Pulse, Supervision};
use super::{Ability, AgentConfig, AgentError};
use crate::core::{AgentCore, CommandRecord, Dropped, Effect, Input, Now};
use crate::host;
use crate::journal::{Journal, JournalError};
use crate::wire::{Event, Request, Snapshot};
use orrery_log::{Log, LogError, TopicPartition, clock};
use orrery_model::limits::PACKED_BYTES;
use orrery_model::record::Offset;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Read at once: four full records, so that one sync covers some hundred launches and none waits for more.
const READ_BYTES: usize = 4 * PACKED_BYTES;
/// Longest wait without a reason: nothing depends on it.
const WAIT_MAX_MS: i64 = 60_000;
/// Pause before a log that refused a read, or a supervisor that does not start, is tried again.
const RETRY_MS: i64 = 1_000;

/// Why the loop ends by itself.
#[derive(Debug, thiserror::Error)]
enum Ending {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("its thread {thread} panicked; the message is above")]
    Panicked { thread: &'static str },
    #[error("{0}")]
    Renounced(String),
}

pub(super) struct AgentLoop {
    log: Arc<dyn Log>,
    core: AgentCore,
    journal: Journal,
    inbox: Arc<Inbox>,
    supervision: Supervision,
    sender: Sender,
    janitor: Janitor,
    ability: Ability,
    commands: TopicPartition,
    position: Offset,
    /// After a failure, nothing is read and no supervisor is started before this point.
    retry_at: i64,
    /// When the supervisor is asked for a sign of life.
    ping_at: i64,
    dropped: BTreeMap<Dropped, u64>,
}

impl AgentLoop {
    /// Connects to the supervisor and lets the core begin.
    pub(super) fn start(
        log: Arc<dyn Log>,
        config: &AgentConfig,
        core: AgentCore,
        journal: Journal,
        inbox: Arc<Inbox>,
        commands: TopicPartition,
        position: Offset,
    ) -> Result<Self, AgentError> {
        let failed = |source| AgentError::Io { dir: config.dir.display().to_string(), source };
        let mut supervision = Supervision::new(&config.dir, &config.supervisor_command, config.lease_ms, inbox.clone());
        let (snapshot, early) = supervision.connect()?;
        let live = snapshot.live.iter().map(|live| live.attempt.clone()).collect();
        let janitor = Janitor::start(config.dir.clone(), live, &inbox).map_err(failed)?;
        let sender =
            Sender::start(log.clone(), inbox.clone(), &config.prefix, config.cell.unsigned_abs(), core.agent().clone()).map_err(failed)?;
        let ability = config.ability.clone();
        let (retry_at, ping_at, dropped) = (i64::MIN, i64::MIN, BTreeMap::new());
        let mut this =
            Self { log, core, journal, inbox, supervision, sender, janitor, ability, commands, position, retry_at, ping_at, dropped };
        this.connected(snapshot, early)?;
        Ok(this)
    }

    /// Until it is stopped, its journal fails (without it no launch may be taken, and the lease ends what runs) or a thread is missing.
    pub(super) fn run(mut self) {
        if let Err(error) = self.run_until_stopped() {
            tracing::error!(agent = %self.core.agent(), error = %with_causes(&error), "the agent stops");
        }
    }

    fn run_until_stopped(&mut self) -> Result<(), Ending> {
        loop {
            let (news, stopped) = self.inbox.take();
            if stopped {
                return Ok(());
            }
            for news in news {
                self.take(news)?;
            }
            if !self.supervision.is_connected() && self.may_retry() {
                self.reconnect()?;
            }
            self.ping()?;
            let more = self.may_retry() && self.read_commands()?;
            if let Some(reason) = self.core.renounced() {
                return Err(Ending::Renounced(reason.to_owned()));
            }
            self.report_dropped();
            let now = host::boot_ms();
            if self.core.next_deadline() <= now {
                self.step(Input::Tick)?;
            } else if !more {
                self.wait(now);
            }
        }
    }

    fn wait(&self, now_boot_ms: i64) {
        let retry_at = if self.may_retry() { i64::MAX } else { self.retry_at };
        let ping_at = if self.supervision.is_connected() { self.ping_at } else { i64::MAX };
        let ms = self.core.next_deadline().min(retry_at).min(ping_at).saturating_sub(now_boot_ms).clamp(1, WAIT_MAX_MS);
        self.inbox.wait(Duration::from_millis(ms.unsigned_abs()));
    }

    fn ping(&mut self) -> Result<(), JournalError> {
        let now = host::boot_ms();
        if now < self.ping_at || !self.supervision.is_connected() {
            return Ok(());
        }
        self.ping_at = now + PING_MS;
        match self.supervision.ping() {
            Pulse::Fine => Ok(()),
            Pulse::Silent => self.cannot_start("the supervisor does not answer".to_owned()),
        }
    }

    /// Told to the allocator until a supervisor says otherwise.
    fn cannot_start(&mut self, why: String) -> Result<(), JournalError> {
        self.step(Input::SupervisorSilent(why))
    }

    fn may_retry(&self) -> bool {
        self.retry_at <= host::boot_ms()
    }

    fn take(&mut self, news: News) -> Result<(), Ending> {
        match news {
            News::Input(input) => Ok(self.step(input)?),
            News::Events(number, events) if self.supervision.is_current(number) => {
                self.supervision.heard(&events);
                events.iter().for_each(tell);
                Ok(self.step(Input::Supervisor(events))?)
            }
            News::Panicked(thread) => Err(Ending::Panicked { thread }),
            News::Disconnected(number) if self.supervision.is_current(number) => {
                tracing::warn!("the supervisor has closed the connection, or is gone, in which case a new one is started");
                self.supervision.closed();
                Ok(())
            }
            News::Events(..) | News::Disconnected(_) => Ok(()),
        }
    }

    fn reconnect(&mut self) -> Result<(), JournalError> {
        match self.supervision.connect() {
            Ok((snapshot, early)) => self.connected(snapshot, early),
            Err(error) => {
                self.retry_at = host::boot_ms() + RETRY_MS;
                let why = with_causes(&error);
                tracing::error!(error = %why, "no supervisor; tried again in a second");
                self.cannot_start(format!("there is no supervisor: {why}"))
            }
        }
    }

    /// What belongs to the snapshot is known when the session's first heartbeat is made.
    fn connected(&mut self, snapshot: Snapshot, early: Vec<Event>) -> Result<(), JournalError> {
        early.iter().for_each(tell);
        self.step(Input::Supervisor(early))?;
        self.step(Input::Snapshot(snapshot))
    }

    /// Reads once; true if there may be more.
    fn read_commands(&mut self) -> Result<bool, JournalError> {
        match self.log.read(&self.commands, self.position, READ_BYTES) {
            Ok(fetch) => {
                self.position = fetch.next;
                let records: Vec<_> = fetch.records.iter().filter_map(CommandRecord::read).collect();
                if !records.is_empty() {
                    self.step(Input::Commands(records))?;
                }
                Ok(!fetch.records.is_empty())
            }
            Err(LogError::OutOfRange { end, .. }) => {
                tracing::error!(position = self.position, end, "commands were cut off before they were read; a new session begins");
                self.position = end;
                self.step(Input::CommandsLost)?;
                Ok(true)
            }
            Err(error) => {
                tracing::warn!(%error, "commands cannot be read; tried again in a second");
                self.retry_at = host::boot_ms() + RETRY_MS;
                Ok(false)
            }
        }
    }

    fn step(&mut self, input: Input) -> Result<(), JournalError> {
        let now = Now { wall: clock::wall(), boot_ms: host::boot_ms() };
        let effects = self.core.step(now, input);
        self.ability.is_lacking(self.core.unable());
        effects.into_iter().try_for_each(|effect| self.carry_out(effect))
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), JournalError> {
        match effect {
            Effect::Journal { lines, sync } => self.journal.append(&lines, sync)?,
            Effect::Start(tasks) => self.supervision.send(Request::Start { tasks }),
            Effect::Kill { attempt, reason } => self.supervision.send(Request::Kill { attempt, grace_ms: None, reason }),
            Effect::Lease { until_boot_ms } => self.supervision.send(Request::Lease { until_boot_ms }),
            Effect::Forget(attempts) => self.supervision.send(Request::Forget { attempts }),
            Effect::Heartbeat(heartbeat) => self.sender.heartbeat(heartbeat),
            Effect::Status(updates) => self.sender.status(updates),
            Effect::Finished(attempt) => self.janitor.finished(attempt),
        }
        Ok(())
    }

    fn report_dropped(&mut self) {
        if *self.core.dropped() != self.dropped {
            self.dropped.clone_from(self.core.dropped());
            tracing::info!(agent = %self.core.agent(), dropped = ?self.dropped, "commands were dropped");
        }
    }
}

/// Something for people, in the agent's log.
fn tell(event: &Event) {
    match event {
        Event::Isolation { cgroup, reason: Some(reason) } => tracing::warn!(
            isolation = %cgroup, %reason,
            "tasks have no cgroup of their own: one that changes user, session and environment may outlive its task; let the agent run as \
            root, or give it a cgroup (systemd: Delegate=yes)"
        ),
        Event::Isolation { cgroup, reason: None } => tracing::info!(isolation = %cgroup, "each task has a cgroup of its own"),
        Event::Resisting { attempt, reason } => tracing::error!(%attempt, %reason, "a task cannot be ended"),
        _ => {}
    }
}

/// An error with its causes, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source()).fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
