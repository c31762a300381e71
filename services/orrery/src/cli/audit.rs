//! `orrery audit`: reads the journals of a data folder, whether a server runs on it or not, or of a cluster on Kafka.

mod export;
mod state;
mod verify;

pub(crate) use verify::{earlier, read_key};

use super::explain::about;
use super::output::{self, text};
use super::{Context, Format, SERVICES};
use crate::standalone::LOG_DIR;
use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use orrery_audit::entries::entry_at;
use orrery_audit::{Filter, Place, cluster_of, journals, read_entries};
use orrery_log::embedded::EmbeddedLog;
use orrery_log::kafka::KafkaLog;
use orrery_log::{Log, LogError};
use orrery_model::id::JobName;
use orrery_model::time::Timestamp;
use orrery_runtime::messages::Cluster;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Subcommand)]
pub(crate) enum Audit {
    /// List journal entries
    Log(Which),
    /// Print one entry whole
    Show {
        /// Its place, as `audit log` and `explain` print it: trigger/0@1234.5
        place: Place,
    },
    /// Derive every decision again from the recorded inputs, and compare
    Verify(verify::Verify),
    /// Verify all journals, then sign their last entries
    Anchor(verify::SignAnchors),
    /// What was known at a point of the past: jobs, runs, agents, tasks
    State(state::StateAt),
    /// What differs between two points of the past
    Diff(state::Diff),
    /// Write the journals as files for other programs, or as a log to verify elsewhere
    Export(export::Export),
    /// Decide again on what was recorded, with another policy, other agents or other priorities, and compare
    Replay(super::simulate::Replay),
    /// Make a key that signs anchors: FILE for who signs, FILE.pub for who verifies
    Key { file: PathBuf },
}

#[derive(Args)]
pub(crate) struct Which {
    /// Only this service
    #[arg(long, value_parser = SERVICES)]
    service: Option<String>,
    /// Entries that speak of this job
    #[arg(long)]
    job: Option<String>,
    /// Entries that speak of this run
    #[arg(long)]
    run: Option<String>,
    /// Entries that speak of this agent
    #[arg(long)]
    agent: Option<String>,
    /// Entries that speak of this topic, or of a record of it
    #[arg(long)]
    topic: Option<String>,
    /// Entries with a decision or input of this kind (run_created, event_arrived)
    #[arg(long)]
    kind: Option<String>,
    /// Entries at or after this time (RFC 3339)
    #[arg(long)]
    since: Option<String>,
    /// Entries before this time
    #[arg(long)]
    until: Option<String>,
    /// Go on with new entries, from the server
    #[arg(short, long)]
    follow: bool,
}

impl Audit {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Log(which) if which.follow => follow(context, &which),
            Self::Log(which) => list(context, &which),
            Self::Show { place } => show(context, &place),
            Self::Verify(verify) => verify.run(context),
            Self::Anchor(anchor) => anchor.run(context),
            Self::Replay(replay) => replay.run(context),
            Self::State(state) => state.run(context),
            Self::Diff(diff) => diff.run(context),
            Self::Export(export) => export.run(context),
            Self::Key { file } => verify::make_key(&file),
        }
    }
}

/// The log of the data folder that the command line names; else the cluster's on Kafka, if brokers are configured; else that of the
/// usual data folder. To read.
pub(super) fn open(context: &Context) -> Result<(Arc<dyn Log>, Cluster)> {
    open_with(context, EmbeddedLog::open_read_only)
}

/// The same to write; that of a data folder only while no server runs on it.
pub(super) fn open_to_write(context: &Context) -> Result<(Arc<dyn Log>, Cluster)> {
    open_with(context, EmbeddedLog::open)
}

fn open_with<L: Log + 'static>(context: &Context, embedded: fn(&Path) -> Result<Arc<L>, LogError>) -> Result<(Arc<dyn Log>, Cluster)> {
    // A folder that is named on the command line is meant, whatever brokers the settings know: an exported log is proved by itself.
    let is_named = context.config.found("data_dir").is_some_and(|found| found.origin.starts_with("flag"));
    let log: Arc<dyn Log> = match context.config.kafka()?.filter(|_| !is_named) {
        Some(kafka) => KafkaLog::open(kafka)?,
        None => {
            let folder = context.config.data_dir()?.join(LOG_DIR);
            let opened = embedded(&folder);
            opened.with_context(|| format!("no log can be opened in {}; name the data folder with --data-dir", folder.display()))?
        }
    };
    let cluster = cluster_of(&*log, context.config.get("prefix").unwrap_or_default())?;
    Ok((log, cluster))
}

impl Which {
    fn filter(&self) -> Result<Filter> {
        let time = |name: &str, text: &Option<String>| {
            text.as_ref().map(|text| Timestamp::parse(text).map_err(|why| anyhow::anyhow!("--{name}: {why}"))).transpose()
        };
        Ok(Filter {
            job: self.job.as_deref().map(JobName::with_default_namespace).transpose()?.map(|job| job.to_string()),
            run: self.run.clone(),
            agent: self.agent.clone(),
            topic: self.topic.clone(),
            kind: self.kind.clone(),
            since: time("since", &self.since)?,
            until: time("until", &self.until)?,
        })
    }
}

fn list(context: &Context, which: &Which) -> Result<ExitCode> {
    let ((log, cluster), filter) = (open(context)?, which.filter()?);
    for of in journals(&cluster, which.service.as_deref()) {
        read_entries(&*log, &cluster, of, 0, &filter, &mut |view| {
            print_entry(context.format, &serde_json::to_value(&view).unwrap_or_default());
            ControlFlow::Continue(())
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One line per entry; as JSON one document per line.
fn print_entry(format: Format, view: &Value) {
    match format {
        Format::Json | Format::Yaml => println!("{view}"),
        Format::Name => println!("{}", text(&view["place"])),
        Format::Table | Format::Wide => {
            let decisions = view["entry"]["decisions"].as_array().into_iter().flatten().filter_map(|d| d.as_object()?.iter().next());
            let told: Vec<String> = decisions.map(|(kind, decision)| format!("{kind} {}", about(decision))).collect();
            let told = if told.is_empty() { text(&view["kinds"][0]) } else { told.join(" | ") };
            let actor = text(&view["entry"]["actor"]);
            // What nobody asked for is the service's own.
            let by = if actor == text(&view["service"]) { String::new() } else { format!(" by={actor}") };
            println!("{} {}{by} {told}", text(&view["at"]), text(&view["place"]));
        }
    }
}

fn follow(context: &Context, which: &Which) -> Result<ExitCode> {
    let service = which.service.clone().or_else(|| Some("trigger".into()));
    let named = [("job", &which.job), ("run", &which.run), ("agent", &which.agent), ("topic", &which.topic), ("kind", &which.kind)];
    let parameters: Vec<_> = [("service", service)].into_iter().chain(named.map(|(name, value)| (name, value.clone()))).collect();
    let path = format!("/api/v1/decisions{}", super::client::query(&parameters));
    let stream = BufReader::new(context.client()?.stream(&path, "text/event-stream")?);
    for line in stream.lines() {
        if let Some(data) = line?.strip_prefix("data:") {
            print_entry(context.format, &serde_json::from_str(data.trim()).unwrap_or_default());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(context: &Context, place: &Place) -> Result<ExitCode> {
    let (log, cluster) = open(context)?;
    let view = entry_at(&*log, &cluster, place)?;
    let format = if matches!(context.format, Format::Table | Format::Wide) { Format::Json } else { context.format };
    output::document(format, &view.entry);
    Ok(ExitCode::SUCCESS)
}
