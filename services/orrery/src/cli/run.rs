//! `orrery run`.

use super::client::{encoded, query};
use super::logs::Logs;
use super::output::{self, column, text, time, wide};
use super::{Client, Context, exit};
use anyhow::Result;
use clap::Subcommand;
use orrery_model::id::{JobName, RunId};
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(Subcommand)]
pub(crate) enum Run {
    /// List runs, newest first
    List {
        /// Of this job
        #[arg(long)]
        job: Option<String>,
        /// In these states, divided by commas
        #[arg(long)]
        state: Option<String>,
        /// Made at or after this time (RFC 3339)
        #[arg(long)]
        since: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show a run
    Get { run: String },
    /// Print the output of a run
    Logs {
        run: String,
        /// Go on until the run has ended
        #[arg(short, long)]
        follow: bool,
        /// Standard error instead of standard output
        #[arg(long)]
        stderr: bool,
        /// Which attempt; default the last
        #[arg(long)]
        attempt: Option<i32>,
    },
    /// Wait until a run has ended; exit status 5 if it did not succeed
    Wait {
        run: String,
        /// Give up after so many seconds
        #[arg(long)]
        timeout: Option<u64>,
    },
    /// End a run
    Cancel {
        run: String,
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
    /// One more attempt for a run that has ended without success
    Retry { run: String },
    /// Count a run that has ended without success as succeeded
    MarkSuccess { run: String },
}

impl Run {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode> {
        let client = context.client()?;
        match self {
            Self::List { job, state, since, limit } => {
                let limit = Some(limit.to_string());
                let query = query(&[("job", job), ("state", state), ("since", since), ("limit", limit)]);
                list(context, &client.get(&format!("/api/v1/runs{query}"))?);
            }
            Self::Get { run } => output::one(context.format, &client.get(&path(&client, &run)?)?, "id"),
            Self::Logs { run, follow, stderr, attempt } => {
                let (run, attempt) = (path(&client, &run)?, attempt.map(|attempt| attempt.to_string()));
                Logs { client: &client, run, attempt, stderr }.print(follow)?;
            }
            Self::Wait { run, timeout } => return wait(context, &run, timeout),
            Self::Cancel { run, reason } => {
                show(context, &client.post(&format!("{}/cancel", path(&client, &run)?), &json!({"reason": reason}))?)
            }
            Self::Retry { run } => show(context, &client.post(&format!("{}/retry", path(&client, &run)?), &Value::Null)?),
            Self::MarkSuccess { run } => show(context, &client.post(&format!("{}/mark-success", path(&client, &run)?), &Value::Null)?),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The path of a run, which may be named as `job@cause`.
pub(super) fn path(client: &Client, run: &str) -> Result<String> {
    Ok(format!("/api/v1/runs/{}", id(client, run)?))
}

/// A run's id; `job@cause` names the run that this cause makes.
pub(super) fn id(client: &Client, run: &str) -> Result<String> {
    let Some((job, cause)) = run.split_once('@') else { return Ok(encoded(run)) };
    let job = JobName::with_default_namespace(job)?;
    let known = client.get(&format!("/api/v1/jobs/{job}"))?;
    Ok(RunId::derive(&job, known["incarnation"].as_i64().unwrap_or(1), cause).to_string())
}

/// Waits for a run's end, telling its states on standard error.
pub(super) fn wait(context: &Context, run: &str, timeout_s: Option<u64>) -> Result<ExitCode> {
    let client = context.client()?;
    let path = path(&client, run)?;
    let began = orrery_log::clock::monotonic();
    let mut told = String::new();
    loop {
        let left = timeout_s.map_or(30, |limit| limit.saturating_sub(began.elapsed().as_secs())).min(30);
        let found = client.get(&format!("{path}?wait={left}"))?;
        let state = text(&found["state"]);
        if state != told {
            eprintln!("{} is {state}{}", text(&found["id"]), found["reason"].as_str().map_or_else(String::new, |why| format!(" ({why})")));
            told.clone_from(&state);
        }
        if !["waiting", "starting", "running"].contains(&state.as_str()) {
            show(context, &found);
            return Ok(if state == "succeeded" { ExitCode::SUCCESS } else { ExitCode::from(exit::RUN_FAILED) });
        }
        if timeout_s.is_some_and(|limit| began.elapsed().as_secs() >= limit) {
            eprintln!("error: the run is still {state}; see `orrery explain run {run}`");
            return Ok(ExitCode::from(exit::RUN_FAILED));
        }
    }
}

const COLUMNS: [output::Column; 9] = [
    column("RUN", |run| text(&run["id"])),
    column("JOB", |run| text(&run["job"])),
    column("STATE", |run| text(&run["state"])),
    column("CAUSE", |run| text(&run["cause"])),
    column("STARTED", |run| time(&run["started_at"])),
    column("TOOK", |run| {
        run["end"]["wall_ms"].as_i64().filter(|ms| *ms > 0).map_or_else(|| "-".into(), orrery_model::time::format_span_ms)
    }),
    column("AGENT", |run| text(&run["agent"])),
    wide("ATTEMPTS", |run| text(&run["attempts"])),
    wide("REASON", |run| text(&run["reason"])),
];

fn list(context: &Context, answer: &Value) {
    output::list(context.format, answer, &COLUMNS);
}

/// Shows one run.
pub(super) fn show(context: &Context, run: &Value) {
    match context.format {
        output::Format::Table | output::Format::Wide => output::list(context.format, &json!({"items": [run]}), &COLUMNS),
        format => output::one(format, run, "id"),
    }
}
