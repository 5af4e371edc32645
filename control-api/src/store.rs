//! What people wrote, kept for good: the trait of every store, and what goes in and out of it.
//!
//! A store keeps objects as bytes under their resource names and a journal of revisions, its oldest part let go. It checks nothing, knows nothing
//! of lanes, and never says "done" before the bytes are safe from a kill or a power cut. Called by `reconcile` alone.

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

/// A place that keeps the objects. One writer at a time; every method may block its own thread, never the caller's.
pub trait Store: Send + Sync {
    /// Everything there is. Called once, at start.
    fn load(&self) -> Pending<'_, Stored>;
    /// All of it becomes the next revision, or nothing does. When this returns, it is on disk.
    fn commit(&self, commit: Commit) -> Pending<'_, i64>;
    /// Revisions before that number, newest first and without a gap: at most so many, fewer where they are large. Nothing:
    /// none before it is held.
    fn revisions(&self, before: i64, count_max: usize) -> Pending<'_, Vec<Revision>>;
    /// "store.sqlite", for people.
    fn name(&self) -> &'static str;
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

/// One change.
#[derive(Clone, Debug)]
pub struct Commit {
    /// What this becomes; its number must follow the last one.
    pub revision: Revision,
    pub puts: Vec<Record>,
    pub deletes: Vec<String>,
}

/// Why a store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not a database of ours, damaged, too new, or in use: nothing was changed, a human must look.
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
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}
