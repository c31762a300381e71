//! The agent on a real node: threads, files and the log around [`crate::core`].
//!
//! * The loop thread owns the core and the journal, waits on one bell, reads `commands`, and carries effects out in order.
//! * The sender thread appends heartbeats and updates, so that a slow log delays neither launches nor reports of ends.
//! * The reader thread takes the supervisor's events; the janitor thread removes old sandboxes.
//!
//! Stopping the agent stops none of its tasks: the supervisor lives on, and a new agent of the same folder finds it.

mod ability;
mod agent_loop;
mod inbox;
mod janitor;
mod node;
mod sender;
mod supervision;

pub use janitor::{SANDBOX_BYTES_MAX, SANDBOXES_MAX};

use crate::core::{self, AgentCore, CoreConfig};
use crate::host;
use crate::journal::{Journal, JournalError};
use crate::link::LinkError;
pub use ability::Ability;
use agent_loop::AgentLoop;
use inbox::Inbox;
use orrery_log::{Log, LogError, TopicPartition};
use orrery_model::id::AgentId;
use orrery_model::messages::Attribute;
use orrery_model::resources::Resources;
use orrery_model::topics;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

/// How an agent is set up.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Its folder: journal, supervisor, sandboxes. One agent per folder.
    pub dir: PathBuf,
    /// Its cell.
    pub cell: i32,
    /// Begins the names of our topics.
    pub prefix: String,
    /// Instead of what the node has.
    pub resources: Option<Resources>,
    /// Added to hostname, os, arch and cpus, or in place of them.
    pub attributes: Vec<Attribute>,
    /// Lease L, milliseconds; see [`core::LEASE_MS`].
    pub lease_ms: i64,
    /// Between heartbeats, milliseconds; see [`core::HEARTBEAT_MS`].
    pub heartbeat_ms: i64,
    /// Program and arguments that start a supervisor; `--dir D` is added.
    pub supervisor_command: Vec<String>,
    /// Where the agent says whether it can start tasks.
    pub ability: Ability,
}

impl AgentConfig {
    /// Defaults for this folder and this command.
    pub fn new(dir: PathBuf, supervisor_command: Vec<String>) -> Self {
        Self {
            dir,
            cell: 0,
            prefix: topics::DEFAULT_PREFIX.to_owned(),
            resources: None,
            attributes: Vec::new(),
            lease_ms: core::LEASE_MS,
            heartbeat_ms: core::HEARTBEAT_MS,
            supervisor_command,
            ability: Ability::default(),
        }
    }
}

/// Why an agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A setting makes no sense.
    #[error("{setting} is {value}; {allowed}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// What was given.
        value: i64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The folder or the journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The supervisor.
    #[error(transparent)]
    Supervisor(#[from] LinkError),
    /// The log.
    #[error("the agent cannot use the log")]
    Log(#[from] LogError),
    /// The folder or the system.
    #[error("the agent in {dir} cannot start")]
    Io {
        /// The folder.
        dir: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// A running agent. Dropping it stops the agent too.
#[derive(Debug)]
pub struct AgentHandle {
    agent: AgentId,
    config: AgentConfig,
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
}

impl AgentHandle {
    /// Who it is.
    pub const fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// Offers other resources or attributes from now on; the next heartbeat is sent at once.
    pub fn describe(&mut self, resources: Option<Resources>, attributes: Vec<Attribute>) {
        (self.config.resources, self.config.attributes) = (resources, attributes);
        let node = node::describe(&self.config.dir, &self.config);
        self.inbox.push(inbox::News::Input(core::Input::Node(node)));
    }

    /// False after a failure that the agent cannot go on from (its journal or its log cannot be written); see the log output.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Stops the agent and waits for its threads. The supervisor and all tasks live on, for as long as the lease lasts.
    pub fn stop(mut self) {
        self.stop_and_join();
    }

    fn stop_and_join(&mut self) {
        self.inbox.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(agent = %self.agent, "the agent's thread panicked");
        }
    }
}

impl Drop for AgentHandle {
    fn drop(&mut self) {
        self.stop_and_join();
    }
}

/// Starts an agent; returns when its supervisor answers. It registers by itself.
pub fn start(log: Arc<dyn Log>, config: AgentConfig) -> Result<AgentHandle, AgentError> {
    check(&config)?;
    let cell = u32::try_from(config.cell).map_err(|_| negative_cell(config.cell))?;
    let (journal, recovered) = Journal::open(&config.dir, config.cell)?;
    let failed = |source| AgentError::Io { dir: config.dir.display().to_string(), source };
    let dir = config.dir.canonicalize().map_err(failed)?;
    let partition = topics::commands_partition(cell, &recovered.agent);
    let commands = TopicPartition::new(&format!("{}{}", config.prefix, topics::COMMANDS), partition);
    let inbox = Arc::new(Inbox::new(log.bell(&[&commands.topic])));
    // Before the first heartbeat: an answer to it stands behind this position.
    let position = log.end_offset(&commands)?;
    let boot_id = format!("{}/{}", host::boot_id(), crate::journal::random_digits());
    let settings = CoreConfig { boot_id, lease_ms: config.lease_ms, heartbeat_ms: config.heartbeat_ms, resend_ms: core::RESEND_MS };
    let core = AgentCore::new(settings, node::describe(&dir, &config), recovered);
    let agent = core.agent().clone();
    let config = AgentConfig { dir, ..config };
    let agent_loop = AgentLoop::start(log, &config, core, journal, inbox.clone(), commands, position)?;
    let thread = spawn("agent", move || agent_loop.run()).map_err(|source| AgentError::Io { dir: agent.to_string(), source })?;
    Ok(AgentHandle { agent, config, inbox, thread: Some(thread) })
}

fn check(config: &AgentConfig) -> Result<(), AgentError> {
    if config.heartbeat_ms < 10 {
        let allowed = "heartbeats come at least 10 ms apart";
        return Err(AgentError::Setting { setting: "heartbeat_ms", value: config.heartbeat_ms, allowed });
    }
    if config.lease_ms < 2 * config.heartbeat_ms {
        return Err(AgentError::Setting { setting: "lease_ms", value: config.lease_ms, allowed: "a lease lasts at least two heartbeats" });
    }
    Ok(())
}

fn negative_cell(cell: i32) -> AgentError {
    AgentError::Setting { setting: "cell", value: i64::from(cell), allowed: "cells count from 0" }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("orrery-{name}")).spawn(body)
}

/// A thread beside the loop. If it panics the loop is told, and ends: an agent of which a part is missing would go on as if nothing
/// had happened.
fn spawn_beside(name: &'static str, inbox: &Arc<Inbox>, body: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    let missed = Missed { name, inbox: inbox.clone() };
    spawn(name, move || {
        let _missed = missed;
        body();
    })
}

/// Dropped by a panic, it tells the loop.
struct Missed {
    name: &'static str,
    inbox: Arc<Inbox>,
}

impl Drop for Missed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.inbox.push(inbox::News::Panicked(self.name));
        }
    }
}
