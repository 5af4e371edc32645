//! A text of documents, taken apart and put together again: YAML with `---` between, or JSON values one after the other.
//!
//! A document that nobody changed stays byte for byte as it was, comments included. One that was changed is written anew, and
//! loses the comments inside of it; those that stand above its first line stay.
//!
//! YAML is read as kubectl reads it: `0644` is octal, `yes` and `on` are booleans; what is written quotes every text that
//! any reader could take for something else.

use serde_saphyr::{Options, budget, options, ser_options};

use super::value::Value;

#[cfg(test)]
mod tests;

/// Deeper than the schema of any object, and far from what a stack holds: a level takes 30 KiB of it without optimisation.
const DEPTH_MAX: usize = 64;
/// For files of 16 MiB, which their reader bounds.
const NODES_MAX: usize = 10_000_000;

/// One document and its text.
#[derive(Debug)]
pub(super) struct Part<'a> {
    /// All of it, with the mark that it begins with.
    text: &'a str,
    format: Format,
    /// Nothing where there are only blanks and comments.
    pub(super) value: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Yaml,
    Json,
}

/// The text is neither YAML nor JSON, or too large to be a document.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("document {number}: {problem}")]
pub(super) struct StreamError {
    /// From 1.
    pub(super) number: usize,
    pub(super) problem: String,
}

/// Every document of a text, in order.
pub(super) fn read(text: &str) -> Result<Vec<Part<'_>>, StreamError> {
    if let Some(parts) = as_json(text) {
        return Ok(parts);
    }
    let mut line = 0;
    let mut parts = Vec::new();
    let mut number = 0;
    for text in split(text) {
        let value = if has_content(text) {
            number += 1;
            Some(yaml(text, line).map_err(|problem| StreamError { number, problem })?)
        } else {
            None
        };
        line += text.bytes().filter(|byte| *byte == b'\n').count();
        // A document that says `null` is as good as none.
        parts.push(Part { text, format: Format::Yaml, value: value.filter(|value| *value != Value::Null) });
    }
    Ok(parts)
}

/// One text behind the other, as one stream. Whoever reads it takes all of it for JSON or all of it for YAML (kubectl, by the first byte
/// that is no blank), so JSON stands as it is beside JSON alone; else every document has its mark, and JSON is YAML too.
pub fn join(texts: &[String]) -> String {
    let texts: Vec<(&str, Option<Vec<Part<'_>>>)> = texts.iter().map(|text| (text.as_str(), as_json(text))).collect();
    let is_json = texts.iter().all(|(_, values)| values.is_some());
    let mut whole = String::new();
    for (text, values) in &texts {
        if !whole.is_empty() && !whole.ends_with('\n') {
            whole.push('\n');
        }
        match values {
            Some(values) if !is_json => {
                for value in values.iter().filter(|part| part.value.is_some()) {
                    whole.push_str("---\n");
                    whole.push_str(value.text.trim());
                    whole.push('\n');
                }
            }
            None if !whole.is_empty() && !is_mark(first_line(text), "---") => {
                whole.push_str("---\n");
                whole.push_str(text);
            }
            Some(_) | None => whole.push_str(text),
        }
    }
    whole
}

impl Part<'_> {
    /// Its text, with `value` in place of what it said.
    pub(super) fn write(&self, value: Option<&Value>, out: &mut String) -> Result<(), String> {
        let Some(value) = value.filter(|value| self.value.as_ref() != Some(value)) else {
            out.push_str(self.text);
            return Ok(());
        };
        match self.format {
            Format::Json => {
                let text = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
                let lead = self.text.len() - self.text.trim_start().len();
                out.push_str(&self.text[..lead]);
                out.push_str(&text);
                out.push('\n');
            }
            Format::Yaml => {
                out.push_str(head(self.text));
                let options = ser_options! { folded_wrap_chars: usize::MAX, min_fold_chars: usize::MAX };
                let text = serde_saphyr::to_string_with_options(value, options).map_err(|error| error.to_string())?;
                out.push_str(&text);
                if !text.ends_with('\n') {
                    out.push('\n');
                }
            }
        }
        Ok(())
    }
}

/// JSON values one after the other, as `kubectl get -o json` writes them; nothing where it is no JSON. A map of YAML may begin with a
/// brace too, so what is none may still be good.
fn as_json(text: &str) -> Option<Vec<Part<'_>>> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let (mut parts, mut from) = (Vec::new(), 0);
    while let Some(value) = values.next() {
        let to = values.byte_offset();
        parts.push(Part { text: &text[from..to], format: Format::Json, value: Some(value.ok()?) });
        from = to;
    }
    parts.push(Part { text: &text[from..], format: Format::Json, value: None });
    Some(parts)
}

/// The only value of a text that begins on this line of its file.
fn yaml(text: &str, line: usize) -> Result<Value, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_saphyr::from_str_with_options(text, reading()).map_err(|_| {
        // Once more, so that it counts the lines of the file.
        let whole = format!("{}{text}", "\n".repeat(line));
        match serde_saphyr::from_str_with_options::<Value>(&whole, reading()) {
            Err(error) => format!("neither YAML nor JSON: {error}"),
            Ok(_) => "neither YAML nor JSON".to_owned(),
        }
    })
}

fn reading() -> Options {
    options! {
        legacy_octal_numbers: true,
        strict_booleans: false,
        with_snippet: false,
        budget: budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: 3 * NODES_MAX,
        },
    }
}

/// Cuts before each line that begins a document and behind each that ends one. Such a line is a mark wherever it stands, also
/// in quoted text (YAML 1.2, 9.1.2), so looking at lines is enough.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut at) = (Vec::new(), 0, 0);
    for line in text.split_inclusive('\n') {
        let to = at + line.len();
        let cut = if is_mark(line, "---") {
            at
        } else if is_mark(line, "...") {
            to
        } else {
            from
        };
        if cut > from {
            parts.push(&text[from..cut]);
            from = cut;
        }
        at = to;
    }
    if from < text.len() {
        parts.push(&text[from..]);
    }
    parts
}

fn first_line(text: &str) -> &str {
    text.split_inclusive('\n').next().unwrap_or_default()
}

fn is_mark(line: &str, mark: &str) -> bool {
    line.strip_prefix(mark).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether anything but blanks, comments, directives and marks is there.
fn has_content(text: &str) -> bool {
    text.lines().any(|line| !is_around(line))
}

/// What stands above the first line of content: mark, comments, blanks.
fn head(text: &str) -> &str {
    let length = text.split_inclusive('\n').take_while(|line| is_around(line)).map(str::len).sum();
    let head: &str = &text[..length];
    // `--- # one line {of: content}` has no line of its own; the mark is needed all the same.
    if head.is_empty() && is_mark(text, "---") { "---\n" } else { head }
}

fn is_around(line: &str) -> bool {
    let line = line.trim_start_matches('\u{feff}').trim_end();
    let rest = if is_mark(line, "---") || is_mark(line, "...") { &line[3..] } else { line };
    let rest = rest.trim_start();
    rest.is_empty() || rest.starts_with('#') || line.starts_with('%')
}
