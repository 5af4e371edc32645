//! docs/api.md is held to the program: its commands are run in their order, curl by curl, what stands there as `grpcurl` by
//! reflection ([`super::grpcurl`]), and what they print is compared with what stands there. `UPDATE=1` writes it anew. Its table of
//! reasons is compared with those that the code gives.
//!
//! JSON is compared by what it says, however it is laid out; times, hashes and random ids by their form.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::grpcurl::Reflected;
use super::program::Control;
use super::transcript::document::{self, Block, Run};

/// Where the two ports are in the document.
const API: &str = "localhost:15411";
const DISCOVERY: &str = "localhost:15410";

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_says_what_curl_and_grpcurl_print() {
    let text = std::fs::read_to_string(path()).expect("docs/api.md is there");
    let control = Control::start_with(&["--replica", "control-0"]);
    let (mut told, mut wrong, mut count) = (String::new(), Vec::new(), 0);
    for block in document::parts(&text) {
        match block {
            Block::Text(text) | Block::File { whole: text, .. } => told.push_str(&text),
            Block::Console(runs) => {
                told.push_str("```console\n");
                for run in runs {
                    count += 1;
                    let printed = printed(&control, &run).await;
                    let is_same = normal(&printed) == normal(&run.output);
                    if !is_same {
                        wrong.push(format!("$ {}\n--- docs/api.md\n{}--- printed\n{printed}", run.command, run.output));
                    }
                    let shown = if is_same { run.output.clone() } else { laid_out(&printed, &run.output) };
                    told.push_str(&format!("$ {}\n{shown}", run.command));
                }
                told.push_str("```\n");
            }
        }
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path(), told).expect("docs/api.md can be written");
        return;
    }
    assert!(count > 10, "{count} commands in docs/api.md");
    assert!(wrong.is_empty(), "{}\nUPDATE=1 writes docs/api.md anew", wrong.join("\n"));
}

async fn printed(control: &Control, run: &Run) -> String {
    if let Some(arguments) = run.command.strip_prefix("grpcurl -plaintext ") {
        return reflected(control, arguments).await;
    }
    let api = control.api.trim_start_matches("http://");
    let command = run.command.replace(API, api);
    let mut shell = Command::new("timeout");
    shell.args(["60", "sh", "-c", &format!("exec 2>&1; {command}")]).current_dir(control.path(""));
    shell.stdin(std::process::Stdio::null());
    let output = tokio::task::spawn_blocking(move || shell.output()).await.expect("no panic").expect("sh is there");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "$ {}\n{text}", run.command);
    if text.is_empty() || text.ends_with('\n') { text } else { format!("{text}\n") }
}

/// `[-d 'JSON'] ADDRESS list`, or with a method in place of `list`.
async fn reflected(control: &Control, arguments: &str) -> String {
    let (request, rest) = match arguments.strip_prefix("-d '") {
        Some(rest) => rest.split_once("' ").expect("the request ends with a quote"),
        None => ("{}", arguments),
    };
    let (address, what) = rest.split_once(' ').expect("an address, and what is asked");
    let server = match address {
        API => &control.api,
        DISCOVERY => &control.discovery,
        other => panic!("{other} is neither {API} nor {DISCOVERY}"),
    };
    let server = Reflected::of(server).await;
    match what {
        "list" => server.services.iter().map(|service| format!("{service}\n")).collect(),
        method => {
            let answer = server.call(method, request).await.unwrap_or_else(|status| panic!("{method}: {status}"));
            format!("{}\n", serde_json::to_string_pretty(&answer).expect("JSON"))
        }
    }
}

/// What does not differ from run to run. A text that is no JSON line by line.
fn normal(text: &str) -> Vec<String> {
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        return vec![plain(value).to_string()];
    }
    let line = |line: &str| match line.strip_prefix("data: ").map(serde_json::from_str::<Value>) {
        Some(Ok(value)) => format!("data: {}", plain(value)),
        _ => match serde_json::from_str::<Value>(line) {
            Ok(value) => plain(value).to_string(),
            Err(_) => line.to_owned(),
        },
    };
    text.lines().map(line).collect()
}

fn plain(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, plain(value))).collect(),
        Value::Array(items) => items.into_iter().map(plain).collect(),
        Value::String(text) => Value::from(form(&text).map_or(text, str::to_owned)),
        other => other,
    }
}

fn form(text: &str) -> Option<&'static str> {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    if text.len() >= 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T' {
        return Some("MOMENT");
    }
    if groups == [8, 4, 4, 4, 12] && text.split('-').all(is_hex) {
        return Some("UUID");
    }
    if text.len() == 16 && is_hex(text) {
        return Some("HASH");
    }
    text.strip_suffix('s').filter(|rest| rest.parse::<f64>().is_ok()).map(|_| "SPAN")
}

/// Over several lines where it stood so before.
fn laid_out(printed: &str, before: &str) -> String {
    match serde_json::from_str::<Value>(printed) {
        Ok(value) if before.lines().count() > 1 => {
            format!("{}\n", serde_json::to_string_pretty(&value).expect("JSON"))
        }
        _ => printed.to_owned(),
    }
}

#[test]
fn only_what_differs_from_run_to_run_is_made_the_same() {
    let check =
        |left: &str, right: &str, is_same: bool| assert_eq!(normal(left) == normal(right), is_same, "{left} {right}");
    check(r#"{"a": "0.5s", "b": 1}"#, "{\n\"b\":1,\"a\":\"7s\"}", true);
    check(r#"{"a": "0123456789abcdef"}"#, r#"{"a": "ffffffffffffffff"}"#, true);
    check(
        r#"{"uid": "c1b674f4-c1ec-4a8b-a5d2-69c6c3669316"}"#,
        r#"{"uid": "344ac5d5-60f9-4aec-b93e-5682c4735074"}"#,
        true,
    );
    check("data: {\"time\":\"2026-11-28T16:22:47Z\"}\n", "data: {\"time\":\"2027-11-28T16:22:47.5Z\"}\n", true);
    check(r#"{"revision": "2"}"#, r#"{"revision": "3"}"#, false);
    check("ABORTED\n", "DONE\n", false);
}

#[test]
fn the_table_of_reasons_has_those_that_the_code_gives() {
    let text = std::fs::read_to_string(path()).expect("docs/api.md is there");
    let rows = text.lines().skip_while(|line| !line.starts_with("| code | HTTP | reasons |")).skip(2);
    let cells = rows.take_while(|line| line.starts_with('|')).filter_map(|row| row.split('|').nth(3));
    let told: BTreeSet<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    // Those that say no more than the code does are not in the table.
    let codes = ["NOT_FOUND", "ALREADY_EXISTS", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNAVAILABLE"];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api");
    let sources = ["errors.rs", "write.rs", "lanes.rs"].map(|name| std::fs::read_to_string(folder.join(name)));
    let sources = sources.map(|source| source.expect("the source is there"));
    let behind_quotes = sources.iter().flat_map(|source| source.match_indices('"').map(|(at, _)| &source[at + 1..]));
    let words = behind_quotes.filter_map(|rest| rest.split_once('"').map(|(word, _)| word));
    let is_reason = |word: &&str| word.len() > 3 && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let given: BTreeSet<&str> = words.filter(is_reason).filter(|word| !codes.contains(word)).collect();
    assert_eq!(told, given);
}
