//! Setting a record aside that a shard cannot decide on.

use super::input;
use crate::App;
use crate::problem::{Answer, Problem};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use orrery_runtime::quarantine::{self, RecordPlace, ShardName};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    shard: String,
    record: String,
    reason: Option<String>,
}

/// A record's shard decides nothing about it from now on, unless it has already.
pub(super) async fn set_aside(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Answer<Json<Value>> {
    let by = input::principal(&headers)?;
    let Wanted { shard, record: place, reason } = input::json(body).await?;
    let malformed = |field: &str, why: String| Problem::new("malformed", format!("{field}: {why}"));
    let shard: ShardName = shard.parse().map_err(|why| malformed("shard", why))?;
    let place: RecordPlace = place.parse().map_err(|why| malformed("record", why))?;
    shard.check(&app.config.cluster).map_err(|why| malformed("shard", why))?;
    let reason = reason.unwrap_or_else(|| "no reason was given".to_owned());
    let answer = json!({"shard": shard.to_string(), "record": place.to_string(), "reason": reason});
    let cluster = app.config.cluster.clone();
    app.writing(move |log| quarantine::set_aside(log, &cluster, shard.of(), place, (by, reason))).await?;
    Ok(Json(answer))
}
