//! `orrery explain`.

mod layout;

use super::client::{encoded, query};
use super::output::{self, column, text};
use super::{Context, Format, run};
use anyhow::Result;
use clap::Subcommand;
use orrery_audit::explain::EventPlace;
use orrery_model::id::JobName;
use serde_json::Value;
use std::process::ExitCode;

#[derive(Subcommand)]
pub(crate) enum Explain {
    /// Why a run is as it is
    Run {
        run: String,
        /// As of this time (RFC 3339)
        #[arg(long)]
        at: Option<String>,
    },
    /// Why a job ran, or did not
    Job {
        job: String,
        /// Around this time (RFC 3339)
        #[arg(long)]
        at: Option<String>,
    },
    /// What became of an event
    Event {
        /// Its place: orders.paid/0@17, or orders.paid/0/17 as `event send` prints it
        #[arg(value_name = "TOPIC/PARTITION@OFFSET")]
        place: EventPlace,
    },
    /// What happened to an agent
    Agent {
        agent: String,
        /// As of this time (RFC 3339)
        #[arg(long)]
        at: Option<String>,
    },
    /// Why tasks wait
    Pending,
}

impl Explain {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode> {
        let client = context.client()?;
        let (path, tell): (String, fn(&Value) -> Vec<String>) = match self {
            Self::Run { run, at } => (format!("/api/v1/explain/run/{}{}", run::id(&client, &run)?, query(&[("at", at)])), layout::run),
            Self::Job { job, at } => {
                (format!("/api/v1/explain/job/{}{}", JobName::with_default_namespace(&job)?, query(&[("at", at)])), layout::job)
            }
            Self::Event { place: EventPlace { topic, partition, offset } } => {
                (format!("/api/v1/explain/event/{}/{partition}/{offset}", encoded(&topic)), layout::event)
            }
            Self::Agent { agent, at } => (format!("/api/v1/explain/agent/{}{}", encoded(&agent), query(&[("at", at)])), layout::agent),
            Self::Pending => return pending(context, &client.get("/api/v1/explain/pending")?),
        };
        let answer = client.get(&path)?;
        match context.format {
            Format::Table | Format::Wide | Format::Name => {
                print(&tell(&answer));
                if context.format == Format::Wide {
                    decisions(&answer);
                }
                println!("Evidence: `orrery audit show PLACE` prints an entry whole, `orrery audit verify` proves them all.");
            }
            format => output::document(format, &answer),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print(lines: &[String]) {
    lines.iter().for_each(|line| println!("{}", line.trim_end()));
}

/// First the sum, then the tasks.
fn pending(context: &Context, answer: &Value) -> Result<ExitCode> {
    if matches!(context.format, Format::Table | Format::Wide) {
        print(&layout::pending(answer));
    }
    output::list(
        context.format,
        answer,
        &[
            column("ATTEMPT", |task| text(&task["attempt"])),
            column("JOB", |task| text(&task["job"])),
            column("CELL", |task| text(&task["cell"])),
            column("PRIORITY", |task| text(&task["priority"])),
            column("WAITS BECAUSE", |task| {
                let reasons = task["reasons"].as_array().into_iter().flatten();
                reasons.map(|reason| format!("{} ({})", text(&reason["code"]), text(&reason["detail"]))).collect::<Vec<_>>().join("; ")
            }),
        ],
    );
    Ok(ExitCode::SUCCESS)
}

/// All decisions, each with its place in the journal.
fn decisions(answer: &Value) {
    let mut table = output::plain_table();
    for entry in answer["decisions"].as_array().into_iter().flatten() {
        for (kind, decision) in entry["entry"]["decisions"].as_array().into_iter().flatten().filter_map(|d| d.as_object()?.iter().next()) {
            table.add_row([text(&entry["at"]), text(&entry["place"]), kind.replace('_', " "), about(decision)]);
        }
    }
    output::print_table(table);
}

/// What a decision is about, in a few words.
pub(super) fn about(decision: &Value) -> String {
    let record = &decision["record"];
    let of = |value: &Value, name: &str| value[name].as_str().map(|text| format!("{name}={text}"));
    let names = ["job", "run", "state", "reason", "attempt", "agent", "event", "answer", "detail", "slot", "next", "cause"];
    let mut parts: Vec<String> = names.iter().filter_map(|name| of(decision, name).or_else(|| of(record, name))).collect();
    parts.extend(of(&decision["spec"], "attempt").filter(|part| !parts.contains(part)));
    parts.extend(decision["entry"]["job"].as_str().map(|job| format!("job={job}")));
    parts.extend(decision["entry"]["version"].as_i64().map(|version| format!("version={version}")));
    for reason in decision["reasons"].as_array().into_iter().flatten() {
        parts.push(text(&reason["code"]));
    }
    parts.join(" ")
}
