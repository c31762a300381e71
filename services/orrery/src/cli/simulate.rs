//! `orrery simulate` and `orrery audit replay`: what would be.

mod files;
mod show;

use super::{Context, Format, audit, job, output};
use anyhow::{Result, anyhow, bail};
use clap::Args;
use orrery_allocator::{Order, Placement, Policy};
use orrery_audit::whatif::{Change, Durations, JobDocument, Question, forecast, replay};
use orrery_model::id::JobName;
use orrery_model::time::{Timestamp, parse_span_ms};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// Flags of `orrery simulate`.
#[derive(Args)]
pub(crate) struct Simulate {
    /// Job documents: files or folders (YAML, TOML or JSON); - is standard input
    #[arg(long, required = true)]
    jobs: Vec<PathBuf>,
    /// Agents: a list of agent, cpus, memory, disk, attributes, cell (YAML or JSON)
    #[arg(long)]
    agents: PathBuf,
    /// First time (RFC 3339)
    #[arg(long, value_parser = Timestamp::parse)]
    from: Timestamp,
    /// How long, such as 24h
    #[arg(long = "for", value_name = "SPAN", value_parser = span)]
    length_ms: i64,
    /// Events to come, one JSON object a line: {"at": …, "topic": …, "key": …, "data": …}
    #[arg(long)]
    events: Option<PathBuf>,
    /// Which agent is given a task: best-fit, worst-fit or first-fit
    #[arg(long, value_name = "PLACEMENT", default_value_t)]
    policy: Placement,
    /// Who is next: priority or fifo
    #[arg(long, default_value_t)]
    order: Order,
    /// How long an attempt lasts
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = span)]
    duration: i64,
    /// How long attempts of single jobs last: a map of job to span (YAML or JSON)
    #[arg(long)]
    durations: Option<PathBuf>,
}

impl Simulate {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode> {
        let documents = job::parents_first(job::documents(&self.jobs)?);
        let jobs = documents.into_iter().map(|(_, spec)| JobDocument { name: spec.name.to_string(), document: spec.to_json() });
        let by_job = self.durations.as_deref().map(files::durations).transpose()?.unwrap_or_default();
        let asked = Question {
            jobs: jobs.collect(),
            agents: files::agents(&self.agents)?,
            events: self.events.as_deref().map(files::events).transpose()?.unwrap_or_default(),
            from: self.from,
            length_ms: self.length_ms,
            durations: Durations { default_ms: self.duration, by_job },
            policy: Policy { placement: self.policy, order: self.order },
        };
        if let Some(job) = asked.durations.by_job.keys().find(|job| !asked.jobs.iter().any(|known| known.name == job.as_str())) {
            bail!("--durations names {job}, which none of the --jobs defines; correct the name or take it out");
        }
        let found = forecast(&asked)?;
        match context.format {
            Format::Json | Format::Yaml => output::document(context.format, &serde_json::to_value(&found)?),
            Format::Name => found.timeline.iter().for_each(|run| println!("{}", run.run)),
            Format::Table | Format::Wide => show::forecast(&found, context.format),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Flags of `orrery audit replay`.
#[derive(Args)]
pub(crate) struct Replay {
    /// Which agent is given a task: best-fit, worst-fit or first-fit
    #[arg(long, value_name = "PLACEMENT")]
    policy: Option<Placement>,
    /// Who is next: priority or fifo
    #[arg(long)]
    order: Option<Order>,
    /// Agents instead of the recorded ones: a list of agent, cpus, memory, disk, attributes, cell (YAML or JSON)
    #[arg(long)]
    agents: Option<PathBuf>,
    /// Another priority of a job: job=number
    #[arg(long, value_name = "JOB=N", value_parser = priority)]
    priority: Vec<(JobName, i32)>,
    /// First time (RFC 3339); default the beginning of the journals
    #[arg(long, value_parser = Timestamp::parse)]
    from: Option<Timestamp>,
    /// Time behind the last (RFC 3339); default the end of the journals
    #[arg(long, value_parser = Timestamp::parse)]
    to: Option<Timestamp>,
}

impl Replay {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode> {
        let change = Change {
            placement: self.policy,
            order: self.order,
            agents: self.agents.as_deref().map(files::agents).transpose()?,
            priorities: self.priority.into_iter().collect(),
            resources: BTreeMap::new(),
        };
        if change == Change::default() {
            bail!("nothing is to be changed; name --policy, --order, --agents or --priority");
        }
        let (log, cluster) = audit::open(context)?;
        let found = replay(&log, &cluster, &change, self.from, self.to)?;
        match context.format {
            Format::Json | Format::Yaml => output::document(context.format, &serde_json::to_value(&found)?),
            Format::Name => found.gained.iter().chain(&found.lost).for_each(|wait| println!("{}", wait.job)),
            Format::Table | Format::Wide => show::comparison(&found),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn span(text: &str) -> Result<i64, String> {
    parse_span_ms(text)
}

/// `job=number`.
fn priority(text: &str) -> Result<(JobName, i32)> {
    let (job, number) = text.split_once('=').ok_or_else(|| anyhow!("{text:?} is not job=number, such as shop/receipt=90"))?;
    let job = JobName::with_default_namespace(job)?;
    let number = number.parse().ok().filter(|number| (0..=100).contains(number));
    Ok((job, number.ok_or_else(|| anyhow!("the priority in {text:?} is not a number from 0 to 100"))?))
}
