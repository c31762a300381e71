//! `orrery agent` and `orrery cluster`.

use super::client::encoded;
use super::output::{self, column, text, wide};
use super::{Context, Format};
use anyhow::Result;
use clap::Subcommand;
use serde_json::Value;
use std::process::ExitCode;

#[derive(Subcommand)]
pub(crate) enum Agent {
    /// List agents
    List,
    /// Show an agent and its tasks
    Get { agent: String },
}

#[derive(Subcommand)]
pub(crate) enum Cluster {
    /// What there is, and how far its parts have come
    Status,
    /// Show which versions of the logic the members have
    Logic {
        /// Let all shards decide by the newest version; refused while members do not have it
        #[arg(long)]
        raise: bool,
    },
}

impl Agent {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode> {
        let client = context.client()?;
        match self {
            Self::Get { agent } => output::one(context.format, &client.get(&format!("/api/v1/agents/{}", encoded(&agent)))?, "id"),
            Self::List => output::list(
                context.format,
                &client.get("/api/v1/agents")?,
                &[
                    column("AGENT", |agent| text(&agent["id"])),
                    column("STATE", |agent| if agent["lost"].is_object() { "lost".into() } else { "joined".into() }),
                    column("CPUS", |agent| of(agent, "cpus")),
                    column("MEMORY", |agent| of(agent, "memory")),
                    column("DISK", |agent| of(agent, "disk")),
                    column("TASKS", |agent| agent["tasks"].as_array().map_or(0, Vec::len).to_string()),
                    wide("ATTRIBUTES", |agent| {
                        let all = agent["attributes"].as_array().into_iter().flatten();
                        all.map(|a| format!("{}={}", text(&a["name"]), text(&a["value"]))).collect::<Vec<_>>().join(",")
                    }),
                ],
            ),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Used of total.
fn of(agent: &Value, name: &str) -> String {
    format!("{} / {}", text(&agent["used"][name]), text(&agent["total"][name]))
}

impl Cluster {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode> {
        if let Self::Logic { raise } = self {
            return logic(context, raise);
        }
        let status = context.client()?.get("/api/v1/cluster")?;
        match context.format {
            Format::Table | Format::Name => {
                let mut short = status.clone();
                short.as_object_mut().map(|fields| fields.remove("topics"));
                output::one(Format::Table, &short, "version");
            }
            format => output::one(format, &status, "version"),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn logic(context: &Context, raise: bool) -> Result<ExitCode> {
    let (client, path) = (context.client()?, "/api/v1/cluster/logic");
    let answer = if raise { client.post(path, &Value::Null)? } else { client.get(path)? };
    output::list(
        context.format,
        &answer,
        &[
            column("MEMBER", |member| text(&member["member"])),
            column("BINARY", |member| text(&member["binary"])),
            column("TRIGGER", |member| versions(member, "trigger")),
            column("ALLOCATOR", |member| versions(member, "allocator")),
            wide("TIME ZONES", |member| text(&member["tz_version"])),
        ],
    );
    if matches!(context.format, Format::Table | Format::Wide) {
        for service in answer["services"].as_array().into_iter().flatten() {
            println!("{}: version {} is in force", text(&service["service"]), service["in_force"]);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The versions of a decider's logic that a member has.
fn versions(member: &Value, service: &str) -> String {
    let mut all = member["logic"].as_array().into_iter().flatten();
    let of = all.find(|logic| logic["service"] == service).unwrap_or(&Value::Null);
    format!("{} to {}", of["oldest"], of["newest"])
}
