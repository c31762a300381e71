//! HTTP in, records out: the API under `/api/v1`, views over the log, and nothing decided here.
//!
//! * [`views`]: what the API shows, followed from the log by one thread; it also says when a decision has been made.
//! * [`api`]: one file per noun; the table of all routes, from which the OpenAPI document is made, is in `api/mod.rs`.
//! * [`outputs`]: what tasks wrote, from here or from agents elsewhere.
//! * [`monitor`]: health and metrics of processes that serve no API.
//! * [`problem`]: the one place where an error becomes an answer. [`guard`]: token, Host and Origin.
//! * `serving`: connections, their number and their time. `admission`: how much is done at once.

pub mod api;
pub mod guard;
pub mod monitor;
pub mod outputs;
pub mod problem;
pub mod views;

mod admission;
mod append;
mod serving;

use admission::Admission;
use orrery_log::Log;
use orrery_runtime::messages::Cluster;
use outputs::ReadOutput;
use serving::Serving;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::runtime::{Builder, Handle, Runtime};
use views::Views;

/// Whether a process does what it is for; else why not. It answers at once.
pub type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What the gateway needs.
pub struct GatewayConfig {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The cluster's numbers.
    pub cluster: Cluster,
    /// Where to listen; loopback only.
    pub listen: SocketAddr,
    /// Connections at once, at most: see [`connections`].
    pub connections: usize,
    /// Wanted with every request but `/healthz` and `/readyz`.
    pub token: String,
    /// Where tasks' output is.
    pub read_output: Arc<ReadOutput>,
    /// Says why this process is not ready, whatever the views show: a shard is not held, the disk hangs.
    pub ready: Ready,
    /// Renders metrics in Prometheus' text format.
    pub render_metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// Why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Anyone could speak to it in clear.
    #[error(
        "--listen {0} is not a loopback address; the token and all data would cross the network in clear; listen on 127.0.0.1 or [::1] and put a TLS proxy in front"
    )]
    OffLoopback(SocketAddr),
    /// The port is taken, or the address is not ours.
    #[error("--listen {address} cannot be used: {source}; choose another port, or 0 for any that is free")]
    CannotListen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// No runtime or thread.
    #[error("the gateway cannot start: {0}")]
    Io(#[from] std::io::Error),
    /// The log refused.
    #[error("the gateway cannot use the log: {0}")]
    Log(#[from] orrery_log::LogError),
}

/// A serving gateway.
pub struct GatewayHandle {
    address: SocketAddr,
    serving: Option<Serving>,
    views: Arc<Views>,
    app: Arc<App>,
    _threads: Threads,
}

impl GatewayHandle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
    /// What it shows.
    pub fn views(&self) -> &Arc<Views> {
        &self.views
    }
    /// What `/readyz` says.
    pub fn ready(&self) -> Ready {
        let app = self.app.clone();
        Arc::new(move || api::ready(&app))
    }
    /// Which of its threads has ended, if one has: nobody asked for that.
    pub fn failure(&self) -> Option<String> {
        let ended = |what: &str| Some(format!("the gateway's {what} has ended; the reason is in the messages above"));
        if self.serving.as_ref().is_none_or(Serving::has_ended) {
            return ended("thread that serves");
        }
        if self.views.has_ended() { ended("thread that follows the log") } else { None }
    }
    /// Stops serving and ends its threads.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for GatewayHandle {
    fn drop(&mut self) {
        drop(self.serving.take());
        self.views.stop();
    }
}

/// What every handler can reach.
pub(crate) struct App {
    pub config: GatewayConfig,
    pub views: Arc<Views>,
    pub admission: Arc<Admission>,
    pub appending: Handle,
}

/// Threads for requests that append, and for those that read; what blocks has its own.
const WORKERS: usize = 2;
/// Threads that append: as many requests can share one write of the disk.
const APPENDERS: usize = 256;
/// Threads that read or wait for what agents read.
const READERS: usize = 64;
/// Connections at once, whatever files there are.
const CONNECTIONS_MAX: usize = 2_048;
/// Files that connections leave to the rest of the process: the log's tables (256), two stores' (64 each), and what they write.
const FILES_RESERVED: usize = 512;

/// How many connections a process may have that may open so many files. Where these are few, some are served all the same.
pub fn connections(files: u64) -> usize {
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    files.saturating_sub(FILES_RESERVED).clamp(32, CONNECTIONS_MAX)
}

/// Opens the port, follows the log, and serves on threads of its own.
pub fn start(config: GatewayConfig) -> Result<GatewayHandle, GatewayError> {
    if !config.listen.ip().is_loopback() {
        return Err(GatewayError::OffLoopback(config.listen));
    }
    let failed = |source| GatewayError::CannotListen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).map_err(failed)?;
    let address = listener.local_addr()?;
    let views = Views::follow(config.log.clone(), config.cluster.clone())?;
    let threads =
        Threads { reading: Some(runtime("gateway-read", WORKERS, READERS)?), appending: Some(runtime("gateway-append", 1, APPENDERS)?) };
    let connections = config.connections;
    let admission = Arc::new(Admission::new(connections, handle(&threads.reading)));
    let app = Arc::new(App { config, views: views.clone(), admission, appending: handle(&threads.appending) });
    let serving = Serving::start("gateway", listener, connections, api::router(app.clone(), address), runtime("gateway", WORKERS, 1)?)?;
    Ok(GatewayHandle { address, serving: Some(serving), views, app, _threads: threads })
}

fn runtime(name: &'static str, workers: usize, blocking: usize) -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(workers).max_blocking_threads(blocking).thread_name(name).enable_all().build()
}

/// Threads beside those that serve. They are not waited for: what they do may take as long as the disk.
struct Threads {
    reading: Option<Runtime>,
    appending: Option<Runtime>,
}

fn handle(runtime: &Option<Runtime>) -> Handle {
    runtime.as_ref().expect("it is there until it is dropped").handle().clone()
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.reading.take().into_iter().chain(self.appending.take()).for_each(Runtime::shutdown_background);
    }
}

#[cfg(test)]
mod tests {
    use super::connections;

    #[test]
    fn connections_leave_files_to_the_log() {
        assert_eq!(connections(1_024), 512);
        assert_eq!(connections(u64::MAX), 2_048);
        assert_eq!(connections(256), 32, "few files are no reason to serve nobody");
    }
}
