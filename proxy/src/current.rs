//! Where control and data path meet: the one current [`Snapshot`], who publishes it, who reads it, and how a reader asks for
//! what it does not know.
//!
//! A snapshot is never changed, only replaced. Reading costs a pointer; nothing here is locked on the way of a request, but
//! for the first connection to a destination that nobody has told of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use laneway_core::snapshot::Snapshot;
use tokio::sync::{Notify, watch};

mod demand;
#[cfg(test)]
mod tests;

pub use demand::{Asked, Demand, Demands, demand};

/// Seen by a worker that has ended: it decides on nothing any more, and nobody waits for it.
const GONE: u64 = u64::MAX;

struct Shared {
    current: ArcSwap<Snapshot>,
    published: watch::Sender<u64>,
    /// By worker: the last revision that it has seen.
    seen: Vec<AtomicU64>,
    progress: Notify,
}

/// The control side: replaces the snapshot.
pub struct Publisher(Arc<Shared>);

/// A worker's side: reads it. Clones belong to the same worker.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
    changes: watch::Receiver<u64>,
    slot: Arc<Slot>,
}

/// Whoever looks at the snapshot beside the workers, to explain it: nobody waits for it.
#[derive(Clone)]
pub struct View(Arc<Shared>);

/// The place of one worker; it is given up with the worker's last reader.
struct Slot {
    shared: Arc<Shared>,
    worker: usize,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.seen[self.worker].store(GONE, Ordering::Release);
        self.shared.progress.notify_waiters();
    }
}

/// One publisher and a reader for each worker, beginning with `first`.
pub fn channel(workers: usize, first: Snapshot) -> (Publisher, Vec<Reader>) {
    let revision = first.revision;
    let (published, changes) = watch::channel(revision);
    let shared = Arc::new(Shared {
        current: ArcSwap::from_pointee(first),
        published,
        seen: (0..workers).map(|_| AtomicU64::new(0)).collect(),
        progress: Notify::new(),
    });
    let reader = |worker| Reader {
        shared: Arc::clone(&shared),
        changes: changes.clone(),
        slot: Arc::new(Slot { shared: Arc::clone(&shared), worker }),
    };
    let readers = (0..workers).map(reader).collect();
    (Publisher(shared), readers)
}

impl Publisher {
    /// Replaces the snapshot. From now on every decision is made on it.
    pub fn publish(&self, snapshot: Snapshot) {
        let revision = snapshot.revision;
        self.0.current.store(Arc::new(snapshot));
        self.0.published.send_replace(revision);
    }

    /// Waits until every worker has seen `revision`, or a later one: no new request follows an older one any more.
    pub async fn settled(&self, revision: u64) {
        loop {
            // Made before the look: it is woken by what happens after it.
            let progress = self.0.progress.notified();
            if self.0.seen.iter().all(|seen| seen.load(Ordering::Acquire) >= revision) {
                return;
            }
            progress.await;
        }
    }

    /// Revision of the current snapshot.
    pub fn current_revision(&self) -> u64 {
        self.0.current.load().revision
    }

    pub fn current(&self) -> Arc<Snapshot> {
        self.0.current.load_full()
    }

    pub fn view(&self) -> View {
        View(Arc::clone(&self.0))
    }
}

impl View {
    pub fn current(&self) -> Arc<Snapshot> {
        self.0.current.load_full()
    }
}

impl Reader {
    /// The current snapshot. Not to be held across an await: load again instead.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.shared.current.load()
    }

    /// Says that this worker decides on `revision` from now on.
    pub fn seen(&self, revision: u64) {
        self.shared.seen[self.slot.worker].store(revision, Ordering::Release);
        self.shared.progress.notify_waiters();
    }

    /// Waits for a snapshot that was published after the last call.
    pub async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            // The publisher is gone: what is current stays (fail static).
            std::future::pending::<()>().await;
        }
    }
}
