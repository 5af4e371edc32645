//! How many connections each origin has, so that one peer leaves room for others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::warn;

use crate::origin::origin;

#[cfg(test)]
mod tests;

/// Those of one port. There are never more addresses than connections, which the port bounds.
#[derive(Clone)]
pub(super) struct Peers(Arc<Shared>);

struct Shared {
    of_one_max: usize,
    held: Mutex<HashMap<IpAddr, Held>>,
}

#[derive(Default)]
struct Held {
    count: usize,
    /// That it has too many was said.
    is_told: bool,
}

/// One connection of a peer, while it is held.
pub(super) struct Place {
    peers: Peers,
    peer: IpAddr,
}

impl Peers {
    pub(super) fn new(of_one_max: usize) -> Peers {
        Peers(Arc::new(Shared { of_one_max, held: Mutex::default() }))
    }

    /// None: that peer has as many as one may have.
    pub(super) fn take(&self, peer: IpAddr) -> Option<Place> {
        let peer = origin(peer);
        let mut all = self.held();
        let held = all.entry(peer).or_default();
        if held.count < self.0.of_one_max {
            held.count += 1;
            return Some(Place { peers: self.clone(), peer });
        }
        if !std::mem::replace(&mut held.is_told, true) {
            warn!(remote = %peer, connections = held.count, "an address has as many connections as one may have; more of it are closed");
        }
        None
    }

    fn held(&self) -> MutexGuard<'_, HashMap<IpAddr, Held>> {
        // Whoever panicked left whole values behind.
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.peers.held();
        if let Some(held) = all.get_mut(&self.peer) {
            held.count -= 1;
            if held.count == 0 {
                all.remove(&self.peer);
            }
        }
    }
}
