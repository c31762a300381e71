//! One service of a cluster on Kafka, in a process of its own; or a gateway over a data folder that nobody runs.

mod connection;
mod copy;
mod members;

pub(crate) use connection::{Connection, wishes};

use crate::cli::audit::{earlier, read_key};
use crate::cli::metrics;
use crate::cli::serve::Signals;
use crate::config::Config;
use crate::files;
use crate::health::Health;
use crate::private::{make_folder_for_tasks, token};
use crate::standalone::{Settings, draw_bytes};
use anyhow::{Context, Result, bail};
use members::Members;
use orrery_agent::AgentConfig;
use orrery_agent::outputs::{Outputs, OutputsConfig};
use orrery_allocator::Allocator;
use orrery_audit::Begin;
use orrery_audit::auditor::{Auditor, AuditorConfig, Signing};
use orrery_gateway::monitor::{Monitor, MonitorConfig};
use orrery_gateway::outputs::{self, ReadOutput};
use orrery_gateway::{GatewayConfig, GatewayHandle, Ready, connections};
use orrery_log::Log;
use orrery_model::codec::hex;
use orrery_runtime::messages::Cluster;
use orrery_trigger::Trigger;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

/// Which service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// Decides when jobs run
    Trigger,
    /// Decides where tasks run
    Allocator,
    /// Runs tasks on this machine
    Agent,
    /// Serves the API
    Gateway,
    /// Verifies the decision journals as they grow
    Auditor,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Trigger => "trigger",
            Self::Allocator => "allocator",
            Self::Agent => "agent",
            Self::Gateway => "gateway",
            Self::Auditor => "auditor",
        }
    }
}

/// Serves until a signal comes or the service cannot go on. A log that cannot be reached is waited for, at the start too.
pub(crate) fn serve(role: Role, config: &Config) -> Result<()> {
    metrics::install()?;
    files::raised();
    let settings = Settings::from_config(config)?;
    let mut signals = Signals::new()?;
    if role == Role::Gateway && config.kafka()?.is_none() {
        return copy::serve(config, &settings, signals);
    }
    orrery_agent::close_to_others();
    // Of every role, as an agent may share it.
    make_folder_for_tasks(&settings.data_dir)?;
    let Some(connection) = Connection::wait(config, &mut signals)? else { return Ok(()) };
    match role {
        Role::Trigger => serve_shards(config, &connection, &Members::start::<Trigger>(config, &connection, role.name())?, signals),
        Role::Allocator => serve_shards(config, &connection, &Members::start::<Allocator>(config, &connection, role.name())?, signals),
        Role::Agent => serve_agent(config, &settings, &connection, signals),
        Role::Gateway => serve_gateway(config, &settings, &connection, signals),
        Role::Auditor => serve_auditor(config, &connection, signals),
    }
}

fn serve_shards(config: &Config, connection: &Connection, members: &Members, signals: Signals) -> Result<()> {
    let health = Health::of(connection.port())?;
    let trouble = members.trouble();
    let ready = move || trouble().map_or_else(|| health.of_log(), Err);
    let monitor = monitor(config, Arc::new(ready))?;
    say_ready(&watched(members.name(), monitor.as_ref()))?;
    signals.wait(|| members.failure())
}

/// Answers those who watch the process, if an address is set for that.
fn monitor(config: &Config, ready: Ready) -> Result<Option<Monitor>> {
    let Some(listen) = config.get("monitor") else { return Ok(None) };
    let listen = listen.parse().with_context(|| format!("monitor: {listen:?} is not an address and port, such as 0.0.0.0:4701"))?;
    Ok(Some(Monitor::start(MonitorConfig { listen, ready, render_metrics: Arc::new(metrics::render) })?))
}

/// A name, and where it is watched.
fn watched(name: &str, monitor: Option<&Monitor>) -> String {
    monitor.map_or_else(|| name.to_owned(), |monitor| format!("{name} monitor http://{}", monitor.address()))
}

fn serve_agent(config: &Config, settings: &Settings, connection: &Connection, signals: Signals) -> Result<()> {
    let mut agent = AgentConfig::new(settings.data_dir.join("agent"), crate::supervisor_command()?);
    agent.cell = i32::try_from(config.number("cell", 0..=connection.cluster.cells - 1)?)?;
    agent.prefix.clone_from(&connection.cluster.prefix);
    agent.resources = settings.resources;
    agent.attributes.clone_from(&settings.attributes);
    let (cell, dir, ability) = (agent.cell.unsigned_abs(), agent.dir.clone(), agent.ability.clone());
    let running = Arc::new(orrery_agent::start(connection.port(), agent)?);
    let (prefix, agent) = (connection.cluster.prefix.clone(), running.agent().clone());
    let answering = Arc::new(Outputs::start(OutputsConfig { log: connection.port(), prefix, cell, agent, dir })?);
    let health = Health::of(connection.port())?;
    let both_run = {
        let (running, answering) = (running.clone(), answering);
        move || running.is_running() && answering.is_running()
    };
    let ready: Ready = {
        let both_run = both_run.clone();
        Arc::new(move || match ability.lacking() {
            _ if !both_run() => Err("the agent has ended".into()),
            Some(why) => Err(format!("the agent can start nothing: {why}")),
            None => health.of_log(),
        })
    };
    let monitor = monitor(config, ready)?;
    say_ready(&watched(running.agent().as_str(), monitor.as_ref()))?;
    signals.wait(|| (!both_run()).then(|| "the agent has ended; the reason is in the messages above".to_owned()))
}

fn serve_gateway(config: &Config, settings: &Settings, connection: &Connection, signals: Signals) -> Result<()> {
    // Output lies where its task ran.
    let read_output = outputs::of_agents(connection.port(), connection.cluster.clone(), hex(&draw_bytes::<8>()));
    let health = Health::of(connection.port())?;
    let ready: Ready = Arc::new(move || health.of_log());
    let gateway = start_gateway(settings, (connection.port(), connection.cluster.clone()), read_output, ready)?;
    show(config, &gateway, signals)
}

fn start_gateway(
    settings: &Settings,
    (log, cluster): (Arc<dyn Log>, Cluster),
    read_output: Arc<ReadOutput>,
    ready: Ready,
) -> Result<GatewayHandle> {
    Ok(orrery_gateway::start(GatewayConfig {
        log,
        cluster,
        listen: settings.listen,
        connections: connections(files::raised().now),
        token: token(&settings.data_dir.join("token"))?,
        read_output,
        ready,
        render_metrics: Arc::new(metrics::render),
    })?)
}

/// Says where a gateway serves, until a signal comes.
fn show(config: &Config, gateway: &GatewayHandle, signals: Signals) -> Result<()> {
    let monitor = monitor(config, gateway.ready())?;
    say_ready(&watched(&format!("http://{}", gateway.address()), monitor.as_ref()))?;
    signals.wait(|| gateway.failure())
}

fn serve_auditor(config: &Config, connection: &Connection, signals: Signals) -> Result<()> {
    let auditor = Auditor::start(auditor_config(config, connection.port(), &connection.cluster)?)?;
    let caught_up = auditor.caught_up();
    let ready = move || if caught_up() { Ok(()) } else { Err("the journals have not been verified to their ends yet".to_owned()) };
    let monitor = monitor(config, Arc::new(ready))?;
    say_ready(&watched(Role::Auditor.name(), monitor.as_ref()))?;
    signals.wait(|| auditor.has_ended().then(|| "the auditor has ended; the reason is in the messages above".to_owned()))
}

/// What the auditor follows, by the settings.
fn auditor_config(config: &Config, log: Arc<dyn Log>, cluster: &Cluster) -> Result<AuditorConfig> {
    let seq = match config.get("audit_from").unwrap_or_default() {
        "start" => 0,
        "latest-snapshot" => i64::MAX,
        other => bail!("audit_from: {other:?} is neither start nor latest-snapshot"),
    };
    let (anchors, signing) = match (config.get("anchor_key"), config.get("anchors")) {
        (Some(key), Some(file)) => {
            let (key, file) = (read_key(key.as_ref())?, PathBuf::from(file));
            (earlier(&file, &key)?, Some(Signing { key, file }))
        }
        (None, None) => (Vec::new(), None),
        _ => bail!("anchors and anchor_key are set together, or not at all: a file, and the key that signs what is in it"),
    };
    Ok(AuditorConfig { log, cluster: cluster.clone(), begin: Begin { seq, anchors }, signing })
}

/// Tells whoever started this, on standard output.
fn say_ready(what: &str) -> Result<()> {
    writeln!(std::io::stdout(), "ready {what}")?;
    Ok(std::io::stdout().flush()?)
}

impl Connection {
    fn port(&self) -> Arc<dyn Log> {
        self.log.clone()
    }
}
