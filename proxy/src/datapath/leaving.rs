//! Instances that are called no more and on which something still runs: when that is to end, where the policy of their service says so.
//! Decides by what it is told, time among it; what runs on an instance looks at [`Host::ending`].
//!
//! ```text
//!  called no more ──▶ watched ── draining, or gone from its service ──▶ goes away ── its grace is over ──▶ told to end
//!                        ▲                                                 │
//!                        └───────────────── usable again ──────────────────┘       forgotten when nothing runs on it
//! ```

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pool::{Ending, Host};

#[derive(Default)]
pub(crate) struct Leaving(Vec<Left>);

struct Left {
    address: SocketAddr,
    host: Rc<Host>,
    /// When it was first seen to go away; `None`: it does not.
    since: Option<Instant>,
}

/// How an instance stands, by the configuration of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Called or not, it does not go away.
    Stays,
    /// `None`: what runs on it runs on.
    Leaves { closes_after: Option<Duration> },
}

/// What came of a look.
#[derive(Default)]
pub(crate) struct Look {
    /// Told to end just now.
    pub(crate) over: Vec<Over>,
    /// When the next one is due.
    pub(crate) next: Option<Instant>,
}

/// An instance whose time is over.
pub(crate) struct Over {
    pub(crate) address: SocketAddr,
    /// Resource name.
    pub(crate) service: Arc<str>,
    pub(crate) running: u32,
}

impl Leaving {
    /// These are called no more.
    pub(crate) fn watch(&mut self, retired: impl IntoIterator<Item = (SocketAddr, Rc<Host>)>) {
        self.0.extend(retired.into_iter().map(|(address, host)| Left { address, host, since: None }));
    }

    /// `standing` is asked of a service (resource name) and the address of its instance.
    pub(crate) fn look(&mut self, now: Instant, standing: impl Fn(&str, SocketAddr) -> Standing) -> Look {
        let mut look = Look::default();
        self.0.retain_mut(|left| {
            let Left { address, host, since } = left;
            // Of what goes to no service of ours nobody says that it is to end.
            let Some(service) = host.service().filter(|_| host.running() > 0) else { return false };
            let (ending, due) = match standing(service, *address) {
                Standing::Stays => {
                    *since = None;
                    (Ending::None, None)
                }
                Standing::Leaves { closes_after } => {
                    let since = *since.get_or_insert(now);
                    match closes_after.map(|grace| since + grace) {
                        None => (Ending::None, None),
                        Some(due) if due <= now => (Ending::Over, None),
                        Some(due) => (Ending::Announced, Some(due)),
                    }
                }
            };
            host.ends(ending);
            if ending == Ending::Over {
                look.over.push(Over { address: *address, service: Arc::clone(service), running: host.running() });
                return false;
            }
            look.next = look.next.into_iter().chain(due).min();
            true
        });
        look
    }
}

#[cfg(test)]
mod tests;
