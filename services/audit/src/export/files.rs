//! One table's file: it has another name until it is whole, and is removed if it does not become so.

use super::columns::{Cell, Column, Kind, Scope};
use super::{ExportError, TableFormat, Written, refuse_existing};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde::ser::{Serialize, Serializer};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows of a row group.
const GROUP_ROWS: usize = 65_536;
/// A row group ends sooner where its texts are so large: details are up to 1 MiB each, and there are three tables.
const GROUP_BYTES: usize = 64 << 20;
/// Ends the name of a file that is being written.
const UNFINISHED: &str = "part";

/// A table that is being written.
pub(super) struct TableFile {
    path: PathBuf,
    unfinished: PathBuf,
    columns: &'static [Column],
    rows: u64,
    /// None once it is whole.
    sink: Option<Sink>,
}

enum Sink {
    Lines(BufWriter<File>),
    Groups(Box<Groups>),
}

impl TableFile {
    /// Begins the file of a table in this folder. None must be there.
    pub(super) fn begin(folder: &Path, format: TableFormat, (name, columns): (&str, &'static [Column])) -> Result<Self, ExportError> {
        let path = folder.join(format!("{name}.{}", format.ending()));
        refuse_existing(&path)?;
        let unfinished = path.with_extension(format!("{}.{UNFINISHED}", format.ending()));
        let file = File::create(&unfinished).map_err(|source| ExportError::File { path: unfinished.clone(), source })?;
        let sink = match format {
            TableFormat::Jsonl => Sink::Lines(BufWriter::new(file)),
            TableFormat::Parquet => {
                let groups = Groups::begin(file, name, columns);
                Sink::Groups(Box::new(groups.map_err(|source| ExportError::Parquet { path: path.clone(), source })?))
            }
        };
        Ok(Self { path, unfinished, columns, rows: 0, sink: Some(sink) })
    }

    /// Writes the row of this scope.
    pub(super) fn write(&mut self, scope: &Scope<'_>) -> Result<(), ExportError> {
        let row = Row { columns: self.columns, cells: self.columns.iter().map(|column| column.cell(scope)).collect() };
        self.rows += 1;
        match self.sink.as_mut().expect("a table takes rows until it is finished") {
            Sink::Lines(out) => row.write_line(out).map_err(|source| ExportError::File { path: self.path.clone(), source }),
            Sink::Groups(groups) => {
                groups.take(self.columns, row.cells).map_err(|source| ExportError::Parquet { path: self.path.clone(), source })
            }
        }
    }

    /// Makes the file whole and gives it its name.
    pub(super) fn finish(mut self) -> Result<Written, ExportError> {
        let refused = |source| ExportError::File { path: self.path.clone(), source };
        let file = match self.sink.take().expect("a table is finished once") {
            Sink::Lines(out) => out.into_inner().map_err(|error| refused(error.into_error()))?,
            Sink::Groups(groups) => {
                groups.finish(self.columns).map_err(|source| ExportError::Parquet { path: self.path.clone(), source })?
            }
        };
        file.sync_all().map_err(refused)?;
        let bytes = file.metadata().map_err(refused)?.len();
        refuse_existing(&self.path)?;
        std::fs::rename(&self.unfinished, &self.path).map_err(refused)?;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Written { name, rows: self.rows, bytes })
    }
}

impl Drop for TableFile {
    fn drop(&mut self) {
        // Whole or not: a whole one has its name by now.
        let _nobody_to_tell = std::fs::remove_file(&self.unfinished);
    }
}

/// A row, as JSON in the columns' order.
struct Row {
    columns: &'static [Column],
    cells: Vec<Option<Cell>>,
}

impl Row {
    fn write_line(&self, out: &mut impl Write) -> std::io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.write_all(b"\n")
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.columns.iter().map(|column| column.name).zip(&self.cells))
    }
}

/// A Parquet file: columns are kept until a row group is full.
struct Groups {
    writer: SerializedFileWriter<File>,
    pending: Vec<Vec<Option<Cell>>>,
    bytes: usize,
}

impl Groups {
    fn begin(file: File, name: &str, columns: &[Column]) -> Result<Self, ParquetError> {
        let schema = Arc::new(parse_message_type(&schema(name, columns))?);
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).set_created_by("orrery".into()).build();
        let pending = columns.iter().map(|_| Vec::new()).collect();
        Ok(Self { writer: SerializedFileWriter::new(file, schema, Arc::new(properties))?, pending, bytes: 0 })
    }

    fn take(&mut self, columns: &[Column], row: Vec<Option<Cell>>) -> Result<(), ParquetError> {
        for (cells, cell) in self.pending.iter_mut().zip(row) {
            self.bytes += if let Some(Cell::Text(text)) = &cell { text.len() } else { 0 };
            cells.push(cell);
        }
        if self.pending[0].len() >= GROUP_ROWS || self.bytes >= GROUP_BYTES { self.flush(columns) } else { Ok(()) }
    }

    fn flush(&mut self, columns: &[Column]) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        for (column, cells) in columns.iter().zip(&mut self.pending) {
            let mut out = group.next_column()?.expect("the schema has the table's columns");
            let levels: Vec<i16> = cells.iter().map(|cell| i16::from(cell.is_some())).collect();
            let cells = cells.drain(..).flatten();
            match column.kind {
                Kind::Text => {
                    let values: Vec<ByteArray> = cells.map(bytes_of).collect();
                    out.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None)?;
                }
                Kind::Number | Kind::Time => {
                    let values: Vec<i64> = cells.map(number_of).collect();
                    out.typed::<Int64Type>().write_batch(&values, Some(&levels), None)?;
                }
            }
            out.close()?;
        }
        group.close()?;
        self.bytes = 0;
        Ok(())
    }

    fn finish(mut self, columns: &[Column]) -> Result<File, ParquetError> {
        if !self.pending[0].is_empty() {
            self.flush(columns)?;
        }
        self.writer.into_inner()
    }
}

/// The schema as Parquet writes it down. Every column is optional, so that one may stay empty in a later version.
fn schema(name: &str, columns: &[Column]) -> String {
    let field = |column: &Column| match column.kind {
        Kind::Text => format!("optional binary {} (STRING);", column.name),
        Kind::Number => format!("optional int64 {};", column.name),
        Kind::Time => format!("optional int64 {} (TIMESTAMP(MICROS,true));", column.name),
    };
    format!("message {name} {{ {} }}", columns.iter().map(field).collect::<Vec<_>>().join(" "))
}

fn bytes_of(cell: Cell) -> ByteArray {
    match cell {
        Cell::Text(text) => text.into_bytes().into(),
        other => unreachable!("a column of texts holds {other:?}"),
    }
}

fn number_of(cell: Cell) -> i64 {
    match cell {
        Cell::Number(number) => number,
        Cell::Time(time) => time.0,
        Cell::Text(text) => unreachable!("a column of numbers holds {text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::columns::TABLES;
    use super::*;
    use serde_json::{Value, json};

    fn file(folder: &Path, format: TableFormat) -> Result<TableFile, ExportError> {
        TableFile::begin(folder, format, TABLES[2])
    }

    #[test]
    fn a_file_has_its_name_when_it_is_whole_and_is_not_overwritten() {
        for format in [TableFormat::Jsonl, TableFormat::Parquet] {
            let folder = tempfile::tempdir().unwrap();
            let names = || std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
            drop(file(folder.path(), format).unwrap());
            assert!(names().is_empty(), "what is not finished is removed");
            let mut table = file(folder.path(), format).unwrap();
            let run = json!({"run": "r", "created_at": "2026-11-21T00:00:00Z", "attempts": 1});
            table.write(&Scope { place: &Value::Null, entry: &Value::Null, fact: &run }).unwrap();
            let written = table.finish().unwrap();
            assert_eq!((written.name.as_str(), written.rows), (format!("runs.{}", format.ending()).as_str(), 1));
            assert_eq!(names(), [written.name.as_str()]);
            assert!(matches!(file(folder.path(), format), Err(ExportError::Exists { .. })));
        }
    }

    #[test]
    fn lines_hold_all_columns_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut table = file(folder.path(), TableFormat::Jsonl).unwrap();
        table.write(&Scope { place: &Value::Null, entry: &Value::Null, fact: &json!({"run": "r", "job": "a/b"}) }).unwrap();
        table.finish().unwrap();
        let text = std::fs::read_to_string(folder.path().join("runs.jsonl")).unwrap();
        assert!(text.starts_with(r#"{"run":"r","job":"a/b","version":null,"cause_kind":null,"#) && text.ends_with("}\n"), "{text}");
    }

    #[test]
    fn every_table_has_a_schema() {
        for (name, columns) in TABLES {
            let parsed = parse_message_type(&schema(name, columns)).unwrap();
            assert_eq!(parsed.get_fields().len(), columns.len(), "{name}");
        }
    }
}
