//! `orrery job`.

use super::client::job_path;
use super::output::{self, column, text, time, wide};
use super::{Context, run};
use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use orrery_model::id::JobName;
use orrery_model::job::{Format, JobSpec, read_documents};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Subcommand)]
pub(crate) enum Job {
    /// Define or change jobs from files (YAML, TOML or JSON)
    Apply {
        /// Files or folders; - is standard input
        #[arg(short, long = "file", required = true)]
        file: Vec<PathBuf>,
    },
    /// Define one job from flags
    Create(Box<Create>),
    /// List jobs
    List {
        /// Only names that begin so
        prefix: Option<String>,
    },
    /// Show a job
    Get { job: String },
    /// Delete a job and end its runs
    Delete { job: String },
    /// Run a job now
    Run {
        job: String,
        /// Value for {{ args.name }}: name=value
        #[arg(long)]
        arg: Vec<String>,
        /// Wait until the run has ended
        #[arg(long)]
        wait: bool,
        /// Repeats with the same key within a day get the first run
        #[arg(long)]
        key: Option<String>,
    },
    /// Start nothing more of a job
    Pause { job: String },
    /// Let a paused job go on
    Resume { job: String },
}

/// Flags like those of the predecessors' clients.
#[derive(Args)]
pub(crate) struct Create {
    /// Name, or namespace/name
    name: String,
    /// Cron expression (unix dialect)
    #[arg(long)]
    cron: Vec<String>,
    /// Zone of --cron and --schedule
    #[arg(long)]
    zone: Option<String>,
    /// ISO 8601 repeating interval: R/2026-11-21T00:00:00Z/PT1H
    #[arg(long, alias = "interval")]
    schedule: Vec<String>,
    /// One time (RFC 3339)
    #[arg(long)]
    at: Vec<String>,
    /// Topic whose events start it
    #[arg(long)]
    event: Option<String>,
    /// CEL predicate over the event
    #[arg(long, requires = "event")]
    when: Option<String>,
    /// Which events count: latest, earliest, or a time (RFC 3339)
    #[arg(long, requires = "event")]
    from: Option<String>,
    /// Jobs that it runs after, all of them
    #[arg(long, alias = "parent", value_delimiter = ',')]
    after: Vec<String>,
    /// Processors
    #[arg(long)]
    cpus: Option<String>,
    /// Memory, such as 256MiB
    #[arg(long, alias = "mem")]
    memory: Option<String>,
    /// Disk, such as 1GiB
    #[arg(long)]
    disk: Option<String>,
    /// Environment: NAME=value
    #[arg(long)]
    env: Vec<String>,
    /// Attempts after the first
    #[arg(long)]
    retries: Option<i32>,
    /// An attempt is ended after this long, such as 1h
    #[arg(long)]
    timeout: Option<String>,
    /// Constraint on the agent: zone == eu-1
    #[arg(long)]
    constraint: Vec<String>,
    /// allow, forbid, queue or replace
    #[arg(long)]
    concurrency: Option<String>,
    /// A script for /bin/sh -c, instead of a command
    #[arg(long, conflicts_with = "argv")]
    shell: Option<String>,
    /// The command, behind --
    #[arg(last = true)]
    argv: Vec<String>,
}

impl Job {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode> {
        let client = context.client()?;
        match self {
            Self::Apply { file } => return apply(context, &file),
            Self::Create(create) => applied(context, &client.post("/api/v1/jobs", &create.document()?)?),
            Self::List { prefix } => list(context, &client.list("/api/v1/jobs", &[("prefix", prefix)])?),
            Self::Get { job } => output::one(context.format, &client.get(&job_path(&job)?)?, "name"),
            Self::Delete { job } => output::one(context.format, &client.delete(&job_path(&job)?)?, "deleted"),
            Self::Run { job, arg, wait, key } => {
                let args: Map<String, Value> = arg.iter().map(|pair| pair_of(pair, "--arg")).collect::<Result<_>>()?;
                let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
                headers.extend(key.map(|key| ("idempotency-key".to_owned(), key)));
                let body = json!({"args": args}).to_string();
                let started = client.post_bytes(&format!("{}/run", job_path(&job)?), body.as_bytes(), &headers)?;
                if wait {
                    return run::wait(context, started["id"].as_str().unwrap_or_default(), None);
                }
                run::show(context, &started);
            }
            Self::Pause { job } => output::one(context.format, &client.post(&format!("{}/pause", job_path(&job)?), &Value::Null)?, "name"),
            Self::Resume { job } => {
                output::one(context.format, &client.post(&format!("{}/resume", job_path(&job)?), &Value::Null)?, "name")
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// `name=value`.
pub(super) fn pair_of(pair: &str, flag: &str) -> Result<(String, Value)> {
    let (name, value) = pair.split_once('=').with_context(|| format!("{flag} {pair:?} is not name=value"))?;
    Ok((name.to_owned(), value.into()))
}

fn list(context: &Context, answer: &Value) {
    output::list(
        context.format,
        answer,
        &[
            column("JOB", |job| text(&job["name"])),
            column("STATE", |job| if job["paused"] == true { "paused".into() } else { "ready".into() }),
            column("NEXT", |job| time(&job["next"])),
            column("LAST RUN", |job| text(&job["last_run"]["state"])),
            wide("VERSION", |job| text(&job["version"])),
            wide("DEFINED", |job| time(&job["defined_at"])),
            wide("BY", |job| text(&job["principal"])),
        ],
    );
}

fn applied(context: &Context, job: &Value) {
    for warning in job["warnings"].as_array().into_iter().flatten() {
        eprintln!("warning: {}: {}", text(&job["name"]), text(warning));
    }
    match context.format {
        output::Format::Table | output::Format::Wide => println!("job {} version {}", text(&job["name"]), text(&job["version"])),
        format => output::one(format, job, "name"),
    }
}

/// Reads every document before the first is sent; each is applied by itself.
fn apply(context: &Context, paths: &[PathBuf]) -> Result<ExitCode> {
    let client = context.client()?;
    for (path, spec) in parents_first(documents(paths)?) {
        let document: Value = serde_json::from_str(&spec.to_json())?;
        let answer = client.post("/api/v1/jobs", &document).with_context(|| format!("{}: {} is not taken", path.display(), spec.name))?;
        applied(context, &answer);
    }
    Ok(ExitCode::SUCCESS)
}

/// The documents of these files and folders, each with its file.
pub(super) fn documents(paths: &[PathBuf]) -> Result<Vec<(PathBuf, JobSpec)>> {
    let mut documents = Vec::new();
    for path in paths.iter().map(|path| files_of(path)).collect::<Result<Vec<_>>>()?.iter().flatten() {
        let (text, format) = read_file(path)?;
        let specs = read_documents(&text, format).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?;
        documents.extend(specs.into_iter().map(|spec| (path.clone(), spec)));
    }
    Ok(documents)
}

/// Jobs before those that run after them; what waits for each other is left to the server to refuse.
pub(super) fn parents_first(mut documents: Vec<(PathBuf, JobSpec)>) -> Vec<(PathBuf, JobSpec)> {
    let mut ordered = Vec::with_capacity(documents.len());
    while !documents.is_empty() {
        let named: BTreeSet<JobName> = documents.iter().map(|(_, spec)| spec.name.clone()).collect();
        let free = |spec: &JobSpec| !spec.triggers.iter().flat_map(|trigger| &trigger.after).any(|parent| named.contains(parent));
        let place = documents.iter().position(|(_, spec)| free(spec)).unwrap_or(0);
        ordered.push(documents.remove(place));
    }
    ordered
}

fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).with_context(|| format!("{} cannot be read", path.display()))? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| ["yaml", "yml", "toml", "json"].iter().any(|known| extension == *known)) {
            files.push(file);
        }
    }
    if files.is_empty() {
        bail!("{} holds no .yaml, .toml or .json file", path.display());
    }
    files.sort();
    Ok(files)
}

fn read_file(path: &Path) -> Result<(String, Format)> {
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)?;
        return Ok((text, Format::Yaml));
    }
    text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let format = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => Format::Toml,
        Some("json") => Format::Json,
        _ => Format::Yaml,
    };
    Ok((text, format))
}

impl Create {
    fn document(self) -> Result<Value> {
        let mut triggers: Vec<Value> = Vec::new();
        let with_zone = |kind: &str, text: &String| match &self.zone {
            Some(zone) => json!({kind: text, "zone": zone}),
            None => json!({kind: text}),
        };
        triggers.extend(self.cron.iter().map(|cron| with_zone("cron", cron)));
        triggers.extend(self.schedule.iter().map(|interval| with_zone("interval", interval)));
        triggers.extend(self.at.iter().map(|at| json!({"at": at})));
        triggers.extend(self.event.as_ref().map(|topic| {
            let mut trigger = json!({"event": topic});
            for (field, value) in [("when", &self.when), ("from", &self.from)] {
                value.iter().for_each(|value| trigger[field] = json!(value));
            }
            trigger
        }));
        triggers.extend((!self.after.is_empty()).then(|| json!({"after": self.after})));
        let env: Map<String, Value> = self.env.iter().map(|pair| pair_of(pair, "--env")).collect::<Result<_>>()?;
        let mut document = json!({"name": self.name, "triggers": triggers, "env": env, "constraints": self.constraint});
        let fields = document.as_object_mut().expect("it was made as one");
        let mut resources = Map::new();
        for (name, value) in [("cpus", self.cpus), ("memory", self.memory), ("disk", self.disk)] {
            resources.extend(value.map(|value| (name.to_owned(), value.into())));
        }
        fields.insert("resources".into(), resources.into());
        fields.extend(self.retries.map(|max| ("retries".to_owned(), json!({"max": max}))));
        fields.extend(self.timeout.map(|timeout| ("timeout".to_owned(), timeout.into())));
        fields.extend(self.concurrency.map(|policy| ("concurrency".to_owned(), policy.into())));
        match self.shell {
            Some(script) => fields.insert("shell".into(), script.into()),
            None => fields.insert("command".into(), json!(self.argv)),
        };
        Ok(document)
    }
}
