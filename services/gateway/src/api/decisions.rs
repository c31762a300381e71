//! Journal entries, listed or followed as server-sent events.

use super::input;
use crate::App;
use crate::problem::{Answer, Problem};
use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use orrery_audit::entries::journal_of;
use orrery_audit::{EntryView, Filter, Place, read_some};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// What is read ahead for one who follows.
const AHEAD: Limits = Limits { entries: 256, bytes: 256 << 10 };
/// Bytes of an answer's entries.
const LISTED: usize = 4 << 20;
/// Bytes of a journal that one request looks at.
const SCANNED: usize = 64 << 20;
/// Between a change and the look at it.
const GATHER: Duration = Duration::from_millis(20);

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Answer<Response> {
    let filter = filter(&query)?;
    let service = query.get("service").map_or("trigger", String::as_str).to_owned();
    if !matches!(service.as_str(), "trigger" | "allocator") {
        return Err(Problem::new("malformed", format!("service: {service:?} is neither trigger nor allocator")));
    }
    let limit = input::limit(query.get("limit"), 100, 1_000)?;
    let begin = match (super::header_text(&headers, "last-event-id"), query.get("from")) {
        (Some(last_seen), _) => Some(Begin::behind(&last_seen)?),
        (None, Some(from)) => Some(Begin::from(from)?),
        (None, None) => None,
    };
    let follows = super::header_text(&headers, header::ACCEPT.as_str()).is_some_and(|accept| accept.contains("text/event-stream"));
    let reader = Reader { app, service, filter };
    if follows {
        return Ok(reader.follow(begin));
    }
    let found = reader.read(begin.unwrap_or_default(), Limits { entries: limit, bytes: LISTED }).await?;
    let items: Vec<&RawValue> = found.items.iter().map(|item| &*item.json).collect();
    Ok(Json(Listed { items, next: found.next, more: found.more }).into_response())
}

/// The answer to who lists.
#[derive(Serialize)]
struct Listed<'v> {
    items: Vec<&'v RawValue>,
    next: i64,
    more: bool,
}

fn filter(query: &BTreeMap<String, String>) -> Answer<Filter> {
    let job = query.get("job").map(|job| orrery_model::id::JobName::with_default_namespace(job)).transpose()?;
    Ok(Filter {
        job: job.map(|job| job.to_string()),
        run: query.get("run").cloned(),
        agent: query.get("agent").cloned(),
        topic: query.get("topic").cloned(),
        kind: query.get("kind").cloned(),
        since: input::time("since", query.get("since"))?,
        until: input::time("until", query.get("until"))?,
    })
}

struct Reader {
    app: Arc<App>,
    service: String,
    filter: Filter,
}

/// Where a reading begins.
#[derive(Debug, Clone, Default)]
struct Begin {
    /// At the record at this offset.
    offset: i64,
    /// Behind this entry.
    behind: Option<Place>,
}

impl Begin {
    fn behind(place: &str) -> Answer<Self> {
        let place: Place = place.parse().map_err(|why| Problem::new("malformed", why))?;
        Ok(Self { offset: place.offset, behind: Some(place) })
    }

    /// At a record, as an answer's `next` names it, or behind an entry.
    fn from(text: &str) -> Answer<Self> {
        text.parse().map_or_else(|_| Self::behind(text), |offset| Ok(Self { offset, behind: None }))
    }
}

/// An entry as it is sent.
struct Item {
    id: String,
    json: Box<RawValue>,
}

/// What one reading found.
struct Found {
    items: Vec<Item>,
    /// The record to go on from.
    next: i64,
    /// True if a limit ended it before the journal's end.
    more: bool,
}

/// How much one reading may find.
#[derive(Clone, Copy)]
struct Limits {
    entries: usize,
    /// Bytes of the entries, as they are sent.
    bytes: usize,
}

impl Reader {
    /// The next entries.
    async fn read(&self, begin: Begin, limits: Limits) -> Answer<Found> {
        let (app, service, filter) = (self.app.clone(), self.service.clone(), self.filter.clone());
        self.app.admission.read(move || read(&app, &service, &begin, limits, &filter)).await?
    }

    /// Server-sent events: from there on, or from now on. What is read ahead for one who does not take it is bounded,
    /// and so is how long that is waited for (`serving`).
    fn follow(self, begin: Option<Begin>) -> Response {
        let seen = self.app.views.seen();
        let now = if self.service == "trigger" { seen.trigger } else { seen.allocator };
        let begin = begin.unwrap_or(Begin { offset: now, behind: None });
        let changes = self.app.views.changes();
        let state = (self, changes, begin, VecDeque::<Item>::new());
        let events = stream::unfold(state, |(reader, mut changes, mut begin, mut ahead)| async move {
            loop {
                if let Some(Item { id, json }) = ahead.pop_front() {
                    let event = Event::default().id(id).event(&reader.service).data(json.get());
                    return Some((Ok::<Event, Infallible>(event), (reader, changes, begin, ahead)));
                }
                changes.borrow_and_update();
                let found = reader.read(begin, AHEAD).await.ok()?;
                begin = Begin { offset: found.next, behind: None };
                ahead.extend(found.items);
                if ahead.is_empty() && !found.more {
                    if changes.changed().await.is_err() {
                        return None;
                    }
                    // What comes within this time is read at once, by all who follow.
                    tokio::time::sleep(GATHER).await;
                }
            }
        });
        Sse::new(events).keep_alive(KeepAlive::default()).into_response()
    }
}

fn read(app: &App, service: &str, begin: &Begin, limits: Limits, filter: &Filter) -> Answer<Found> {
    let (mut items, mut bytes, mut last, mut full_at) = (Vec::new(), 0, None, None);
    let mut take = |view: EntryView| {
        let place = &view.place;
        if begin.behind.as_ref().is_some_and(|after| (place.offset, place.item) <= (after.offset, after.item)) {
            return ControlFlow::Continue(());
        }
        // Whole records only: a position names a record.
        if (items.len() >= limits.entries || bytes >= limits.bytes) && last != Some(place.offset) {
            full_at = Some(place.offset);
            return ControlFlow::Break(());
        }
        last = Some(place.offset);
        let json = to_raw_value(&view).expect("an entry has only text keys");
        bytes += json.get().len();
        items.push(Item { id: view.place.to_string(), json });
        ControlFlow::Continue(())
    };
    let (log, cluster) = (&*app.config.log, &app.config.cluster);
    let journal = journal_of(cluster, service, 0);
    let end = log.end_offset(&journal)?;
    let read = read_some(log, cluster, (service, 0), (begin.offset, SCANNED), filter, &mut take)?;
    Ok(Found { items, next: full_at.unwrap_or(read), more: full_at.is_some() || read < end })
}
