//! Holds the imports of the code against the directions in docs/architecture.md: an import that is not in its tables fails.
//!
//! A text scan is enough: `laneway_x`, `crate::x` and `x = {{ path }}` dependencies are all there is to see.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Importer to what it may import.
type Directions = BTreeMap<String, BTreeSet<String>>;

const PACKAGES: [&str; 6] = ["proto", "core", "proxy", "control-api", "iptables", "tests"];

#[test]
fn packages_import_only_what_the_table_allows() {
    let allowed = table("importer");
    let mut wrong = Vec::new();
    for package in PACKAGES {
        let may =
            allowed.get(package).unwrap_or_else(|| panic!("docs/architecture.md has no row for package {package}"));
        for (file, text) in sources(package) {
            for other in PACKAGES.iter().filter(|other| **other != package) {
                let name = format!("laneway_{}", other.replace('-', "_"));
                // The tests start the product's programs and may look into no package but these.
                if mentions(&text, &name) && !may.contains(*other) {
                    wrong.push(format!("{}: {package} imports {other}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "not in the directions of docs/architecture.md:\n{}", wrong.join("\n"));
}

#[test]
fn modules_import_only_what_the_tables_allow() {
    let mut wrong = Vec::new();
    for package in ["proxy", "control-api"] {
        let allowed = table(&format!("importer in {package}"));
        let known: BTreeSet<&String> = allowed.keys().chain(allowed.values().flatten()).collect();
        let mut used = BTreeSet::new();
        for (file, text) in sources(package) {
            let Some(importer) = module_of(&file, package, &allowed) else { continue };
            used.insert(importer.clone());
            let Some(may) = allowed.get(&importer) else {
                wrong.push(format!("{}: no row for module {importer} in {package}", file.display()));
                continue;
            };
            for imported in imports(&text, &importer, &format!("laneway_{}", package.replace('-', "_")), &allowed) {
                if imported != importer && !may.contains(&imported) && !within(&importer, &imported, may) {
                    wrong.push(format!("{}: {importer} imports {imported}", file.display()));
                }
                if imported != importer && !known.contains(&imported) && !imported.contains("::") {
                    wrong.push(format!("{}: module {imported} is in no table", file.display()));
                }
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "not in the directions of docs/architecture.md:\n{}", wrong.join("\n"));
}

#[test]
fn nobody_uses_what_is_banned() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("the lock file is there");
    for banned in
        ["serde_yaml", "serde_yml", "sled", "opentelemetry-prometheus", "xds-api", "rustables", "aws-lc-rs", "openssl"]
    {
        assert!(!lock.contains(&format!("name = \"{banned}\"\n")), "{banned} is banned (decisions: dependencies)");
    }
}

/// A code that is told is in the table, and nothing is in the table that is never told.
#[test]
fn every_code_of_a_finding_is_documented() {
    let text = fs::read_to_string(root().join("docs/diagnostics.md")).expect("docs/diagnostics.md is there");
    let mut documented = BTreeSet::new();
    for line in text.lines() {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        if let ["", code, meaning, remedy, ""] = cells.as_slice()
            && let Some(code) = code.strip_prefix('`').and_then(|code| code.strip_suffix('`'))
        {
            assert!(!meaning.is_empty() && !remedy.is_empty(), "{code} has no meaning or no remedy");
            assert!(documented.insert(code.to_owned()), "{code} stands twice");
        }
    }
    let is_code = |text: &&str| text.len() == 8 && text.starts_with("LANE0");
    let told: BTreeSet<String> = PACKAGES
        .iter()
        .flat_map(|package| sources(package))
        .flat_map(|(_, text)| text.split('"').filter(is_code).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(told, documented, "codes in the sources, and in docs/diagnostics.md");
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<_> = PACKAGES
        .iter()
        .flat_map(|package| sources(package))
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(file, _)| file.display().to_string())
        .collect();
    assert!(silent.is_empty(), "these files do not open with `//!`:\n{}", silent.join("\n"));
}

/// The rows of the table whose first column is headed so.
fn table(head: &str) -> Directions {
    let text = fs::read_to_string(root().join("docs/architecture.md")).expect("docs/architecture.md is there");
    let mut rows = Directions::new();
    let mut inside = false;
    for line in text.lines() {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        match cells.as_slice() {
            ["", first, "may import", ""] => inside = *first == head,
            ["", first, _, ""] if first.starts_with("---") => {}
            ["", first, others, ""] if inside => {
                let others = others.split(',').map(|other| other.trim().trim_matches('`').to_owned());
                let others = others.filter(|other| !other.is_empty()).collect();
                rows.insert(first.trim_matches('`').to_owned(), others);
            }
            _ => inside = false,
        }
    }
    assert!(!rows.is_empty(), "docs/architecture.md has no table `| {head} | may import |`");
    rows
}

/// The product's sources of a package: no tests, nor what a fuzzer runs, which may look at everything.
fn sources(package: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(package).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is there").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.extend((!path.ends_with("tests")).then_some(path));
            } else if path.extension().is_some_and(|kind| kind == "rs")
                && !["tests.rs", "hostile.rs"].iter().any(|name| path.ends_with(name))
            {
                let text = fs::read_to_string(&path).expect("sources are text");
                files.push((path.strip_prefix(root()).expect("it lies below").to_owned(), text));
            }
        }
    }
    files.sort();
    files
}

/// The module that a file belongs to: the first step below `src`, or the second where the table has rows such as
/// `datapath::inbound`. `lib.rs` declares and belongs to nobody; a program in `bin` is its own module.
fn module_of(file: &Path, package: &str, allowed: &Directions) -> Option<String> {
    let path = file.strip_prefix(Path::new(package).join("src")).ok()?.with_extension("");
    let mut steps = path.iter().map(|step| step.to_string_lossy().into_owned());
    let first = match steps.next()?.as_str() {
        "lib" => return None,
        "bin" => steps.next()?,
        first => first.to_owned(),
    };
    match steps.next().map(|second| format!("{first}::{second}")) {
        Some(both) if allowed.contains_key(&both) => Some(both),
        _ => Some(first),
    }
}

/// Modules named by `crate::x`, `crate::{x, y}` or `laneway_package::x`.
fn imports(text: &str, importer: &str, package: &str, allowed: &Directions) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let program = importer == "main" || importer == "lanectl";
    // A part of a module that has rows for its parts: `super` is the module.
    let parent = importer.split_once("::").map(|(parent, _)| parent);
    for line in text.lines().map(str::trim_start).filter(|line| !line.starts_with("//")) {
        let prefixes =
            [Some("crate::".to_owned()), program.then(|| format!("{package}::")), parent.map(|_| "super::".to_owned())];
        for prefix in prefixes.into_iter().flatten() {
            let within = if prefix == "super::" { parent } else { None };
            for (at, _) in line.match_indices(&prefix) {
                if line[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_' || letter == '$') {
                    continue;
                }
                let rest = &line[at + prefix.len()..];
                let names = match rest.strip_prefix('{') {
                    Some(list) => top_level(list),
                    None => vec![rest.to_owned()],
                };
                for path in names {
                    match within {
                        // Items of the parent itself are no import of a part.
                        Some(parent) => found.extend(
                            module_named(&format!("{parent}::{}", path.trim()), allowed).filter(|name| name != parent),
                        ),
                        None => found.extend(module_named(&path, allowed)),
                    }
                }
            }
        }
    }
    found
}

/// `a::b, c::{d, e}` cut at its outermost commas.
fn top_level(list: &str) -> Vec<String> {
    let mut depth = 0;
    let mut parts = vec![String::new()];
    for letter in list.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("it never is empty").push(letter);
    }
    parts
}

/// The module at the head of a path; none for items of the crate's root.
fn module_named(path: &str, allowed: &Directions) -> Option<String> {
    let mut steps = path
        .trim()
        .split("::")
        .map(|step| step.trim_matches(|letter: char| !letter.is_alphanumeric() && letter != '_'));
    let first = steps.next().filter(|step| step.starts_with(|letter: char| letter.is_ascii_lowercase()))?.to_owned();
    match steps.next().map(|second| format!("{first}::{second}")) {
        Some(both) if allowed.contains_key(&both) => Some(both),
        _ => Some(first),
    }
}

/// A part of a module may use the module itself, and a module its own parts.
fn within(importer: &str, imported: &str, may: &BTreeSet<String>) -> bool {
    let head = |path: &str| path.split("::").next().map(str::to_owned);
    head(importer) == head(imported) && (!importer.contains("::") || !imported.contains("::"))
        || head(imported).is_some_and(|imported| head(importer).as_ref() != Some(&imported) && may.contains(&imported))
}

fn mentions(text: &str, name: &str) -> bool {
    let lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
    lines.into_iter().any(|line| {
        line.match_indices(name).any(|(at, _)| {
            let after = line[at + name.len()..].chars().next();
            !after.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
        })
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace").to_owned()
}
