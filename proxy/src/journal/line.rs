//! One line of the access log. Whatever a client sends, a line is one line: of values only visible ASCII stands as it came, all
//! else is escaped as JSON has it, so that nobody can forge a line, a key or a terminal's colours.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use laneway_core::tag::{RequestTag, Tag};
use laneway_core::why::{Why, source_label, why_label};

use super::context::write_hex;
use super::{Ended, Seen};

/// Of a path; what is more is cut off.
pub(super) const PATH_BYTES_MAX: usize = 1024;
/// Of a host, which is a name of at most 253, or an address, and a port.
pub(super) const HOST_BYTES_MAX: usize = 272;
/// Of a method; the longest that is registered has 17.
pub(super) const METHOD_BYTES_MAX: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// Appends one line, with its end.
pub(super) fn write(format: Format, at: SystemTime, seen: &Seen, ended: &Ended, line: &mut String) {
    let mut line = Line { format, line, is_first: true };
    line.open();
    line.quoted("ts", |value| timestamp(at, value));
    line.word("dir", if seen.is_inbound { "inbound" } else { "outbound" });
    line.text("method", &seen.head.method);
    line.text("host", &seen.head.host);
    line.text("path", &seen.head.path);
    line.number("code", ended.status.into());
    line.raw("dur_ms", |value| milliseconds(ended.took, value));
    line.number("bytes", ended.response_bytes);
    line.word("req_tag", tag_of(&seen.tag));
    line.word("ep_tag", seen.endpoint_tag.as_ref().map_or("", Tag::as_str));
    line.word("source", source_label(seen.source));
    line.word("why", why_label(seen.why));
    line.raw("fallback", |value| value.push_str(if is_fallback(seen.why) { "true" } else { "false" }));
    line.text("service", &seen.service);
    line.quoted("upstream", |value| address(seen.upstream, value));
    line.quoted("trace_id", |value| trace_id(seen.trace, value));
    line.word("flags", ended.flag.map_or("", super::Flag::label));
    line.close();
}

/// Did the lane lack a usable instance?
pub(super) fn is_fallback(why: Why) -> bool {
    matches!(why, Why::FallbackAbsent | Why::FallbackUnhealthy)
}

fn tag_of(tag: &RequestTag) -> &str {
    tag.wire().unwrap_or("")
}

/// A line that grows by its fields.
struct Line<'l> {
    format: Format,
    line: &'l mut String,
    is_first: bool,
}

impl Line<'_> {
    fn open(&mut self) {
        if self.format == Format::Json {
            self.line.push('{');
        }
    }

    fn close(&mut self) {
        self.line.push_str(if self.format == Format::Json { "}\n" } else { "\n" });
    }

    fn key(&mut self, key: &'static str) {
        match (self.format, self.is_first) {
            (Format::Json, first) => {
                self.line.push_str(if first { "\"" } else { ",\"" });
                self.line.push_str(key);
                self.line.push_str("\":");
            }
            (Format::Text, first) => {
                if !first {
                    self.line.push(' ');
                }
                self.line.push_str(key);
                self.line.push('=');
            }
        }
        self.is_first = false;
    }

    /// A value that is no text.
    fn raw(&mut self, key: &'static str, value: impl FnOnce(&mut String)) {
        self.key(key);
        value(self.line);
    }

    fn number(&mut self, key: &'static str, value: u64) {
        // Writing to a String cannot fail.
        self.raw(key, |line| {
            let _ = write!(line, "{value}");
        });
    }

    /// A text of letters that need no escape.
    fn quoted(&mut self, key: &'static str, value: impl FnOnce(&mut String)) {
        self.key(key);
        if self.format == Format::Json {
            self.line.push('"');
        }
        let before = self.line.len();
        value(self.line);
        match self.format {
            Format::Json => self.line.push('"'),
            Format::Text if self.line.len() == before => self.line.push('-'),
            Format::Text => {}
        }
    }

    fn word(&mut self, key: &'static str, value: &str) {
        self.quoted(key, |line| line.push_str(value));
    }

    /// A text from outside.
    fn text(&mut self, key: &'static str, value: &str) {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
        let needs_quotes = value == "-" || !value.bytes().all(is_plain);
        if self.format == Format::Text && needs_quotes {
            self.key(key);
            self.line.push('"');
            escape(value, self.line);
            self.line.push('"');
            return;
        }
        self.quoted(key, |line| escape(value, line));
    }
}

/// As a string of JSON has it (RFC 8259 section 7), and no letter but visible ASCII and blanks as it came.
fn escape(value: &str, line: &mut String) {
    for letter in value.chars() {
        match letter {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            ' '..='~' => line.push(letter),
            _ => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    let _ = write!(line, "\\u{unit:04x}");
                }
            }
        }
    }
}

fn address(address: Option<SocketAddr>, line: &mut String) {
    if let Some(address) = address {
        let _ = write!(line, "{address}");
    }
}

fn trace_id(trace: Option<u128>, line: &mut String) {
    if let Some(trace) = trace {
        let mut digits = [0; 32];
        write_hex(trace, &mut digits);
        line.extend(digits.map(char::from));
    }
}

/// With three decimals.
fn milliseconds(took: Duration, line: &mut String) {
    let micros = took.as_micros();
    let _ = write!(line, "{}.{:03}", micros / 1000, micros % 1000);
}

/// `2026-11-28T15:04:05.678Z`
fn timestamp(at: SystemTime, line: &mut String) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let milli = since.subsec_millis();
    let _ = write!(line, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z");
}

/// Year, month and day of a day since 1970 (the proleptic Gregorian calendar, counted in eras of 400 years from March).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests;
