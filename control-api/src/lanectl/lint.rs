//! `lanectl lint`: everything that is wrong with documents, by file and line, without a control plane. The rules are
//! `core::check`'s, the very same that the control plane runs; what they need to know of the rest of the mesh is what the
//! files say.

use std::collections::{BTreeMap, BTreeSet};

use laneway_core::check::{self, code};
use laneway_core::compile::{self, Catalog, Objects};
use laneway_core::document::{self, Document};
use laneway_proto::admin::{Diagnostic, diagnostic};
use serde_json::{Value, json};

use super::arguments::{Format, Lint};
use super::documents::{File, is_error, read_files};
use super::look::{Colour, Look};
use super::{Trouble, print};

#[cfg(test)]
mod tests;

/// What only the catalogue of services can tell: not told where no file has a service.
const OF_WHAT_RUNS: [&str; 3] = [code::NO_INSTANCE, code::NO_SERVICE, code::NO_TAG];

/// What was found, and where.
struct Found {
    /// Position of the file, and number of the document in it.
    place: Option<(usize, usize)>,
    finding: Diagnostic,
}

pub(super) fn lint(options: &Lint, look: Look, out: &mut String) -> Result<(), Trouble> {
    let files = read_files(&options.files).map_err(Trouble::Said)?;
    let (found, documents) = findings(&files);
    let errors = found.iter().filter(|found| is_error(&found.finding)).count();
    let warnings = found.len() - errors;
    match look.format {
        Format::Table | Format::Wide => {
            found.iter().for_each(|found| out.push_str(&line(&files, found, look)));
            let (documents, files) = (print::count(documents, "document"), print::count(files.len(), "file"));
            let (errors, warnings) = (print::count(errors, "error"), print::count(warnings, "warning"));
            out.push_str(&format!("{documents} in {files}: {errors}, {warnings}\n"));
        }
        Format::Json | Format::Yaml => {
            let values = found.iter().map(|found| value(&files, found)).collect();
            out.push_str(&print::values(values, false, look.format));
        }
        Format::Name => {
            let names: BTreeSet<&str> = found.iter().map(|found| found.finding.resource.as_str()).collect();
            names.iter().for_each(|name| out.push_str(&format!("{name}\n")));
        }
    }
    if errors > 0 || (options.strict && warnings > 0) { Err(Trouble::Told) } else { Ok(()) }
}

/// Everything, in order of files and documents; and how many documents there are.
fn findings(files: &[File]) -> (Vec<Found>, usize) {
    let mut found = Vec::new();
    let mut places: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut documents = Vec::new();
    let mut unread = Unread::default();
    let mut count = 0;
    for (at, file) in files.iter().enumerate() {
        let read = match document::read_each(&file.text) {
            Ok(read) => read,
            Err(finding) => {
                found.push(Found { place: Some((at, 1)), finding: *finding });
                continue;
            }
        };
        count += read.len();
        for read in read {
            let place = Some((at, read.number));
            let partial = read.partial.filter(|document| unread.note(document, &read.findings));
            found.extend(read.findings.into_iter().map(|finding| Found { place, finding: untitled(finding) }));
            let Some(document) = read.document.or(partial) else { continue };
            let name = document.name();
            let is_proxy = matches!(document, Document::Proxy(_));
            match places.get(&name).filter(|_| !is_proxy) {
                // Two in one file are told already.
                Some((first, _)) if *first == at => {}
                Some((first, number)) => {
                    let message = format!("{name} is also document {number} of {}", files[*first].shown);
                    found.push(Found { place, finding: twice(&name, message) });
                }
                None => {
                    places.insert(name, (at, read.number));
                    documents.push(document);
                }
            }
        }
    }
    // Each name is there once.
    let (objects, catalog, _) = compile::sort(documents).unwrap_or_default();
    let told: BTreeSet<_> = found.iter().map(|found| key(&found.finding)).collect();
    let checked = judged(&objects, &catalog).into_iter();
    let checked = checked.filter(|finding| !told.contains(&key(finding)) && !unread.may_be_why(finding));
    found.extend(checked.map(|finding| Found { place: places.get(&finding.resource).copied(), finding }));
    found.sort_by_key(|found| found.place.unwrap_or((usize::MAX, 0)));
    (found, count)
}

/// By document: fields that could not be read. The rest of it is checked all the same.
#[derive(Default)]
struct Unread(BTreeMap<String, Vec<String>>);

impl Unread {
    /// False where what is left would say something else than what was meant: a group that does not list its services has all of
    /// them.
    fn note(&mut self, document: &Document, findings: &[Diagnostic]) -> bool {
        let fields: Vec<String> = findings.iter().map(|finding| finding.field.clone()).collect();
        if matches!(document, Document::LaneGroup(_)) && fields.iter().any(|field| parent(field).is_empty()) {
            return false;
        }
        self.0.entry(document.name()).or_default().extend(fields);
        true
    }

    /// Was this perhaps found only because something beside it, above it or in it could not be read?
    fn may_be_why(&self, finding: &Diagnostic) -> bool {
        let unread = self.0.get(&finding.resource);
        unread.into_iter().flatten().any(|unread| {
            let is_of_list = unread.ends_with(']');
            is_within(unread, &finding.field)
                || is_within(&finding.field, unread)
                || parent(&finding.field) == parent(unread)
                // An item that is left out moves those behind it.
                || (is_of_list && is_within(&finding.field, parent(unread)))
        })
    }
}

/// `entry.rules[0].match` is within `entry.rules` and itself.
fn is_within(field: &str, of: &str) -> bool {
    field.strip_prefix(of).is_some_and(|rest| of.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Of `entry.rules[0]` it is `entry.rules`, of `entry` nothing.
fn parent(field: &str) -> &str {
    field.rfind(['.', '[']).map_or("", |at| &field[..at])
}

/// What the checker says, as far as the files can know.
fn judged(objects: &Objects, catalog: &Catalog) -> Vec<Diagnostic> {
    let runs = !catalog.services.is_empty();
    let all = check::check(objects, catalog);
    let strays: BTreeSet<String> =
        all.iter().filter(|finding| finding.code == code::GROUP).map(|finding| finding.resource.clone()).collect();
    let is_known = |finding: &Diagnostic| match finding.code.as_str() {
        // Who is in a group that no file has?
        code::OTHER_GROUP => !strays.contains(&finding.resource),
        other => runs || !OF_WHAT_RUNS.contains(&other),
    };
    all.into_iter()
        .filter(is_known)
        .map(|finding| match finding.code.as_str() {
            // It may be stored already.
            code::GROUP => Diagnostic {
                severity: diagnostic::Severity::Warning.into(),
                message: format!("{} in these files", finding.message),
                help: format!("{}; well if it is applied already", finding.help),
                ..finding
            },
            _ => finding,
        })
        .collect()
}

/// The file and the line say which document it is.
fn untitled(finding: Diagnostic) -> Diagnostic {
    let rest = finding.message.strip_prefix("document ").and_then(|rest| rest.split_once(": "));
    let message = rest.map_or_else(|| finding.message.clone(), |(_, rest)| rest.to_owned());
    Diagnostic { message, ..finding }
}

fn twice(name: &str, message: String) -> Diagnostic {
    Diagnostic {
        severity: diagnostic::Severity::Error.into(),
        code: "LANE0006".to_owned(),
        resource: name.to_owned(),
        field: "name".to_owned(),
        message,
        help: "keep one of the two documents".to_owned(),
    }
}

fn key(finding: &Diagnostic) -> (String, String, String) {
    (finding.resource.clone(), finding.code.clone(), finding.field.clone())
}

/// `shop.yaml:12: error LANE0111: entry.rules[0].match.regex: ... `, and below it what to do.
fn line(files: &[File], found: &Found, look: Look) -> String {
    let finding = &found.finding;
    let place = found.place.map(|(file, document)| format!("{}: ", files[file].place(document, &finding.field)));
    let severity =
        if is_error(finding) { look.paint(Colour::Bad, "error") } else { look.paint(Colour::Odd, "warning") };
    let field = if finding.field.is_empty() { String::new() } else { format!("{}: ", finding.field) };
    let help = if finding.help.is_empty() { String::new() } else { format!("    {}\n", finding.help) };
    // The expression that does not parse, with a mark below it.
    let message = finding.message.replace('\n', "\n        ");
    format!("{}{severity} {}: {field}{message}\n{help}", place.unwrap_or_default(), finding.code)
}

fn value(files: &[File], found: &Found) -> Value {
    let finding = &found.finding;
    let place = found.place.map(|(file, document)| (&files[file], document));
    json!({
        "file": place.map(|(file, _)| file.shown.as_str()),
        "line": place.and_then(|(file, document)| file.line(document, &finding.field)),
        "document": place.map(|(_, document)| document),
        "severity": if is_error(finding) { "error" } else { "warning" },
        "code": finding.code,
        "resource": finding.resource,
        "field": finding.field,
        "message": finding.message,
        "help": finding.help,
    })
}
