//! The way down, in two steps: say it while still taking new connections, then take none and let what runs finish.
//!
//! ```text
//!  t0 ---------------- min --------------------------- max
//!   says it, takes new  | takes none, finishes what runs | cuts the rest
//! ```
//! It ends as soon as nothing is left after `min`. A process that was replaced (`handover.rs`) takes nothing new from t0 on: its
//! successor does. Where the application ends first, as beside a native sidecar, the way down is announced before: callers are told
//! from then on, all else goes on for as long as the application needs, and of `min` only the rest is owed.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// How far the drain is. Each step holds with all before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    Running,
    /// The application is about to end, and this process after it: the next answer of each inbound connection is its last and says so;
    /// readiness fails. Nothing has a deadline.
    Announced,
    /// The next answer of each connection is its last and says so; readiness fails; new connections are taken.
    Draining,
    /// Somebody else takes the new connections, from the same sockets.
    Replaced,
    /// No new connections; those that rest are closed.
    Closing,
}

/// Starts the drain. One a process.
pub struct Trigger {
    phase: watch::Sender<Phase>,
    announced: Option<Instant>,
    last_watch: mpsc::Receiver<()>,
}

/// Sees the drain, and holds its end open while it lives.
#[derive(Clone)]
pub struct Watch {
    phase: watch::Receiver<Phase>,
    _alive: mpsc::Sender<()>,
}

pub fn channel() -> (Trigger, Watch) {
    let (phase, seen) = watch::channel(Phase::Running);
    // Nothing is ever sent: the channel closes when the last watch is dropped.
    let (alive, last_watch) = mpsc::channel(1);
    (Trigger { phase, announced: None, last_watch }, Watch { phase: seen, _alive: alive })
}

impl Trigger {
    /// Says that there will be a drain.
    pub fn announce(&mut self) {
        self.announced.get_or_insert_with(Instant::now);
        self.phase.send_replace(Phase::Announced);
    }

    /// Begins in `first` ([`Phase::Draining`] or [`Phase::Replaced`]), closes `min` after callers were told first, and returns when every
    /// watch is gone, or `max` after the start. True: everything finished by itself.
    pub async fn drain(mut self, first: Phase, min: Duration, max: Duration) -> bool {
        let min = min.saturating_sub(self.announced.map_or(Duration::ZERO, |since| since.elapsed()));
        let deadline = Instant::now() + max.max(min);
        self.phase.send_replace(first);
        tokio::time::sleep(min).await;
        self.phase.send_replace(Phase::Closing);
        tokio::time::timeout_at(deadline, self.last_watch.recv()).await.is_ok()
    }
}

impl Watch {
    /// Waits until the drain is as far as `wanted`, and says how far it is.
    pub async fn reached(&mut self, wanted: Phase) -> Phase {
        let phase = self.phase.wait_for(|phase| *phase >= wanted).await.map(|phase| *phase);
        match phase {
            Ok(phase) => phase,
            // The trigger is gone without a drain, as in a test: then there is none.
            Err(_) => std::future::pending().await,
        }
    }
}
