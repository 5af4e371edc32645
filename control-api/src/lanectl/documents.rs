//! Files to a bundle, remembering where each object came from.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use laneway_core::document::{self, Document, Lines};
use laneway_proto::admin::{Bundle, Diagnostic, diagnostic};

/// More than any bundle that the control plane takes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Documents {
    pub(super) bundle: Bundle,
    files: Vec<File>,
    /// By resource name.
    origins: BTreeMap<String, Origin>,
}

/// Where an object stands.
#[derive(Clone, Copy, Debug)]
struct Origin {
    /// Position in `files`.
    file: usize,
    /// From 1.
    document: usize,
}

/// A file, read.
#[derive(Debug)]
pub(super) struct File {
    /// As people named it.
    pub(super) shown: String,
    pub(super) text: String,
    /// Made for the first finding.
    lines: OnceCell<Lines>,
}

impl File {
    pub(super) fn new(shown: String, text: String) -> File {
        File { shown, text, lines: OnceCell::new() }
    }

    /// `gray.yaml:12`
    pub(super) fn place(&self, document: usize, field: &str) -> String {
        match self.line(document, field) {
            Some(line) => format!("{}:{line}", self.shown),
            None => self.shown.clone(),
        }
    }

    pub(super) fn line(&self, document: usize, field: &str) -> Option<usize> {
        self.lines.get_or_init(|| Lines::of(&self.text)).line(document, field)
    }
}

impl Documents {
    /// Reads every path; all that is wrong with the files, one finding a line.
    pub(super) fn read(paths: &[PathBuf]) -> Result<Documents, String> {
        let mut documents = Documents { files: read_files(paths)?, ..Documents::default() };
        let mut findings = Vec::new();
        for position in 0..documents.files.len() {
            documents.take(position, &mut findings);
        }
        if findings.is_empty() { Ok(documents) } else { Err(findings.join("\n")) }
    }

    fn take(&mut self, position: usize, findings: &mut Vec<String>) {
        let file = &self.files[position];
        let read = match document::read_each(&file.text) {
            Ok(read) => read,
            Err(syntax) => return findings.push(line(&file.place(1, ""), &syntax)),
        };
        for read in read {
            let number = read.number;
            findings.extend(read.findings.iter().map(|finding| line(&file.place(number, &finding.field), finding)));
            let Some(document) = read.document else { continue };
            let name = document.name();
            match document {
                Document::LaneGroup(group) => self.bundle.lane_groups.push(group),
                Document::Lane(lane) => self.bundle.lanes.push(lane),
                Document::ServicePolicy(policy) => self.bundle.service_policies.push(policy),
                Document::Service(_) => {
                    let place = file.place(number, "kind");
                    findings.push(format!(
                        "{place}: document {number}: kind: Service cannot be applied: {name} is what runs, which \
                         laneway-control reads by --discovery"
                    ));
                    continue;
                }
                Document::Proxy(_) => {
                    let place = file.place(number, "kind");
                    findings.push(format!(
                        "{place}: document {number}: kind: Proxy cannot be applied: it is for laneway-proxy --resources"
                    ));
                    continue;
                }
            }
            let origin = Origin { file: position, document: number };
            // Two of one file are a finding of the reader already.
            let first = self.origins.insert(name.clone(), origin).filter(|first| first.file != position);
            if let Some(first) = first {
                let other = &self.files[first.file].shown;
                findings.push(format!(
                    "{}: document {number}: name: {name} is also document {} of {other}",
                    file.place(number, "name"),
                    first.document
                ));
            }
        }
    }

    /// A finding of the control plane as a line: file, document, field, message, help.
    pub(super) fn locate(&self, finding: &Diagnostic) -> String {
        match self.origins.get(&finding.resource) {
            Some(origin) => {
                let place = self.files[origin.file].place(origin.document, &finding.field);
                line(&format!("{place}: document {}", origin.document), finding)
            }
            None => line("", finding),
        }
    }
}

pub(super) fn is_error(finding: &Diagnostic) -> bool {
    finding.severity() == diagnostic::Severity::Error
}

pub(super) fn line(place: &str, finding: &Diagnostic) -> String {
    let parts = [place, &finding.resource, &finding.field, &finding.message];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let mut line = parts.join(": ");
    if !finding.help.is_empty() {
        line.push_str(". ");
        line.push_str(&finding.help);
    }
    if !finding.code.is_empty() {
        line.push_str(&format!(" [{}]", finding.code));
    }
    line
}

/// Every file that the paths name, of documents of ours.
pub(super) fn read_files(paths: &[PathBuf]) -> Result<Vec<File>, String> {
    super::keep_descriptors();
    texts(paths)
}

/// Every file that the paths name.
pub(super) fn texts(paths: &[PathBuf]) -> Result<Vec<File>, String> {
    let mut all = Vec::new();
    for path in paths {
        for path in files(path)? {
            let (shown, text) = text(&path)?;
            all.push(File::new(shown, text));
        }
    }
    Ok(all)
}

/// A file, the document files of a folder, or `-`.
fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    if path == Path::new("-") || !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let suits = file.extension().is_some_and(|kind| kind == "yaml" || kind == "yml" || kind == "json");
        if suits && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(format!("{}: the folder has no .yaml, .yml or .json file", path.display()));
    }
    files.sort();
    Ok(files)
}

fn text(path: &Path) -> Result<(String, String), String> {
    let is_stdin = path == Path::new("-");
    let shown = if is_stdin { "(stdin)".to_owned() } else { path.display().to_string() };
    let mut text = String::new();
    let read = if is_stdin {
        std::io::stdin().take(FILE_BYTES_MAX + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
    };
    match read {
        Ok(length) if length as u64 > FILE_BYTES_MAX => Err(format!("{shown}: larger than {FILE_BYTES_MAX} bytes")),
        Ok(_) => Ok((shown, text)),
        Err(error) => Err(format!("{shown}: {error}")),
    }
}
