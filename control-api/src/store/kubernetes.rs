//! The store in a cluster: objects of our kinds in the namespaces that their names say, and a Revision for each commit.
//!
//! ```text
//!   commit(n):  look at each object, rehearse (server-side dry run) -> claim n -> write: groups, policies, lanes; then what goes -> done
//!                                                                            '-- AlreadyExists: Moved      '-- refused: put back, give n back
//!   follow:     a Revision is done -> what it says was written                load: all objects, while no commit runs
//!   kubectl:    an object is not what was accepted -> changed() -> whoever follows proposes it to the reconciler -> commit
//! ```
//! The cluster writes one object at a time, so a commit can be seen half done by who reads with kubectl; replicas follow Revisions, which
//! are whole. What a process that dies leaves half done whoever follows, loads or commits carries on to its end.

pub mod object;

mod claim;
mod compare;
mod failure;
mod follow;
pub mod in_force;
mod journal;
mod load;
mod rewrite;
pub mod session;
mod settle;
pub mod watch;
mod written;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use tracing::info;

use self::claim::Claim;
use self::follow::Following;
use self::journal::{Entry, Journal, State, moved};
use self::object::names_of;
use self::rewrite::{Purpose, Theirs, steps};
use self::session::Session;
use super::{
    AuditRecord, Capability, Commit, Follow, HistoryBound, Kind, Pending, Record, Revision, Store, StoreError, Stored,
};
use crate::crd::{self, Names};
use crate::leader::Leader;
use crate::replicas::{Replica, Replicas};

#[cfg(test)]
pub(crate) mod tests;

/// Each is an object that the cluster keeps in memory too.
pub(crate) const BOUND: HistoryBound = HistoryBound { revisions: 500, bytes: 64 << 20 };
/// Calls that committed nothing, of this process alone.
const AUDIT_RECORDS_MAX: usize = 5_000;
/// Every so many commits Revisions that are no longer held are removed.
const SWEEP_EVERY: i64 = 16;

/// Method of the revisions that say what people did with kubectl. What one of these deletes is gone already.
pub const BY_KUBECTL: &str = "kubectl";

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

    pub(crate) fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.shared.client.clone(), namespace, &resource(names_of(kind)))
    }

    async fn write(&self, commit: Commit) -> Result<i64, StoreError> {
        let number = commit.revision.number;
        let journal = &self.shared.journal;
        let entry = Entry::of(&commit);
        journal.check(&entry)?;
        journal.expect_next(number).await?;
        let purpose = Purpose { number, theirs: Theirs::Awaited, is_noted: entry.is_noted() };
        let mut rewrites = Vec::new();
        for step in steps(&commit.puts, &commit.deletes) {
            let rewrite = self.plan(step, purpose).await?;
            self.apply(&rewrite, true).await?;
            rewrites.push(rewrite);
        }
        let mut claim = Claim::make(journal, &entry, commit.revision.bytes()).await?;
        let mut done = Vec::new();
        for rewrite in &rewrites {
            match claim.beside(self.apply(rewrite, false)).await {
                Ok(applied) => done.push(applied),
                Err(StoreError::Away(why) | StoreError::Doubtful(why)) => return Err(StoreError::Doubtful(why)),
                Err(failure) => {
                    self.put_back(claim, done).await?;
                    return Err(failure);
                }
            }
        }
        claim.become_state(State::Done).await?;
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
