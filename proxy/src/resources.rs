//! Static mode: documents from a file instead of a control plane, through the very steps that the control plane and the wire
//! would take them. Read again when the file changes; a bad file keeps the last good one.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use laneway_core::compile::{compile, sort};
use laneway_core::decode::{Resources, decode};
use laneway_core::document::{ProxyDocument, read};
use laneway_core::snapshot::{Identity, Snapshot};
use laneway_core::{check::check, document::Document};
use laneway_proto::admin::{Diagnostic, diagnostic::Severity};
use tracing::{info, warn};

use crate::current::Publisher;

/// How often the file is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ResourcesError {
    #[error("read {path}")]
    Read { path: String, source: std::io::Error },
    #[error("{path}: {}", findings(.diagnostics))]
    Refused { path: String, diagnostics: Vec<Diagnostic> },
    #[error("{path}: {count} documents of kind Proxy; at most one is allowed")]
    Proxies { path: String, count: usize },
}

fn findings(diagnostics: &[Diagnostic]) -> String {
    let mut text = String::new();
    for finding in diagnostics {
        if !text.is_empty() {
            text.push_str("; ");
        }
        for part in [&finding.resource, &finding.field] {
            if !part.is_empty() {
                text.push_str(part);
                text.push(' ');
            }
        }
        text.push_str(&finding.message);
        if !finding.help.is_empty() {
            text.push_str(" (");
            text.push_str(&finding.help);
            text.push(')');
        }
    }
    text
}

/// A file that was read and checked.
pub struct Loaded {
    documents: Vec<Document>,
    pub proxy: Option<ProxyDocument>,
}

/// Reads and checks a file.
pub fn load(path: &Path) -> Result<Loaded, ResourcesError> {
    let shown = || path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| ResourcesError::Read { path: shown(), source })?;
    let refused = |diagnostics| ResourcesError::Refused { path: shown(), diagnostics };
    let documents = read(&text).map_err(refused)?;
    let (objects, catalog, mut proxies) = sort(documents.clone()).map_err(refused)?;
    let (errors, warnings): (Vec<_>, Vec<_>) =
        check(&objects, &catalog).into_iter().partition(|finding| finding.severity() == Severity::Error);
    if !errors.is_empty() {
        return Err(refused(errors));
    }
    for warning in warnings {
        warn!(resource = %warning.resource, field = %warning.field, code = %warning.code, "{}", warning.message);
    }
    if proxies.len() > 1 {
        return Err(ResourcesError::Proxies { path: shown(), count: proxies.len() });
    }
    Ok(Loaded { documents, proxy: proxies.pop() })
}

/// The snapshot of a file, as `identity` sees it.
pub fn snapshot(loaded: Loaded, identity: &Identity, path: &Path, revision: u64) -> Result<Snapshot, ResourcesError> {
    let refused = |diagnostics| ResourcesError::Refused { path: path.display().to_string(), diagnostics };
    let (objects, catalog, _) = sort(loaded.documents).map_err(refused)?;
    let compiled = compile(&objects, &catalog);
    let mut resources = Resources::default();
    for wire in compiled.everything(identity) {
        match decode(wire.type_url, &wire.name, &wire.version, &wire.body) {
            Ok(decoded) => resources.insert(decoded),
            Err(errors) => {
                let of = |error: laneway_proto::discovery::ResourceError| Diagnostic {
                    severity: Severity::Error.into(),
                    resource: error.name,
                    field: error.field,
                    message: error.message,
                    ..Diagnostic::default()
                };
                return Err(refused(errors.into_iter().map(of).collect()));
            }
        }
    }
    Ok(resources.snapshot(identity, revision))
}

/// Follows the file for ever; `taken` is told of each revision that is in force.
pub async fn follow(path: PathBuf, identity: Identity, publisher: Publisher, taken: impl Fn(u64)) {
    let mut revision = publisher.current_revision();
    let mut seen = stamp(&path);
    taken(revision);
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let now = stamp(&path);
        if now == seen {
            continue;
        }
        seen = now;
        let fresh = load(&path).and_then(|loaded| snapshot(loaded, &identity, &path, revision + 1));
        match fresh {
            Ok(snapshot) => {
                revision += 1;
                publisher.publish(snapshot);
                publisher.settled(revision).await;
                taken(revision);
                info!(path = %path.display(), revision, "took the changed resources");
            }
            Err(error) => warn!(error = %error, "keep the last good resources"),
        }
    }
}

/// Tells one state of the file from another.
fn stamp(path: &Path) -> Option<(SystemTime, u64, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    // The inode too: an editor that replaces the file may keep size and second.
    Some((metadata.modified().ok()?, metadata.len(), std::os::unix::fs::MetadataExt::ino(&metadata)))
}
