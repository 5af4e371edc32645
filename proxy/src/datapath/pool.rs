//! Connections to instances: idle HTTP/1 connections newest first, one HTTP/2 connection for all streams, and how many
//! requests are outstanding. One pool belongs to one worker; nothing here is shared between threads.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;

use hyper::client::conn::{http1, http2};
use laneway_core::decide::Load;
use laneway_core::snapshot::EndpointAddr;

use super::connect::From;
use super::http::Body;
use super::io::CoarseClock;

/// Idle connections that are kept to one instance; more are closed when their request ends.
const IDLE_PER_HOST_MAX: usize = 512;

/// Where connections lead: address, and from which source.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) address: SocketAddr,
    pub(crate) from: From,
}

pub(crate) struct Pool {
    hosts: RefCell<HashMap<Key, Rc<Host>, foldhash::fast::RandomState>>,
    /// By the address that is called, as the choice between instances asks for it.
    outstanding: RefCell<HashMap<EndpointAddr, Rc<Cell<u32>>, foldhash::fast::RandomState>>,
    clock: CoarseClock,
    idle_seconds_max: u32,
}

/// The connections to one address.
pub(crate) struct Host {
    idle: RefCell<Vec<Idle>>,
    http2: RefCell<Option<http2::SendRequest<Body>>>,
    /// Held by who opens the HTTP/2 connection; the others wait for it.
    pub(crate) opening: tokio::sync::Mutex<()>,
    /// Nothing may be put back: the instance may no longer be chosen.
    is_retired: Cell<bool>,
    clock: CoarseClock,
    used_at: Cell<u32>,
}

struct Idle {
    sender: http1::SendRequest<Body>,
    since: u32,
}

impl Pool {
    pub(crate) fn new(clock: CoarseClock, idle_seconds_max: u32) -> Pool {
        Pool { hosts: RefCell::default(), outstanding: RefCell::default(), clock, idle_seconds_max }
    }

    pub(crate) fn host(&self, key: Key) -> Rc<Host> {
        let mut hosts = self.hosts.borrow_mut();
        let host = hosts.entry(key).or_insert_with(|| {
            Rc::new(Host {
                idle: RefCell::default(),
                http2: RefCell::default(),
                opening: tokio::sync::Mutex::default(),
                is_retired: Cell::new(false),
                clock: self.clock.clone(),
                used_at: Cell::new(self.clock.seconds()),
            })
        });
        Rc::clone(host)
    }

    /// Counts one request to an instance, until the guard is dropped.
    pub(crate) fn count(&self, endpoint: EndpointAddr) -> Outstanding {
        let mut all = self.outstanding.borrow_mut();
        let counter = Rc::clone(all.entry(endpoint).or_default());
        counter.set(counter.get() + 1);
        Outstanding(counter)
    }

    /// Closes what was idle for too long, and forgets addresses that nobody called for that time.
    pub(crate) fn sweep(&self) {
        let now = self.clock.seconds();
        self.hosts.borrow_mut().retain(|_, host| {
            host.idle
                .borrow_mut()
                .retain(|idle| !idle.sender.is_closed() && now.saturating_sub(idle.since) < self.idle_seconds_max);
            let is_stale = now.saturating_sub(host.used_at.get()) >= self.idle_seconds_max;
            if is_stale {
                host.http2.borrow_mut().take();
            }
            let is_empty = host.idle.borrow().is_empty() && host.http2.borrow().is_none();
            !(is_stale && is_empty && Rc::strong_count(host) == 1)
        });
        self.outstanding.borrow_mut().retain(|_, counter| counter.get() > 0 || Rc::strong_count(counter) > 1);
    }

    /// Closes idle connections to addresses that may no longer be called, and puts none back that are in use.
    pub(crate) fn retain(&self, may_be_called: impl Fn(Key) -> bool) {
        self.hosts.borrow_mut().retain(|key, host| {
            let keep = may_be_called(*key);
            if !keep {
                host.retire();
            }
            keep
        });
    }
}

impl Load for Pool {
    fn outstanding(&self, endpoint: EndpointAddr) -> u32 {
        self.outstanding.borrow().get(&endpoint).map_or(0, |counter| counter.get())
    }

    fn is_ejected(&self, _endpoint: EndpointAddr) -> bool {
        false
    }

    fn has_ejected(&self) -> bool {
        // No outlier detection yet.
        false
    }
}

impl Host {
    /// The connection that was used last and is ready for a request.
    pub(crate) fn take_idle(&self) -> Option<http1::SendRequest<Body>> {
        self.used_at.set(self.clock.seconds());
        let mut idle = self.idle.borrow_mut();
        let mut index = idle.len();
        while index > 0 {
            index -= 1;
            if idle[index].sender.is_closed() {
                idle.remove(index);
            } else if idle[index].sender.is_ready() {
                return Some(idle.remove(index).sender);
            }
            // Else its last answer is read, but its own task has not run since: the next one.
        }
        None
    }

    fn put_idle(&self, sender: http1::SendRequest<Body>) {
        let mut idle = self.idle.borrow_mut();
        if !self.is_retired.get() && !sender.is_closed() && idle.len() < IDLE_PER_HOST_MAX {
            idle.push(Idle { sender, since: self.clock.seconds() });
        }
    }

    pub(crate) fn http2(&self) -> Option<http2::SendRequest<Body>> {
        self.used_at.set(self.clock.seconds());
        let mut shared = self.http2.borrow_mut();
        if shared.as_ref().is_some_and(http2::SendRequest::is_closed) {
            shared.take();
        }
        shared.clone()
    }

    pub(crate) fn share_http2(&self, sender: http2::SendRequest<Body>) {
        if !self.is_retired.get() {
            *self.http2.borrow_mut() = Some(sender);
        }
    }

    /// The shared connection refused a request or is going away: the next request opens another.
    pub(crate) fn forget_http2(&self) {
        self.http2.borrow_mut().take();
    }

    fn retire(&self) {
        self.is_retired.set(true);
        self.idle.borrow_mut().clear();
        self.http2.borrow_mut().take();
    }
}

/// One outstanding request; dropping it counts it down.
pub(crate) struct Outstanding(Rc<Cell<u32>>);

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// One request while its answer is being read. An HTTP/1 connection goes back to its host only if that was read to the end.
pub(crate) struct Lease {
    pub(crate) _outstanding: Outstanding,
    pub(crate) connection: Option<(Rc<Host>, http1::SendRequest<Body>)>,
}

impl super::http::Lease for Lease {
    fn finish(&mut self) {
        if let Some((host, sender)) = self.connection.take() {
            host.put_idle(sender);
        }
    }
}
