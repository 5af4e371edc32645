//! Lines as they are read again: by a JSON parser, by a parser of `key=value` written from the docs, and by an enemy.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use laneway_core::tag::{RequestTag, Tag};
use laneway_core::why::{TagSource, Why};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Ended, Flag, Head, Seen};
use super::{Format, write};

fn gray() -> Tag {
    Tag::parse(b"gray").expect("a tag")
}

fn seen(method: &str, host: &str, path: &str) -> Seen {
    Seen {
        is_inbound: false,
        head: Head { method: method.into(), host: host.into(), path: path.into() },
        tag: RequestTag::Lane(gray()),
        endpoint_tag: None,
        source: TagSource::Carried,
        why: Why::FallbackAbsent,
        service: Arc::from("b"),
        upstream: Some(([10, 1, 1, 1], 8080).into()),
        trace: Some(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c),
    }
}

fn ended() -> Ended {
    Ended { status: 503, response_bytes: 12, took: Duration::from_micros(1_234_567), flag: Some(Flag::UpstreamFailed) }
}

fn at() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_795_881_845_678)
}

fn line(format: Format, seen: &Seen) -> String {
    let mut line = String::new();
    write(format, at(), seen, &ended(), &mut line);
    line
}

#[test]
fn a_json_line_has_every_key_and_is_one_line() {
    let expected = json!({
        "ts": "2026-11-28T16:04:05.678Z",
        "dir": "outbound",
        "method": "GET",
        "host": "b:80",
        "path": "/x",
        "code": 503,
        "dur_ms": 1234.567,
        "bytes": 12,
        "req_tag": "gray",
        "ep_tag": "",
        "source": "carried",
        "why": "fallback_absent",
        "fallback": true,
        "service": "b",
        "upstream": "10.1.1.1:8080",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "flags": "UF",
    });
    let line = line(Format::Json, &seen("GET", "b:80", "/x"));
    assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON"), expected);
    assert_eq!(line.matches('\n').count(), 1);
}

#[test]
fn a_text_line_has_the_same_keys_and_a_dash_for_nothing() {
    let seen =
        Seen { upstream: None, trace: None, service: Arc::from(""), tag: RequestTag::None, ..seen("GET", "b", "/x y") };
    let expected = "ts=2026-11-28T16:04:05.678Z dir=outbound method=GET host=b path=\"/x y\" code=503 dur_ms=1234.567 bytes=12 \
                    req_tag=- ep_tag=- source=carried why=fallback_absent fallback=true service=- upstream=- trace_id=- flags=UF\n";
    assert_eq!(line(Format::Text, &seen), expected);
    assert!(
        line(Format::Text, &Seen { head: Head::of("GET", "b", "-"), ..seen }).contains(" path=\"-\" "),
        "no dash is taken for nothing"
    );
}

#[test]
fn nobody_writes_a_line_of_their_own() {
    let evil = "/x\r\n{\"code\":200}\u{1b}[2J\" code=200 \u{9b}31m\u{202e}\u{2028}\u{0}\\";
    for format in [Format::Json, Format::Text] {
        let line = line(format, &seen(evil, evil, evil));
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(line.trim_end_matches('\n').bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line}");
    }
    let read: Value = serde_json::from_str(&line(Format::Json, &seen(evil, evil, evil))).expect("JSON");
    assert_eq!((read["path"].as_str(), &read["code"]), (Some(evil), &json!(503)), "nothing is lost, nothing is forged");
}

#[test]
fn days_are_told_right() {
    for (seconds, expected) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399, "2000-02-28T23:59:59.000Z"),
        (951_782_400, "2000-02-29T00:00:00.000Z"),
        (1_709_251_199, "2024-02-29T23:59:59.000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        (1_767_225_599, "2025-12-31T23:59:59.000Z"),
    ] {
        let mut text = String::new();
        super::timestamp(UNIX_EPOCH + Duration::from_secs(seconds), &mut text);
        assert_eq!(text, expected);
    }
}

/// `key=value`, values with blanks and the like in quotes, escaped as JSON.
fn fields(line: &str) -> Vec<(String, String)> {
    let mut rest = line.trim_end_matches('\n');
    let mut found = Vec::new();
    while let Some((key, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            None => after.split_once(' ').unwrap_or((after, "")),
            Some(quoted) => {
                let mut is_escaped = false;
                let end = quoted.find(|letter| {
                    let is_end = letter == '"' && !is_escaped;
                    is_escaped = letter == '\\' && !is_escaped;
                    is_end
                });
                let (value, after) = quoted.split_at(end.expect("a closing quote"));
                (value, after[1..].strip_prefix(' ').unwrap_or(""))
            }
        };
        let value = serde_json::from_str(&format!("\"{value}\"")).expect("escaped as JSON");
        found.push((key.to_owned(), value));
        rest = after;
    }
    found
}

proptest! {
    #[test]
    fn every_text_is_read_again_as_it_was(method in ".*", host in ".*", path in ".*") {
        let seen = seen(&method, &host, &path);
        let read: Value = serde_json::from_str(&line(Format::Json, &seen)).expect("JSON");
        let text = line(Format::Text, &seen);
        let fields = fields(&text);
        prop_assert_eq!(fields.len(), 17);
        for (key, value) in [("method", &method), ("host", &host), ("path", &path)] {
            prop_assert_eq!(read[key].as_str(), Some(value.as_str()));
            let said = &fields.iter().find(|(found, _)| found == key).expect("it is there").1;
            prop_assert_eq!(said, if value.is_empty() { "-" } else { value });
        }
    }
}
