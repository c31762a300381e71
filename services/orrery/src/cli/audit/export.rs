//! `orrery audit export`: the journals as files for other programs.

use super::open;
use crate::cli::{Context, Format, SERVICES, output};
use crate::standalone::LOG_DIR;
use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use orrery_audit::export::{TableFormat, Wanted, Written, export_log, export_tables};
use orrery_model::time::Timestamp;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub(crate) struct Export {
    /// How it is written
    #[arg(long, value_enum, default_value_t = As::Parquet)]
    format: As,
    /// Folder to write to; it is made if it is missing, and nothing in it is overwritten
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Only this service
    #[arg(long, value_parser = SERVICES)]
    service: Option<String>,
    /// Entries at or after this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    since: Option<Timestamp>,
    /// Entries before this time
    #[arg(long, value_name = "TIME", value_parser = Timestamp::parse)]
    until: Option<Timestamp>,
}

/// What `--format` may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum As {
    /// Tables of decisions, entries and runs as Parquet files
    Parquet,
    /// The same tables, one JSON object a line
    Jsonl,
    /// What `audit verify` needs, as a data folder: journals, changelogs, snapshots
    Log,
}

impl As {
    fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Jsonl => "jsonl",
            Self::Log => "log",
        }
    }
}

impl Export {
    pub(crate) fn run(self, context: &Context) -> Result<ExitCode> {
        let written = match self.format {
            As::Parquet => self.tables(context, TableFormat::Parquet)?,
            As::Jsonl => self.tables(context, TableFormat::Jsonl)?,
            As::Log => self.log(context)?,
        };
        self.tell(context.format, &written);
        Ok(ExitCode::SUCCESS)
    }

    fn tables(&self, context: &Context, format: TableFormat) -> Result<Vec<Written>> {
        let (log, cluster) = open(context)?;
        let wanted = Wanted { service: self.service.clone(), since: self.since, until: self.until };
        export_tables(&*log, &cluster, &wanted, &self.out, format).with_context(|| self.failed())
    }

    /// A part of a journal cannot be proved: its chain begins with the first entry, or with a snapshot.
    fn log(&self, context: &Context) -> Result<Vec<Written>> {
        if self.service.is_some() || self.since.is_some() || self.until.is_some() {
            bail!("--format log copies journals whole, so that they can be verified: leave out --service, --since and --until");
        }
        let (log, cluster) = open(context)?;
        export_log(&*log, &cluster, &self.out.join(LOG_DIR)).with_context(|| self.failed())
    }

    fn failed(&self) -> String {
        format!("nothing was exported to {}", self.out.display())
    }

    fn tell(&self, format: Format, written: &[Written]) {
        match format {
            Format::Json | Format::Yaml => {
                output::document(format, &json!({"folder": self.out, "format": self.format.name(), "written": written}));
            }
            Format::Name => written.iter().for_each(|one| println!("{}", one.name)),
            Format::Table | Format::Wide => {
                let rows = if self.format == As::Log { "records" } else { "rows" };
                written.iter().for_each(|one| println!("{}: {} {rows}, {} bytes", one.name, one.rows, one.bytes));
                if self.format == As::Log {
                    println!("verify it anywhere: orrery audit verify --data-dir {}", self.out.display());
                }
            }
        }
    }
}
