//! The end of the process: told once, heard by everybody who asked.

use tokio::sync::watch;

/// Starts the drain. Dropping it starts it too.
pub struct Trigger(watch::Sender<bool>);

/// Hears of it.
#[derive(Clone)]
pub struct Draining(watch::Receiver<bool>);

pub fn channel() -> (Trigger, Draining) {
    let (trigger, draining) = watch::channel(false);
    (Trigger(trigger), Draining(draining))
}

impl Trigger {
    pub fn start(self) {
        self.0.send_replace(true);
    }
}

impl Draining {
    pub fn has_started(&self) -> bool {
        // A trigger that is gone means the same.
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Returns when the drain has started, however long ago.
    pub async fn started(&mut self) {
        // An error: the trigger is gone, which means the same.
        let _ = self.0.wait_for(|started| *started).await;
    }
}
