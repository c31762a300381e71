//! HTTP in, records out: the API under `/api/v1`, views over the log, and nothing decided here.
//!
//! * [`views`]: what the API shows, followed from the log by one thread; it also says when a decision has been made.
//! * [`api`]: one file per noun; the table of all routes, from which the OpenAPI document is made, is in `api/mod.rs`.
//! * [`outputs`]: what tasks wrote, from here or from agents elsewhere.
//! * [`monitor`]: health and metrics of processes that serve no API.
//! * [`problem`]: the one place where an error becomes an answer. [`guard`]: token, Host and Origin.

pub mod api;
pub mod guard;
pub mod monitor;
pub mod outputs;
pub mod problem;
pub mod views;

mod append;

use orrery_log::Log;
use orrery_runtime::messages::Cluster;
use outputs::ReadOutput;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use views::Views;

/// What the gateway needs.
pub struct GatewayConfig {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The cluster's numbers.
    pub cluster: Cluster,
    /// Where to listen; loopback only.
    pub listen: SocketAddr,
    /// Wanted with every request but `/healthz` and `/readyz`.
    pub token: String,
    /// Where tasks' output is.
    pub read_output: Arc<ReadOutput>,
    /// True while all shards of this process are held.
    pub shards_ready: Arc<dyn Fn() -> bool + Send + Sync>,
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

/// A thread that answers requests; dropping it ends it.
pub(crate) struct Serving {
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// What every handler can reach.
pub(crate) struct App {
    pub config: GatewayConfig,
    pub views: Arc<Views>,
    pub waiting: tokio::sync::Semaphore,
}

/// Requests that may wait for a decision at once; one more is told to come again (429).
const WAITING_MAX: usize = 1_000;
/// Threads for requests; what blocks has its own.
const WORKERS: usize = 2;

/// Opens the port, follows the log, and serves on threads of its own.
pub fn start(config: GatewayConfig) -> Result<GatewayHandle, GatewayError> {
    if !config.listen.ip().is_loopback() {
        return Err(GatewayError::OffLoopback(config.listen));
    }
    let failed = |source| GatewayError::CannotListen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).map_err(failed)?;
    let address = listener.local_addr()?;
    let views = Views::follow(config.log.clone(), config.cluster.clone())?;
    let app = Arc::new(App { config, views: views.clone(), waiting: tokio::sync::Semaphore::new(WAITING_MAX) });
    let serving = serve("gateway", listener, api::router(app, address))?;
    Ok(GatewayHandle { address, serving: Some(serving), views })
}

/// Answers requests on threads of this name.
fn serve(name: &'static str, listener: TcpListener, router: axum::Router) -> std::io::Result<Serving> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).thread_name(name).enable_all().build()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
        runtime.block_on(async {
            let served = async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                axum::serve(listener, router).await
            };
            tokio::select! {
                ended = served => if let Err(error) = ended { tracing::error!(%error, name, "it stopped serving") },
                _ = stopped => {}
            }
        });
        runtime.shutdown_background();
    })?;
    Ok(Serving { stop: Some(stop), thread: Some(thread) })
}
