//! Connections to instances: idle HTTP/1 connections newest first, one HTTP/2 connection for all streams, and how many
//! requests are outstanding. One pool belongs to one worker; nothing here is shared between threads.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use laneway_core::decide::Load;
use laneway_core::snapshot::EndpointAddr;
use laneway_core::tag::Tag;

use super::activity::CoarseClock;
use super::connect::{From, Held};
use super::ejection::Health;
use super::limit::{Dials, Places};
use super::link::Sender;
use super::recovery::Recovery;
use super::wire::Wire;
use crate::habits::{INSTANCES_MAX, Instance};

/// Idle connections that are kept to one instance; more are closed when their request ends.
const IDLE_PER_HOST_MAX: usize = 512;
/// A connection is given up after so many seconds, when its request ends: balancers behind an address get their turn.
const AGE_SECONDS_MAX: u32 = 3600;

/// Where connections lead: address, and from which source.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) address: SocketAddr,
    pub(crate) from: From,
}

pub(crate) struct Pool {
    hosts: RefCell<HashMap<Key, Rc<Host>, foldhash::fast::RandomState>>,
    clock: CoarseClock,
    idle_seconds_max: u32,
    pub(crate) health: Health,
    pub(crate) recovery: Recovery,
}

/// Instances that one request has tried are out for it; `with_ejected`: those that are out for all are not.
pub(crate) struct Untried<'p> {
    pub(crate) pool: &'p Pool,
    pub(crate) failed: &'p [SocketAddr],
    pub(crate) with_ejected: bool,
}

/// The connections to one address, from when it may be called until it may not: if it may again, that is another host.
pub(crate) struct Host {
    idle: RefCell<Vec<Idle>>,
    outstanding: Cell<u32>,
    /// Connections to it whose bytes are not read.
    passing: Cell<u32>,
    /// Resource name of the service that it was first called for.
    service: OnceCell<Arc<str>>,
    ending: Cell<Ending>,
    /// In a row.
    failures: Cell<u32>,
    pub(crate) dials: Dials,
    pub(crate) places: Places,
    http2: RefCell<Option<Sender>>,
    /// Held by who opens the HTTP/2 connection; the others wait for it.
    pub(crate) opening: tokio::sync::Mutex<()>,
    /// Nothing may be put back: the instance may no longer be chosen.
    is_retired: Cell<bool>,
    clock: CoarseClock,
    used_at: Cell<u32>,
}

/// What becomes of that which runs on an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ending {
    #[default]
    None,
    /// It will be ended: whoever can still say so says it.
    Announced,
    /// It is to end now.
    Over,
}

/// One HTTP/1.1 connection to an instance.
pub(crate) struct Conn {
    pub(crate) wire: Wire,
    /// An answer came over it before.
    pub(crate) is_used: bool,
    opened_at: u32,
    held: Held,
}

struct Idle {
    conn: Box<Conn>,
    since: u32,
}

impl Pool {
    pub(crate) fn new(clock: CoarseClock, idle_seconds_max: u32) -> Pool {
        Pool {
            hosts: RefCell::default(),
            clock,
            idle_seconds_max,
            health: Health::default(),
            recovery: Recovery::default(),
        }
    }

    pub(crate) fn host(&self, key: Key) -> Rc<Host> {
        let mut hosts = self.hosts.borrow_mut();
        let host = hosts.entry(key).or_insert_with(|| {
            Rc::new(Host {
                idle: RefCell::default(),
                outstanding: Cell::new(0),
                passing: Cell::new(0),
                service: OnceCell::new(),
                ending: Cell::default(),
                failures: Cell::new(0),
                dials: Dials::default(),
                places: Places::default(),
                http2: RefCell::default(),
                opening: tokio::sync::Mutex::default(),
                is_retired: Cell::new(false),
                clock: self.clock.clone(),
                used_at: Cell::new(self.clock.seconds()),
            })
        });
        Rc::clone(host)
    }

    /// Closes what was idle for too long, and forgets addresses that nobody called for that time.
    pub(crate) fn sweep(&self) {
        let now = self.clock.seconds();
        self.hosts.borrow_mut().retain(|_, host| {
            // An instance that has closed is noticed by its readiness: no system call for those that rest.
            host.idle
                .borrow_mut()
                .retain_mut(|idle| now.saturating_sub(idle.since) < self.idle_seconds_max && idle.conn.wire.is_quiet());
            let is_stale = now.saturating_sub(host.used_at.get()) >= self.idle_seconds_max;
            if is_stale {
                host.http2.borrow_mut().take();
            }
            let is_empty = host.idle.borrow().is_empty() && host.http2.borrow().is_none();
            !(is_stale && is_empty && Rc::strong_count(host) == 1)
        });
    }

    /// Who was called last, and how; no more than are remembered.
    pub(crate) fn called(&self) -> Vec<Instance> {
        let hosts = self.hosts.borrow();
        let mut hosts: Vec<_> = hosts.iter().filter(|(_, host)| host.is_connected()).collect();
        hosts.sort_unstable_by_key(|(_, host)| std::cmp::Reverse(host.used_at.get()));
        hosts.truncate(INSTANCES_MAX);
        let mut called: Vec<Instance> = hosts
            .into_iter()
            .map(|(key, host)| Instance {
                address: key.address,
                is_application: key.from == From::Marker,
                is_http2: host.http2.borrow().is_some(),
            })
            .collect();
        // The order of the last calls changes all the time, and what was called does not.
        called.sort_unstable();
        called
    }

    /// Closes every connection that nobody uses now.
    pub(crate) fn give_up_idle(&self) {
        self.hosts.borrow().values().for_each(|host| host.idle.borrow_mut().clear());
    }

    /// Closes idle connections to addresses that may no longer be called, and puts none back that are in use: returns those on which
    /// something runs.
    pub(crate) fn retain(&self, may_be_called: impl Fn(Key) -> bool) -> Vec<(SocketAddr, Rc<Host>)> {
        let mut busy = Vec::new();
        self.hosts.borrow_mut().retain(|key, host| {
            let keep = may_be_called(*key);
            if !keep {
                host.retire();
                if host.running() > 0 {
                    busy.push((key.address, Rc::clone(host)));
                }
            }
            keep
        });
        busy
    }
}

impl Load for Pool {
    fn outstanding(&self, endpoint: EndpointAddr) -> u32 {
        let key = Key { address: endpoint.0, from: From::Any };
        self.hosts.borrow().get(&key).map_or(0, |host| host.outstanding.get())
    }

    fn is_ejected(&self, endpoint: EndpointAddr) -> bool {
        self.health.is_ejected(endpoint.0)
    }

    fn has_ejected(&self) -> bool {
        self.health.has_ejected()
    }

    fn has_recovering(&self) -> bool {
        self.recovery.is_any()
    }

    fn is_recovering(&self, service: &Arc<str>, tag: Tag, is_above: bool) -> bool {
        self.recovery.is_passed_over(service, tag, is_above, self.clock.seconds())
    }

    fn has_warming(&self) -> bool {
        self.health.has_warming()
    }

    fn share(&self, endpoint: EndpointAddr) -> u32 {
        self.health.share(endpoint.0)
    }
}

impl Load for Untried<'_> {
    fn outstanding(&self, endpoint: EndpointAddr) -> u32 {
        self.pool.outstanding(endpoint)
    }

    fn is_ejected(&self, endpoint: EndpointAddr) -> bool {
        self.failed.contains(&endpoint.0) || (!self.with_ejected && self.pool.is_ejected(endpoint))
    }
}

impl Host {
    /// One request more is under way to it.
    pub(crate) fn begin(&self) {
        self.outstanding.set(self.outstanding.get() + 1);
    }

    pub(crate) fn end(&self) {
        self.outstanding.set(self.outstanding.get() - 1);
    }

    /// A connection more is passed through to it.
    pub(crate) fn begin_passing(&self) {
        self.passing.set(self.passing.get() + 1);
    }

    pub(crate) fn end_passing(&self) {
        self.passing.set(self.passing.get() - 1);
    }

    /// Requests, and connections that are passed through.
    pub(crate) fn running(&self) -> u32 {
        self.outstanding.get() + self.passing.get()
    }

    /// It is called for this service (resource name).
    #[inline]
    pub(crate) fn is_of(&self, service: &Arc<str>) {
        if self.service.get().is_none() {
            let _ = self.service.set(Arc::clone(service));
        }
    }

    pub(crate) fn service(&self) -> Option<&Arc<str>> {
        self.service.get()
    }

    pub(crate) fn ends(&self, ending: Ending) {
        self.ending.set(ending);
    }

    #[inline]
    pub(crate) fn ending(&self) -> Ending {
        self.ending.get()
    }

    /// It has failed, in a row, so many times.
    pub(crate) fn fails(&self) -> u32 {
        self.failures.set(self.failures.get().saturating_add(1));
        self.failures.get()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failures.get() != 0
    }

    pub(crate) fn is_well(&self) {
        self.failures.set(0);
    }

    /// The connection that was used last, if the instance has not closed it since.
    pub(crate) fn take_idle(&self) -> Option<Box<Conn>> {
        self.used_at.set(self.clock.seconds());
        let mut idle = self.idle.borrow_mut();
        loop {
            let mut newest = idle.pop()?.conn;
            if newest.wire.is_quiet() {
                return Some(newest);
            }
        }
    }

    /// A connection that was just opened.
    pub(crate) fn own(&self, wire: Wire, held: Held) -> Box<Conn> {
        Box::new(Conn { wire, is_used: false, opened_at: self.clock.seconds(), held })
    }

    /// Keeps a connection for the next request. Its answer was read to the end.
    pub(crate) fn put_idle(&self, mut conn: Box<Conn>) {
        let now = self.clock.seconds();
        let mut idle = self.idle.borrow_mut();
        let has_room = !self.is_retired.get() && idle.len() < IDLE_PER_HOST_MAX;
        // Whether the instance has closed it is asked when it is taken.
        if has_room && now.saturating_sub(conn.opened_at) < AGE_SECONDS_MAX && conn.wire.is_empty() {
            conn.is_used = true;
            idle.push(Idle { conn, since: now });
        }
    }

    /// The shared connection. One that has ended or is going away is forgotten: the next request opens another.
    pub(crate) fn http2(&self) -> Option<Sender> {
        self.used_at.set(self.clock.seconds());
        let mut shared = self.http2.borrow_mut();
        if shared.as_ref().is_some_and(|sender| sender.link().is_ending()) {
            shared.take();
        }
        shared.clone()
    }

    pub(crate) fn share_http2(&self, sender: Sender) {
        if !self.is_retired.get() {
            *self.http2.borrow_mut() = Some(sender);
        }
    }

    fn is_connected(&self) -> bool {
        self.outstanding.get() > 0 || !self.idle.borrow().is_empty() || self.http2.borrow().is_some()
    }

    fn retire(&self) {
        self.is_retired.set(true);
        self.idle.borrow_mut().clear();
        self.http2.borrow_mut().take();
    }
}

impl Conn {
    /// Our own address of it.
    pub(crate) fn local(&self) -> SocketAddr {
        self.held.local()
    }
}
