//! `orrery schedule`.

use super::client::job_path;
use super::{Context, Format, output};
use anyhow::{Result, bail};
use clap::Subcommand;
use orrery_model::id::JobName;
use orrery_model::job::{Interval, JobSpec, Trigger};
use orrery_model::time::Timestamp;
use serde_json::json;
use std::process::ExitCode;

#[derive(Subcommand)]
pub(crate) enum Schedule {
    /// The next times of cron expressions, repeating intervals, or jobs' schedules
    Next {
        /// Expressions ("0 2 * * *", R/…/PT1H), or jobs' names
        #[arg(required = true)]
        what: Vec<String>,
        /// How many
        #[arg(short, default_value_t = 5)]
        n: usize,
        /// Zone of the expressions
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
            let mut item = json!({"schedule": name, "meaning": schedule.describe(), "next": next});
            if let Some(warning) = schedule.warning() {
                item["warning"] = warning.into();
            }
            items.push(item);
        }
        match context.format {
            Format::Json | Format::Yaml => output::document(context.format, &json!({"items": items})),
            _ => {
                for item in &items {
                    println!("{}: {}", output::text(&item["schedule"]), output::text(&item["meaning"]));
                    item["warning"].as_str().into_iter().for_each(|warning| println!("  note: {warning}"));
                    if item["next"] == json!([]) {
                        println!("  none after {from}");
                    }
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
    let mut triggers = Vec::new();
    for text in what {
        let expression = Trigger { zone: zone.map(str::to_owned), ..Trigger::default() };
        match kind(text) {
            Kind::Interval => triggers.push((text.clone(), Trigger { interval: Some(text.clone()), ..expression }, now)),
            Kind::Cron => triggers.push((text.clone(), Trigger { cron: Some(text.clone()), ..expression }, now)),
            Kind::Job => {
                let found = context.client()?.get(&job_path(text)?)?;
                let spec: JobSpec = serde_json::from_value(found["spec"].clone())?;
                let since = |i: usize| found["since"][i].as_str().and_then(|text| Timestamp::parse(text).ok()).unwrap_or(now);
                let named = |(i, trigger)| (format!("{} triggers[{i}]", spec.name), trigger, since(i));
                triggers.extend(spec.triggers.into_iter().enumerate().map(named));
            }
        }
    }
    Ok(triggers)
}

#[derive(Debug, PartialEq)]
enum Kind {
    Interval,
    Cron,
    Job,
}

/// What is an interval, right or nearly so, is one: a job's name has one slash at most. What can be a name is one, also if it begins
/// with R.
fn kind(text: &str) -> Kind {
    let nearly = text.starts_with(['R', 'r']) && text.matches('/').count() > 1;
    match text {
        _ if nearly || Interval::parse(text).is_ok() => Kind::Interval,
        _ if JobName::with_default_namespace(text).is_ok() => Kind::Job,
        _ => Kind::Cron,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_expressions() {
        for (text, expected) in [
            ("Reports", Kind::Job),
            ("R", Kind::Job),
            ("R2", Kind::Job),
            ("Reports/Daily", Kind::Job),
            ("R5/nightly", Kind::Job),
            ("daily", Kind::Job),
            ("R//PT1H", Kind::Interval),
            ("R5/PT1H", Kind::Interval),
            ("r/2026-11-21T00:00:00Z/P1M", Kind::Interval),
            ("R/2026-13-21T00:00:00Z/P1M", Kind::Interval),
            ("0 2 * * *", Kind::Cron),
            ("@daily", Kind::Cron),
            ("*/5", Kind::Cron),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }
}
