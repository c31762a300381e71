//! All services in one process, on the embedded log.

mod troubles;

use crate::config::Config;
use crate::files;
use crate::health::Health;
use crate::private::{make_folder, make_folder_for_tasks, token};
use anyhow::{Context, Result, bail};
use orrery_agent::{AgentConfig, AgentHandle};
use orrery_allocator::Allocator;
use orrery_gateway::{GatewayConfig, GatewayHandle, connections, outputs};
use orrery_log::embedded::{EmbeddedLog, EmbeddedOptions};
use orrery_log::{Log, clock};
use orrery_model::decider::Decider;
use orrery_model::messages::Attribute;
use orrery_model::resources::{Bytes, MilliCpus, Resources};
use orrery_model::topics;
use orrery_runtime::driver::{self, ShardConfig, ShardHandle};
use orrery_runtime::membership::{logic_of, member};
use orrery_runtime::messages::Cluster;
use orrery_trigger::Trigger;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use troubles::Troubles;

/// How often the embedded log forgets what its topics need not keep.
const CLEAN_EVERY: Duration = Duration::from_secs(60);
/// A shard says that it is ready without a record; this is how long that may go unnoticed.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Below the data folder.
pub(crate) const LOG_DIR: &str = "log";
const STORE_DIR: &str = "store";

/// What standalone is started with.
pub(crate) struct Settings {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    pub resources: Option<Resources>,
    pub attributes: Vec<Attribute>,
    pub salvage: bool,
    pub accept_clock: bool,
}

impl Settings {
    pub(crate) fn from_config(config: &Config) -> Result<Self> {
        let listen = config.get("listen").unwrap_or_default();
        let listen = listen.parse().with_context(|| format!("listen: {listen:?} is not an address such as 127.0.0.1:4700"))?;
        let (data_dir, resources, attributes) = (config.data_dir()?, resources(config)?, attributes(config)?);
        Ok(Self { data_dir, listen, resources, attributes, salvage: false, accept_clock: false })
    }
}

/// The agent's resources where a setting limits them; what is not set is as much as could be asked for.
fn resources(config: &Config) -> Result<Option<Resources>> {
    let refused = |key: &str, why: String| anyhow::anyhow!("{key}: {why}");
    let cpus = config.get("cpus").map(|text| MilliCpus::parse(text).map_err(|why| refused("cpus", why))).transpose()?;
    let memory = config.get("memory").map(|text| Bytes::parse(text).map_err(|why| refused("memory", why))).transpose()?;
    let disk = config.get("disk").map(|text| Bytes::parse(text).map_err(|why| refused("disk", why))).transpose()?;
    if cpus.is_none() && memory.is_none() && disk.is_none() {
        return Ok(None);
    }
    let (Some(cpus), Some(memory), Some(disk)) = (cpus, memory, disk) else {
        bail!("cpus, memory and disk of the agent are set together, or not at all");
    };
    Ok(Some(Resources { cpus, memory, disk }))
}

fn attributes(config: &Config) -> Result<Vec<Attribute>> {
    let pairs = config.get("attributes").into_iter().flat_map(|text| text.split(',')).map(str::trim).filter(|pair| !pair.is_empty());
    let read = |pair: &str| {
        let (name, value) = pair.split_once('=').with_context(|| format!("attributes: {pair:?} is not name=value"))?;
        Ok(Attribute { name: name.trim().into(), value: value.trim().into() })
    };
    pairs.map(read).collect()
}

/// A running standalone. Fields end in order: who speaks first, who remembers last.
pub(crate) struct Standalone {
    gateway: GatewayHandle,
    agent: AgentHandle,
    shards: Arc<[ShardHandle; 2]>,
    pub log: Arc<EmbeddedLog>,
    pub cluster: Cluster,
    pub token: String,
    troubles: Troubles,
}

impl Standalone {
    /// Starts everything in a folder; returns when the port is open.
    pub(crate) fn start(settings: &Settings) -> Result<Self> {
        files::raised();
        let dir = &settings.data_dir;
        orrery_agent::close_to_others();
        make_folder_for_tasks(dir)?;
        for inner in [LOG_DIR, STORE_DIR] {
            make_folder(&dir.join(inner))?;
        }
        let options = EmbeddedOptions { salvage: settings.salvage, accept_clock: settings.accept_clock, ..EmbeddedOptions::default() };
        let log = EmbeddedLog::open_with(&dir.join(LOG_DIR), options)?;
        let token = token(&dir.join("token"))?;
        let cluster = Cluster::single();
        for topic in topics::TOPICS {
            log.ensure_topic(&cluster.topic(topic.name), cluster.partitions(topic.partitions), topic.cleanup)?;
        }
        let port: Arc<dyn Log> = log.clone();
        orrery_runtime::founding::found(&port, &cluster)?;
        troubles::tell_start(&log, &cluster, settings.accept_clock)?;
        log.spawn_cleaner(CLEAN_EVERY)?;
        let logic = vec![logic_of::<Trigger>(), logic_of::<Allocator>()];
        let member = member(&format!("standalone-{}", std::process::id()), logic, Trigger::tz_version(), clock::wall());
        let shard = |service: &str| ShardConfig {
            log: port.clone(),
            cluster: cluster.clone(),
            shard: 0,
            generation: 1,
            folder: dir.join(STORE_DIR).join(service),
            member: member.clone(),
            draw_lineage,
        };
        let shards = Arc::new([driver::start::<Trigger>(shard("trigger"))?, driver::start::<Allocator>(shard("allocator"))?]);
        let agent = agent_config(dir.join("agent"), settings)?;
        let gateway = orrery_gateway::start(gateway(&port, &cluster, settings.listen, &token, &shards, &agent, Health::of(port.clone())?))?;
        let agent = orrery_agent::start(port.clone(), agent)?;
        Ok(Self { gateway, agent, shards, log, cluster, token, troubles: Troubles::default() })
    }

    /// Waits until all shards are held and the views show what was there.
    pub(crate) fn wait_until_ready(&self) -> Result<()> {
        let journals = [topics::TRIGGER_JOURNAL, topics::ALLOCATOR_JOURNAL].map(|topic| self.cluster.topic(topic));
        let bell = self.log.bell(&journals.each_ref().map(String::as_str));
        while !(self.gateway.views().seen().ready && self.shards.iter().all(ShardHandle::is_ready)) {
            if let Some(why) = self.failure() {
                bail!(why);
            }
            bell.wait(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Why it cannot go on, if a part of it has ended for good. Started again, it goes on where it was.
    pub(crate) fn failure(&self) -> Option<String> {
        if !self.agent.is_running() {
            return Some("the agent has ended; the reason is in the messages above".into());
        }
        self.gateway.failure().or_else(|| self.log.topics().err().map(|error| error.to_string()))
    }

    /// Tells of what is wrong with the log, once.
    pub(crate) fn tell_trouble(&self) {
        self.troubles.tell(&self.log, &self.cluster);
    }

    /// What the API shows.
    pub(crate) fn views(&self) -> &orrery_gateway::views::Views {
        self.gateway.views()
    }

    /// Where it serves.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.gateway.address())
    }
}

fn agent_config(dir: PathBuf, settings: &Settings) -> Result<AgentConfig> {
    let command = crate::supervisor_command().context("the path of this program is not known")?;
    let mut config = AgentConfig::new(dir, command);
    config.resources = settings.resources;
    config.attributes.clone_from(&settings.attributes);
    Ok(config)
}

fn gateway(
    log: &Arc<dyn Log>,
    cluster: &Cluster,
    listen: SocketAddr,
    token: &str,
    shards: &Arc<[ShardHandle; 2]>,
    agent: &AgentConfig,
    health: Health,
) -> GatewayConfig {
    let (shards, ability) = (shards.clone(), agent.ability.clone());
    GatewayConfig {
        log: log.clone(),
        cluster: cluster.clone(),
        listen,
        connections: connections(files::raised().now),
        token: token.to_owned(),
        read_output: outputs::of_folder(agent.dir.clone()),
        ready: Arc::new(move || {
            let services = [Trigger::SERVICE, Allocator::SERVICE];
            let of_shard = |(shard, service): (&ShardHandle, &str)| Some(format!("{service}/0 {}", shard.trouble()?));
            let of_agent = || Some(format!("its agent can start nothing: {}", ability.lacking()?));
            shards.iter().zip(services).find_map(of_shard).or_else(of_agent).map_or_else(|| health.of_log(), Err)
        }),
        render_metrics: Arc::new(crate::cli::metrics::render),
    }
}

/// Sixteen random bytes, hex.
pub(crate) fn draw_lineage() -> String {
    orrery_model::codec::hex(&draw_bytes::<16>())
}

/// Random bytes.
pub(crate) fn draw_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}
