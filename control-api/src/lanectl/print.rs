//! What answers are made of: tables for people, documents for machines. Pure but for [`flush`].

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::arguments::Format;
use super::look::{Colour, Look};
use crate::json;

#[cfg(test)]
mod tests;

/// Rows under a head, in columns. What stands under `STATE` and under no word at all (marks) is coloured by its meaning.
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

    pub(super) fn render(&self, look: Look) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let mut text = String::new();
        for (at, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let is_last = row[column + 1..].iter().all(String::is_empty);
                let has_meaning = at > 0 && matches!(self.rows[0][column].as_str(), "STATE" | "");
                let colour = meaning(cell).filter(|_| has_meaning);
                line.push_str(&colour.map_or_else(|| cell.clone(), |colour| look.paint(colour, cell)));
                if is_last {
                    break;
                }
                line.push_str(&" ".repeat(width - cell.chars().count() + 3));
            }
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}

/// What a state or a mark tells.
fn meaning(word: &str) -> Option<Colour> {
    match word {
        "enabled" | "synced" | "ready" | "✓" => Some(Colour::Good),
        "dry run" | "disabled" | "stale" | "disconnected" | "warming" | "draining" | "!" => Some(Colour::Odd),
        "expired" | "tripped" | "error" | "not ready" | "✗" => Some(Colour::Bad),
        _ => None,
    }
}

/// A message of the contract as JSON.
pub(super) fn message(message: &impl prost::Message, name: &str) -> Value {
    super::keep_descriptors();
    json::of(message, name)
}

/// Values as JSON or as YAML documents: one alone as it is, several as a list or one document after the other.
pub(super) fn values(mut values: Vec<Value>, single: bool, format: Format) -> String {
    match format {
        Format::Yaml => {
            let documents = values.iter().map(yaml);
            documents.collect::<Vec<_>>().join("---\n")
        }
        Format::Json | Format::Table | Format::Wide | Format::Name => {
            let value = if single && values.len() == 1 { values.remove(0) } else { Value::Array(values) };
            format!("{value:#}\n")
        }
    }
}

/// One value of a stream: JSON of a line, or a YAML document that ends with its mark.
pub(super) fn streamed(value: &Value, format: Format) -> String {
    match format {
        Format::Yaml => format!("{}---\n", yaml(value)),
        Format::Json | Format::Table | Format::Wide | Format::Name => format!("{value}\n"),
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

/// `3s ago`; `-` for what never was.
pub(super) fn ago(time: Option<prost_types::Timestamp>, now: SystemTime) -> String {
    let time = time.and_then(|time| SystemTime::try_from(time).ok());
    let since = time.map(|time| now.duration_since(time).unwrap_or_default());
    since.map_or_else(|| "-".to_owned(), |since| format!("{} ago", about(since)))
}

/// `1 sidecar`, `3 sidecars`
pub(super) fn count(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

/// Shows what has come together so far; for verbs that go on.
pub(super) fn flush(out: &mut String) {
    use std::io::Write;
    let mut stdout = std::io::stdout();
    // A reader that left (`| head`) ends us by the next line, or by the end of the verb.
    let _ = stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush());
    out.clear();
}
