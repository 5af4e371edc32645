//! A store in memory, for tests: what the others must do, in the fewest words, and faults when a test asks for them.
//!
//! Handles on one [`Disk`] are the replicas of one store.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use super::{
    AUDIT_RECORDS_MAX, AuditRecord, Capability, Change, Commit, Follow, HISTORY_BOUND, HistoryBound, Pending, Record,
    Revision, Store, StoreError, Stored,
};

/// Largest answer, or one revision.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What is remembered over restarts, and how often it is yet to fail.
pub(crate) struct Disk {
    commits: Mutex<Vec<Commit>>,
    committed: watch::Sender<i64>,
    /// In order of ids.
    audit: Mutex<Vec<AuditRecord>>,
    pub(crate) failures: AtomicU32,
    /// Of the failures: somebody else came first.
    pub(crate) conflicts: AtomicU32,
    /// Of one commit, objects and history together.
    pub(crate) room_bytes: AtomicUsize,
}

impl Default for Disk {
    fn default() -> Disk {
        Disk {
            commits: Mutex::default(),
            committed: watch::channel(0).0,
            audit: Mutex::default(),
            failures: AtomicU32::new(0),
            conflicts: AtomicU32::new(0),
            room_bytes: AtomicUsize::new(usize::MAX),
        }
    }
}

impl Disk {
    /// Every commit there was.
    pub(crate) fn commits(&self) -> MutexGuard<'_, Vec<Commit>> {
        self.commits.lock().expect("no test panics while it holds it")
    }

    fn stored(&self) -> Stored {
        let mut stored = Stored::default();
        for commit in self.commits().iter() {
            let is_gone = |old: &Record| {
                commit.deletes.contains(&old.name) || commit.puts.iter().any(|record| record.name == old.name)
            };
            stored.records.retain(|old| !is_gone(old));
            stored.records.extend(commit.puts.iter().cloned());
            stored.revision = commit.revision.number;
        }
        stored.records.sort_by(|left, right| left.name.cmp(&right.name));
        stored
    }

    fn take(&self, commit: Commit, audit_records_max: usize) -> Result<i64, StoreError> {
        let take = |count: &AtomicU32| {
            count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
        };
        let number = commit.revision.number;
        if take(&self.conflicts) {
            return Err(StoreError::Moved { found: number, expected: number - 1 });
        }
        if take(&self.failures) {
            return Err(StoreError::Failed { doing: "write", source: "the disk is full".into() });
        }
        let size = commit.revision.bytes() + commit.puts.iter().map(|own| own.body.len()).sum::<usize>();
        if size > self.room_bytes.load(Ordering::Relaxed) {
            return Err(StoreError::TooLarge(format!("the change has {size} bytes")));
        }
        let mut commits = self.commits();
        let found = commits.last().map_or(0, |last| last.revision.number);
        if found + 1 != number {
            return Err(StoreError::Moved { found, expected: number - 1 });
        }
        self.record(&commit.audit, audit_records_max);
        commits.push(commit);
        drop(commits);
        self.committed.send_replace(number);
        Ok(number)
    }

    fn record(&self, records: &[AuditRecord], records_max: usize) {
        let mut audit = self.audit.lock().expect("no test panics while it holds it");
        audit.extend_from_slice(records);
        audit.sort_by(|left, right| left.id.cmp(&right.id));
        audit.dedup_by(|left, right| left.id == right.id);
        let surplus = audit.len().saturating_sub(records_max);
        audit.drain(..surplus);
    }

    /// Newest first, as far back as it is held.
    fn held(&self, bound: HistoryBound) -> Vec<Revision> {
        let mut bytes = 0;
        let commits = self.commits();
        let within = commits.iter().rev().map(|commit| commit.revision.clone()).enumerate().take_while(|(at, own)| {
            bytes += own.bytes();
            *at == 0 || (*at < bound.revisions && bytes <= bound.bytes)
        });
        within.map(|(_, own)| own).collect()
    }
}

/// A replica's handle.
pub(crate) struct Memory {
    disk: Arc<Disk>,
    bound: HistoryBound,
    audit_records_max: usize,
}

impl Memory {
    pub(crate) fn on(disk: &Arc<Disk>) -> Memory {
        Memory { disk: Arc::clone(disk), bound: HISTORY_BOUND, audit_records_max: AUDIT_RECORDS_MAX }
    }
}

impl Store for Memory {
    fn load(&self) -> Pending<'_, Stored> {
        Box::pin(async { Ok(self.disk.stored()) })
    }

    fn commit(&self, commit: Commit) -> Pending<'_, i64> {
        Box::pin(async { self.disk.take(commit, self.audit_records_max) })
    }

    fn revisions(&self, before: i64, count_max: usize) -> Pending<'_, Vec<Revision>> {
        let older = self.disk.held(self.bound).into_iter().filter(move |own| own.number < before).take(count_max);
        let mut bytes = 0;
        let within = older.enumerate().take_while(|(at, own)| {
            bytes += own.bytes();
            *at == 0 || bytes <= ANSWER_BYTES_MAX
        });
        let found = within.map(|(_, own)| own).collect();
        Box::pin(async move { Ok(found) })
    }

    fn follow(&self, after: i64) -> Box<dyn Follow> {
        Box::new(Following { disk: Arc::clone(&self.disk), committed: self.disk.committed.subscribe(), after })
    }

    fn lacks(&self) -> &'static [(Capability, &'static str)] {
        &[]
    }

    fn append_audit(&self, records: Vec<AuditRecord>) -> Pending<'_, ()> {
        Box::pin(async move {
            self.disk.record(&records, self.audit_records_max);
            Ok(())
        })
    }

    fn audit(&self, before: String, count_max: usize) -> Pending<'_, Vec<AuditRecord>> {
        let audit = self.disk.audit.lock().expect("no test panics while it holds it").clone();
        let older = audit.into_iter().rev().filter(move |record| before.is_empty() || record.id < before);
        Box::pin(async move { Ok(older.take(count_max).collect()) })
    }

    fn name(&self) -> &'static str {
        "store.memory"
    }
}

struct Following {
    disk: Arc<Disk>,
    committed: watch::Receiver<i64>,
    after: i64,
}

impl Follow for Following {
    fn next(&mut self) -> Pending<'_, Change> {
        Box::pin(async {
            let after = self.after;
            self.committed.wait_for(|number| *number > after).await.map_err(|_| StoreError::Closed)?;
            let commits = self.disk.commits();
            let next = commits.iter().find(|commit| commit.revision.number > after).expect("it was told of");
            let Commit { revision, puts, deletes, audit: _ } = next.clone();
            self.after = revision.number;
            Ok(Change::Commit { revision: revision.number, puts, deletes })
        })
    }
}

mod tests {
    use std::sync::Arc;

    use super::{Disk, Memory};
    use crate::store::conformance::{Place, suite};
    use crate::store::{HistoryBound, Store};

    struct InMemory(Arc<Disk>);

    impl Place for InMemory {
        async fn open_bounded(&self, bound: HistoryBound, audit_records_max: usize) -> Arc<dyn Store> {
            Arc::new(Memory { disk: Arc::clone(&self.0), bound, audit_records_max })
        }
    }

    suite!(|_: &str| Some(InMemory(Arc::default())));
}
