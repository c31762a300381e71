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
use orrery_audit::{EntryView, Filter, Place, read_entries};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Entries read ahead for one who follows.
const AHEAD: usize = 256;

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
    let last_seen = super::header_text(&headers, "last-event-id").or_else(|| query.get("from").cloned());
    let from = last_seen.map(|text| text.parse::<Place>().map_err(|why| Problem::new("malformed", why))).transpose()?;
    let follows = super::header_text(&headers, header::ACCEPT.as_str()).is_some_and(|accept| accept.contains("text/event-stream"));
    let reader = Reader { app, service, filter };
    if follows {
        return Ok(reader.follow(from));
    }
    let offset = from.as_ref().map_or(0, |place| place.offset);
    let (items, next) = reader.read(offset, from, limit).await?;
    Ok(Json(json!({"items": items, "next": next})).into_response())
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

impl Reader {
    /// Entries from the record at `offset` on, behind the entry `after`; and where to go on.
    async fn read(&self, offset: i64, after: Option<Place>, limit: usize) -> Answer<(Vec<EntryView>, i64)> {
        let (app, service, filter) = (self.app.clone(), self.service.clone(), self.filter.clone());
        let read = move || {
            let mut items: Vec<EntryView> = Vec::new();
            let mut last_record = None;
            let mut take = |view: EntryView| {
                let place = &view.place;
                if after.as_ref().is_some_and(|after| (place.offset, place.item) <= (after.offset, after.item)) {
                    return ControlFlow::Continue(());
                }
                // Whole records only: a position names a record.
                if items.len() >= limit && last_record != Some(place.offset) {
                    return ControlFlow::Break(());
                }
                last_record = Some(view.place.offset);
                items.push(view);
                ControlFlow::Continue(())
            };
            let end = read_entries(&*app.config.log, &app.config.cluster, (&service, 0), offset, &filter, &mut take)?;
            let next = if items.len() >= limit { last_record.map_or(end, |offset| offset + 1) } else { end };
            Ok::<_, Problem>((items, next))
        };
        tokio::task::spawn_blocking(read).await?
    }

    /// Server-sent events: from the entry behind `after`, or from now on.
    fn follow(self, after: Option<Place>) -> Response {
        let seen = self.app.views.seen();
        let now = if self.service == "trigger" { seen.trigger } else { seen.allocator };
        let offset = after.as_ref().map_or(now, |place| place.offset);
        let changes = self.app.views.changes();
        let state = (self, changes, offset, after, VecDeque::<EntryView>::new());
        let events = stream::unfold(state, |(reader, mut changes, mut offset, mut after, mut ahead)| async move {
            loop {
                if let Some(view) = ahead.pop_front() {
                    let event = Event::default().id(view.place.to_string()).event(view.service).json_data(&view).ok()?;
                    return Some((Ok::<Event, Infallible>(event), (reader, changes, offset, after, ahead)));
                }
                changes.borrow_and_update();
                let (items, next) = reader.read(offset, after.take(), AHEAD).await.ok()?;
                offset = next;
                ahead.extend(items);
                if ahead.is_empty() && changes.changed().await.is_err() {
                    return None;
                }
            }
        });
        Sse::new(events).keep_alive(KeepAlive::default()).into_response()
    }
}
