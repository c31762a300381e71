//! `orrery audit state` and `orrery audit diff`.

use super::open;
use crate::cli::output::{self, column, text};
use crate::cli::{Context, exit};
use anyhow::{Result, bail};
use clap::Args;
use orrery_audit::state::{KINDS, Point, State, difference, state_at};
use orrery_log::clock;
use orrery_model::id::JobName;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Which things are wanted.
#[derive(Args)]
struct Which {
    /// Only these: job, run, agent or task
    #[arg(value_parser = KINDS)]
    kind: Option<String>,
    /// Only the one of this name
    #[arg(requires = "kind")]
    name: Option<String>,
}

#[derive(Args)]
pub(crate) struct StateAt {
    #[command(flatten)]
    which: Which,
    /// When: a time (RFC 3339), or an entry of one journal, such as trigger/0@1234.5; default now
    #[arg(long)]
    at: Option<Point>,
}

#[derive(Args)]
pub(crate) struct Diff {
    /// The earlier point: a time (RFC 3339), or an entry of one journal
    from: Point,
    /// The later one
    to: Point,
    #[command(flatten)]
    which: Which,
}

impl StateAt {
    pub(super) fn run(self, context: &Context) -> Result<ExitCode> {
        let (log, cluster) = open(context)?;
        let point = self.at.unwrap_or_else(|| Point::Time(clock::wall()));
        let state = self.which.of(state_at(&log, &cluster, &point)?)?;
        let mut items: Vec<Value> = Vec::new();
        for (kind, things) in state.0 {
            items.extend(things.into_iter().map(|(name, value)| json!({"kind": kind, "name": name, "value": value})));
        }
        if let (Some(_), [only]) = (&self.which.name, &items[..]) {
            output::one(context.format, &only["value"], "name");
            return Ok(ExitCode::SUCCESS);
        }
        let status = if self.which.name.is_some() { ExitCode::from(exit::NOT_FOUND) } else { ExitCode::SUCCESS };
        let columns = [
            column("NAME", |item| text(&item["name"])),
            column("KIND", |item| text(&item["kind"])),
            column("WHAT", |item| summary(&item["value"])),
        ];
        output::list(context.format, &json!({"items": items}), &columns);
        Ok(status)
    }
}

impl Diff {
    pub(super) fn run(self, context: &Context) -> Result<ExitCode> {
        match (&self.from, &self.to) {
            (Point::Time(_), Point::Time(_)) => {}
            (Point::Entry(from), Point::Entry(to)) if (&from.service, from.shard) == (&to.service, to.shard) => {}
            (Point::Entry(from), Point::Entry(to)) => bail!("{from} and {to} are entries of two journals; name two of one, or two times"),
            _ => bail!("a time is of all journals, and an entry of one; name two times, or two entries of one journal"),
        }
        let (log, cluster) = open(context)?;
        let state = |point| self.which.of(state_at(&log, &cluster, point)?);
        let items = difference(&state(&self.from)?, &state(&self.to)?);
        let columns = [
            column("NAME", |item| text(&item["name"])),
            column("KIND", |item| text(&item["kind"])),
            column("HOW", |item| text(&item["how"])),
            column("FIELDS", |item| {
                let fields = item["fields"].as_array().into_iter().flatten();
                fields.map(|field| format!("{}: {} → {}", text(&field["field"]), field["from"], field["to"])).collect::<Vec<_>>().join("; ")
            }),
        ];
        output::list(context.format, &json!({"items": items}), &columns);
        Ok(ExitCode::SUCCESS)
    }
}

impl Which {
    fn of(&self, mut state: State) -> Result<State> {
        state.0.retain(|kind, _| self.kind.as_ref().is_none_or(|wanted| wanted == kind));
        if let Some(name) = &self.name {
            let is_job = self.kind.as_deref() == Some("job");
            let name = if is_job { JobName::with_default_namespace(name)?.to_string() } else { name.clone() };
            state.0.values_mut().for_each(|things| things.retain(|known, _| *known == name));
        }
        Ok(state)
    }
}

/// A thing in a few words: the fields that say most, as far as it has them.
fn summary(value: &Value) -> String {
    let told = ["job", "version", "paused", "state", "reason", "agent", "created_at", "ended_at", "joined_at", "wanted_at"];
    let field = |name: &&str| value.get(*name).filter(|value| !value.is_null()).map(|value| format!("{name}={}", text(value)));
    told.iter().filter_map(field).collect::<Vec<_>>().join(" ")
}
