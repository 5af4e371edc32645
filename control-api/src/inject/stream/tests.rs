//! Values come back as they were, whatever they look like; and where documents begin.

use super::{read, split};
use crate::inject::value::Value;

fn value(text: &str) -> Value {
    let mut parts = read(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    parts.remove(0).value.expect("it has content")
}

#[test]
fn every_text_is_written_so_that_any_reader_takes_it_for_text() {
    for text in [
        "y",
        "n",
        "Y",
        "No",
        "on",
        "off",
        "true",
        "null",
        "~",
        "",
        " ",
        "0644",
        "0o17",
        "0x1F",
        "1_000",
        "1e3",
        ".5",
        "-.inf",
        "12:30:45",
        "2026-01-01",
        "a: b",
        "a #b",
        "# a",
        "- a",
        "*a",
        "&a",
        "!a",
        "|",
        ">",
        "%a",
        "@a",
        "`a`",
        "'a'",
        "\"a\"",
        "a\nb\n",
        "a\n\n",
        "\n",
        " a",
        "a ",
        "\ta",
        "\u{7f}\u{1}",
        "---",
        "...",
        "--- a",
        "{a}",
        "[a]",
        "a, b",
        "?",
        ": a",
        "<<",
        "=",
        "\u{2028}",
        "日本",
    ] {
        let map: Value = [(if text.is_empty() { "empty" } else { text }, Value::from(text))].into();
        for form in ["a: 1\n", "{\"a\": 1}"] {
            let mut out = String::new();
            read(form).expect("a document").remove(0).write(Some(&map), &mut out).expect("it can be written");
            assert_eq!(value(&out), map, "{out}");
        }
        // The ambiguous ones of YAML 1.1 stand in quotes, or are not alone on their line.
        let mut out = String::new();
        read("a: 1\n").expect("a document").remove(0).write(Some(&map), &mut out).expect("it can be written");
        if ["y", "n", "Y", "No", "on", "off", "0644", "1_000", "12:30:45", "2026-01-01", "0o17"].contains(&text) {
            assert!(out.contains(&format!(": \"{text}\"")) || out.contains(&format!(": '{text}'")), "{out}");
        }
    }
}

#[test]
fn numbers_and_words_are_read_as_kubectl_reads_them() {
    for (text, expected) in [
        ("a: 0644", "{\"a\": 420}"),
        ("a: yes", "{\"a\": true}"),
        ("a: 'yes'", "{\"a\": \"yes\"}"),
        ("a: 1.50", "{\"a\": 1.5}"),
        ("a: 9223372036854775807", "{\"a\": 9223372036854775807}"),
        ("a: 0x10", "{\"a\": 16}"),
        ("a:", "{\"a\": null}"),
        ("1: b", "{\"1\": \"b\"}"),
        ("? a\n: b", "{\"a\": \"b\"}"),
        ("a: |\n  x\n   y\n", "{\"a\": \"x\\n y\\n\"}"),
        ("\u{feff}a: b", "{\"a\": \"b\"}"),
    ] {
        assert_eq!(value(text), value(expected), "{text}");
    }
}

#[test]
fn documents_begin_where_their_marks_are() {
    for (text, expected) in [
        ("a", &["a"][..]),
        ("a\n---\nb\n", &["a\n", "---\nb\n"]),
        ("--- a\n---\tb\n---", &["--- a\n", "---\tb\n", "---"]),
        ("a\n...\nb\n...\n", &["a\n...\n", "b\n...\n"]),
        ("----\n --- \na---\n", &["----\n --- \na---\n"]),
        ("a\r\n---\r\nb", &["a\r\n", "---\r\nb"]),
    ] {
        assert_eq!(split(text), expected, "{text:?}");
    }
}

#[test]
fn what_stands_above_a_changed_document_stays() {
    let text = "# one\n---  # mark\n# two\n\na: 1 # lost\n# lost too\n--- {b: 2}\n";
    let parts = read(text).expect("three parts");
    let mut out = String::new();
    let changed: Value = [("c", Value::from(3))].into();
    for part in &parts {
        part.write(part.value.as_ref().map(|_| &changed), &mut out).expect("it can be written");
    }
    assert_eq!(out, "# one\n---  # mark\n# two\n\nc: 3\n---\nc: 3\n");
}
