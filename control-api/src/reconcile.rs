//! From what people wrote and what runs to what sidecars are sent.
//!
//! ```text
//!   api --Edit--> commit: plan -> check -> store (fsync) --> desired --> debounce -> compile --> watch<Arc<Published>> --> push
//!                                          discovery -----------^
//! ```
//! The one writer. A change is stored before anybody hears of it; whoever was told "done" finds it after a crash. Reads
//! are from memory. A lane switch is compiled and published at once, with whatever else was waiting.

mod debounce;
mod history;

use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Instant, SystemTime};

use laneway_core::check::check;
use laneway_core::compile::{Catalog, Compiled, Objects, compile};
use laneway_core::document::ServiceDocument;
use laneway_proto::admin::{Diagnostic, ResourceChange, Revision, diagnostic};
use tokio::sync::{Notify, watch};
use tracing::{debug, error, info};

use self::debounce::{Debounce, Pace};
use crate::clock::Clock;
use crate::edit::{self, Edit, EditError, Plan, Stamp};
use crate::store::{self, Commit, Store, StoreError};

/// What sidecars are to have.
pub struct Published {
    /// Of the store.
    pub revision: i64,
    pub compiled: Arc<Compiled>,
}

/// What is there, committed, perhaps not yet compiled.
#[derive(Clone)]
pub struct State {
    pub revision: i64,
    pub objects: Arc<Objects>,
    pub catalog: Arc<Catalog>,
}

/// Who changes something, and on what condition.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub principal: String,
    pub reason: String,
    pub method: &'static str,
    /// Above 0: only if nothing was committed since this revision.
    pub expected_revision: i64,
    /// Everything but the commit.
    pub validate_only: bool,
    /// Take it although the whole has errors: for what must always work.
    pub is_urgent: bool,
    /// Above 0: the revision whose content this restores.
    pub rollback_revision: i64,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// When it was done, or would have been.
    pub time: SystemTime,
    /// The one it became, or the current one when there was nothing to do.
    pub revision: i64,
    pub changes: Vec<ResourceChange>,
    pub diagnostics: Vec<Diagnostic>,
    /// As it is now, or as it would be.
    pub objects: Arc<Objects>,
}

/// Why it was not done; then nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("{}", summary(.0))]
    Refused(Vec<Diagnostic>),
    #[error("{name} has changed since it was read (etag)")]
    Stale { name: String },
    #[error("{name} is not there")]
    Missing { name: String },
    #[error("the store is at revision {found}, not at {expected}")]
    Moved { found: i64, expected: i64 },
    #[error("{name} is there already")]
    Exists { name: String },
    #[error("{0}")]
    Precondition(String),
    #[error("store the change")]
    Store(#[source] StoreError),
}

/// A handle on the one writer.
#[derive(Clone)]
pub struct Reconciler {
    shared: Arc<Shared>,
}

struct Shared {
    store: Box<dyn Store>,
    clock: Clock,
    /// Held by whoever commits, across the store's work.
    writing: tokio::sync::Mutex<()>,
    desired: Mutex<Desired>,
    wake: Notify,
    published: watch::Sender<Arc<Published>>,
}

struct Desired {
    state: State,
    debounce: Debounce,
}

/// Makes the edit from what is there at that moment.
pub type MakeEdit = Box<dyn FnOnce(&State) -> Result<Edit, WriteError> + Send>;

impl Reconciler {
    /// Reads the store and compiles for the first time, so that the first sidecar finds everything.
    pub async fn start(
        store: Box<dyn Store>,
        services: Vec<ServiceDocument>,
        clock: Clock,
    ) -> Result<Reconciler, StoreError> {
        let stored = store.load().await?;
        let objects = edit::restore(&stored.records).map_err(|source| {
            StoreError::Unusable(format!("the database holds an object that cannot be read: {source}"))
        })?;
        let catalog = crate::catalog::catalog(&services);
        info!(
            revision = stored.revision,
            objects = stored.records.len(),
            services = catalog.services.len(),
            "configuration loaded"
        );
        for finding in check(&objects, &catalog).iter().filter(|finding| is_error(finding)) {
            error!(code = %finding.code, resource = %finding.resource, field = %finding.field, "{}", finding.message);
        }
        let state = State { revision: stored.revision, objects: Arc::new(objects), catalog: Arc::new(catalog) };
        let compiled = Arc::new(compile(&state.objects, &state.catalog));
        let first = Arc::new(Published { revision: state.revision, compiled });
        let shared = Shared {
            store,
            clock,
            writing: tokio::sync::Mutex::new(()),
            desired: Mutex::new(Desired { state, debounce: Debounce::default() }),
            wake: Notify::new(),
            published: watch::channel(first).0,
        };
        Ok(Reconciler { shared: Arc::new(shared) })
    }

    /// Compiles and publishes what changes, for as long as discovery lives.
    pub async fn run(self, mut discovered: watch::Receiver<Vec<ServiceDocument>>) {
        loop {
            let due = self.desired().debounce.due();
            let wait = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.shared.wake.notified() => {}
                changed = discovered.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let catalog = crate::catalog::catalog(&discovered.borrow_and_update());
                    let mut desired = self.desired();
                    desired.state.catalog = Arc::new(catalog);
                    desired.debounce.note(Pace::Endpoints, Instant::now());
                }
                () = wait => {}
            }
            self.publish_due().await;
        }
    }

    /// What is there now.
    pub fn state(&self) -> State {
        self.desired().state.clone()
    }

    /// The time that changes are stamped with.
    pub fn now(&self) -> SystemTime {
        self.shared.clock.now()
    }

    /// What was committed before a revision, in full, newest first and without a gap: as many as asked for, fewer where they
    /// are large. Nothing: none before it is held.
    pub async fn revisions(&self, before: i64, count_max: usize) -> Result<Vec<Revision>, StoreError> {
        let found = self.shared.store.revisions(before, count_max).await?;
        found.into_iter().map(history::read).collect()
    }

    /// What sidecars are sent, and its changes.
    pub fn published(&self) -> watch::Receiver<Arc<Published>> {
        self.shared.published.subscribe()
    }

    /// "store.sqlite"
    pub fn store_name(&self) -> &'static str {
        self.shared.store.name()
    }

    /// Changes objects: all of the edit or nothing. Goes on to its end though the caller goes away.
    pub async fn write(&self, request: Request, make: MakeEdit) -> Result<Outcome, WriteError> {
        let own = self.clone();
        let work = tokio::spawn(async move { own.commit(request, make).await });
        work.await.unwrap_or_else(|_| Err(WriteError::Store(StoreError::Closed)))
    }

    async fn commit(&self, request: Request, make: MakeEdit) -> Result<Outcome, WriteError> {
        let _writing = self.shared.writing.lock().await;
        let state = self.state();
        if request.expected_revision > 0 && request.expected_revision != state.revision {
            return Err(WriteError::Moved { found: state.revision, expected: request.expected_revision });
        }
        let edit = make(&state)?;
        let stamp = Stamp { revision: state.revision + 1, time: self.now() };
        let plan = edit::plan(&state.objects, edit, stamp, &mut new_uid)?;
        let (plan, diagnostics) = self.checked(plan, &state, request.is_urgent).await?;
        let refused = diagnostics.iter().any(is_error);
        if refused && !request.validate_only {
            return Err(WriteError::Refused(diagnostics));
        }
        if refused {
            return Ok(Outcome {
                time: stamp.time,
                revision: state.revision,
                changes: Vec::new(),
                diagnostics,
                objects: state.objects,
            });
        }
        let Plan { objects, changes, puts, deletes, switched, findings: _ } = plan;
        let objects = Arc::new(objects);
        if request.validate_only || changes.is_empty() {
            return Ok(Outcome { time: stamp.time, revision: state.revision, changes, diagnostics, objects });
        }
        let revision = store::Revision {
            number: stamp.revision,
            time: stamp.time,
            principal: request.principal.clone(),
            reason: request.reason,
            method: request.method.to_owned(),
            rollback_revision: request.rollback_revision,
            changes: history::write(&changes),
        };
        let commit = Commit { revision, puts, deletes };
        let revision = self.shared.store.commit(commit).await.map_err(WriteError::Store)?;
        {
            let mut desired = self.desired();
            desired.state.revision = revision;
            desired.state.objects = Arc::clone(&objects);
            let pace = if switched || request.is_urgent { Pace::Switch } else { Pace::Rules };
            desired.debounce.note(pace, Instant::now());
        }
        self.shared.wake.notify_one();
        let names: Vec<&str> = changes.iter().map(|change| change.name.as_str()).collect();
        info!(revision, method = request.method, principal = %request.principal, changed = ?names, "committed");
        Ok(Outcome { time: stamp.time, revision, changes, diagnostics, objects })
    }

    /// Checks the whole as it would be. What was wrong before and is not touched does not stand in the way; an urgent
    /// change (a kill switch) is held up by nothing.
    async fn checked(&self, plan: Plan, state: &State, is_urgent: bool) -> Result<(Plan, Vec<Diagnostic>), WriteError> {
        if is_urgent {
            let findings = plan.findings.clone();
            return Ok((plan, findings));
        }
        let (before, catalog) = (Arc::clone(&state.objects), Arc::clone(&state.catalog));
        let work = tokio::task::spawn_blocking(move || {
            let mut findings = check(&plan.objects, &catalog);
            let is_touched = |finding: &Diagnostic| plan.changes.iter().any(|change| change.name == finding.resource);
            if findings.iter().any(|finding| is_error(finding) && !is_touched(finding)) {
                let old = check(&before, &catalog);
                findings.retain(|finding| !is_error(finding) || is_touched(finding) || !old.contains(finding));
            }
            let findings = edit::join(&plan.findings, findings);
            (plan, findings)
        });
        work.await.map_err(|_| WriteError::Store(StoreError::Closed))
    }

    async fn publish_due(&self) {
        let state = {
            let mut desired = self.desired();
            if !desired.debounce.take_if_due(Instant::now()) {
                return;
            }
            desired.state.clone()
        };
        let State { revision, objects, catalog } = state;
        let started = Instant::now();
        let work = tokio::task::spawn_blocking(move || Arc::new(compile(&objects, &catalog)));
        match work.await {
            Ok(compiled) => {
                debug!(revision, took_us = started.elapsed().as_micros(), "published");
                self.shared.published.send_replace(Arc::new(Published { revision, compiled }));
            }
            // A panic in compile: sidecars keep what they have, the next change tries again.
            Err(failure) => error!(%failure, revision, "compile failed, nothing was published"),
        }
    }

    fn desired(&self) -> MutexGuard<'_, Desired> {
        // Whoever panicked left whole values behind: each change is an assignment.
        self.shared.desired.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl From<EditError> for WriteError {
    fn from(error: EditError) -> WriteError {
        match error {
            EditError::Stale { name } => WriteError::Stale { name },
            EditError::Missing { name } => WriteError::Missing { name },
        }
    }
}

/// True for a finding that refuses a write.
pub fn is_error(finding: &Diagnostic) -> bool {
    finding.severity() == diagnostic::Severity::Error
}

fn summary(findings: &[Diagnostic]) -> String {
    let errors = findings.iter().filter(|finding| is_error(finding));
    let words = errors.map(|finding| format!("{} {}: {}", finding.resource, finding.field, finding.message));
    words.collect::<Vec<_>>().join("; ")
}

/// A random UUID (version 4).
fn new_uid() -> String {
    let mut bytes = [0_u8; 16];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    if read.is_err() {
        // No source of randomness: unique by time is enough for a uid.
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        bytes = nanos.to_be_bytes();
    }
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
