//! What an auditor waits for: proofs, explanations, what would have been, what would come.

use crate::Result;
use crate::clock::{MS, monotonic_ns, seconds_since};
use crate::home::Home;
use crate::metric::{Metric, metric, percentile};
use crate::stamp::Stamps;
use crate::suite::Context;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Topic whose events run `/bin/true`, three of four.
const TOPIC: &str = "bench-audit";
/// Events sent at once: a day has no one moment at which all of its runs wait.
const ROUND: usize = 4_000;
/// Explanations asked for.
const EXPLAINED: usize = 200;
/// Jobs of the forecast, and how often they run: most of them every day.
const JOBS: usize = 1_000;
const AGENTS: usize = 20;

/// Real runs, until the journals have so many entries; the rate is that of the runs.
pub(crate) fn history(context: &mut Context) -> Result<Vec<Metric>> {
    let events = context.sizes.audited_events;
    let runs = events / 4 * 3;
    let mut home = Home::start()?;
    home.define("audited", &json!({"event": TOPIC, "when": "data.n % 4 != 3"}), &["/bin/true".into()])?;
    let began = monotonic_ns();
    for done in (ROUND..=events).step_by(ROUND) {
        home.events(TOPIC, ROUND)?;
        home.wait_for_count("succeeded", done / 4 * 3, &Stamps::new()?)?;
    }
    let rate = runs as f64 / seconds_since(began);
    home.kill();
    context.finished = Some(home);
    Ok(vec![metric("history_runs_per_s", rate, "1/s")])
}

/// `audit verify` of that history. Each journal is verified on a thread of its own.
pub(crate) fn verify(context: &mut Context) -> Result<Vec<Metric>> {
    let (told, _) = orrery(&["audit", "verify", "--data-dir", &folder(context)?])?;
    let number = |name: &str| told[name].as_f64().ok_or_else(|| format!("no {name}: {told}"));
    Ok(vec![metric("entries", number("entries")?, ""), metric("verify_entries_per_s", number("entries_per_s")?, "1/s")])
}

/// The same history under another policy.
pub(crate) fn replay(context: &mut Context) -> Result<Vec<Metric>> {
    let (told, seconds) = orrery(&["audit", "replay", "--policy", "worst-fit", "--data-dir", &folder(context)?])?;
    let runs = told["changed"]["runs"].as_u64();
    if runs != Some(context.sizes.audited_events as u64 / 4 * 3) {
        return Err(format!("{runs:?} runs were decided again"));
    }
    Ok(vec![metric("replay_day_s", seconds, "s")])
}

/// Runs picked from all over that history, each explained by a server that has just started.
pub(crate) fn explain(context: &mut Context) -> Result<Vec<Metric>> {
    let home = context.finished.as_mut().ok_or("there is no history")?;
    home.resume();
    let runs = home.runs_apart(EXPLAINED)?;
    let mut took = Vec::with_capacity(runs.len());
    for run in runs {
        let began = monotonic_ns();
        let told = home.get(&format!("/api/v1/explain/run/{run}"))?;
        took.push(monotonic_ns() - began);
        if told["decisions"].as_array().is_none_or(Vec::is_empty) {
            return Err(format!("{run} is not explained: {told}"));
        }
    }
    home.kill();
    let ms = |percent| percentile(&took, percent).map(|ns| ns as f64 / MS as f64);
    Ok(vec![metric("explain_ms.p50", ms(50)?, "ms"), metric("explain_ms.p99", ms(99)?, "ms")])
}

/// A week of a thousand jobs: 700 every day, 250 every hour, 50 every ten minutes.
pub(crate) fn forecast(_context: &mut Context) -> Result<Vec<Metric>> {
    let folder = tempfile::tempdir().map_err(|e| format!("no temporary folder: {e}"))?;
    let (jobs, agents) = (folder.path().join("jobs.yaml"), folder.path().join("agents.yaml"));
    write(&jobs, &(0..JOBS).map(job).collect::<String>())?;
    write(&agents, &(0..AGENTS).map(|n| format!("- {{agent: a{n}, cpus: 16, memory: 64GiB}}\n")).collect::<String>())?;
    let (jobs, agents) = (jobs.display().to_string(), agents.display().to_string());
    let args = ["simulate", "--jobs", &jobs, "--agents", &agents, "--from", "2026-11-23T00:00:00Z", "--for", "168h", "--duration", "5m"];
    let (told, seconds) = orrery(&args)?;
    let runs = told["figures"]["runs"].as_f64().ok_or_else(|| format!("no runs: {told}"))?;
    Ok(vec![metric("forecast_runs", runs, ""), metric("forecast_s", seconds, "s")])
}

fn job(n: usize) -> String {
    let minute = n % 60;
    let cron = match n {
        0..700 => format!("{minute} {} * * *", n % 24),
        700..950 => format!("{minute} * * * *"),
        _ => "*/10 * * * *".into(),
    };
    let mut text = String::new();
    let _written =
        writeln!(text, "---\nname: forecast/j{n}\ncommand: [x]\nresources: {{cpus: 1, memory: 1GiB}}\ntriggers: [{{cron: '{cron}'}}]");
    text
}

fn folder(context: &Context) -> Result<String> {
    let home = context.finished.as_ref().ok_or("there is no history")?;
    Ok(home.folder().display().to_string())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

/// A command's answer, and the seconds that it took as a process of its own.
fn orrery(args: &[&str]) -> Result<(Value, f64)> {
    let mut command = Command::new(orrery_tests::binary());
    command.args(args).args(["-o", "json"]).stdin(Stdio::null());
    let began = monotonic_ns();
    let done = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let seconds = seconds_since(began);
    if !done.status.success() {
        return Err(format!("{}: {}", done.status, String::from_utf8_lossy(&done.stderr)));
    }
    Ok((serde_json::from_slice(&done.stdout).map_err(|e| e.to_string())?, seconds))
}
