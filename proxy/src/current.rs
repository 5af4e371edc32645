//! Where control and data path meet: the one current [`Snapshot`], who publishes it, who reads it, and how a reader asks for
//! what it does not know.
//!
//! A snapshot is never changed, only replaced. Reading costs a pointer; nothing here is locked on the way of a request, but
//! for the first connection to a destination that nobody has told of.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use laneway_core::snapshot::Snapshot;
use tokio::sync::{Notify, mpsc, watch};

/// Keys that may be asked for and not be answered yet; more are not asked for, and pass through.
const WISHES_MAX: usize = 1024;
/// Keys whose answer is remembered. The contract allows a stream 10,000 names.
const KEYS_MAX: usize = laneway_proto::contract::DISCOVERY_NAMES_MAX;

struct Shared {
    current: ArcSwap<Snapshot>,
    published: watch::Sender<u64>,
    /// By worker: the last revision that it has seen.
    seen: Vec<AtomicU64>,
    progress: Notify,
}

/// The control side: replaces the snapshot.
pub struct Publisher(Arc<Shared>);

/// A worker's side: reads it.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
    changes: watch::Receiver<u64>,
    worker: usize,
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
    let readers =
        (0..workers).map(|worker| Reader { shared: Arc::clone(&shared), changes: changes.clone(), worker }).collect();
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
}

impl Reader {
    /// The current snapshot. Not to be held across an await: load again instead.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.shared.current.load()
    }

    /// Says that this worker decides on `revision` from now on.
    pub fn seen(&self, revision: u64) {
        self.shared.seen[self.worker].store(revision, Ordering::Release);
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

/// Asks for destinations that the snapshot does not have, and remembers which were answered.
#[derive(Clone)]
pub struct Demand(Option<Arc<Wishes>>);

struct Wishes {
    /// By key: `ip/10.96.0.12`, `host/stock`.
    answers: Mutex<HashMap<String, watch::Sender<bool>>>,
    ask: mpsc::Sender<String>,
}

/// The control side of [`Demand`].
pub struct Demands {
    wishes: Arc<Wishes>,
    asked: mpsc::Receiver<String>,
}

/// A demand that a control session answers.
pub fn demand() -> (Demand, Demands) {
    let (ask, asked) = mpsc::channel(WISHES_MAX);
    let wishes = Arc::new(Wishes { answers: Mutex::default(), ask });
    (Demand(Some(Arc::clone(&wishes))), Demands { wishes, asked })
}

impl Demand {
    /// Nobody to ask: the snapshot has all there is (static mode).
    pub fn none() -> Demand {
        Demand(None)
    }

    /// Returns when `key` was answered, one way or the other, and the current snapshot holds the answer; or after `wait`. At
    /// once when it was answered before. Many callers ask once.
    pub async fn ensure(&self, key: &str, wait: Duration) {
        let Some(wishes) = &self.0 else { return };
        let mut answered = {
            let mut answers = wishes.answers.lock().unwrap_or_else(PoisonError::into_inner);
            match answers.get(key) {
                Some(answer) => answer.subscribe(),
                None => {
                    if answers.len() >= KEYS_MAX || wishes.ask.try_send(key.to_owned()).is_err() {
                        return;
                    }
                    answers.entry(key.to_owned()).or_insert_with(|| watch::channel(false).0).subscribe()
                }
            }
        };
        let _ = tokio::time::timeout(wait, answered.wait_for(|answered| *answered)).await;
    }
}

impl Demands {
    /// The next key that nobody asked for before. `None`: every reader is gone.
    pub async fn next(&mut self) -> Option<String> {
        self.asked.recv().await
    }

    /// The snapshot that was published last holds the answer to `key`.
    pub fn answered(&self, key: &str) {
        if let Some(answer) = self.wishes.answers.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
            answer.send_replace(true);
        }
    }
}
