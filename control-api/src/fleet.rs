//! Who is connected, and what each of them has: written by `push`, read by `api`.
//!
//! A member is one stream of one sidecar; of two streams of one node the newest wins and the older one is told to end, if
//! both are of one service. Where a cluster vouches for the pod of a stream, the same holds for the pod, whatever it says that its node is: a
//! pod has one seat.
//! Nothing here waits while it holds a lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use laneway_core::snapshot::Identity;
use laneway_proto::status::{ConfigState, Proxy};
use tokio::sync::watch;

#[cfg(test)]
mod tests;

/// How long one that went away is still shown.
const DEPARTED_SHOWN: Duration = Duration::from_secs(300);
/// And how many of them.
const DEPARTED_MAX: usize = 1_000;

/// What a sidecar has of one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Version that was sent last, answered or not.
    pub sent_version: Option<String>,
    /// Version and revision that were acknowledged last.
    pub acked: Option<(String, i64)>,
    /// The version that was sent last was refused.
    pub is_refused: bool,
    /// Its removal was sent and is not answered.
    pub is_being_removed: bool,
    /// Something of this type is on its way or due: what is not held may still come.
    pub is_unsettled: bool,
}

/// What the fleet wants to know of a stream.
pub trait Member: Send + Sync {
    fn identity(&self) -> Identity;
    /// The uid of its pod, where a cluster vouches for it.
    fn pod(&self) -> Option<&str> {
        None
    }
    /// Revision of the configuration that was last compared with what this sidecar has.
    fn seen_revision(&self) -> i64;
    /// What this sidecar has of one resource.
    fn holding(&self, type_url: &str, name: &str) -> Holding;
    /// For people. `full`: with every resource.
    fn report(&self, full: bool) -> Proxy;
    /// A newer stream of the same node took its place.
    fn replaced(&self);
}

/// All sidecars of this replica.
#[derive(Clone)]
pub struct Fleet {
    shared: Arc<Shared>,
}

struct Shared {
    members: Mutex<Members>,
    /// Counts what may end somebody's wait: answers, arrivals, departures.
    events: watch::Sender<u64>,
}

#[derive(Default)]
struct Members {
    /// Numbers streams, so that one that was replaced does not remove its successor.
    streams: u64,
    connected: BTreeMap<String, (u64, Arc<dyn Member>)>,
    /// The node of each pod that is vouched for, of those that are connected.
    pods: HashMap<String, String>,
    departed: BTreeMap<String, (Instant, Proxy)>,
}

/// Who holds a node id already.
#[derive(Debug)]
pub struct Taken(pub Identity);

/// A place in the fleet; given up when dropped.
pub struct Seat {
    fleet: Fleet,
    node: String,
    stream: u64,
}

impl Fleet {
    pub fn new() -> Fleet {
        let shared = Shared { members: Mutex::default(), events: watch::channel(0).0 };
        Fleet { shared: Arc::new(shared) }
    }

    /// Takes a stream in. A node id that a node of another service holds is not given to it: nobody pushes others out.
    pub fn join(&self, node: String, member: Arc<dyn Member>) -> Result<Seat, Taken> {
        let (replaced, stream) = {
            let mut members = self.members();
            let holder = members.connected.get(&node).map(|(_, holder)| holder.identity());
            let own = member.identity();
            if let Some(other) = holder.filter(|it| (&it.namespace, &it.service) != (&own.namespace, &own.service)) {
                return Err(Taken(other));
            }
            members.streams += 1;
            let stream = members.streams;
            members.departed.remove(&node);
            let of_node = members.remove(&node);
            let of_pod = member.pod().and_then(|pod| members.pods.get(pod).cloned());
            let of_pod = of_pod.and_then(|former| members.remove(&former));
            if let Some(pod) = member.pod() {
                members.pods.insert(pod.to_owned(), node.clone());
            }
            members.connected.insert(node.clone(), (stream, member));
            ([of_node, of_pod], stream)
        };
        replaced.into_iter().flatten().for_each(|older| older.replaced());
        self.tell();
        Ok(Seat { fleet: self.clone(), node, stream })
    }

    /// Somebody answered: waits are to be looked at again.
    pub fn tell(&self) {
        self.shared.events.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Changes with every [`Fleet::tell`].
    pub fn events(&self) -> watch::Receiver<u64> {
        self.shared.events.subscribe()
    }

    /// Those that are connected, by node id.
    pub fn connected(&self) -> Vec<(String, Arc<dyn Member>)> {
        let members = self.members();
        members.connected.iter().map(|(node, (_, member))| (node.clone(), Arc::clone(member))).collect()
    }

    /// The one with this node id.
    pub fn member(&self, node: &str) -> Option<Arc<dyn Member>> {
        self.members().connected.get(node).map(|(_, member)| Arc::clone(member))
    }

    pub fn connected_count(&self) -> usize {
        self.members().connected.len()
    }

    /// All that people are shown, by node id: those that are connected and those that left a short time ago.
    pub fn report(&self, full: bool) -> BTreeMap<String, Proxy> {
        let mut proxies: BTreeMap<String, Proxy> = {
            let mut members = self.members();
            members.departed.retain(|_, (at, _)| at.elapsed() < DEPARTED_SHOWN);
            members.departed.iter().map(|(node, (_, proxy))| (node.clone(), proxy.clone())).collect()
        };
        proxies.extend(self.connected().into_iter().map(|(node, member)| (node, member.report(full))));
        proxies
    }

    fn leave(&self, node: &str, stream: u64) {
        let member = {
            let mut members = self.members();
            if members.connected.get(node).is_none_or(|(current, _)| *current != stream) {
                return;
            }
            members.remove(node)
        };
        if let Some(member) = member {
            let mut proxy = member.report(false);
            proxy.state = ConfigState::Disconnected.into();
            let mut members = self.members();
            if members.departed.len() >= DEPARTED_MAX {
                let oldest = members.departed.iter().min_by_key(|(_, (at, _))| *at).map(|(node, _)| node.clone());
                oldest.and_then(|oldest| members.departed.remove(&oldest));
            }
            if !members.connected.contains_key(node) {
                members.departed.insert(node.to_owned(), (Instant::now(), proxy));
            }
        }
        self.tell();
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        // Nothing in it can panic between two changes that belong together.
        self.shared.members.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Members {
    fn remove(&mut self, node: &str) -> Option<Arc<dyn Member>> {
        let (_, member) = self.connected.remove(node)?;
        if let Some(pod) = member.pod() {
            self.pods.remove(pod);
        }
        Some(member)
    }
}

impl Default for Fleet {
    fn default() -> Fleet {
        Fleet::new()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.fleet.leave(&self.node, self.stream);
    }
}
