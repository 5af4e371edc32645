//! The place of kernel correlation: somebody who watches the pod's threads may say which inbound request a call belongs to. Nobody
//! does yet: [`Unattributed`] is all there is, and costs nothing.
//!
//! A request is told by the connection that we gave it to the application over, from the marker address 127.0.0.6 or ::6, by
//! which such a watcher knows our connections; one request at a time is in flight on it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use laneway_core::context::Context;
use laneway_core::correlation::Known;

/// Says who makes a call. Asked before the call is decided: an answer must be at hand, or be `Unknown`.
pub(crate) trait Attribution: Send + Sync {
    /// `source`: of the application's connection to us; `destination`: where it was going.
    fn who(&self, source: SocketAddr, destination: SocketAddr) -> Caller;

    /// May it ever answer? `false` saves noting requests for it.
    fn is_active(&self) -> bool {
        true
    }
}

/// Whose call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    Unknown,
    /// Of the request that the application read from our connection with that local port, at that time
    /// (CLOCK_MONOTONIC, nanoseconds).
    #[cfg_attr(not(test), expect(dead_code, reason = "said by the kernel correlation that is to come, and by tests"))]
    Request {
        port: u16,
        read_at: u64,
    },
}

/// Nobody watches.
pub(crate) struct Unattributed;

impl Attribution for Unattributed {
    fn who(&self, _source: SocketAddr, _destination: SocketAddr) -> Caller {
        Caller::Unknown
    }

    fn is_active(&self) -> bool {
        false
    }
}

/// The requests that the application has, by the port that we sent them from.
pub(crate) struct Callers {
    attribution: Box<dyn Attribution>,
    is_active: bool,
    requests: Mutex<HashMap<u16, Request, foldhash::fast::RandomState>>,
}

struct Request {
    context: Option<Arc<Context>>,
    /// CLOCK_MONOTONIC, nanoseconds.
    sent_at: u64,
}

impl Callers {
    pub(crate) fn new(attribution: Box<dyn Attribution>) -> Callers {
        Callers { is_active: attribution.is_active(), attribution, requests: Mutex::default() }
    }

    /// Is there anybody who tells callers?
    pub(crate) fn are_told(&self) -> bool {
        self.is_active
    }

    /// Before its first byte is written.
    pub(crate) fn begin(&self, port: u16, context: Option<Arc<Context>>) {
        self.lock().insert(port, Request { context, sent_at: monotonic_ns() });
    }

    pub(crate) fn end(&self, port: u16) {
        self.lock().remove(&port);
    }

    /// The context of the request that a call belongs to. What was read before the request was sent is another's.
    pub(crate) fn who(&self, source: SocketAddr, destination: SocketAddr) -> Known {
        if !self.is_active {
            return Known::Unknown;
        }
        let Caller::Request { port, read_at } = self.attribution.who(source, destination) else {
            return Known::Unknown;
        };
        match self.lock().get(&port) {
            Some(request) if request.sent_at <= read_at => Known::Context(request.context.clone()),
            _ => Known::Unknown,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u16, Request, foldhash::fast::RandomState>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clock that a watcher in the kernel stamps with.
fn monotonic_ns() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    time.map_or(0, |time| (time.tv_sec() as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec() as u64))
}

#[cfg(test)]
mod tests;
