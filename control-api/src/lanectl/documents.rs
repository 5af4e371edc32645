//! Files to a bundle, remembering where each object came from.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use laneway_core::document::{self, Document};
use laneway_proto::admin::{Bundle, Diagnostic, diagnostic};

/// More than any bundle that the control plane takes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Documents {
    pub(super) bundle: Bundle,
    /// By resource name.
    origins: BTreeMap<String, Origin>,
}

/// Where an object stands.
#[derive(Clone, Debug)]
struct Origin {
    file: String,
    /// From 1.
    document: usize,
}

impl Documents {
    /// Reads every path; all that is wrong with the files, one finding a line.
    pub(super) fn read(paths: &[PathBuf]) -> Result<Documents, String> {
        let mut documents = Documents::default();
        let mut findings = Vec::new();
        for path in paths {
            for file in files(path)? {
                let (shown, text) = text(&file)?;
                documents.take(&shown, &text, &mut findings);
            }
        }
        if findings.is_empty() { Ok(documents) } else { Err(findings.join("\n")) }
    }

    fn take(&mut self, file: &str, text: &str, findings: &mut Vec<String>) {
        let read = match document::read(text) {
            Ok(read) => read,
            Err(errors) => {
                findings.extend(errors.iter().map(|finding| line(file, finding)));
                return;
            }
        };
        for (position, document) in read.into_iter().enumerate() {
            let origin = Origin { file: file.to_owned(), document: position + 1 };
            let name = match document {
                Document::LaneGroup(group) => {
                    let name = group.name.clone();
                    self.bundle.lane_groups.push(group);
                    name
                }
                Document::Lane(lane) => {
                    let name = lane.name.clone();
                    self.bundle.lanes.push(lane);
                    name
                }
                Document::ServicePolicy(policy) => {
                    let name = policy.name.clone();
                    self.bundle.service_policies.push(policy);
                    name
                }
                Document::Service(service) => {
                    findings.push(format!(
                        "{file}: document {}: kind: Service cannot be applied: {} is what runs, which laneway-control reads \
                         by --discovery",
                        position + 1,
                        service.name
                    ));
                    continue;
                }
                Document::Proxy(_) => {
                    findings.push(format!(
                        "{file}: document {}: kind: Proxy cannot be applied: it is for laneway-proxy --resources",
                        position + 1
                    ));
                    continue;
                }
            };
            if let Some(first) = self.origins.insert(name.clone(), origin) {
                findings.push(format!(
                    "{file}: document {}: name: {name} is also document {} of {}",
                    position + 1,
                    first.document,
                    first.file
                ));
            }
        }
    }

    /// A finding of the control plane as a line: file, document, field, message, help.
    pub(super) fn locate(&self, finding: &Diagnostic) -> String {
        match self.origins.get(&finding.resource) {
            Some(origin) => line(&format!("{}: document {}", origin.file, origin.document), finding),
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
