//! How much is done at once: each kind of request has doors of its own, so that no kind keeps another out; readings are done by threads
//! of their own, a few at a time; and large answers share a room, which each holds until it has been sent.

use crate::problem::{Answer, Problem};
use crate::serving::Held;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// Memory for large answers, KiB, from before they are made until they have been sent.
const ROOM_KIB: usize = 64 << 10;
/// The largest answer of a reading, KiB: what is listed is cut there, and says where to go on.
pub(crate) const ANSWER_KIB: u32 = 8 << 10;
/// Requests with many events at once: each is read whole before it is appended.
const BATCHES: usize = 8;
/// Readings of the log that are done at once; they want processors, and so do those who decide.
const READERS: usize = 4;
/// How long a request waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(30);
/// Followers, at most: each is told of every change.
const FOLLOWERS: usize = 256;

/// What requests are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Ends when a client goes, or a run.
    Follows,
    /// Reads.
    Reads,
    /// Appends.
    Writes,
}

/// The doors, and who reads behind them.
pub(crate) struct Admission {
    follows: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    batches: Arc<Semaphore>,
    room: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    reading: Handle,
}

/// A request is under way as long as this lives.
pub(crate) type Permit = OwnedSemaphorePermit;

impl Admission {
    /// Doors for so many connections: an eighth of them is for who comes in anew, and for probes.
    pub(crate) fn new(connections: usize, reading: Handle) -> Self {
        let doors = |count: usize| Arc::new(Semaphore::new(count.max(1)));
        Self {
            follows: doors((connections / 8).min(FOLLOWERS)),
            reads: doors(connections / 2),
            writes: doors(connections / 4),
            batches: doors(BATCHES),
            room: doors(ROOM_KIB),
            readers: doors(READERS),
            reading,
        }
    }

    /// Handles a request once it has been let in. What reads does so on threads of its own, so that nothing that is written waits for it.
    pub(crate) async fn admit(&self, request: Request, next: Next) -> Answer<Response> {
        let kind = kind_of(&request);
        let permit = self.enter(kind)?;
        let response = match kind {
            Kind::Writes => next.run(request).await,
            Kind::Reads | Kind::Follows => {
                let mut reading = JoinSet::new();
                reading.spawn_on(next.run(request), &self.reading);
                reading.join_next().await.expect("one was begun")?
            }
        };
        Ok(holding(response, permit))
    }

    fn enter(&self, kind: Kind) -> Answer<Permit> {
        let (door, what) = match kind {
            Kind::Follows => (&self.follows, "follow"),
            Kind::Reads => (&self.reads, "read"),
            Kind::Writes => (&self.writes, "are being appended, or wait for their decisions"),
        };
        door.clone()
            .try_acquire_owned()
            .map_err(|_| Problem::new("too_many", format!("too many requests {what}")).try_this("come again in a second"))
    }

    /// Lets in a request with many events, once there is room for it.
    pub(crate) async fn batch(&self) -> Answer<Permit> {
        turn(&self.batches, 1).await
    }

    /// Reads on a thread that may block.
    pub(crate) async fn read<T: Send + 'static>(&self, read: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
        let turn = turn(&self.readers, 1).await?;
        let read = move || {
            // It reads on, even if nobody waits for it any more.
            let _turn = turn;
            read()
        };
        Ok(self.reading.spawn_blocking(read).await?)
    }
}

/// Waits for so many permits.
async fn turn(of: &Arc<Semaphore>, permits: u32) -> Answer<Permit> {
    let Ok(turn) = tokio::time::timeout(TURN_WAIT, of.clone().acquire_many_owned(permits)).await else {
        let detail = format!("the request had no turn within {} s", TURN_WAIT.as_secs());
        return Err(Problem::new("too_many", detail).try_this("come again in a second"));
    };
    Ok(turn.expect("it is never closed"))
}

fn kind_of(request: &Request) -> Kind {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Kind::Writes;
    }
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let follows = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "follow=true"));
    if follows || accept.contains("text/event-stream") { Kind::Follows } else { Kind::Reads }
}

/// The answer, with what is given back when it has been sent.
fn holding<H: Send + Unpin + 'static>(response: Response, held: H) -> Response {
    response.map(|body| Body::new(Held::new(body, held)))
}

/// Keeps room for an answer of at most so many KiB from before it is made, and only as much as it has until it is sent.
pub(crate) async fn keep_room(
    State((admission, most_kib)): State<(Arc<Admission>, u32)>,
    request: Request,
    next: Next,
) -> Answer<Response> {
    let mut room = turn(&admission.room, most_kib).await?;
    let response = next.run(request).await;
    // A stream has its own bound.
    let kib = response.body().size_hint().exact().map_or(0, |bytes| usize::try_from(bytes.div_ceil(1 << 10)).unwrap_or(usize::MAX));
    drop(room.split(room.num_permits().saturating_sub(kib)));
    Ok(holding(response, room))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, uri: &str, accept: &str) -> Request {
        Request::builder().method(method).uri(uri).header("accept", accept).body(Body::empty()).expect("a request")
    }

    #[test]
    fn no_kind_keeps_another_out() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let admission = Admission::new(16, runtime.handle().clone());
        for (kind, doors) in [(Kind::Follows, 2), (Kind::Reads, 8), (Kind::Writes, 4)] {
            let inside: Vec<Permit> = (0..doors).map(|_| admission.enter(kind).expect("a door")).collect();
            assert!(admission.enter(kind).is_err(), "{kind:?}: one more than {doors}");
            std::mem::forget(inside);
        }
    }

    #[test]
    fn what_follows_is_told_from_what_reads() {
        assert_eq!(kind_of(&request("GET", "/api/v1/decisions?kind=tick", "text/event-stream")), Kind::Follows);
        assert_eq!(kind_of(&request("GET", "/api/v1/runs/r/logs?from=0&follow=true", "*/*")), Kind::Follows);
        assert_eq!(kind_of(&request("GET", "/api/v1/runs?count=true", "*/*")), Kind::Reads);
        assert_eq!(kind_of(&request("DELETE", "/api/v1/jobs/a", "*/*")), Kind::Writes);
    }
}
