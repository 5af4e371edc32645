//! The other replicas of this control plane, and where their API is.
//!
//! A store that several share tells of them; the embedded one is alone. Read by `api`, which asks the others for what only
//! they know: the sidecars that are connected there; and by `push`, which counts them.

use tokio::sync::watch;

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    pub name: String,
    /// URL of its API, as the others reach it.
    pub api: String,
}

/// All but this one, as far as is known.
#[derive(Clone)]
pub struct Replicas {
    own: String,
    others: watch::Receiver<Vec<Replica>>,
}

impl Replicas {
    /// There can be no other.
    pub fn alone(name: String) -> Replicas {
        Replicas { own: name, others: watch::channel(Vec::new()).1 }
    }

    /// As a store tells. When it no longer does, its last word holds.
    pub fn follow(own: Replica, others: watch::Receiver<Vec<Replica>>) -> Replicas {
        Replicas { own: own.name, others }
    }

    /// Name of this one.
    pub fn own(&self) -> &str {
        &self.own
    }

    /// How many there are, this one among them.
    pub fn count(&self) -> usize {
        self.others.borrow().len() + 1
    }

    /// Returns when the others are not those of the last call; never where nobody tells any more.
    pub async fn changed(&mut self) {
        if self.others.changed().await.is_err() {
            std::future::pending().await
        }
    }

    pub fn others(&self) -> Vec<Replica> {
        self.others.borrow().clone()
    }
}
