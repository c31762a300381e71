//! `orrery topics`: the cluster's topics on Kafka, as they should be.

use super::{Context, Format, exit, output};
use crate::serve::{Connection, wishes};
use anyhow::Result;
use clap::Subcommand;
use orrery_log::kafka::Difference;
use orrery_log::{Log, LogError};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Subcommand)]
pub(crate) enum Topics {
    /// Show what apply would change; exit status 6 if anything
    Plan,
    /// Make what is missing and set what differs; refuses to change a number of partitions
    Apply,
    /// Exit status 1 if anything is not as it should be
    Verify,
}

impl Topics {
    pub(crate) fn run(&self, context: &Context) -> Result<ExitCode> {
        let connection = Connection::open(&context.config)?;
        let wishes = wishes(&connection.cluster);
        let differences = connection.log.plan_topics(&wishes)?;
        show(context, wishes.len(), &differences);
        // Refused before anything is changed.
        if let Some(Difference::Partitions { topic, existing, wanted }) =
            differences.iter().find(|difference| matches!(difference, Difference::Partitions { .. }))
        {
            return Err(LogError::TopicDiffers { topic: topic.clone(), existing: *existing, wanted: *wanted }.into());
        }
        match self {
            Self::Plan if differences.is_empty() => Ok(ExitCode::SUCCESS),
            Self::Plan => Ok(ExitCode::from(exit::CHANGES_PENDING)),
            Self::Verify if differences.is_empty() => Ok(found(&connection)?),
            Self::Verify => Ok(ExitCode::from(exit::ERROR)),
            Self::Apply => {
                differences.iter().try_for_each(|difference| connection.log.apply_topic(difference))?;
                found(&connection)
            }
        }
    }
}

/// The cluster's numbers are stored with its first topics, and compared ever after (§4.3).
fn found(connection: &Connection) -> Result<ExitCode> {
    let port: Arc<dyn Log> = connection.log.clone();
    orrery_runtime::founding::found(&port, &connection.cluster)?;
    Ok(ExitCode::SUCCESS)
}

fn show(context: &Context, count: usize, differences: &[Difference]) {
    let items: Vec<Value> = differences.iter().flat_map(lines).collect();
    if matches!(context.format, Format::Json | Format::Yaml) {
        output::document(context.format, &json!({ "topics": count, "items": items }));
        return;
    }
    if items.is_empty() {
        println!("{count} topics are as they should be");
        return;
    }
    let mut table = output::plain_table();
    for item in &items {
        table.add_row(["topic", "change", "now", "then"].map(|field| output::text(&item[field])));
    }
    output::print_table(table);
}

fn lines(difference: &Difference) -> Vec<Value> {
    match difference {
        Difference::Missing(wish) => {
            vec![json!({"topic": wish.name, "change": "make", "now": "missing", "then": format!("{} partitions", wish.partitions)})]
        }
        Difference::Partitions { topic, existing, wanted } => {
            vec![
                json!({"topic": topic, "change": "refused", "now": format!("{existing} partitions"), "then": format!("{wanted} partitions")}),
            ]
        }
        Difference::Settings { topic, changes } => {
            changes.iter().map(|(name, now, then)| json!({"topic": topic, "change": name, "now": now, "then": then})).collect()
        }
    }
}
