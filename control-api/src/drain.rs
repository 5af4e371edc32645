//! The end of the process: told in two steps, heard by everybody who asked.
//!
//! ```text
//!   serving ──leave──▶ leaving: not ready, and all is served still ──start──▶ draining: what runs is finished
//! ```
//! Whoever sends to us hears a while later that we go: until then they are served.

use tokio::sync::watch;

#[cfg(test)]
mod tests;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    Leaving,
    Draining,
}

/// Begins the end. Dropping it starts the drain.
pub struct Trigger(watch::Sender<Stage>);

/// Hears of it.
#[derive(Clone)]
pub struct Draining(watch::Receiver<Stage>);

pub fn channel() -> (Trigger, Draining) {
    let (trigger, draining) = watch::channel(Stage::Serving);
    (Trigger(trigger), Draining(draining))
}

impl Trigger {
    /// From here on nobody new should come.
    pub fn leave(&self) {
        self.0.send_replace(Stage::Leaving);
    }

    pub fn start(self) {
        self.0.send_replace(Stage::Draining);
    }
}

impl Draining {
    /// From the first word of the end on.
    pub fn is_leaving(&self) -> bool {
        self.is(Stage::Leaving)
    }

    fn is(&self, stage: Stage) -> bool {
        // A trigger that is gone means the last one.
        *self.0.borrow() >= stage || self.0.has_changed().is_err()
    }

    /// Returns when the end was first spoken of, however long ago.
    pub async fn leaving(&mut self) {
        self.reached(Stage::Leaving).await;
    }

    /// Returns when the drain has started, however long ago.
    pub async fn started(&mut self) {
        self.reached(Stage::Draining).await;
    }

    async fn reached(&mut self, wanted: Stage) {
        // An error: the trigger is gone, which means the last one.
        let _ = self.0.wait_for(|stage| *stage >= wanted).await;
    }
}
