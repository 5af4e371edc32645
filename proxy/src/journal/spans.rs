//! Spans that wait to be exported: each worker fills a queue of its own, the exporter takes what is there. What finds no room is
//! dropped and counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::Notify;

use super::context::SpanIds;
use super::{Ended, Seen};

/// Of one worker.
const SPANS_MAX: usize = 2048;
/// The exporter is woken before its time when so many wait.
pub const BATCH: usize = 512;

/// One request, as it ended.
#[derive(Clone, Debug)]
pub struct Span {
    pub ids: SpanIds,
    pub seen: Seen,
    pub at: SystemTime,
    pub ended: Ended,
}

/// One worker's.
pub struct Spans {
    waiting: Mutex<Vec<Span>>,
    taken: AtomicU64,
    dropped: AtomicU64,
    many: Arc<Notify>,
}

/// Spans by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken, to be exported.
    pub taken: u64,
    /// Dropped: the exporter does not keep up.
    pub dropped: u64,
    pub exported: u64,
    /// The collector did not take them.
    pub failed: u64,
}

/// All workers'.
#[derive(Clone)]
pub struct Queues {
    workers: Vec<Arc<Spans>>,
    pub many: Arc<Notify>,
    exported: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl Spans {
    pub(super) fn push(&self, span: Span) {
        let mut waiting = self.lock();
        let is_taken = waiting.len() < SPANS_MAX;
        let is_many = waiting.len() + 1 == BATCH;
        if is_taken {
            waiting.push(span);
        }
        drop(waiting);
        let counter = if is_taken { &self.taken } else { &self.dropped };
        // One writer.
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if is_many {
            self.many.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Span>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    pub fn new(workers: usize) -> Queues {
        let many = Arc::new(Notify::new());
        let spans = || Spans {
            waiting: Mutex::default(),
            taken: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            many: Arc::clone(&many),
        };
        let workers = (0..workers).map(|_| Arc::new(spans())).collect();
        Queues { workers, many, exported: Arc::default(), failed: Arc::default() }
    }

    pub fn worker(&self, index: usize) -> Arc<Spans> {
        Arc::clone(&self.workers[index])
    }

    /// Everything that waits, at most so many of each worker as have room.
    pub fn take(&self) -> Vec<Span> {
        self.workers.iter().flat_map(|spans| std::mem::take(&mut *spans.lock())).collect()
    }

    pub fn exported(&self, count: usize) {
        self.exported.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub fn failed(&self, count: usize) {
        self.failed.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub fn counts(&self) -> Counts {
        let sum = |of: fn(&Spans) -> &AtomicU64| self.workers.iter().map(|one| of(one).load(Ordering::Relaxed)).sum();
        Counts {
            taken: sum(|spans| &spans.taken),
            dropped: sum(|spans| &spans.dropped),
            exported: self.exported.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests;
