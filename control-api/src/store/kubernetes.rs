//! The store in a cluster: objects of our kinds in the namespaces that their names say, and a Revision for each commit.
//!
//! ```text
//!   commit(n):  look at what is there -> rehearse (server-side dry run) -> claim n -> write: groups, policies, lanes; then what goes -> done
//!                                                                            '-- AlreadyExists: Moved      '-- refused: put back, give n back
//!   follow:     a Revision is done -> what it says was written                load: all objects, while no commit runs
//!   kubectl:    an object is not what was accepted -> changed() -> whoever follows proposes it to the reconciler -> commit
//! ```
//! The cluster writes one object at a time, so a commit can be seen half done by who reads with kubectl; replicas follow Revisions, which
//! are whole. What a process that dies leaves half done the next one who loads or commits carries on to its end.

pub mod object;

mod failure;
mod follow;
mod journal;
mod rewrite;
pub mod session;
pub mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use tracing::{info, warn};

use self::failure::call;
use self::follow::Following;
use self::journal::{Entry, Heads, Journal, State, moved};
use self::object::{Standing, names_of};
use self::session::Session;
use super::{
    AuditRecord, Capability, Commit, Follow, HistoryBound, Kind, Pending, Record, Revision, Store, StoreError, Stored,
};
use crate::crd::{self, Names};
use crate::leader::Leader;
use crate::replicas::{Replica, Replicas};

#[cfg(test)]
mod tests;

/// Each is an object that the cluster keeps in memory too.
const BOUND: HistoryBound = HistoryBound { revisions: 500, bytes: 64 << 20 };
/// Calls that committed nothing, of this process alone.
const AUDIT_RECORDS_MAX: usize = 5_000;
/// Objects read at a time.
const PAGE_COUNT: u32 = 500;
/// How long somebody else's commit is waited for before it is taken for left behind.
const UNFINISHED_MAX: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How often everything is read again because something was committed meanwhile.
const LOADS_MAX: u32 = 200;
/// Every so many commits Revisions that are no longer held are removed.
const SWEEP_EVERY: i64 = 16;

const KINDS: [Kind; 3] = [Kind::LaneGroup, Kind::ServicePolicy, Kind::Lane];

/// A replica's handle.
#[derive(Clone)]
pub struct Kubernetes {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    journal: Journal,
    /// Where objects are looked for; none: everywhere.
    scope: Option<String>,
    /// What was accepted, as this process knows it: what to compare with where somebody else has changed an object since.
    known: Mutex<Known>,
    audit: Mutex<VecDeque<AuditRecord>>,
}

/// What was accepted, as of a revision.
#[derive(Default)]
struct Known {
    revision: i64,
    records: BTreeMap<String, Record>,
}

/// What is asked of the API server as `DynamicObject`s.
fn resource(names: Names) -> ApiResource {
    ApiResource {
        group: crd::GROUP.to_owned(),
        version: crd::VERSION.to_owned(),
        api_version: format!("{}/{}", crd::GROUP, crd::VERSION),
        kind: names.kind.to_owned(),
        plural: names.plural.to_owned(),
    }
}

impl Kubernetes {
    /// Nothing is asked yet. `namespace`: where the Revisions are.
    pub fn new(client: Client, namespace: &str) -> Kubernetes {
        Kubernetes::bounded(client, namespace, BOUND, None)
    }

    /// Takes a seat among the replicas on this store.
    pub async fn join(&self, own: Replica) -> Result<(Session, Leader, Replicas), StoreError> {
        Session::join(self.shared.client.clone(), &self.shared.journal.namespace, own).await
    }

    fn bounded(client: Client, namespace: &str, bound: HistoryBound, scope: Option<String>) -> Kubernetes {
        let api = Api::namespaced_with(client.clone(), namespace, &resource(crd::REVISION));
        let journal = Journal { api, namespace: namespace.to_owned(), bound };
        let (known, audit) = (Mutex::default(), Mutex::default());
        Kubernetes { shared: Arc::new(Shared { client, journal, scope, known, audit }) }
    }

    /// The objects of a kind, in the scope.
    fn all_of(&self, kind: Kind) -> Api<DynamicObject> {
        let own = resource(names_of(kind));
        match &self.shared.scope {
            Some(namespace) => Api::namespaced_with(self.shared.client.clone(), namespace, &own),
            None => Api::all_with(self.shared.client.clone(), &own),
        }
    }

    fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.shared.client.clone(), namespace, &resource(names_of(kind)))
    }

    /// Everything, as of one revision: read again until no commit has run meanwhile.
    async fn read_all(&self) -> Result<Stored, StoreError> {
        for _ in 0..LOADS_MAX {
            let heads = self.settled().await?;
            let mut records = BTreeMap::new();
            for kind in KINDS {
                for object in self.list(kind).await? {
                    if let Some(record) = self.accepted(kind, &object).await? {
                        records.insert(record.name.clone(), record);
                    }
                }
            }
            if self.shared.journal.heads().await? != heads {
                continue;
            }
            let revision = journal::newest(&heads);
            for record in self.missed(&records, revision).await? {
                records.insert(record.name.clone(), record);
            }
            *self.known() = Known { revision, records: records.clone() };
            return Ok(Stored { revision, records: records.into_values().collect() });
        }
        Err(StoreError::Away("objects are committed faster than they can be read".to_owned()))
    }

    /// What this process knows of and is not among these, though no commit has removed it: that it is gone is a proposal yet to be
    /// accepted.
    async fn missed(&self, found: &BTreeMap<String, Record>, revision: i64) -> Result<Vec<Record>, StoreError> {
        let (after, mut missing) = {
            let known = self.known();
            let missing = known.records.values().filter(|own| !found.contains_key(&own.name));
            (known.revision, missing.cloned().collect::<Vec<_>>())
        };
        for number in after + 1..=revision {
            if missing.is_empty() {
                break;
            }
            let Some((_, entry)) = self.shared.journal.read(number).await? else { return Ok(Vec::new()) };
            missing.retain(|own| entry.writes.iter().all(|write| write.name != own.name));
        }
        Ok(missing)
    }

    async fn list(&self, kind: Kind) -> Result<Vec<DynamicObject>, StoreError> {
        let (api, mut page, mut all) = (self.all_of(kind), ListParams::default().limit(PAGE_COUNT), Vec::new());
        loop {
            let some = call("list the objects", api.list(&page)).await?;
            all.extend(some.items);
            match some.metadata.continue_ {
                Some(token) if !token.is_empty() => page = page.continue_token(&token),
                _ => return Ok(all),
            }
        }
    }

    /// What was accepted of an object, which need not be what it says now.
    async fn accepted(&self, kind: Kind, object: &DynamicObject) -> Result<Option<Record>, StoreError> {
        let read = object::read(kind, object);
        if let Standing::Accepted(record) = read.standing {
            return Ok(Some(record));
        }
        if read.revision == 0 {
            return Ok(None);
        }
        if let Some(record) = self.known().records.get(&read.name) {
            return Ok(Some(record.clone()));
        }
        let entry = self.shared.journal.read(read.revision).await?;
        let puts = entry.map(|(_, entry)| entry.puts_and_deletes().0).unwrap_or_default();
        let found = puts.into_iter().find(|record| record.name == read.name);
        if found.is_none() {
            warn!(object = read.name, revision = read.revision, "what was accepted of it is no longer held");
        }
        Ok(found)
    }

    /// The Revisions when no commit runs; one that was left behind is carried on to its end.
    async fn settled(&self) -> Result<Heads, StoreError> {
        let begun = Instant::now();
        loop {
            let heads = self.shared.journal.heads().await?;
            let Some(number) = journal::unfinished(&heads) else { return Ok(heads) };
            if begun.elapsed() > UNFINISHED_MAX {
                self.finish(number).await?;
            } else {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }

    /// Carries on what a process left behind that ended while it wrote.
    async fn finish(&self, number: i64) -> Result<(), StoreError> {
        let Some((found, entry)) = self.shared.journal.read(number).await? else { return Ok(()) };
        if journal::head_of(&found.metadata).is_none_or(|(_, state)| state == State::Done) {
            return Ok(());
        }
        // By its resourceVersion: whoever else is at it goes no further.
        let Some(taken) = self.shared.journal.advance(found, State::Writing).await? else { return Ok(()) };
        warn!(revision = number, "a commit was left half done, and is done now");
        let (puts, deletes) = entry.puts_and_deletes();
        for rewrite in self.rewrites(&puts, &deletes, number).await? {
            if let Err(failure) = self.apply(&rewrite, false).await {
                if matches!(failure, StoreError::Away(_) | StoreError::Doubtful(_)) {
                    return Err(failure);
                }
                // What the API server no longer takes is left as it is; the rest is done.
                let error = &failure as &(dyn std::error::Error + 'static);
                warn!(error, revision = number, object = rewrite.name(), "not written");
            }
        }
        self.shared.journal.advance(taken, State::Done).await.map(drop)
    }

    async fn write(&self, commit: Commit) -> Result<i64, StoreError> {
        let number = commit.revision.number;
        let journal = &self.shared.journal;
        let entry = Entry::of(&commit);
        journal.check(&entry)?;
        journal.expect_next(number).await?;
        let rewrites = self.rewrites(&commit.puts, &commit.deletes, number).await?;
        for rewrite in &rewrites {
            self.apply(rewrite, true).await?;
        }
        let claimed = journal.claim(&entry, commit.revision.bytes()).await?;
        let mut done = Vec::new();
        for rewrite in &rewrites {
            match self.apply(rewrite, false).await {
                Ok(written) => done.push((rewrite, written)),
                Err(StoreError::Away(why) | StoreError::Doubtful(why)) => return Err(StoreError::Doubtful(why)),
                Err(failure) => {
                    self.put_back(claimed, number, done).await?;
                    return Err(failure);
                }
            }
        }
        match journal.advance(claimed, State::Done).await {
            Ok(Some(_)) => {}
            Ok(None) => return Err(StoreError::Doubtful(format!("another replica took revision {number} over"))),
            Err(failure) => return Err(StoreError::Doubtful(failure.to_string())),
        }
        self.remember(number, &commit.puts, &commit.deletes);
        self.record(commit.audit);
        if number % SWEEP_EVERY == 0
            && let Err(failure) = journal.sweep().await
        {
            let error = &failure as &(dyn std::error::Error + 'static);
            info!(error, "Revisions that are no longer held stay for a while");
        }
        Ok(number)
    }

    /// Takes note of a commit. Where one before it is not known, what is known stays what it was then.
    fn remember(&self, number: i64, puts: &[Record], deletes: &[String]) {
        let mut known = self.known();
        if number != known.revision + 1 {
            return;
        }
        known.revision = number;
        for name in deletes {
            known.records.remove(name);
        }
        known.records.extend(puts.iter().map(|record| (record.name.clone(), record.clone())));
    }

    fn record(&self, records: Vec<AuditRecord>) {
        let mut audit = self.shared.audit.lock().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            if !audit.iter().any(|own| own.id == record.id) {
                audit.push_back(record);
            }
        }
        audit.make_contiguous().sort_by(|left, right| left.id.cmp(&right.id));
        let surplus = audit.len().saturating_sub(AUDIT_RECORDS_MAX);
        audit.drain(..surplus);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Whoever panicked left whole values behind.
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Kubernetes {
    fn load(&self) -> Pending<'_, Stored> {
        Box::pin(self.read_all())
    }

    fn commit(&self, commit: Commit) -> Pending<'_, i64> {
        Box::pin(self.write(commit))
    }

    fn revisions(&self, before: i64, count_max: usize) -> Pending<'_, Vec<Revision>> {
        Box::pin(self.shared.journal.revisions(before, count_max))
    }

    fn follow(&self, after: i64) -> Box<dyn Follow> {
        Box::new(Following::new(self.clone(), after))
    }

    fn lacks(&self) -> &'static [(Capability, &'static str)] {
        &[
            (
                Capability::AtomicCommits,
                "the API server writes one object at a time: what a commit of several does is checked before, done within moments and put \
                 back on a failure, and who reads the objects meanwhile may see a part of it",
            ),
            (Capability::AnySize, "a commit is one Revision object, which the API server bounds: 1 MiB"),
            (
                Capability::Audit,
                "calls are kept in the memory of the replica that took them; the API server's own audit log has every change",
            ),
        ]
    }

    fn append_audit(&self, records: Vec<AuditRecord>) -> Pending<'_, ()> {
        self.record(records);
        Box::pin(std::future::ready(Ok(())))
    }

    fn audit(&self, before: String, count_max: usize) -> Pending<'_, Vec<AuditRecord>> {
        let audit = self.shared.audit.lock().unwrap_or_else(PoisonError::into_inner);
        let older = audit.iter().rev().filter(|record| before.is_empty() || record.id < before).take(count_max);
        let found = older.cloned().collect();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn name(&self) -> &'static str {
        "store.kubernetes"
    }
}
