//! Is this the replica that does what only one may do?
//!
//! The embedded store is held by one process, which therefore always leads. A store that replicas share comes with an
//! election, which hands [`Leader::follow`] its result; whoever acts as the leader knows nothing else of it.

use tokio::sync::watch;

/// True while this replica leads.
#[derive(Clone)]
pub struct Leader(watch::Receiver<bool>);

impl Leader {
    /// The only replica that there can be.
    pub fn sole() -> Leader {
        Leader(watch::channel(true).1)
    }

    /// As an election says. When it is gone, its last word holds.
    pub fn follow(elected: watch::Receiver<bool>) -> Leader {
        Leader(elected)
    }

    pub fn leads(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when the answer may be another.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}
