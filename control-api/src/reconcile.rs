//! From what people wrote and what runs to what sidecars are sent.
//!
//! ```text
//!   api --Edit--> commit: plan -> check -> store (fsync) --> desired --> debounce -> compile --> watch<Arc<Published>> --> push
//!                                    ^ Moved: adopt, again     |  ^----- discovery
//!                                    '------ other replicas ---'--- adopt
//! ```
//! The one writer of this process. A change is stored before anybody hears of it; whoever was told "done" finds it after a
//! crash. What other replicas commit is adopted as it comes; a change that lost the race for its number is planned anew on
//! top of theirs. Reads are from memory. A lane switch, whoever commits it, is compiled and published at once, with whatever
//! else was waiting.

pub mod audit;
pub mod history;

mod adopt;
mod debounce;

use std::io::Read;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Instant, SystemTime};

use laneway_core::check::{check, code};
use laneway_core::compile::{Catalog, Compiled, Objects, compile};
use laneway_core::document::ServiceDocument;
use laneway_proto::admin::{AuditEvent, Diagnostic, ResourceChange, Revision, diagnostic};
use tokio::sync::{Notify, watch};
use tracing::{debug, error, info};

use self::audit::{Call, FLUSH_EVERY, Trail};
use self::debounce::{Debounce, Pace};
use crate::changes::{self, Changes};
use crate::clock::Clock;
use crate::edit::{self, Edit, EditError, Plan, Stamp};
use crate::store::{self, Capability, Change, Commit, Store, StoreError};

#[cfg(test)]
mod tests;

/// How often a change is planned anew because another replica committed first. Of three replicas that write without a pause
/// each loses two races of three: so many in a row once in 3,000 changes.
const ATTEMPTS_MAX: u32 = 20;
/// What sidecars are to have.
pub struct Published {
    /// Of the store. What runs changes without it.
    pub revision: i64,
    /// Counts what was published since the start, from 1.
    pub edition: u64,
    pub compiled: Arc<Compiled>,
    /// What it was compiled from.
    catalog: Arc<Catalog>,
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
    pub call: Call,
    /// Above 0: only if nothing was committed since this revision.
    pub expected_revision: i64,
    /// Everything but the commit.
    pub validate_only: bool,
    /// Take it although the whole has errors: for what must always work.
    pub is_urgent: bool,
    /// Above 0: the revision whose content this restores.
    pub rollback_revision: i64,
    /// The revision that it became, once it is committed; then the audit trail says so already.
    pub committed: Arc<AtomicI64>,
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
    /// `kind` is for programs: "HAS_LANES".
    #[error("{message}")]
    Precondition { kind: &'static str, subject: String, message: String },
    #[error("others committed {0} times while this was worked out")]
    Outrun(u32),
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
    trail: Trail,
    /// Something was collected for the audit trail.
    collected: Notify,
    published: watch::Sender<Arc<Published>>,
    changes: Changes,
    counts: Counts,
}

/// Changes that were asked for here, by what came of them.
#[derive(Default)]
struct Counts {
    committed: AtomicU64,
    /// There was nothing to do.
    idle: AtomicU64,
    refused: AtomicU64,
    /// By the store.
    failed: AtomicU64,
}

struct Desired {
    state: State,
    debounce: Debounce,
}

/// Makes the edit from what is there at that moment; asked again when something else has come in between.
pub type MakeEdit = Box<dyn FnMut(&State) -> Result<Edit, WriteError> + Send>;

impl Reconciler {
    /// Reads the store and compiles for the first time, so that the first sidecar finds everything.
    pub async fn start(
        store: Box<dyn Store>,
        services: Vec<ServiceDocument>,
        clock: Clock,
    ) -> Result<Reconciler, StoreError> {
        let stored = store.load().await?;
        let objects = restored(&stored.records)?;
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
        let changes = Changes::new(state.revision, changes::BOUND);
        let compiled = Arc::new(compile(&state.objects, &state.catalog));
        let catalog = Arc::clone(&state.catalog);
        let first = Arc::new(Published { revision: state.revision, edition: 1, compiled, catalog });
        let shared = Shared {
            store,
            clock,
            writing: tokio::sync::Mutex::new(()),
            desired: Mutex::new(Desired { state, debounce: Debounce::default() }),
            wake: Notify::new(),
            trail: Trail::default(),
            collected: Notify::new(),
            published: watch::channel(first).0,
            changes,
            counts: Counts::default(),
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

    /// Takes note of a call that committed nothing, for the audit trail.
    pub fn refused(&self, call: &Call, code: i32, message: &str) {
        debug!(method = call.method, principal = %call.principal, resource = %call.resource, code, message, "refused");
        if self.shared.trail.refused(call, code, message, self.now(), random()) {
            self.shared.collected.notify_one();
        }
    }

    /// Stores what was collected for the audit trail, a while after it came, for as long as the process runs; again and again while the
    /// store is away.
    pub async fn keep_audit(self) {
        let mut is_behind = false;
        loop {
            if !is_behind {
                self.shared.collected.notified().await;
            }
            tokio::time::sleep(FLUSH_EVERY).await;
            is_behind = !self.flush_audit().await;
        }
    }

    /// Stores what was collected for the audit trail now. False: the store is away, and it is kept.
    pub async fn flush_audit(&self) -> bool {
        let records = self.shared.trail.take();
        if records.is_empty() {
            return true;
        }
        // One that was stored after all is not stored twice.
        let again = records.clone();
        let Err(failure) = self.shared.store.append_audit(records).await else { return true };
        let is_away = failure.is_passing();
        let lost_count = if is_away { self.shared.trail.put_back(again) } else { again.len() };
        if lost_count > 0 {
            let error = &failure as &(dyn std::error::Error + 'static);
            error!(error, lost_count, "refused calls could not be recorded");
        }
        !is_away
    }

    /// What the audit trail says before an event's id, newest first: at most so many. Before the empty id: the newest.
    pub async fn audit_events(&self, before: &str, count_max: usize) -> Result<Vec<AuditEvent>, StoreError> {
        self.flush_audit().await;
        let found = self.shared.store.audit(before.to_owned(), count_max).await?;
        found.iter().map(audit::read).collect()
    }

    /// What sidecars are sent, and its changes.
    pub fn published(&self) -> watch::Receiver<Arc<Published>> {
        self.shared.published.subscribe()
    }

    /// What the newest commits changed.
    pub fn changes(&self) -> &Changes {
        &self.shared.changes
    }

    /// "store.sqlite"
    pub fn store_name(&self) -> &'static str {
        self.shared.store.name()
    }

    /// What the store cannot do with changes: "lacks.atomicCommits". That there are no replicas everybody sees.
    pub fn store_lacks(&self) -> Vec<String> {
        let lacks = self.shared.store.lacks().iter().map(|(lacking, _)| *lacking);
        let told = lacks.filter(|lacking| *lacking != Capability::Replicas);
        told.map(|lacking| format!("lacks.{}", lacking.as_str())).collect()
    }

    /// Changes objects: all of the edit or nothing. Goes on to its end though the caller goes away.
    pub async fn write(&self, request: Request, make: MakeEdit) -> Result<Outcome, WriteError> {
        let own = self.clone();
        let is_trial = request.validate_only;
        let work = tokio::spawn(async move { own.commit(request, make).await });
        let done = work.await.unwrap_or_else(|_| Err(WriteError::Store(StoreError::Closed)));
        let Counts { committed, idle, refused, failed } = &self.shared.counts;
        let count = match &done {
            Ok(outcome) if outcome.changes.is_empty() => idle,
            Ok(_) => committed,
            Err(WriteError::Store(_) | WriteError::Outrun(_)) => failed,
            Err(_) => refused,
        };
        count.fetch_add(u64::from(!is_trial), Ordering::Relaxed);
        done
    }

    /// Changes that were asked for here, by what came of them.
    pub fn counts(&self) -> [(&'static str, u64); 4] {
        let Counts { committed, idle, refused, failed } = &self.shared.counts;
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [("committed", count(committed)), ("idle", count(idle)), ("refused", count(refused)), ("failed", count(failed))]
    }

    async fn commit(&self, request: Request, mut make: MakeEdit) -> Result<Outcome, WriteError> {
        for _ in 0..ATTEMPTS_MAX {
            // One after another; between two attempts somebody else may be what this one waits for.
            let _writing = self.shared.writing.lock().await;
            match self.attempt(&request, &mut make).await {
                Err(WriteError::Store(StoreError::Moved { found, expected })) if found < expected => {
                    return Err(WriteError::Store(StoreError::Unusable(format!(
                        "the store is at revision {found}, and this replica at {expected}: what came after has been removed from it. Restart \
                         every replica of the control plane"
                    ))));
                }
                Err(WriteError::Store(StoreError::Moved { found, .. })) => {
                    debug!(found, "another replica committed first");
                    if self.state().revision < found {
                        let stored = self.shared.store.load().await.map_err(WriteError::Store)?;
                        self.adopt(Change::Whole(stored)).map_err(WriteError::Store)?;
                    }
                }
                done => return done,
            }
        }
        Err(WriteError::Outrun(ATTEMPTS_MAX))
    }

    async fn attempt(&self, request: &Request, make: &mut MakeEdit) -> Result<Outcome, WriteError> {
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
        let call = &request.call;
        let audit = vec![self.shared.trail.committed(call, stamp.revision, stamp.time, random())];
        let revision = store::Revision {
            number: stamp.revision,
            time: stamp.time,
            principal: request.call.principal.clone(),
            reason: request.call.reason.clone(),
            method: request.call.method.to_owned(),
            rollback_revision: request.rollback_revision,
            changes: history::write(&changes),
        };
        let commit = Commit { revision, puts, deletes, audit };
        let revision = self.store(commit, &changes, request.is_urgent).await.map_err(WriteError::Store)?;
        request.committed.store(revision, Ordering::Release);
        let pace = if switched || request.is_urgent { Pace::Switch } else { Pace::Rules };
        self.advance(revision, Arc::clone(&objects), pace);
        let names: Vec<&str> = changes.iter().map(|change| change.name.as_str()).collect();
        info!(revision, method = call.method, principal = %call.principal, changed = ?names, "committed");
        Ok(Outcome { time: stamp.time, revision, changes, diagnostics, objects })
    }

    /// With what was there before, where the store has room for that. What cannot be applied in parts, or must always work, is stored without.
    async fn store(&self, commit: Commit, changes: &[ResourceChange], is_urgent: bool) -> Result<i64, StoreError> {
        let store = &self.shared.store;
        if !is_urgent && changes.len() > 1 {
            return store.commit(commit).await;
        }
        let again = commit.clone();
        match store.commit(commit).await {
            Err(StoreError::TooLarge(reason)) => {
                info!(revision = again.revision.number, reason, "the history has no room for what was there before");
                let revision = store::Revision { changes: history::write_brief(changes), ..again.revision };
                store.commit(Commit { revision, ..again }).await
            }
            done => done,
        }
    }

    /// To a later revision; false where it is there already.
    fn advance(&self, revision: i64, objects: Arc<Objects>, pace: Pace) -> bool {
        {
            let mut desired = self.desired();
            if desired.state.revision >= revision {
                return false;
            }
            self.shared.changes.note(revision, &desired.state.objects, &objects);
            desired.state.revision = revision;
            desired.state.objects = objects;
            desired.debounce.note(pace, Instant::now());
        }
        self.shared.wake.notify_one();
        true
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
            // A lane that lost its group is nothing that whoever switches it did.
            let is_own = |finding: &Diagnostic| is_touched(finding) && finding.code != code::GROUP;
            if findings.iter().any(|finding| is_error(finding) && !is_own(finding)) {
                let old = check(&before, &catalog);
                findings.retain(|finding| !is_error(finding) || is_own(finding) || !old.contains(finding));
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
        let last = Arc::clone(&self.shared.published.borrow());
        let edition = last.edition + 1;
        let work = tokio::task::spawn_blocking(move || {
            // Tens of thousands of instances are not read again because a lane was switched.
            let compiled = match Arc::ptr_eq(&last.catalog, &catalog) {
                true => last.compiled.with_objects(&objects),
                false => compile(&objects, &catalog),
            };
            Published { revision, edition, compiled: Arc::new(compiled), catalog }
        });
        match work.await {
            Ok(published) => {
                debug!(revision, edition, took_us = started.elapsed().as_micros(), "published");
                self.shared.published.send_replace(Arc::new(published));
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

fn restored(records: &[store::Record]) -> Result<Objects, StoreError> {
    edit::restore(records).map_err(unreadable)
}

fn unreadable(source: prost::DecodeError) -> StoreError {
    StoreError::Unusable(format!(
        "the store holds an object that cannot be read: {source}. A newer version may have written it"
    ))
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

/// A number that nobody has had before.
fn random() -> u128 {
    let mut bytes = [0_u8; 16];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    if read.is_err() {
        // No source of randomness: unique by time is enough for a uid.
        return SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    }
    u128::from_be_bytes(bytes)
}

/// A random UUID (version 4).
fn new_uid() -> String {
    let mut bytes = random().to_be_bytes();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
