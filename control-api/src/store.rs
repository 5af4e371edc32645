//! What people wrote, kept for good: the trait of every store, and what goes in and out of it.
//!
//! A store keeps objects as bytes under their resource names, a journal of revisions and a trail of calls, of both the oldest part let go. It checks
//! nothing, knows nothing of lanes, and never says "done" before the bytes are safe from a kill or a power cut. Called by `reconcile` alone.
//!
//! ```text
//!   replica 1 --commit(n)--> store --follow--> replica 2      of two commits of one number one is told Moved, and plans anew
//! ```

#[cfg(test)]
mod conformance;
pub mod etcd;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
#[cfg(test)]
pub(crate) mod memory;
mod seat;
pub mod sqlite;

use std::future::Future;
use std::pin::Pin;
use std::time::SystemTime;

/// An answer that some other thread works out.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// How much of the past is kept: the newest revision always, and the ones before while all are within both.
#[derive(Clone, Copy, Debug)]
pub struct HistoryBound {
    pub revisions: usize,
    pub bytes: usize,
}

/// Months of changes by hand, an afternoon of a program's; restoring any of it reads all that came later.
pub const HISTORY_BOUND: HistoryBound = HistoryBound { revisions: 10_000, bytes: 64 << 20 };

/// Of one revision, beside its text.
const REVISION_BYTES: usize = 64;
/// Calls in the audit trail, a few hundred bytes each; the oldest go first.
pub const AUDIT_RECORDS_MAX: usize = 50_000;

/// A place that keeps the objects. No method blocks its caller's thread.
pub trait Store: Send + Sync {
    /// Everything there is.
    fn load(&self) -> Pending<'_, Stored>;
    /// All of it becomes the next revision, or nothing does: [`StoreError::Moved`] when another commit has taken the number.
    /// When this returns, it is safe.
    fn commit(&self, commit: Commit) -> Pending<'_, i64>;
    /// Revisions before that number, newest first and without a gap: at most so many, fewer where they are large. Nothing:
    /// none before it is held.
    fn revisions(&self, before: i64, count_max: usize) -> Pending<'_, Vec<Revision>>;
    /// What was committed after that revision, by whomever, and goes on being.
    fn follow(&self, after: i64) -> Box<dyn Follow>;
    /// What it cannot do, and why. What is not said here it can.
    fn lacks(&self) -> &'static [(Capability, &'static str)];
    /// Adds calls that committed nothing to the audit trail; those of a commit come with it. One that is there already is not
    /// added again. When this returns, it is on disk.
    fn append_audit(&self, records: Vec<AuditRecord>) -> Pending<'_, ()>;
    /// Audit records whose id is before that one, newest first: at most so many. Before the empty id: the newest of all.
    fn audit(&self, before: String, count_max: usize) -> Pending<'_, Vec<AuditRecord>>;
    /// "store.sqlite", for people.
    fn name(&self) -> &'static str;
}

/// Reads commits in their order.
pub trait Follow: Send {
    /// Waits for what comes after all that was given before. After an error ask again, in a while: nothing is left out.
    fn next(&mut self) -> Pending<'_, Change>;
}

/// What somebody committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The commit after the last one.
    Commit { revision: i64, puts: Vec<Record>, deletes: Vec<String> },
    /// Where the commits in between cannot be told one by one: what they came to.
    Whole(Stored),
}

/// What a store may be able to do beyond keeping objects. The conformance tests run a part for each, or hold the store to
/// its word that it cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Several processes use it at a time.
    Replicas,
    /// A commit of several objects is seen whole or not at all, also after a crash.
    AtomicCommits,
    /// A commit may be as large as a call of the API.
    AnySize,
    /// Who changed what is kept, and can be gone back to.
    History,
    /// Calls are kept, refused ones too; one that committed exactly when its commit is.
    Audit,
}

impl Capability {
    pub const ALL: [Capability; 5] =
        [Capability::Replicas, Capability::AtomicCommits, Capability::AnySize, Capability::History, Capability::Audit];

    /// How programs are told.
    pub fn as_str(self) -> &'static str {
        match self {
            Capability::Replicas => "replicas",
            Capability::AtomicCommits => "atomicCommits",
            Capability::AnySize => "anySize",
            Capability::History => "history",
            Capability::Audit => "audit",
        }
    }
}

/// True where nothing is said against it.
pub fn can(store: &dyn Store, capability: Capability) -> bool {
    store.lacks().iter().all(|(lacking, _)| *lacking != capability)
}

/// The kinds of object that are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    LaneGroup,
    Lane,
    ServicePolicy,
}

impl Kind {
    /// How it is written in a store.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::LaneGroup => "LaneGroup",
            Kind::Lane => "Lane",
            Kind::ServicePolicy => "ServicePolicy",
        }
    }

    /// Reads what [`Kind::as_str`] wrote.
    pub fn parse(word: &str) -> Option<Kind> {
        [Kind::LaneGroup, Kind::Lane, Kind::ServicePolicy].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// One object, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub name: String,
    pub kind: Kind,
    pub body: Vec<u8>,
}

/// All objects of the last revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// 0: nothing was ever committed.
    pub revision: i64,
    /// In order of names.
    pub records: Vec<Record>,
}

/// One entry of the journal: who changed what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// From 1, one after the other.
    pub number: i64,
    pub time: SystemTime,
    pub principal: String,
    pub reason: String,
    pub method: String,
    /// The number of the revision that was restored. 0: none was.
    pub rollback_revision: i64,
    /// JSON, as `reconcile` writes and reads it.
    pub changes: String,
}

impl Revision {
    /// What it counts for in [`HistoryBound::bytes`].
    pub fn bytes(&self) -> usize {
        self.principal.len() + self.reason.len() + self.method.len() + self.changes.len() + REVISION_BYTES
    }
}

/// One change.
#[derive(Clone, Debug)]
pub struct Commit {
    /// What this becomes; its number must follow the last one.
    pub revision: Revision,
    pub puts: Vec<Record>,
    pub deletes: Vec<String>,
    /// What the audit trail says of it, and of calls before it: in the trail exactly when the commit is in the journal.
    pub audit: Vec<AuditRecord>,
}

/// One call in the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Unique, and in order of time.
    pub id: String,
    /// As `reconcile` writes and reads it.
    pub body: Vec<u8>,
}

/// Why a store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not ours, damaged, too new, or in use: nothing was changed, a human must look.
    #[error("{0}")]
    Unusable(String),
    /// Somebody else committed in between.
    #[error("the store is at revision {found}, not at {expected}")]
    Moved { found: i64, expected: i64 },
    /// The disk or the database refused; nothing of the commit was kept.
    #[error("{doing}")]
    Failed {
        doing: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It cannot be reached at the moment; nothing of the commit was kept.
    #[error("the store cannot be reached ({0})")]
    Away(String),
    /// The store went away while it committed. All of it was done, or none, or all of it still will be.
    #[error("the store went away while it committed ({0})")]
    Doubtful(String),
    /// More than this store takes.
    #[error("{0}")]
    TooLarge(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// The store is away or was: nobody is to blame, and the same may go well in a while.
    pub fn is_passing(&self) -> bool {
        matches!(self, StoreError::Away(_) | StoreError::Doubtful(_))
    }
}
