//! Static discovery: `kind: Service` documents in files or folders, read again when they change.
//!
//! ```text
//!   poll -> stamp (mtime, length, inode) differs -> read -> same bytes at two polls -> parse -> good: publish
//!                                                                                            \-> bad: warn, keep the last good
//! ```
//! A change counts once it was seen alike at two polls, so a file caught while it is being written is not taken for a
//! smaller mesh. One that is replaced (by another of its name) again and again is whole each time, and is not waited for: it
//! may never be alike. A file that is gone or broken keeps what it last said; only a good file changes what runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use laneway_core::check::service_too_large;
use laneway_core::document::{self, Document, ServiceDocument};
use laneway_proto::admin::Diagnostic;
use tokio::sync::watch;
use tracing::{info, warn};
use xxhash_rust::xxh3::xxh3_64;

#[cfg(test)]
mod tests;

/// How often the files are looked at. A change is taken after two looks.
const POLL: Duration = Duration::from_millis(50);
/// A file changed less than this ago is read again although its stamp is the same: clocks of file systems are coarse.
const YOUNG: Duration = Duration::from_secs(2);
/// More than any list of services a person keeps in files.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Files of one folder.
const FILES_MAX: usize = 10_000;

/// The files that say what runs.
pub struct Files {
    roots: Vec<PathBuf>,
    known: BTreeMap<PathBuf, Known>,
    /// Problems that were told already, so that each is told once.
    told: BTreeMap<PathBuf, String>,
}

struct Known {
    stamp: Stamp,
    /// Of the bytes that were last looked at.
    hash: u64,
    /// Seen once, not yet taken.
    fresh: bool,
    /// The last good content; empty until there was one.
    services: Vec<ServiceDocument>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

/// Why a file says nothing useful.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("read {path}: {cause}")]
    Read { path: PathBuf, cause: std::io::Error },
    #[error("{path}: {reason}")]
    Bad { path: PathBuf, reason: String },
}

impl Files {
    /// Reads everything for the first time. Here a bad file is an error: there is no last good content to keep, and to
    /// start with fewer services than there are would take running instances away from sidecars.
    pub fn open(roots: Vec<PathBuf>) -> Result<(Files, Vec<ServiceDocument>), FileError> {
        let mut files = Files { roots, known: BTreeMap::new(), told: BTreeMap::new() };
        for path in files.list()? {
            let (stamp, bytes) = read(&path)?;
            let services = parse(&path, &bytes)?;
            files.known.insert(path, Known { stamp, hash: xxh3_64(&bytes), fresh: false, services });
        }
        let services = files.merged()?;
        Ok((files, services))
    }

    /// Looks at the files for ever; ends when nobody listens.
    pub async fn follow(mut self, services: watch::Sender<Vec<ServiceDocument>>) {
        let mut ticks = tokio::time::interval(POLL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !services.is_closed() {
            ticks.tick().await;
            // Reads files: not on a thread that serves others.
            let looked = tokio::task::spawn_blocking(move || {
                let found = self.look(SystemTime::now());
                (self, found)
            });
            let Ok((files, found)) = looked.await else { return };
            self = files;
            if let Some(found) = found {
                info!(services = found.len(), "discovery changed");
                services.send_replace(found);
            }
        }
    }

    /// One look. The whole catalogue, if it changed.
    fn look(&mut self, now: SystemTime) -> Option<Vec<ServiceDocument>> {
        let paths = match self.list() {
            Ok(paths) => paths,
            Err(error) => {
                let path = self.roots.first().cloned().unwrap_or_default();
                self.tell(&path, error.to_string());
                return None;
            }
        };
        let mut changed = false;
        for path in &paths {
            match self.look_at(path, now) {
                Ok(taken) => changed |= taken,
                Err(error) => self.tell(path, error.to_string()),
            }
        }
        // A file that left a folder takes its services with it; a root that is gone is an error above, and kept.
        let gone: Vec<PathBuf> = self.known.keys().filter(|path| !paths.contains(path)).cloned().collect();
        for path in gone {
            self.known.remove(&path);
            self.told.remove(&path);
            changed = true;
        }
        if !changed {
            return None;
        }
        match self.merged() {
            Ok(services) => Some(services),
            Err(FileError::Bad { path, reason }) => {
                self.tell(&path, reason);
                None
            }
            Err(error) => {
                warn!(%error, "discovery kept as it was");
                None
            }
        }
    }

    /// Looks at one file; true when its new content was taken.
    fn look_at(&mut self, path: &Path, now: SystemTime) -> Result<bool, FileError> {
        let stamp = stamp(path)?;
        let known = self.known.get(path);
        let young = |stamp: Stamp| stamp.modified.is_none_or(|at| now.duration_since(at).is_ok_and(|age| age < YOUNG));
        if known.is_some_and(|known| known.stamp == stamp && !known.fresh && !young(stamp)) {
            return Ok(false);
        }
        let (stamp, bytes) = read(path)?;
        let hash = xxh3_64(&bytes);
        let entry = self.known.entry(path.to_path_buf()).or_insert(Known {
            stamp,
            hash: !hash,
            fresh: false,
            services: Vec::new(),
        });
        let same = entry.hash == hash;
        let is_replaced_again = entry.fresh && entry.stamp.inode != stamp.inode;
        entry.stamp = stamp;
        entry.hash = hash;
        if !same && !is_replaced_again {
            entry.fresh = true;
            return Ok(false);
        }
        if !entry.fresh {
            return Ok(false);
        }
        entry.fresh = false;
        let services = parse(path, &bytes)?;
        entry.services = services;
        self.told.remove(path);
        Ok(true)
    }

    /// The files under the roots, in order.
    fn list(&self) -> Result<Vec<PathBuf>, FileError> {
        let mut paths = Vec::new();
        for root in &self.roots {
            let reading = |cause| FileError::Read { path: root.clone(), cause };
            if !std::fs::metadata(root).map_err(reading)?.is_dir() {
                paths.push(root.clone());
                continue;
            }
            let mut folder = Vec::new();
            for entry in std::fs::read_dir(root).map_err(reading)? {
                let path = entry.map_err(reading)?.path();
                let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
                let suits = path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml" || ext == "json");
                if suits && !hidden && path.is_file() {
                    folder.push(path);
                }
            }
            folder.sort();
            paths.append(&mut folder);
        }
        paths.dedup();
        if paths.len() > FILES_MAX {
            let reason = format!("more than {FILES_MAX} files");
            return Err(FileError::Bad { path: self.roots.first().cloned().unwrap_or_default(), reason });
        }
        Ok(paths)
    }

    /// All services. Two documents for one service are an error: neither would be the whole truth.
    fn merged(&self) -> Result<Vec<ServiceDocument>, FileError> {
        let mut origin: BTreeMap<String, &Path> = BTreeMap::new();
        let mut services = Vec::new();
        for (path, known) in &self.known {
            for service in &known.services {
                let name = service.resource_name();
                if let Some(first) = origin.insert(name.clone(), path) {
                    let reason = format!("service {name} is also in {}", first.display());
                    return Err(FileError::Bad { path: path.clone(), reason });
                }
                services.push(service.clone());
            }
        }
        Ok(services)
    }

    fn tell(&mut self, path: &Path, reason: String) {
        if self.told.get(path) != Some(&reason) {
            warn!(file = %path.display(), %reason, "discovery file not taken, the last good one stays");
            self.told.insert(path.to_path_buf(), reason);
        }
    }
}

fn stamp(path: &Path) -> Result<Stamp, FileError> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(path).map_err(|cause| FileError::Read { path: path.to_path_buf(), cause })?;
    Ok(Stamp { modified: found.modified().ok(), length: found.len(), inode: found.ino() })
}

fn read(path: &Path) -> Result<(Stamp, Vec<u8>), FileError> {
    let stamp = stamp(path)?;
    if stamp.length > FILE_BYTES_MAX {
        let reason = format!("{} bytes, more than the {FILE_BYTES_MAX} allowed", stamp.length);
        return Err(FileError::Bad { path: path.to_path_buf(), reason });
    }
    let bytes = std::fs::read(path).map_err(|cause| FileError::Read { path: path.to_path_buf(), cause })?;
    Ok((stamp, bytes))
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<ServiceDocument>, FileError> {
    let bad = |reason: String| FileError::Bad { path: path.to_path_buf(), reason };
    let text = std::str::from_utf8(bytes).map_err(|error| bad(format!("not UTF-8: {error}")))?;
    let documents = document::read(text).map_err(|findings| bad(sentence(&findings)))?;
    let mut services = Vec::with_capacity(documents.len());
    for (position, document) in documents.into_iter().enumerate() {
        match document {
            Document::Service(service) => {
                if let Some(finding) = service_too_large(&service.resource_name(), &service) {
                    return Err(bad(sentence(&[finding])));
                }
                services.push(service);
            }
            Document::LaneGroup(_) | Document::Lane(_) | Document::ServicePolicy(_) | Document::Proxy(_) => {
                return Err(bad(format!(
                    "document {}: only kind: Service says what runs; lanes and policies go through lanectl apply",
                    position + 1
                )));
            }
        }
    }
    Ok(services)
}

fn sentence(findings: &[Diagnostic]) -> String {
    let words = findings.iter().map(|finding| {
        let place = [finding.resource.as_str(), finding.field.as_str()].join(" ");
        format!("{}: {}", place.trim(), finding.message)
    });
    words.collect::<Vec<_>>().join("; ")
}
