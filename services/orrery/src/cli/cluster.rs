//! `orrery cluster`: what it consists of, who its members are, how far they have read.

use super::alerts::Alerts;
use super::output::{self, column, text, wide};
use super::{Context, Format, SERVICES};
use crate::serve::Connection;
use anyhow::Result;
use clap::Subcommand;
use orrery_log::{Log, TopicPartition, clock, kafka};
use orrery_runtime::membership::living;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;

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
    /// Show the processes that may own shards, and what each is assigned (on Kafka)
    Members,
    /// Show how far each input was read, as its reader told within the last seconds (on Kafka)
    Lag,
    /// Show what people should know of: runs that failed or were skipped, lost input, a journal that diverged
    Alerts(Alerts),
}

impl Cluster {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Status => status(context)?,
            Self::Logic { raise } => logic(context, raise)?,
            Self::Members => members(context)?,
            Self::Lag => lag(context)?,
            Self::Alerts(alerts) => alerts.run(context)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn status(context: &Context) -> Result<()> {
    let status = context.client()?.get("/api/v1/cluster")?;
    match context.format {
        Format::Table | Format::Name => {
            let mut short = status.clone();
            short.as_object_mut().map(|fields| fields.remove("topics"));
            output::one(Format::Table, &short, "version");
        }
        format => output::one(format, &status, "version"),
    }
    Ok(())
}

fn logic(context: &Context, raise: bool) -> Result<()> {
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
    Ok(())
}

/// The versions of a decider's logic that a member has.
fn versions(member: &Value, service: &str) -> String {
    let mut all = member["logic"].as_array().into_iter().flatten();
    let of = all.find(|logic| logic["service"] == service).unwrap_or(&Value::Null);
    format!("{} to {}", of["oldest"], of["newest"])
}

/// Who has announced itself within the last minutes, and what its group assigns it. An assignment is a hint: who owns a shard is in
/// the shard's journal.
fn members(context: &Context) -> Result<()> {
    let Connection { log, cluster } = Connection::open(&context.config)?;
    let (config, living) = (context.config.needs_kafka()?, living(&*log, &cluster, clock::wall())?);
    let mut items = Vec::new();
    for service in SERVICES {
        let assigned: BTreeMap<String, Vec<u32>> = kafka::members(&config, &cluster.topic(service))?.into_iter().collect();
        for member in living.iter().filter(|member| member.logic.iter().any(|logic| logic.service == service)) {
            items.push(json!({
                "member": member.member,
                "service": service,
                "in_group": assigned.contains_key(&member.member),
                "shards": assigned.get(&member.member).cloned().unwrap_or_default(),
                "binary": member.binary,
                "started": member.started.to_string(),
            }));
        }
    }
    output::list(
        context.format,
        &json!({ "items": items }),
        &[
            column("MEMBER", |member| text(&member["member"])),
            column("SERVICE", |member| text(&member["service"])),
            column("STATE", |member| if member["in_group"] == true { "in the group".into() } else { "gone".into() }),
            column("SHARDS", |member| {
                let shards = member["shards"].as_array().into_iter().flatten();
                shards.map(ToString::to_string).collect::<Vec<_>>().join(",")
            }),
            wide("BINARY", |member| text(&member["binary"])),
            wide("STARTED", |member| text(&member["started"])),
        ],
    );
    Ok(())
}

fn lag(context: &Context) -> Result<()> {
    let Connection { log, .. } = Connection::open(&context.config)?;
    let topics = log.topics()?;
    let all: Vec<TopicPartition> =
        topics.iter().flat_map(|topic| (0..topic.partitions).map(|partition| TopicPartition::new(&topic.name, partition))).collect();
    let mut items = Vec::new();
    for service in SERVICES {
        for (at, position) in log.told_positions(service, &all)? {
            let end = log.end_offset(&at)?;
            items.push(json!({"reader": service, "topic": at.topic, "partition": at.partition, "position": position, "end": end,
                "lag": (end - position).max(0)}));
        }
    }
    output::list(
        context.format,
        &json!({ "items": items }),
        &[
            column("READER", |input| text(&input["reader"])),
            column("TOPIC", |input| text(&input["topic"])),
            column("PARTITION", |input| text(&input["partition"])),
            column("POSITION", |input| text(&input["position"])),
            column("END", |input| text(&input["end"])),
            column("LAG", |input| text(&input["lag"])),
        ],
    );
    Ok(())
}
