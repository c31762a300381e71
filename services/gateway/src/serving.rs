//! One listener: which connections it has, and how long each may keep it waiting.
//!
//! A connection is served while a request of it is answered; else it is waited for. Nothing is asked of who waits, neither a token nor
//! a word: so there is a bound on how many there are, how long, and with how much memory each. Where there is no room for one more,
//! the one that has been waited for longest goes, and who says nothing keeps nobody out.

mod head;
mod wire;

use crate::problem::Problem;
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::response::IntoResponse;
use head::Head;
use http_body::{Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use orrery_log::clock;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use wire::Wire;

/// From a connection's beginning, or a request's first byte, to the end of the request's head.
const HEAD_WAIT: Duration = Duration::from_secs(10);
/// Between two requests.
const IDLE_WAIT: Duration = Duration::from_secs(60);
/// From the beginning of an answer whose length is known to its end.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// Nothing of what is there to be sent is taken.
const STALL_WAIT: Duration = Duration::from_secs(30);
/// A request's head; and so much of an answer is held beyond what the system holds.
const HEAD_BYTES: usize = 16 << 10;
/// How often it is looked who is over their time.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Where no connection can be accepted (no files, no memory), until it is tried again.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A thread that answers requests; dropping it ends it.
pub(crate) struct Serving {
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// Answers the requests of at most so many connections at once, on the threads of this runtime.
    pub(crate) fn start(
        name: &'static str,
        listener: TcpListener,
        connections: usize,
        router: Router,
        runtime: Runtime,
    ) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || {
            let hall = Arc::new(Hall::new(connections));
            runtime.block_on(async {
                tokio::select! {
                    () = accept(&listener, &hall, &router) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }

    /// True if it serves no more, which nobody asked for.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// Takes what comes, for ever.
async fn accept(listener: &tokio::net::TcpListener, hall: &Arc<Hall>, router: &Router) {
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => if let Some(place) = Hall::take_in(hall) {
                    tokio::spawn(converse(stream, place, router.clone()));
                },
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted; one that is waited for is ended");
                    hall.make_room();
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            },
            _ = sweep.tick() => hall.sweep(clock::monotonic()),
        }
    }
}

/// Serves one connection until it ends or is ended.
async fn converse(stream: TcpStream, place: Place, router: Router) {
    let seat = place.seat.clone();
    // Events of a stream are small, and are not held back for more.
    let _as_well_without = stream.set_nodelay(true);
    let router = TowerToHyperService::new(router);
    let answer = service_fn(|request| {
        let (seat, has_two_lengths) = (seat.clone(), seat.begins());
        let answer = router.call(request);
        async move {
            let response = if has_two_lengths { two_lengths() } else { answer.await? };
            seat.answers(response.body().size_hint().exact().is_some());
            Ok::<_, std::convert::Infallible>(response.map(|body| Body::new(Held::new(body, Served(seat)))))
        }
    });
    let wire = TokioIo::new(Wire::new(stream, seat.clone()));
    let connection = http1::Builder::new().header_read_timeout(None).max_buf_size(HEAD_BYTES).serve_connection(wire, answer);
    tokio::select! {
        _ended = connection => {}
        () = seat.closed.notified() => {}
    }
}

/// Two readers could divide such a request differently (RFC 9112, 6.3).
fn two_lengths() -> axum::response::Response {
    let detail = "the request has both Content-Length and Transfer-Encoding, and its end depends on who reads it";
    Problem::new("malformed", detail).try_this("send one of them").into_response()
}

/// All connections of a listener.
struct Hall {
    most: usize,
    seats: Mutex<Seats>,
}

#[derive(Default)]
struct Seats {
    taken: BTreeMap<u64, Arc<Seat>>,
    next: u64,
}

/// A connection's place among the others; dropping it gives it up.
struct Place {
    hall: Arc<Hall>,
    number: u64,
    seat: Arc<Seat>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hall.seats().taken.remove(&self.number);
    }
}

impl Hall {
    fn new(most: usize) -> Self {
        Self { most, seats: Mutex::default() }
    }

    /// A place for one more; none if all connections are being served.
    fn take_in(hall: &Arc<Self>) -> Option<Place> {
        if hall.seats().taken.len() >= hall.most && !hall.make_room() {
            return None;
        }
        let seat = Arc::new(Seat::default());
        let mut seats = hall.seats();
        let number = seats.next;
        seats.next += 1;
        seats.taken.insert(number, seat.clone());
        drop(seats);
        Some(Place { hall: hall.clone(), number, seat })
    }

    /// Ends the connection that has been waited for longest; false if there is none.
    fn make_room(&self) -> bool {
        let mut seats = self.seats();
        let waiting = seats.taken.iter().filter_map(|(number, seat)| Some((seat.waited_for_since()?, *number)));
        let Some((_, number)) = waiting.min() else { return false };
        seats.taken.remove(&number).inspect(|seat| seat.close());
        true
    }

    /// Ends those who are over their time.
    fn sweep(&self, now: Instant) {
        self.seats().taken.retain(|_, seat| {
            let late = seat.is_late(now);
            if late {
                seat.close();
            }
            !late
        });
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one connection is doing.
struct Seat {
    state: Mutex<State>,
    closed: Notify,
}

struct State {
    phase: Phase,
    since: Instant,
    head: Head,
    /// Since when nothing has been taken of what is to be sent.
    stalled: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A head is on its way.
    Head,
    /// Nothing of a next request has come.
    Idle,
    /// A request is handled, or an answer without an end is given.
    Served,
    /// An answer is sent that has an end.
    Answered,
}

impl Default for Seat {
    fn default() -> Self {
        let state = State { phase: Phase::Head, since: clock::monotonic(), head: Head::default(), stalled: None };
        Self { state: Mutex::new(state), closed: Notify::new() }
    }
}

impl Seat {
    /// Bytes have come.
    fn reads(&self, bytes: &[u8]) {
        let mut state = self.state();
        match state.phase {
            Phase::Idle => state.turns(Phase::Head),
            Phase::Head => {}
            Phase::Served | Phase::Answered => return,
        }
        state.head.passes(bytes);
    }

    /// Some of what is to be sent was taken, or none.
    fn writes(&self, taken: bool) {
        let mut state = self.state();
        state.stalled = if taken { None } else { state.stalled.or_else(|| Some(clock::monotonic())) };
    }

    /// A request's head is there; true if it says in two ways how long the body is.
    fn begins(&self) -> bool {
        let mut state = self.state();
        state.turns(Phase::Served);
        std::mem::take(&mut state.head).has_two_lengths()
    }

    /// The answer begins.
    fn answers(&self, has_end: bool) {
        if has_end {
            self.state().turns(Phase::Answered);
        }
    }

    /// The answer is all there, or not wanted any more.
    fn ends(&self) {
        self.state().turns(Phase::Idle);
    }

    fn waited_for_since(&self) -> Option<Instant> {
        let state = self.state();
        matches!(state.phase, Phase::Head | Phase::Idle).then_some(state.since)
    }

    fn is_late(&self, now: Instant) -> bool {
        let state = self.state();
        let may_take = match state.phase {
            Phase::Head => Some(HEAD_WAIT),
            Phase::Idle => Some(IDLE_WAIT),
            Phase::Answered => Some(ANSWER_WAIT),
            Phase::Served => None,
        };
        let is_over = |since: Instant, wait| now.saturating_duration_since(since) > wait;
        may_take.is_some_and(|wait| is_over(state.since, wait)) || state.stalled.is_some_and(|since| is_over(since, STALL_WAIT))
    }

    fn close(&self) {
        self.closed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn turns(&mut self, phase: Phase) {
        (self.phase, self.since) = (phase, clock::monotonic());
    }
}

/// A request is served as long as this lives.
struct Served(Arc<Seat>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.ends();
    }
}

/// Bytes that a body gives at once: it counts as sent when the last of them are taken.
const PIECE_BYTES: usize = 64 << 10;

/// A body, and what is held until it has been sent or is not wanted any more.
pub(crate) struct Held<H> {
    body: Body,
    /// What the body gave, and was not taken yet.
    rest: Bytes,
    _held: H,
}

impl<H> Held<H> {
    pub(crate) fn new(body: Body, held: H) -> Self {
        Self { body, rest: Bytes::new(), _held: held }
    }
}

impl<H: Unpin> HttpBody for Held<H> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other => return other,
            }
        }
        let piece = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }
    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_waited_for_longest_makes_room_and_who_is_served_does_not() {
        let hall = Arc::new(Hall::new(2));
        let (first, second) = (Hall::take_in(&hall).expect("room"), Hall::take_in(&hall).expect("room"));
        assert!(!first.seat.begins());
        let third = Hall::take_in(&hall).expect("the second is waited for");
        let taken = |place: &Place| hall.seats().taken.contains_key(&place.number);
        assert_eq!((taken(&first), taken(&second), taken(&third)), (true, false, true));
        third.seat.begins();
        assert!(Hall::take_in(&hall).is_none(), "all are served");
        drop(Served(first.seat.clone()));
        assert!(Hall::take_in(&hall).is_some(), "the first has its answer, and is waited for");
    }

    #[tokio::test]
    async fn what_is_held_is_held_until_the_last_piece() {
        let held = Arc::new(());
        let mut body = Held::new(Body::from(vec![b'x'; 3 * PIECE_BYTES - 1]), held.clone());
        let mut left = body.size_hint().exact().expect("its length is known");
        while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let piece = frame.expect("a piece").into_data().expect("data").len();
            assert!(piece <= PIECE_BYTES);
            left -= piece as u64;
            assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(left), left == 0));
        }
        assert_eq!((left, Arc::strong_count(&held)), (0, 2));
    }

    #[test]
    fn each_phase_has_its_time() {
        let seat = Seat::default();
        let late = |seconds: u64| seat.is_late(clock::monotonic() + Duration::from_secs(seconds));
        assert!(!late(9) && late(11), "a head");
        seat.begins();
        assert!(!late(3_600), "a request takes as long as it takes");
        seat.writes(false);
        assert!(!late(29) && late(31), "nothing is taken");
        seat.writes(true);
        seat.answers(true);
        assert!(!late(59) && late(61), "an answer");
        seat.ends();
        assert!(!late(59) && late(61), "between requests");
        seat.reads(b"G");
        assert!(!late(9) && late(11), "the next head");
    }
}
