//! `orrery agent`.

use super::Context;
use super::client::encoded;
use super::output::{self, column, text, wide};
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

impl Agent {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode> {
        let client = context.client()?;
        match self {
            Self::Get { agent } => output::one(context.format, &client.get(&format!("/api/v1/agents/{}", encoded(&agent)))?, "id"),
            Self::List => output::list(
                context.format,
                &client.list("/api/v1/agents", &[])?,
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
