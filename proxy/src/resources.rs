//! Static mode: documents from a file instead of a control plane, through the very steps that the control plane and the wire
//! would take them. Read again when the file changes; a bad file keeps the last good one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use laneway_core::compile::{compile, sort};
use laneway_core::decode::{Resources, decode};
use laneway_core::document::{ProxyDocument, read};
use laneway_core::snapshot::{Identity, Snapshot};
use laneway_core::{check::check, document::Document};
use laneway_proto::admin::{Diagnostic, diagnostic::Severity};
use tracing::{error, info, warn};

use crate::current::Publisher;
use crate::status::{self, Held, HeldResource, Status};

#[cfg(test)]
mod tests;

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
    seen: Option<Stamp>,
    documents: Vec<Document>,
    pub proxy: Option<ProxyDocument>,
}

/// Reads and checks a file.
pub fn load(path: &Path) -> Result<Loaded, ResourcesError> {
    let shown = || path.display().to_string();
    // Before it is read: what changes meanwhile is seen later.
    let seen = stamp(path);
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
    Ok(Loaded { seen, documents, proxy: proxies.pop() })
}

/// What the first snapshot was made of, to tell what comes later from it.
pub struct First {
    seen: Option<Stamp>,
    held: Vec<HeldResource>,
    proxy: Option<ProxyDocument>,
}

/// The first snapshot of a file, as `identity` sees it.
pub fn first(loaded: Loaded, identity: &Identity, path: &Path) -> Result<(Snapshot, First), ResourcesError> {
    let (seen, proxy) = (loaded.seen, loaded.proxy.clone());
    let resources = compiled(loaded, identity, path)?;
    Ok((resources.snapshot(identity, 1), First { seen, held: status::held(&resources), proxy }))
}

fn compiled(loaded: Loaded, identity: &Identity, path: &Path) -> Result<Resources, ResourcesError> {
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
    Ok(resources)
}

/// Follows the file for ever. `first` is what the current snapshot was made of.
pub async fn follow(path: PathBuf, identity: Identity, first: First, publisher: Publisher, status: Status) {
    let mut revision = publisher.current_revision();
    let First { mut seen, held, proxy } = first;
    status.holds(Held { revision, resources: held });
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let now = stamp(&path);
        if now == seen {
            continue;
        }
        seen = now;
        // A bug of ours must not take the last good resources with it.
        let fresh = catch_unwind(AssertUnwindSafe(|| again(&path, &identity, proxy.as_ref(), revision + 1)));
        match fresh {
            Ok(Ok((snapshot, resources))) => {
                revision += 1;
                publisher.publish(snapshot);
                publisher.settled(revision).await;
                status.holds(Held { revision, resources });
                info!(path = %path.display(), revision, "took the changed resources");
            }
            Ok(Err(error)) => {
                warn!(error = %error, "keep the last good resources");
                status.refused();
            }
            Err(_) => {
                error!(path = %path.display(), "reading resources panicked; keep the last good resources");
                status.panicked();
            }
        }
    }
}

fn again(
    path: &Path,
    identity: &Identity,
    proxy: Option<&ProxyDocument>,
    revision: u64,
) -> Result<(Snapshot, Vec<HeldResource>), ResourcesError> {
    let loaded = load(path)?;
    if loaded.proxy.as_ref() != proxy {
        warn!("the Proxy document changed: identity and listeners are read at the start only; restart for them");
    }
    let resources = compiled(loaded, identity, path)?;
    Ok((resources.snapshot(identity, revision), status::held(&resources)))
}

/// Tells one state of the file from another: time, size, and the inode, for an editor that replaces the file may keep both.
type Stamp = (SystemTime, u64, u64);

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), std::os::unix::fs::MetadataExt::ino(&metadata)))
}
