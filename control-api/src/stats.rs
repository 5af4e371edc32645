//! How the lanes do, by the second: what sidecars report, kept for an hour in memory, and how often they are to report. Written by
//! `push`, read by `api`. Of one replica: what is lost with it is lost; Prometheus is the store for the long term.
//!
//! ```text
//!  sidecars ══ reports ══▶ push ─▶ report ─▶ rings ◀─ query ─ api ◀─ lanectl top, compare
//!           ◀═ pace ═══════════════ Stats ◀─ watchers, queries of late
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use laneway_core::snapshot::Identity;
use laneway_proto::telemetry::Slice;
use tokio::sync::{Notify, watch};

use self::report::Refused;
pub use self::ring::{COARSE_SECONDS, Cell, FINE_SECONDS, Key, Rings, SERIES_MAX, SOURCES, STEP_SECONDS, View};
use crate::clock::Clock;

pub mod observe;
pub mod verdict;

mod report;
mod ring;

/// How often sidecars report while somebody looks, and while nobody does.
pub const PACE_WATCHED: Duration = Duration::from_secs(1);
pub const PACE_ALONE: Duration = Duration::from_secs(10);
/// Who has asked once is likely to ask again.
const ASKED_SECONDS: u64 = 30;
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Cheap to clone.
#[derive(Clone)]
pub struct Stats(Arc<Shared>);

struct Shared {
    clock: Clock,
    rings: Mutex<Rings>,
    watchers: AtomicUsize,
    /// Second until which a query counts as a watcher.
    asked_until: AtomicU64,
    pace: watch::Sender<Duration>,
    reporters: Mutex<Reporters>,
}

#[derive(Default)]
struct Reporters {
    /// Numbers streams, so that one that was replaced does not remove its successor.
    streams: u64,
    of_node: BTreeMap<String, (u64, Arc<Notify>)>,
}

/// Somebody looks as long as this lives.
pub struct Watching(Stats);

/// One stream of reports. Of two of one node the newer one counts.
pub struct Reporter {
    stats: Stats,
    node: String,
    stream: u64,
    replaced: Arc<Notify>,
    pace: watch::Receiver<Duration>,
    began: u64,
    slices: u64,
}

/// Why a report does not count.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("more slices than seconds have passed")]
    TooMany,
}

impl Stats {
    pub fn new(clock: Clock) -> Stats {
        Stats(Arc::new(Shared {
            clock,
            rings: Mutex::default(),
            watchers: AtomicUsize::new(0),
            asked_until: AtomicU64::new(0),
            pace: watch::channel(PACE_ALONE).0,
            reporters: Mutex::default(),
        }))
    }

    /// Keeps pace and memory as they should be, for ever.
    pub async fn run(self) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.sweep();
        }
    }

    fn sweep(&self) {
        self.rings().sweep(self.now());
        self.set_pace();
    }

    /// Somebody looks from now on.
    pub fn watch(&self) -> Watching {
        self.0.watchers.fetch_add(1, Relaxed);
        self.set_pace();
        Watching(self.clone())
    }

    /// Somebody has asked once.
    pub fn asked(&self) {
        self.0.asked_until.store(self.now() + ASKED_SECONDS, Relaxed);
        self.set_pace();
    }

    /// A stream of the sidecar with this id.
    pub fn reporter(&self, node: &str) -> Reporter {
        let replaced = Arc::new(Notify::new());
        let (stream, older) = {
            let mut reporters = lock(&self.0.reporters);
            reporters.streams += 1;
            let stream = reporters.streams;
            (stream, reporters.of_node.insert(node.to_owned(), (stream, Arc::clone(&replaced))))
        };
        if let Some((_, older)) = older {
            older.notify_one();
        }
        let pace = self.0.pace.subscribe();
        Reporter { stats: self.clone(), node: node.to_owned(), stream, replaced, pace, began: self.now(), slices: 0 }
    }

    /// Seconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        self.0.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    /// Looks at what is kept.
    pub fn read<T>(&self, look: impl FnOnce(&Rings) -> T) -> T {
        look(&self.rings())
    }

    fn set_pace(&self) {
        let is_watched = self.0.watchers.load(Relaxed) > 0 || self.now() < self.0.asked_until.load(Relaxed);
        let pace = if is_watched { PACE_WATCHED } else { PACE_ALONE };
        self.0.pace.send_if_modified(|now| std::mem::replace(now, pace) != pace);
    }

    fn rings(&self) -> MutexGuard<'_, Rings> {
        lock(&self.0.rings)
    }
}

/// Whoever panicked left sums behind that lack a row at worst.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.0.watchers.fetch_sub(1, Relaxed);
        self.0.set_pace();
    }
}

impl Reporter {
    /// Takes a report of the sidecar, which is `identity`.
    pub fn report(&mut self, slices: &[Slice], identity: &Identity) -> Result<(), Unread> {
        let now = self.stats.now();
        self.slices += slices.len() as u64;
        if self.slices > now.saturating_sub(self.began) + 2 * ring::STEP_SECONDS {
            return Err(Unread::TooMany);
        }
        let entries = report::read(slices, identity, now)?;
        let mut rings = self.stats.rings();
        for entry in entries {
            rings.add(entry.key, entry.second, &entry.cell, now);
        }
        Ok(())
    }

    /// The pace that holds now.
    pub fn pace(&mut self) -> Duration {
        *self.pace.borrow_and_update()
    }

    /// Waits until another one holds.
    pub async fn pace_changed(&mut self) {
        if self.pace.changed().await.is_err() {
            // It is held by the `Stats` that this reporter has.
            std::future::pending::<()>().await;
        }
    }

    /// A newer stream of the same node; to be waited for beside the others.
    pub fn replaced(&self) -> Arc<Notify> {
        Arc::clone(&self.replaced)
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        let mut reporters = lock(&self.stats.0.reporters);
        if reporters.of_node.get(&self.node).is_some_and(|(stream, _)| *stream == self.stream) {
            reporters.of_node.remove(&self.node);
        }
    }
}

#[cfg(test)]
mod tests;
