//! A proxy before a broker: it can let nothing pass for a while, and hold one request back until it is too late.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Kind of a request by which a producer ends a transaction.
const END_TXN: [u8; 2] = [0, 26];
/// Longest request that is passed on.
const REQUEST_MOST: usize = 64 << 20;
/// A request that was held back is passed on when so many others have passed meanwhile …
const HELD_FOR_REQUESTS: u64 = 20;
/// … or after this time.
const HELD_AT_MOST: Duration = Duration::from_secs(5);

/// A listening proxy. Dropping it stops it.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    target: u16,
    /// Nothing passes.
    cut: bool,
    /// The next end of a transaction is held back.
    holds: bool,
    /// Requests passed on, and ends held back that have been passed on since.
    passed: u64,
    late: u64,
    stopped: bool,
}

impl Proxy {
    /// Listens on a free port.
    pub(crate) fn listen() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if of_thread.state().stopped {
                    return;
                }
                let (Ok(client), target) = (client, of_thread.state().target) else { continue };
                let Ok(broker) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                of_thread.clone().join(client, broker);
            }
        });
        Self { port, shared }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pass_to(&self, port: u16) {
        self.shared.state().target = port;
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From now on nothing passes, and nobody is told: as if a cable were cut.
    pub fn cut(&self) {
        self.shared.change(|state| state.cut = true);
    }

    /// What was cut passes again.
    pub fn heal(&self) {
        self.shared.change(|state| state.cut = false);
    }

    /// The next end of a transaction does not pass: its connection is dropped, and it reaches the broker later.
    pub fn hold_an_end(&self) {
        self.shared.change(|state| state.holds = true);
    }

    /// Ends that were held back and have reached the broker too late.
    pub fn late_ends(&self) -> u64 {
        self.shared.state().late
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.change(|state| state.stopped = true);
        // Whoever accepts looks up.
        let _woken = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// Waits while nothing may pass; false if nothing will any more.
    fn may_pass(&self) -> bool {
        let state = self.changed.wait_while(self.state(), |state| state.cut && !state.stopped);
        !state.unwrap_or_else(PoisonError::into_inner).stopped
    }

    /// Passes requests one way and bytes the other, each on a thread, until one side closes.
    fn join(self: Arc<Self>, client: TcpStream, broker: TcpStream) {
        let ends = (client.try_clone().expect("a socket"), broker.try_clone().expect("a socket"));
        let answers = self.clone();
        std::thread::spawn(move || self.pass_requests(client, broker));
        std::thread::spawn(move || answers.pass_answers(ends.1, ends.0));
    }

    fn pass_requests(&self, mut client: TcpStream, mut broker: TcpStream) {
        while let Some(request) = read_request(&mut client) {
            if !self.may_pass() {
                break;
            }
            if request[4..6] == END_TXN && std::mem::take(&mut self.state().holds) {
                let _closed = client.shutdown(Shutdown::Both);
                self.wait_until_late();
                let _sent = broker.write_all(&request);
                self.state().late += 1;
                return;
            }
            if broker.write_all(&request).is_err() {
                break;
            }
            self.change(|state| state.passed += 1);
        }
        let _closed = (client.shutdown(Shutdown::Both), broker.shutdown(Shutdown::Both));
    }

    fn wait_until_late(&self) {
        let state = self.state();
        let until = state.passed + HELD_FOR_REQUESTS;
        drop(self.changed.wait_timeout_while(state, HELD_AT_MOST, |state| state.passed < until && !state.stopped));
    }

    fn pass_answers(&self, mut broker: TcpStream, mut client: TcpStream) {
        let mut bytes = [0; 64 << 10];
        while let Ok(count @ 1..) = broker.read(&mut bytes) {
            if !self.may_pass() || client.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _closed = client.shutdown(Shutdown::Both);
    }
}

/// A request with its length before it.
fn read_request(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    client.read_exact(&mut length).ok()?;
    let count = usize::try_from(u32::from_be_bytes(length)).ok().filter(|count| (2..=REQUEST_MOST).contains(count))?;
    let mut request = length.to_vec();
    request.resize(4 + count, 0);
    client.read_exact(&mut request[4..]).ok()?;
    Some(request)
}
