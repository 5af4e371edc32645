//! What this sidecar has been calling, for the process after it: that one asks for the same destinations and opens connections to the
//! same instances before it is ready, so that its first requests find what the last ones of this process had.
//!
//! ```text
//!  workers, each second ── called ──▶ Habits ──▶ disk (cache.rs), successor (handover.rs) ── recall ──▶ control, workers (warm.rs)
//!  control ────────────── wanted ───▶
//! ```
//! Bounded, and never needed: what is not remembered, or is no longer true, is found out by the request that needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost::Message as _;
use tokio::sync::Notify;

#[cfg(test)]
mod tests;

/// Instances that are remembered. Each costs the next process a connection or two.
pub const INSTANCES_MAX: usize = 64;
/// Destinations that are remembered; more are asked for when they are called.
const KEYS_MAX: usize = 1000;

/// One instance, or the pod's own application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance {
    pub address: SocketAddr,
    /// It is called from the marker address, past the redirect.
    pub is_application: bool,
    pub is_http2: bool,
}

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Habits(Arc<Shared>);

#[derive(Default)]
struct Shared {
    own: Mutex<Own>,
    former: Mutex<Former>,
    changed: Notify,
}

/// What this process does.
#[derive(Default)]
struct Own {
    /// By worker.
    called: BTreeMap<usize, Vec<Instance>>,
    keys: Vec<Arc<str>>,
}

/// What the process before did.
#[derive(Clone, Default)]
struct Former {
    called: Vec<Instance>,
    keys: Vec<Arc<str>>,
}

/// An instance, on the disk and on the wire.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Written {
    #[prost(string, tag = "1")]
    address: String,
    #[prost(bool, tag = "2")]
    is_application: bool,
    #[prost(bool, tag = "3")]
    is_http2: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WrittenHabits {
    #[prost(string, repeated, tag = "1")]
    keys: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    called: Vec<Written>,
}

impl From<Instance> for Written {
    fn from(instance: Instance) -> Written {
        let Instance { address, is_application, is_http2 } = instance;
        Written { address: address.to_string(), is_application, is_http2 }
    }
}

impl Written {
    /// `None`: it is no address.
    pub fn read(self) -> Option<Instance> {
        let Written { address, is_application, is_http2 } = self;
        Some(Instance { address: address.parse().ok()?, is_application, is_http2 })
    }
}

impl Habits {
    /// A worker has called these last. None leaves what it called before.
    pub fn called(&self, worker: usize, instances: Vec<Instance>) {
        let mut own = lock(&self.0.own);
        let before = own.called.entry(worker).or_default();
        if !instances.is_empty() && *before != instances {
            *before = instances;
            self.0.changed.notify_one();
        }
    }

    /// Control follows these destinations.
    pub fn wanted<'k>(&self, keys: impl Iterator<Item = &'k Arc<str>>) {
        lock(&self.0.own).keys = keys.take(KEYS_MAX).map(Arc::clone).collect();
    }

    /// What was called last, by any worker; as long as none has called anybody, by the process before.
    pub fn instances(&self) -> Vec<Instance> {
        let all: BTreeSet<Instance> = lock(&self.0.own).called.values().flatten().copied().collect();
        if all.is_empty() {
            return self.former_instances();
        }
        all.into_iter().take(INSTANCES_MAX).collect()
    }

    /// Waits until other instances are called.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// What an earlier process called; nothing where that is known already, from whom we took over.
    pub fn recall(&self, instances: Vec<Instance>) {
        let mut former = lock(&self.0.former);
        if former.called.is_empty() {
            former.called = instances;
            former.called.truncate(INSTANCES_MAX);
        }
    }

    pub fn former_instances(&self) -> Vec<Instance> {
        lock(&self.0.former).called.clone()
    }

    pub fn former_keys(&self) -> Vec<Arc<str>> {
        lock(&self.0.former).keys.clone()
    }

    /// All of it, for a successor.
    pub fn encode(&self) -> Vec<u8> {
        let keys = lock(&self.0.own).keys.iter().map(ToString::to_string).collect();
        WrittenHabits { keys, called: self.instances().into_iter().map(Written::from).collect() }.encode_to_vec()
    }

    /// What a predecessor encoded. An error, and what cannot be read, cost nothing but warmth.
    pub fn decode(bytes: &[u8]) -> Result<Habits, prost::DecodeError> {
        let written = WrittenHabits::decode(bytes)?;
        let habits = Habits::default();
        habits.recall(written.called.into_iter().filter_map(Written::read).collect());
        lock(&habits.0.former).keys = written.keys.into_iter().take(KEYS_MAX).map(Arc::from).collect();
        Ok(habits)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
