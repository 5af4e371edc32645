//! The last good configuration on disk: a sidecar that starts while the control plane is away serves what it served before.
//!
//! ```text
//!  file:  magic | hash of the rest | who we are, keys, resources as they came          written beside, synced, renamed
//! ```
//! It never stands in the way. What cannot be read is as no file, with one warning; what cannot be written is counted, and
//! tried again with the next change. It is read once, at the start; after that one task writes, and nobody waits for it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use laneway_core::snapshot::Identity;
use laneway_proto::xds::{DeltaDiscoveryResponse, Resource};
use prost::Message as _;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::habits::{Habits, Instance, Written};
use crate::status::{State, Status};

#[cfg(any(test, fuzzing))]
#[allow(unreachable_pub, reason = "only a fuzzer reaches it")]
pub mod hostile;
#[cfg(test)]
mod tests;

/// The first bytes of every file of this form; another form gets another number.
const MAGIC: &[u8; 8] = b"LANEWAY1";
const HASH_BYTES: usize = size_of::<u64>();
/// No configuration is nearly as large; a larger file is not ours.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Pause between two writes: a storm of changes costs the disk one file a second.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// The same where nothing but what is called has changed, which of a busy sidecar changes all the time.
const HABITS_EVERY: Duration = Duration::from_secs(10);

/// What the file holds.
#[derive(Clone, PartialEq, prost::Message)]
struct File {
    #[prost(string, tag = "1")]
    namespace: String,
    #[prost(string, tag = "2")]
    service: String,
    #[prost(string, tag = "3")]
    tag: String,
    /// When it was written, for people.
    #[prost(message, optional, tag = "4")]
    time: Option<prost_types::Timestamp>,
    /// What was asked for and stands for something.
    #[prost(string, repeated, tag = "5")]
    keys: Vec<String>,
    /// One for each type, as a control plane would send it.
    #[prost(message, repeated, tag = "6")]
    responses: Vec<DeltaDiscoveryResponse>,
    /// Instances that were called last.
    #[prost(message, repeated, tag = "7")]
    called: Vec<Written>,
}

/// What was saved.
#[derive(Debug)]
pub(super) struct Saved {
    /// How old it is, by the wall clock.
    pub(super) age: Duration,
    pub(super) keys: Vec<Arc<str>>,
    pub(super) responses: Vec<DeltaDiscoveryResponse>,
    pub(super) called: Vec<Instance>,
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum CacheError {
    #[error("read it")]
    Read(#[from] io::Error),
    #[error("it has {0} bytes, more than {FILE_BYTES_MAX}")]
    Large(u64),
    #[error("it was not written by a sidecar of this form")]
    Form,
    #[error("it is damaged: the hash differs")]
    Damaged,
    #[error("it does not hold what the hash says")]
    Undecodable(#[source] prost::DecodeError),
    #[error("it is of another sidecar: {0}")]
    Foreign(String),
}

/// Reads the file of this sidecar. `None`: there is none.
pub(super) fn load(path: &Path, identity: &Identity) -> Result<Option<Saved>, CacheError> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let length = file.metadata()?.len();
    if length > FILE_BYTES_MAX {
        return Err(CacheError::Large(length));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    decode(&bytes, identity, SystemTime::now()).map(Some)
}

fn decode(bytes: &[u8], identity: &Identity, now: SystemTime) -> Result<Saved, CacheError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(CacheError::Form)?;
    let (hash, body) = rest.split_first_chunk::<HASH_BYTES>().ok_or(CacheError::Damaged)?;
    if u64::from_le_bytes(*hash) != hash_of(body) {
        return Err(CacheError::Damaged);
    }
    let file = File::decode(body).map_err(CacheError::Undecodable)?;
    let found = (&*file.namespace, &*file.service, &*file.tag);
    if found != (&*identity.namespace, &*identity.service, tag_of(identity)) {
        let (namespace, service, tag) = found;
        return Err(CacheError::Foreign(format!("namespace {namespace:?}, service {service:?}, tag {tag:?}")));
    }
    let time = file.time.and_then(|time| SystemTime::try_from(time).ok());
    Ok(Saved {
        age: time.and_then(|time| now.duration_since(time).ok()).unwrap_or_default(),
        keys: file.keys.into_iter().map(Arc::from).collect(),
        responses: file.responses,
        called: file.called.into_iter().filter_map(Written::read).collect(),
    })
}

fn hash_of(body: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(body)
}

fn tag_of(identity: &Identity) -> &str {
    identity.tag.as_ref().map_or("", |tag| tag.as_str())
}

/// What is held, as it came over the wire.
#[derive(Default)]
struct Kept {
    resources: BTreeMap<String, BTreeMap<String, Resource>>,
    keys: BTreeSet<Arc<str>>,
    called: Vec<Instance>,
}

impl Kept {
    fn encode(&self, identity: &Identity, now: SystemTime) -> Vec<u8> {
        let responses = self.resources.iter().map(|(type_url, held)| DeltaDiscoveryResponse {
            type_url: type_url.clone(),
            resources: held.values().cloned().collect(),
            ..DeltaDiscoveryResponse::default()
        });
        let file = File {
            namespace: identity.namespace.clone(),
            service: identity.service.clone(),
            tag: tag_of(identity).to_owned(),
            time: Some(now.into()),
            keys: self.keys.iter().map(ToString::to_string).collect(),
            responses: responses.collect(),
            called: self.called.iter().copied().map(Written::from).collect(),
        };
        let body = file.encode_to_vec();
        [MAGIC.as_slice(), &hash_of(&body).to_le_bytes(), &body].concat()
    }
}

/// Told of every good change, and writes. Lives on the control thread.
pub(super) struct Saver(Rc<Shared>);

struct Shared {
    path: PathBuf,
    identity: Identity,
    habits: Habits,
    kept: RefCell<Kept>,
    changed: Notify,
}

impl Saver {
    /// Starts the task that writes; it lives as long as the control thread.
    pub(super) fn start(path: PathBuf, identity: Identity, status: Status, habits: Habits) -> Saver {
        let shared = Rc::new(Shared { path, identity, habits, kept: RefCell::default(), changed: Notify::new() });
        tokio::task::spawn_local(Rc::clone(&shared).write_always(status));
        Saver(shared)
    }

    /// These were taken or removed; `keys` stand for something.
    pub(super) fn took<'k>(
        &self,
        type_url: &str,
        taken: Vec<Resource>,
        removed: &[String],
        keys: impl Iterator<Item = &'k Arc<str>>,
    ) {
        let mut kept = self.0.kept.borrow_mut();
        kept.keys = keys.map(Arc::clone).collect();
        let held = kept.resources.entry(type_url.to_owned()).or_default();
        for name in removed {
            held.remove(name);
        }
        held.extend(taken.into_iter().map(|resource| (resource.name.clone(), resource)));
        drop(kept);
        self.0.changed.notify_one();
    }
}

impl Shared {
    async fn write_always(self: Rc<Self>, status: Status) {
        let mut is_failing = false;
        let mut habits_from = Instant::now();
        loop {
            let habits_changed = async {
                tokio::time::sleep_until(habits_from).await;
                self.habits.changed().await;
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = habits_changed => habits_from = Instant::now() + HABITS_EVERY,
            }
            // The file is the successor's now, if there is one.
            if status.state() == State::Draining {
                continue;
            }
            self.kept.borrow_mut().called = self.habits.instances();
            let bytes = self.kept.borrow().encode(&self.identity, SystemTime::now());
            let path = self.path.clone();
            let written = tokio::task::spawn_blocking(move || replace(&path, &bytes)).await;
            match written.unwrap_or_else(|failure| Err(io::Error::other(failure))) {
                Ok(()) => {
                    if std::mem::take(&mut is_failing) {
                        info!(path = %self.path.display(), "the configuration is on disk again");
                    }
                }
                Err(error) => {
                    status.cache_failed();
                    if !std::mem::replace(&mut is_failing, true) {
                        warn!(path = %self.path.display(), %error, "the configuration is not on disk (--cache): a restart while the control plane is away would begin without it");
                    }
                }
            }
            tokio::time::sleep(SAVE_EVERY).await;
        }
    }
}

/// Puts the new file in the place of the old one: a reader, or a kill, finds the one or the other whole.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    // A predecessor may still write.
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let mut options = std::fs::OpenOptions::new();
    // Tags and users of rules are nobody else's business.
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}
