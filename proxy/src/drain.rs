//! The way down, in two steps: say it while still taking new connections, then take none and let what runs finish.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

#[cfg(test)]
mod tests;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Phase {
    Running,
    /// Answers say `Connection: close`, readiness fails, new connections are taken.
    Draining,
    /// No new connections.
    Closing,
}

/// Starts the drain. One a process.
pub struct Trigger {
    phase: watch::Sender<Phase>,
    is_draining: Arc<AtomicBool>,
    last_watch: mpsc::Receiver<()>,
}

/// Sees the drain, and holds its end open while it lives.
#[derive(Clone)]
pub struct Watch {
    phase: watch::Receiver<Phase>,
    // Asked for every request: no lock.
    is_draining: Arc<AtomicBool>,
    _alive: mpsc::Sender<()>,
}

pub fn channel() -> (Trigger, Watch) {
    let (phase, seen) = watch::channel(Phase::Running);
    // Nothing is ever sent: the channel closes when the last watch is dropped.
    let (alive, last_watch) = mpsc::channel(1);
    let is_draining = Arc::new(AtomicBool::new(false));
    (
        Trigger { phase, is_draining: Arc::clone(&is_draining), last_watch },
        Watch { phase: seen, is_draining, _alive: alive },
    )
}

impl Trigger {
    /// Drains: announces, waits `min`, stops accepting, and returns when every watch is gone, or `max` after the start.
    /// True: everything finished by itself.
    pub async fn drain(mut self, min: Duration, max: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + max.max(min);
        self.is_draining.store(true, Ordering::Release);
        self.phase.send_replace(Phase::Draining);
        tokio::time::sleep(min).await;
        self.phase.send_replace(Phase::Closing);
        tokio::time::timeout_at(deadline, self.last_watch.recv()).await.is_ok()
    }
}

impl Watch {
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Waits for the announcement.
    pub async fn started(&mut self) {
        self.reached(Phase::Draining).await;
    }

    /// Waits until no new connection is to be taken.
    pub async fn closing(&mut self) {
        self.reached(Phase::Closing).await;
    }

    async fn reached(&mut self, wanted: Phase) {
        if self.phase.wait_for(|phase| *phase >= wanted).await.is_err() {
            // The trigger is gone without a drain, as in a test: then there is none.
            std::future::pending::<()>().await;
        }
    }
}
