//! What watches a process asks: is it alive, is it ready, its metrics. For processes that serve no API; nothing of what they decide
//! or hold is shown, so there is no token, and other machines may ask.

use crate::serving::Serving;
use crate::{GatewayError, Ready, runtime};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

/// What the answers rest on.
pub struct MonitorConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Whether the process does what it is for.
    pub ready: Ready,
    /// Renders metrics in Prometheus' text format.
    pub render_metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// Connections at once: who watches asks, and goes.
const CONNECTIONS: usize = 64;

/// A serving monitor; dropping it ends it.
pub struct Monitor {
    address: SocketAddr,
    _serving: Serving,
}

impl Monitor {
    /// Opens the port and serves `/healthz`, `/readyz` and `/metrics` on a thread of its own.
    pub fn start(config: MonitorConfig) -> Result<Self, GatewayError> {
        let MonitorConfig { listen, ready, render_metrics } = config;
        let listener = TcpListener::bind(listen).map_err(|source| GatewayError::CannotListen { address: listen, source })?;
        let address = listener.local_addr()?;
        let readyz = move || async move {
            match ready() {
                Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
                Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
            }
        };
        let router = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(move || async move { render_metrics() }));
        Ok(Self { address, _serving: Serving::start("monitor", listener, CONNECTIONS, router, runtime("monitor", 1, 1)?)? })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    #[test]
    fn who_says_nothing_keeps_no_probe_out_and_what_is_wrong_is_told() {
        let ready: Ready = Arc::new(|| Err("the disk hangs".into()));
        let listen = "127.0.0.1:0".parse().expect("an address");
        let monitor = Monitor::start(MonitorConfig { listen, ready, render_metrics: Arc::new(String::new) }).expect("it starts");
        let connect = || TcpStream::connect(monitor.address()).expect("it listens");
        let _silent: Vec<TcpStream> = (0..3 * CONNECTIONS).map(|_| connect()).collect();
        let mut probe = connect();
        probe.write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("it is open");
        let mut answer = String::new();
        probe.read_to_string(&mut answer).expect("it is answered");
        assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("not ready: the disk hangs\n"), "{answer}");
    }
}
