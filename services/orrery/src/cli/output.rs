//! What people and programs see: tables with colour, or the API's JSON as it is.

use crate::terminal::clean;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Row, Table, TableStyle};
use serde_json::Value;
use std::io::IsTerminal;

/// Output formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    Table,
    /// More columns
    Wide,
    /// What the API returns, as one JSON document
    Json,
    /// The same as YAML
    Yaml,
    /// Names only
    Name,
}

/// One column of a table.
pub(crate) struct Column {
    title: &'static str,
    wide: bool,
    cell: fn(&Value) -> String,
}

/// A column.
pub(crate) const fn column(title: &'static str, cell: fn(&Value) -> String) -> Column {
    Column { title, wide: false, cell }
}

/// A column of `-o wide`.
pub(crate) const fn wide(title: &'static str, cell: fn(&Value) -> String) -> Column {
    Column { title, wide: true, cell }
}

/// Prints an answer that lists items.
pub(crate) fn list(format: Format, answer: &Value, columns: &[Column]) {
    match format {
        Format::Json | Format::Yaml => document(format, answer),
        Format::Name => items(answer).for_each(|item| println!("{}", (columns[0].cell)(item))),
        Format::Table | Format::Wide => {
            let shown: Vec<&Column> = columns.iter().filter(|column| format == Format::Wide || !column.wide).collect();
            let mut table = plain_table();
            table.set_header(shown.iter().map(|column| Cell::new(column.title).add_attribute(Attribute::Bold)));
            for item in items(answer) {
                table.add_row(shown.iter().map(|column| coloured(&(column.cell)(item))));
            }
            print_table(table);
        }
    }
}

fn items(answer: &Value) -> impl Iterator<Item = &Value> {
    answer["items"].as_array().into_iter().flatten()
}

/// Prints one document.
pub(crate) fn document(format: Format, value: &Value) {
    match format {
        Format::Json => println!("{}", serde_json::to_string_pretty(value).unwrap_or_default()),
        _ => print!("{}", serde_saphyr::to_string(value).unwrap_or_default()),
    }
}

/// Prints one thing: as fields for people, as a document for programs.
pub(crate) fn one(format: Format, value: &Value, name: &str) {
    match format {
        Format::Name => println!("{}", text(&value[name])),
        Format::Table | Format::Wide => document(Format::Yaml, value),
        Format::Json | Format::Yaml => document(format, value),
    }
}

/// A table without lines.
pub(crate) fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Disabled);
    if !colours() {
        table.force_no_tty();
    }
    table
}

/// Prints a table. Its colours are its own; a cell that would steer the terminal is written out, without one.
pub(crate) fn print_table(mut table: Table) {
    for row in table.row_iter_mut() {
        let cells: Vec<String> = row.cell_iter().map(Cell::content).collect();
        if cells.iter().any(|cell| clean(cell) != cell.as_str()) {
            *row = Row::from(cells.iter().map(|cell| clean(cell)).collect::<Vec<_>>());
        }
    }
    std::println!("{table}");
}

/// True if standard output shows colours.
pub(crate) fn colours() -> bool {
    std::io::stdout().is_terminal() && !crate::config::no_color()
}

/// States have colours; everything else is plain.
fn coloured(text: &str) -> Cell {
    let colour = match text {
        "succeeded" | "joined" | "ready" => Color::Green,
        "failed" | "lost" => Color::Red,
        "running" | "starting" => Color::Cyan,
        "waiting" | "paused" => Color::Yellow,
        "cancelled" | "skipped" => Color::DarkGrey,
        _ => return Cell::new(text),
    };
    if colours() { Cell::new(text).fg(colour) } else { Cell::new(text) }
}

/// A JSON value as people read it.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => clean(text).replace('\n', "\\n"),
        other => other.to_string(),
    }
}

/// A time, to the second, with its zone: all are UTC.
pub(crate) fn time(value: &Value) -> String {
    let second = |text: &str| format!("{}Z", text.split('.').next().unwrap_or(text).trim_end_matches('Z').replace('T', " "));
    value.as_str().map_or_else(|| "-".into(), second)
}
