//! Health, metrics, and what the cluster consists of.

use crate::App;
use crate::problem::Problem;
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// The views look at the log each second, and after each change.
const VIEWS_PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn healthz() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

pub(super) async fn readyz(State(app): State<Arc<App>>) -> Result<Json<Value>, Problem> {
    ready(&app).map_err(|why| Problem::new("unavailable", why).try_this("come again in a second"))?;
    Ok(Json(json!({"status": "ready"})))
}

/// Why this process is not ready, if it is not.
pub(crate) fn ready(app: &App) -> Result<(), String> {
    if !app.views.seen().ready {
        return Err("the views are still being read from the log".into());
    }
    let silent = app.views.silent_for();
    if silent > VIEWS_PATIENCE {
        return Err(format!("the views have not been able to follow the log for {} s", silent.as_secs()));
    }
    (app.config.ready)()
}

pub(super) async fn status(State(app): State<Arc<App>>) -> Result<Json<Value>, Problem> {
    let topics: Vec<Value> = {
        let reader = app.clone();
        let read = move || {
            let (mut all, app) = (Vec::new(), reader);
            for topic in app.config.log.topics()? {
                for partition in 0..topic.partitions {
                    let at = orrery_log::TopicPartition::new(&topic.name, partition);
                    let (start, end) = (app.config.log.start_offset(&at)?, app.config.log.end_offset(&at)?);
                    all.push(json!({"topic": topic.name, "partition": partition, "start": start, "end": end}));
                }
            }
            Ok::<_, Problem>(all)
        };
        app.admission.read(read).await??
    };
    let (seen, state) = (app.views.seen(), app.views.read());
    let (known, lost) = (state.agents().count(), state.lost_agents());
    let (tasks, waiting) = (state.task_count(), state.waiting().count());
    Ok(Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "ready": ready(&app).is_ok(),
        "trigger_shards": app.config.cluster.trigger_shards,
        "cells": app.config.cluster.cells,
        "jobs": state.jobs.len(),
        "runs": state.runs.counts(),
        "agents": {"known": known, "lost": lost},
        "tasks": {"waiting": waiting, "placed": tasks - waiting},
        "journals": {"trigger": seen.trigger, "allocator": seen.allocator},
        "topics": topics,
    })))
}

/// What the process counted, and what the views show.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let mut text = (app.config.render_metrics)();
    let state = app.views.read();
    gauge(&mut text, "orrery_jobs", "Accepted definitions.", [("", "", state.jobs.len())]);
    let by_state = state.runs.counts().into_iter().map(|(state, count)| ("state", state, count));
    gauge(&mut text, "orrery_runs", "Runs shown, by state.", by_state);
    let (known, lost) = (state.agents().count(), state.lost_agents());
    gauge(&mut text, "orrery_agents", "Agents, by state.", [("state", "joined", known - lost), ("state", "lost", lost)]);
    let pending = pending_by_reason(&state);
    gauge(
        &mut text,
        "orrery_tasks_pending",
        "Waiting tasks, by reason; a task with several counts for each.",
        pending.iter().map(|(reason, count)| ("reason", reason.as_str(), *count)),
    );
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

fn gauge<'v>(text: &mut String, name: &str, help: &str, values: impl IntoIterator<Item = (&'v str, &'v str, usize)>) {
    let write = || -> std::fmt::Result {
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge")?;
        for (label, value, count) in values {
            if label.is_empty() { writeln!(text, "{name} {count}")? } else { writeln!(text, "{name}{{{label}=\"{value}\"}} {count}")? }
        }
        Ok(())
    };
    write().expect("a text takes what is written");
}

/// Most tasks whose reasons are worked out for one scrape.
const SCRAPED_TASKS: usize = 1_000;

fn pending_by_reason(state: &crate::views::ViewState) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let agents = state.candidates();
    for (cell, _, task) in state.waiting().take(SCRAPED_TASKS) {
        for reason in orrery_allocator::place::reasons(&agents[&cell], &task.spec) {
            *counts.entry(reason.code).or_default() += 1;
        }
    }
    counts
}
