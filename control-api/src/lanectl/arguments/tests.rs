//! Whatever the pages tell people to type.

use std::fs;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::*;

/// Commands of one page, each from `lanectl` on: in blocks of shell, and between backticks.
fn commands(page: &str) -> Vec<String> {
    let mut blocks = String::new();
    let mut words = String::new();
    let mut is_shell = None;
    for line in page.lines() {
        match (line.trim_start().strip_prefix("```"), is_shell) {
            (Some(kind), None) => is_shell = Some(kind == "sh"),
            (Some(_), Some(_)) => is_shell = None,
            (None, Some(true)) => blocks.push_str(&format!("{}\n", line.split("  #").next().unwrap_or_default())),
            (None, Some(false)) => {}
            (None, None) => words.push_str(&format!("{line}\n")),
        }
    }
    let blocks = blocks.replace("\\\n", " ");
    // What stands between a first and a second backtick is code, and so on.
    let inline = words.split('`').skip(1).step_by(2).map(|code| code.replace('\n', " "));
    let lines = blocks.lines().map(str::to_owned).chain(inline);
    let parts =
        lines.flat_map(|line| line.split(['|', ';', '&', '(', ')', '<', '>']).map(str::to_owned).collect::<Vec<_>>());
    parts.filter_map(|part| part.trim().strip_prefix("lanectl ").map(|rest| format!("lanectl {rest}"))).collect()
}

/// As a shell divides it, but for what it would fill in.
fn divided(command: &str) -> Vec<String> {
    let words = command.replace(['\'', '"', '\\'], "");
    let words = words.split_whitespace().filter(|word| !word.starts_with('$'));
    // Placeholders are capitals; names of ours are not.
    words
        .map(|word| if word.chars().any(|c| c.is_ascii_lowercase()) { word.to_owned() } else { word.to_lowercase() })
        .collect()
}

#[test]
fn every_command_of_the_pages_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let pages = fs::read_dir(root.join("docs")).expect("it is there").map(|entry| entry.expect("an entry").path());
    let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut count = 0;
    let mut wrong = Vec::new();
    for path in pages.chain([root.join("README.md")]) {
        let page = fs::read_to_string(&path).expect("it is text");
        for command in commands(&page) {
            count += 1;
            // What is left out is nothing wrong: a page may name a verb alone.
            let Err(error) = Arguments::try_parse_from(divided(&command)) else { continue };
            let is_short = matches!(
                error.kind(),
                ErrorKind::MissingRequiredArgument
                    | ErrorKind::MissingSubcommand
                    | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                    | ErrorKind::DisplayHelp
                    | ErrorKind::DisplayVersion
            ) || error.get(ContextKind::InvalidValue) == Some(&ContextValue::String(String::new()));
            if !is_short {
                wrong.push(format!("{}: {command}: {error}", path.display()));
            }
        }
    }
    assert!(count > 100, "{count} commands: are they still found?");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
