//! How answers look: tables for people, documents for machines. Pure.

use std::time::Duration;

use serde_json::Value;

use super::arguments::Format;

/// Rows under a head, in columns.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: &[&str]) -> Table {
        Table { rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(super) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            text.push_str(cells.collect::<Vec<_>>().join("   ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// Values as JSON or as YAML documents: one alone as it is, several as a list or one document after the other.
pub(super) fn values(mut values: Vec<Value>, single: bool, format: Format) -> String {
    match format {
        Format::Yaml => {
            let documents = values.iter().map(yaml);
            documents.collect::<Vec<_>>().join("---\n")
        }
        Format::Json | Format::Table | Format::Name => {
            let value = if single && values.len() == 1 { values.remove(0) } else { Value::Array(values) };
            format!("{value:#}\n")
        }
    }
}

/// One document, its last line whole.
pub(super) fn yaml(value: &Value) -> String {
    let mut text = serde_saphyr::to_string(value).unwrap_or_else(|_| value.to_string());
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// `-` for nothing.
pub(super) fn dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// A span of time in one unit, rounded: `90s`, `47h`, `3d`.
pub(super) fn about(span: Duration) -> String {
    let (unit, word) = match span.as_secs() {
        0..180 => (1, "s"),
        180..10_800 => (60, "m"),
        10_800..259_200 => (3600, "h"),
        _ => (86_400, "d"),
    };
    format!("{}{word}", (span.as_secs() + unit / 2) / unit)
}
