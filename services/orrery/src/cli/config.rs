//! `orrery config`.

use super::{Context, Format, output};
use crate::config::SETTINGS;
use anyhow::Result;
use clap::Subcommand;
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show every setting
    Show {
        /// Also where each value comes from
        #[arg(long)]
        origin: bool,
    },
}

impl ConfigCommand {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode> {
        let Self::Show { origin } = self;
        let shown = |setting: &crate::config::Setting| {
            let found = context.config.found(setting.key);
            let value = found.map(|found| if setting.secret { "(set, not shown)".to_owned() } else { found.value.clone() });
            let origin = found.map_or("not set", |found| found.origin.as_str());
            json!({"key": setting.key, "value": value, "origin": origin, "env": setting.env, "meaning": setting.help})
        };
        let items: Vec<Value> = SETTINGS.iter().map(shown).collect();
        if matches!(context.format, Format::Json | Format::Yaml) {
            output::document(context.format, &json!({"items": items}));
            return Ok(ExitCode::SUCCESS);
        }
        let mut table = output::plain_table();
        for item in &items {
            let mut row = vec![output::text(&item["key"]), output::text(&item["value"])];
            row.extend(origin.then(|| output::text(&item["origin"])));
            row.push(format!("# {} ({})", output::text(&item["meaning"]), output::text(&item["env"])));
            table.add_row(row);
        }
        output::print_table(table);
        Ok(ExitCode::SUCCESS)
    }
}
