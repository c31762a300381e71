//! The connection to the supervisor: made anew when it is lost, with a new supervisor where none answers.

use super::inbox::{Inbox, News};
use crate::link::{self, Link, LinkError};
use crate::wire::{Event, Request, Snapshot};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::thread::JoinHandle;

/// How long one connection waits for its first answer.
const HELLO_MS: i64 = link::HELLO_TIMEOUT.as_millis() as i64;
/// Between two pings.
pub(super) const PING_MS: i64 = 2_000;
/// Pings without an answer until the agent says so: 10 s. Counted rather than timed, so that a pause of the agent's own is none of the
/// supervisor's.
const SILENT_PINGS: u32 = 5;

/// What the pings told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pulse {
    /// It has answered, or may still.
    Fine,
    /// It has not for a while.
    Silent,
}

/// One connection at a time, numbered, so that what an earlier one still had to say is left out.
pub(super) struct Supervision {
    dir: PathBuf,
    command: Vec<String>,
    inbox: Arc<Inbox>,
    number: u64,
    link: Option<Link>,
    reader: Option<JoinHandle<()>>,
    /// The supervisor, if it is our own child: reaped when it has died.
    child: Option<Child>,
    /// Since the last sign of life.
    unanswered: u32,
    /// The supervisor of this connection, and whether it has ever answered a ping.
    pid: i32,
    has_answered: bool,
    /// A supervisor that closes the connection at each ping: an earlier version, which knows none.
    knows_no_ping: Option<i32>,
    lease_ms: i64,
}

impl Supervision {
    pub(super) fn new(dir: &Path, command: &[String], lease_ms: i64, inbox: Arc<Inbox>) -> Self {
        let (dir, command) = (dir.to_owned(), command.to_vec());
        Self {
            dir,
            command,
            inbox,
            number: 0,
            link: None,
            reader: None,
            child: None,
            unanswered: 0,
            pid: 0,
            has_answered: false,
            knows_no_ping: None,
            lease_ms,
        }
    }

    /// Connects, starting a supervisor if needed. The snapshot, and what belongs to it, is the first thing the core hears of this connection.
    pub(super) fn connect(&mut self) -> Result<(Snapshot, Vec<Event>), LinkError> {
        self.disconnect();
        let (mut link, snapshot) = match self.connect_to_living() {
            Some(connected) => connected,
            None => {
                self.reap();
                self.child = Some(link::start_supervisor(&self.dir, &self.command)?);
                Link::connect(&self.dir)?
            }
        };
        let early = link.take_early();
        let failed = |source| LinkError::Socket { dir: self.dir.display().to_string(), source };
        let sender = link.sender().map_err(failed)?;
        self.number += 1;
        let (number, inbox) = (self.number, self.inbox.clone());
        let body = move || {
            while let Ok(events) = link.receive() {
                inbox.push(News::Events(number, events));
            }
            inbox.push(News::Disconnected(number));
        };
        self.reader = Some(super::spawn_beside("agent-supervision", &self.inbox, body).map_err(failed)?);
        self.link = Some(sender);
        self.unanswered = 0;
        (self.pid, self.has_answered) = (snapshot.supervisor_pid, false);
        Ok((snapshot, early))
    }

    /// None if nobody listens, or somebody does who never answers.
    fn connect_to_living(&self) -> Option<(Link, Snapshot)> {
        // Until its tasks' lease is over, whatever it waits for: a disk, or files to open.
        for _ in 0..=self.lease_ms / HELLO_MS {
            match Link::connect(&self.dir) {
                Ok(connected) => return Some(connected),
                Err(LinkError::Socket { source, .. }) if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                    return None;
                }
                Err(error) => tracing::warn!(%error, "the supervisor does not answer"),
            }
        }
        link::kill_supervisor(&self.dir);
        None
    }

    /// It lives.
    pub(super) fn heard(&mut self, events: &[Event]) {
        self.unanswered = 0;
        self.has_answered |= events.iter().any(|event| matches!(event, Event::Pong { .. }));
    }

    /// It has closed the connection. One that did so at the first ping is no worse than before there were pings.
    pub(super) fn closed(&mut self) {
        if self.unanswered > 0 && !self.has_answered {
            tracing::warn!(
                pid = self.pid,
                "the supervisor is of an earlier version and knows no pings: whether it is stopped is not watched until its tasks are over and a \
                new one takes its place"
            );
            self.knows_no_ping = Some(self.pid);
        }
        self.disconnect();
        self.unanswered = 0;
    }

    /// Asks for a sign of life; one that was stopped is told to go on.
    pub(super) fn ping(&mut self) -> Pulse {
        if self.knows_no_ping == Some(self.pid) {
            return Pulse::Fine;
        }
        let silent_ms = i64::from(self.unanswered) * PING_MS;
        self.unanswered = self.unanswered.saturating_add(1);
        self.send(Request::Ping);
        if self.unanswered <= SILENT_PINGS {
            return Pulse::Fine;
        }
        tracing::error!(silent_ms, "the supervisor does not answer");
        if let Some(link) = &self.link {
            link.wake();
        }
        if silent_ms > self.lease_ms {
            // Its tasks are over, or their second holder ends them.
            link::kill_supervisor(&self.dir);
            self.disconnect();
        }
        Pulse::Silent
    }

    /// True for the connection in use.
    pub(super) const fn is_current(&self, number: u64) -> bool {
        self.number == number && self.link.is_some()
    }

    /// True while there is a connection.
    pub(super) const fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// Sends, or gives the connection up: the next snapshot tells what was done.
    pub(super) fn send(&mut self, request: Request) {
        let Some(link) = &self.link else { return };
        if let Err(error) = link.send(&[request]) {
            tracing::warn!(%error, "the supervisor does not listen");
            self.disconnect();
        }
    }

    pub(super) fn disconnect(&mut self) {
        if let Some(link) = self.link.take() {
            link.close();
        }
        if let Some(reader) = self.reader.take() {
            // Its panic was reported by the panic hook.
            let _ = reader.join();
        }
    }

    /// A dead child of ours is reaped; a living one that does not answer is killed, since it holds the folder.
    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Supervision {
    fn drop(&mut self) {
        self.disconnect();
    }
}
