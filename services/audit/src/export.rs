//! The journals as files for other programs: tables of decisions, entries and runs, or the log itself for `audit verify` elsewhere.
//!
//! Rows are written as they are read. Memory is that of one row group for each table, and of the last record of each run.
//! What the columns mean is told to users in `docs/export.md`: a column may be added, none changes its name, type or meaning.

mod columns;
mod copy;
mod files;
mod tables;

pub use copy::{copy_topic, export_log};
pub use tables::{Wanted, export_tables};

use crate::AuditError;
use orrery_log::LogError;
use parquet::errors::ParquetError;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// How tables are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFormat {
    /// Apache Parquet, compressed with Snappy.
    Parquet,
    /// One JSON object a line.
    Jsonl,
}

impl TableFormat {
    /// The ending of its files.
    pub const fn ending(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Jsonl => "jsonl",
        }
    }
}

/// What was written: a table's file, or a topic of the copied log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Written {
    /// Name of the file in the folder, or of the topic.
    pub name: String,
    /// Rows, or records.
    pub rows: u64,
    /// Size of the file, or of the records, bytes.
    pub bytes: u64,
}

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A journal cannot be read.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The copied log refused.
    #[error("the log cannot be copied")]
    Log(#[from] LogError),
    /// What is to be written is there already.
    #[error("{} is there already, and nothing is overwritten: name another folder with --out, or remove it", path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// A file cannot be made or written.
    #[error("{} cannot be written", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A Parquet file cannot be written.
    #[error("{} cannot be written", path.display())]
    Parquet {
        /// Which.
        path: PathBuf,
        /// What the library said.
        source: ParquetError,
    },
}

/// Refuses to write where something is.
fn refuse_existing(path: &Path) -> Result<(), ExportError> {
    // A link that leads nowhere is something as well.
    if path.symlink_metadata().is_ok() { Err(ExportError::Exists { path: path.to_owned() }) } else { Ok(()) }
}

/// Makes the folder that is written to.
fn make_folder(folder: &Path) -> Result<(), ExportError> {
    std::fs::create_dir_all(folder).map_err(|source| ExportError::File { path: folder.to_owned(), source })
}
