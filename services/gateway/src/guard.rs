//! Who may speak to the gateway: the token, and only pages and names of this host.
//!
//! Host and Origin are checked because a web page that a person looks at can send requests to loopback (DNS rebinding, CSRF).

use crate::App;
use crate::problem::Problem;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use std::net::SocketAddr;
use std::sync::Arc;

/// What stands open: probes of the process's health.
pub const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// Lets a request through, or refuses it.
pub(crate) async fn guard(State((app, address)): State<(Arc<App>, SocketAddr)>, request: Request, next: Next) -> Result<Response, Problem> {
    check_host(request.headers(), address)?;
    if OPEN.contains(&request.uri().path()) {
        return Ok(next.run(request).await);
    }
    check_token(request.headers(), &app.config.token)?;
    check_encoding(request.headers())?;
    app.admission.admit(request, next).await
}

fn check_host(headers: &HeaderMap, address: SocketAddr) -> Result<(), Problem> {
    // Whoever stands before this server may have gone by the other one (RFC 9112, 3.2).
    for name in [header::HOST, header::ORIGIN] {
        if headers.get_all(&name).iter().nth(1).is_some() {
            return Err(Problem::new("malformed", format!("{name} comes more than once")).try_this("send it once"));
        }
    }
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !is_this_host(host, address) {
        let detail = format!("Host {host:?} is not this server's; it answers to localhost and {}", address.ip());
        return Err(Problem::new("foreign_host", detail));
    }
    match headers.get(header::ORIGIN).map(|value| value.to_str().unwrap_or("?")) {
        None => Ok(()),
        Some(origin) if origin.split_once("://").is_some_and(|(_, host)| is_this_host(host, address)) => Ok(()),
        Some(origin) => Err(Problem::new("foreign_origin", format!("pages of {origin:?} may not speak to this server"))),
    }
}

fn is_this_host(host: &str, address: SocketAddr) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name == address.ip().to_string() || name == "127.0.0.1" || name == "::1"
}

fn check_token(headers: &HeaderMap, token: &str) -> Result<(), Problem> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.strip_prefix("Bearer "));
    if given.is_some_and(|given| same(given.trim().as_bytes(), token.as_bytes())) {
        return Ok(());
    }
    let detail = if given.is_some() { "the token is not this server's" } else { "a token is wanted" };
    Err(Problem::new("unauthorized", detail).try_this("send `Authorization: Bearer <token>`; the token is in <data-dir>/token"))
}

/// A body is taken as it is: one that somebody has packed would be taken for the data.
fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let is_plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    match headers.get_all(header::CONTENT_ENCODING).iter().find(|value| !is_plain(value)) {
        None => Ok(()),
        Some(encoding) => Err(Problem::new("encoded", format!("Content-Encoding {encoding:?} is not undone here"))
            .try_this("send the body as it is, without Content-Encoding")),
    }
}

/// Compares in a time that does not depend on where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_host_is_this_host() {
        let address: SocketAddr = "127.0.0.1:4700".parse().expect("an address");
        for good in ["localhost", "localhost:4700", "127.0.0.1:1", "[::1]:4700", "LOCALHOST:80"] {
            assert!(is_this_host(good, address), "{good}");
        }
        for bad in ["", "evil.example", "127.0.0.1.evil.example:4700", "localhost.evil.example", "10.0.0.1:4700"] {
            assert!(!is_this_host(bad, address), "{bad}");
        }
    }

    #[test]
    fn tokens_are_the_same_or_not() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd") && !same(b"abc", b"ab") && !same(b"", b"a"));
    }
}
