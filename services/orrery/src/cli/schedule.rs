//! `orrery schedule`.

use super::client::job_path;
use super::{Context, Format, output};
use anyhow::{Result, bail};
use clap::Subcommand;
use orrery_model::job::{JobSpec, Trigger};
use orrery_model::time::Timestamp;
use serde_json::json;
use std::process::ExitCode;

#[derive(Subcommand)]
pub(crate) enum Schedule {
    /// The next times of cron expressions, repeating intervals, or a job's schedules
    Next {
        /// Expressions ("0 2 * * *", R/…/PT1H), or one job's name
        #[arg(required = true)]
        what: Vec<String>,
        /// How many
        #[arg(short, default_value_t = 5)]
        n: usize,
        /// Zone of cron expressions
        #[arg(long)]
        zone: Option<String>,
        /// From this time on (RFC 3339); default now
        #[arg(long)]
        from: Option<String>,
    },
}

impl Schedule {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode> {
        let Self::Next { what, n, zone, from } = self;
        let from = match from {
            Some(text) => Timestamp::parse(&text).map_err(|why| anyhow::anyhow!("--from: {why}"))?,
            None => orrery_log::clock::wall(),
        };
        let mut items = Vec::new();
        for (name, trigger, since) in triggers(context, &what, zone.as_deref(), from)? {
            let compiled = orrery_trigger::schedule::Schedule::compile(&trigger, since).map_err(|problem| anyhow::anyhow!("{problem}"))?;
            let Some(schedule) = compiled else { continue };
            let next: Vec<Timestamp> =
                std::iter::successors(schedule.next_after(from), |slot| schedule.next_after(*slot)).take(n).collect();
            items.push(json!({"schedule": name, "meaning": schedule.describe(), "next": next}));
        }
        match context.format {
            Format::Json | Format::Yaml => output::document(context.format, &json!({"items": items})),
            _ => {
                for item in &items {
                    println!("{}: {}", output::text(&item["schedule"]), output::text(&item["meaning"]));
                    item["next"].as_array().into_iter().flatten().for_each(|time| println!("  {}", output::text(time)));
                }
            }
        }
        if items.is_empty() {
            bail!("{} has no schedule", what.join(" "));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Expressions are read here; anything else is a job, which the server knows.
fn triggers(context: &Context, what: &[String], zone: Option<&str>, now: Timestamp) -> Result<Vec<(String, Trigger, Timestamp)>> {
    let is_job = |text: &str| !text.contains(' ') && !text.starts_with('@') && !text.starts_with('R');
    if let [job] = what
        && is_job(job)
    {
        let found = context.client()?.get(&job_path(job)?)?;
        let spec: JobSpec = serde_json::from_value(found["spec"].clone())?;
        let since = |i: usize| found["since"][i].as_str().and_then(|text| Timestamp::parse(text).ok()).unwrap_or(now);
        let named = spec.triggers.into_iter().enumerate().map(|(i, trigger)| (format!("{} triggers[{i}]", spec.name), trigger, since(i)));
        return Ok(named.collect());
    }
    let read = |text: &String| {
        let mut trigger = Trigger::default();
        if text.starts_with('R') {
            trigger.interval = Some(text.clone());
        } else {
            trigger.cron = Some(text.clone());
            trigger.zone = zone.map(str::to_owned);
        }
        (text.clone(), trigger, now)
    };
    Ok(what.iter().map(read).collect())
}
