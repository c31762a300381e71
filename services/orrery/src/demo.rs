//! `orrery demo`: three jobs in a private standalone, fired by time, by events and by each other's ends, and what can be said
//! about it afterwards.

use crate::cli::{Client, Context, metrics, serve::Signals};
use crate::standalone::{Settings, Standalone};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use orrery_log::{Log, clock};
use orrery_model::job::{Format, read_documents};
use orrery_model::messages::{RunRecord, RunState};
use orrery_model::topics;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// The example jobs, which are also files to read and to copy.
const JOBS: [&str; 3] = [
    include_str!("../../../config/jobs/every-second.yaml"),
    include_str!("../../../config/jobs/on-file.yaml"),
    include_str!("../../../config/jobs/after-both.yaml"),
];
/// Topic whose events fire the second job.
const TOPIC: &str = "files.arrived";
/// Files that every machine has.
const FILES: [&str; 4] = ["/etc/os-release", "/etc/passwd", "/proc/meminfo", "/proc/cpuinfo"];
/// Of a file, at most so much is sent.
const FILE_BYTES: usize = 64 << 10;
/// Files sent at once; the others follow one by one, each after a run of the last job.
const AT_ONCE: usize = 2;
/// It is over when this many runs of the last job have succeeded …
const WANTED: usize = 3;
/// … or after this time, as a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// The command's flags.
#[derive(Args)]
pub(crate) struct Demo {
    /// Go on serving afterwards, at the configured address
    #[arg(long)]
    keep: bool,
}

impl Demo {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode> {
        metrics::install()?;
        let folder = tempfile::Builder::new().prefix("orrery-demo-").tempdir().context("no temporary folder")?;
        let mut settings = Settings::from_config(&context.config)?;
        settings.data_dir = folder.path().to_owned();
        if !self.keep {
            settings.listen.set_port(0);
        }
        let running = Standalone::start(&settings)?;
        running.wait_until_ready()?;
        let code = show(&running)?;
        if self.keep {
            invite(&running, folder.path().to_owned());
            Signals::new()?.wait(|| running.failure())?;
        }
        Ok(code)
    }
}

fn show(running: &Standalone) -> Result<ExitCode> {
    let client = Client::new(&running.url(), &running.token, Some("demo".into()));
    println!("A private cluster of one serves at {}. Three jobs:", running.url());
    for document in JOBS {
        for spec in read_documents(document, Format::Yaml).map_err(|e| anyhow::anyhow!("an example job: {e}"))? {
            client.post("/api/v1/jobs", &serde_json::from_str(&spec.to_json())?)?;
            println!("  {:<20} {}", spec.name.to_string(), spec.description.unwrap_or_default());
        }
    }
    println!("\nEvents on {TOPIC}, each with a file of this machine:");
    for path in FILES.iter().take(AT_ONCE) {
        send_file(&client, path)?;
    }
    println!("\n{:<12} {:<18} {:<10} {:>8}  {:<44} output", "ended", "job", "state", "took", "cause");
    let last = timeline(running, &client)?;
    explain(&client, &last)?;
    verify(running)
}

fn send_file(client: &Client, path: &str) -> Result<()> {
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(()) };
    let text: String = text.chars().take(FILE_BYTES / 4).collect();
    let event = json!({"path": path, "bytes": text.len(), "text": text});
    let place = client.post(&format!("/api/v1/events/{TOPIC}"), &event)?;
    println!("  {path} → {}/{}/{}", place["topic"].as_str().unwrap_or_default(), place["partition"], place["offset"]);
    Ok(())
}

/// Tells each run's end as it comes; returns the last run of the job that comes after the others.
fn timeline(running: &Standalone, client: &Client) -> Result<RunRecord> {
    let bell = running.log.bell(&[&running.cluster.topic(topics::RUNS)]);
    let began = clock::monotonic();
    let (mut told, mut joined, mut more) = (BTreeSet::new(), Vec::new(), FILES.iter().skip(AT_ONCE));
    loop {
        let page = running.views().read().runs.page(&Default::default(), None, 1_000);
        let mut ended: Vec<RunRecord> = page.map(|page| page.items).unwrap_or_default();
        ended.retain(|run| run.state.is_final() && !told.contains(&run.run));
        ended.sort_by_key(|run| run.ended_at);
        for run in ended {
            tell(client, &run)?;
            told.insert(run.run.clone());
            if run.job.as_str().ends_with("after-both") && run.state == RunState::Succeeded {
                joined.push(run);
                more.next().map_or(Ok(()), |path| send_file(client, path))?;
            }
        }
        match joined.last() {
            Some(last) if joined.len() >= WANTED => return Ok(last.clone()),
            _ if began.elapsed() > PATIENCE => bail!("the jobs did not run within {} s; ORRERY_LOG=info says more", PATIENCE.as_secs()),
            _ => drop(bell.wait(Duration::from_millis(200))),
        }
    }
}

fn tell(client: &Client, run: &RunRecord) -> Result<()> {
    let mut output = String::new();
    std::io::Read::read_to_string(&mut client.stream(&format!("/api/v1/runs/{}/logs", run.run), "text/plain")?, &mut output)?;
    let took = run.end.as_ref().map_or_else(String::new, |end| format!("{} ms", end.wall_ms));
    let ended = run.ended_at.map_or_else(String::new, |at| at.to_string());
    let (clock, cause) = (ended.get(11..23).unwrap_or(&ended), run.cause.chars().take(44).collect::<String>());
    let first = output.lines().next().unwrap_or_default();
    println!("{clock:<12} {:<18} {:<10} {took:>8}  {cause:<44} {first}", run.job.to_string(), run.state.word());
    Ok(())
}

fn explain(client: &Client, run: &RunRecord) -> Result<()> {
    let answer = client.get(&format!("/api/v1/explain/run/{}", run.run))?;
    println!("\nWhy did {} run? {}", run.run, answer["why"].as_str().unwrap_or_default());
    for entry in answer["decisions"].as_array().into_iter().flatten() {
        let kinds: Vec<&str> = entry["kinds"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        println!(
            "  {:<30} {:<18} {}",
            entry["at"].as_str().unwrap_or_default(),
            entry["place"].as_str().unwrap_or_default(),
            kinds.join(", ")
        );
    }
    Ok(())
}

fn verify(running: &Standalone) -> Result<ExitCode> {
    let log: Arc<dyn Log> = running.log.clone();
    let began = clock::monotonic();
    let reports = orrery_audit::verify_all(&log, &running.cluster, None, &orrery_audit::Begin::default())?;
    let entries: i64 = reports.iter().map(|report| report.entries).sum();
    println!("\nEvery decision derived again from the recorded inputs: {entries} entries in {} ms", began.elapsed().as_millis());
    for report in &reports {
        let verdict =
            report.divergence.as_ref().map_or_else(|| "no divergence".to_owned(), |d| format!("DIVERGENCE at {}: {}", d.place, d.what));
        println!("  {}.journal: {} decisions, state hash {}, {verdict}", report.service, report.decisions, report.state_hash);
    }
    let good = reports.iter().all(|report| report.divergence.is_none());
    println!("\n{}", if good { "All is well." } else { "The journals do not agree with this version." });
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn invite(running: &Standalone, folder: PathBuf) {
    println!("\nIt goes on serving until Ctrl-C. In another terminal:");
    println!("  export ORRERY_URL={} ORRERY_DATA_DIR={}", running.url(), folder.display());
    for line in [
        "orrery run list --limit 10",
        "orrery event send files.arrived --data '{\"path\": \"/etc/hosts\"}'",
        "orrery explain job demo/on-file",
        "orrery audit log --follow",
        "orrery job apply -f config/jobs",
    ] {
        println!("  {line}");
    }
}
