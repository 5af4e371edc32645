//! Calls of this pod's application to others: finds the service, decides the instance for each request, writes the tag.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use laneway_core::decide::{Outbound, decide_again, decide_outbound};
use laneway_core::facts::{Facts, Source};
use laneway_core::snapshot::{Destination, Place, Protocol, Service, Snapshot};
use laneway_core::tag::RequestTag;
use laneway_core::why::{TagSource, Why};
use laneway_proto::routing::PathHeader;

use super::Listener;
use super::account::Account;
use super::budget::Traffic;
use super::client::{Accepted, Opened, Opening, opening};
use super::connect::{From, with_port};
use super::evidence::Call;
use super::failure::Failure;
use super::opaque::{self, Passage, Tally};
use super::path::Path;
use super::pool::Untried;
use super::propagate::{self, Rewrite, Traced};
use super::route::{Called, Head, Onward, Plan, Route, Target, Verdict};
use super::wire::Wire;
use super::worker::Worker;
use crate::current::Asked;
use crate::h1::fields::Slots;
use crate::h1::{Parsed, request};
use crate::journal::{self, Entry, Seen};
use crate::telemetry::{Direction, Party};

/// What all requests of one connection share.
struct Connection {
    worker: Rc<Worker>,
    peer: SocketAddr,
    original: Option<SocketAddr>,
    listener: Rc<Listener>,
    /// The authority that was named last, and where it leads; a client of one connection rarely names another.
    authority: RefCell<String>,
    place: Cell<Option<Place>>,
    /// Where that leads was asked for.
    asked: Asked,
    /// What is counted of the service at that place.
    traffic: RefCell<Option<Rc<Traffic>>>,
    /// Of the last call.
    called: RefCell<Option<Rc<Called>>>,
}

/// Finds out what a connection is. `None`: it was served to its end, without being read.
pub(crate) async fn open(worker: Rc<Worker>, accepted: Accepted) -> Option<Opened> {
    let Accepted { wire, peer, original, listener } = accepted;
    let connection = Rc::new(Connection {
        worker: Rc::clone(&worker),
        peer,
        original,
        listener,
        authority: RefCell::default(),
        place: Cell::new(None),
        asked: Asked::default(),
        traffic: RefCell::default(),
        called: RefCell::default(),
    });
    let mut is_known = original.is_none();
    if let Some(original) = original {
        Box::pin(learn_address(&worker, original)).await;
        match worker.reader.load().destination(Some(original), None, None) {
            Destination::Known { protocol: Protocol::Opaque, .. } => {
                pass(&connection, wire).await;
                return None;
            }
            Destination::Known { .. } => is_known = true,
            Destination::Unknown => {}
        }
        if worker.config.opaque_ports.contains(&original.port()) {
            pass(&connection, wire).await;
            return None;
        }
    }
    let (wire, is_http2) = match Box::pin(opening(&worker, wire, || passage(&connection))).await {
        Opening::Http1(wire) => (wire, false),
        Opening::Http2(wire) => (wire, true),
        Opening::Opaque(wire) => {
            pass(&connection, wire).await;
            return None;
        }
        Opening::Over => return None,
    };
    if !is_known && (is_http2 || !Box::pin(host_is_known(&worker, wire.unread())).await) {
        // Byte for byte, with no time-out of ours.
        pass(&connection, wire).await;
        return None;
    }
    Some(Opened { wire, is_http2, route: connection })
}

/// Asks the control plane who has this address, unless it is known or known to be unknown.
async fn learn_address(worker: &Worker, original: SocketAddr) {
    let is_known = !matches!(worker.reader.load().destination(Some(original), None, None), Destination::Unknown);
    if !is_known {
        worker.demand.ensure(&worker.timer, &format!("ip/{}", original.ip()), worker.config.on_demand_timeout).await;
    }
}

/// Asks for an authority. The key is lower case and without a port.
async fn learn_host(worker: &Worker, authority: &str) {
    let host = host_of(authority).to_ascii_lowercase();
    if needs_learning(&worker.reader.load(), authority) {
        worker.demand.ensure(&worker.timer, &format!("host/{host}"), worker.config.on_demand_timeout).await;
    }
}

fn needs_learning(snapshot: &Snapshot, authority: &str) -> bool {
    !host_of(authority).is_empty() && matches!(snapshot.destination(None, Some(authority), None), Destination::Unknown)
}

/// The address is unknown to us; does the first request name a service that we know?
async fn host_is_known(worker: &Worker, before: &[u8]) -> bool {
    let Some(host) = first_host(before) else { return false };
    learn_host(worker, &host).await;
    !matches!(worker.reader.load().destination(None, Some(&host), None), Destination::Unknown)
}

/// The authority of the first request, if its head is here whole.
fn first_host(before: &[u8]) -> Option<String> {
    let mut slots = Slots::new();
    match request::parse(before, &mut slots) {
        Ok(Parsed::Whole(request)) => Some(request.authority.to_owned()),
        Ok(Parsed::Partial) | Err(_) => None,
    }
}

/// Bytes that we do not read: decided once for the connection.
async fn pass(connection: &Connection, wire: Wire) {
    match passage(connection) {
        Some(passage) => opaque::pass(&connection.worker, wire, passage).await,
        None => wire.reset(),
    }
}

/// The instance for bytes that we do not read, or the original destination where that is unknown to us.
fn passage(connection: &Connection) -> Option<Passage> {
    let worker = &connection.worker;
    let snapshot = worker.reader.load();
    let passage = |to, party, tag, why, source| {
        let flow = worker.meter.flow(&snapshot, Direction::Outbound, party, tag);
        let service = match party {
            Party::Callee(service, _) => Some(Arc::clone(&service.name)),
            Party::Caller(_) | Party::Unknown => None,
        };
        Passage { to, from: From::Any, service, tally: Tally { flow, direction: Direction::Outbound, why, source } }
    };
    let destination = snapshot.destination(connection.original, None, connection.listener.default_service.as_deref());
    let Destination::Known { service, port, .. } = &destination else {
        let to = connection.original?;
        return Some(passage(to, Party::Unknown, RequestTag::None, Why::Passthrough, TagSource::None));
    };
    let decision = laneway_core::decide::decide_connection(
        &snapshot,
        &destination,
        &worker.upstream.pool,
        &mut worker.scratch.borrow_mut(),
    )?;
    let address = with_port(decision.endpoint?.address, *port);
    let party = Party::Callee(service, decision.endpoint_tag);
    (!worker.is_self(address)).then(|| passage(address, party, decision.tag, decision.why, decision.source))
}

impl Route for Connection {
    fn route(&self, head: &Head<'_>) -> Verdict {
        let snapshot = self.worker.reader.load();
        if *self.authority.borrow() != head.authority {
            self.turn_to(head.authority);
        }
        if self.must_ask(&snapshot, head.authority) {
            return Verdict::Learn;
        }
        match plan(self, &snapshot, head) {
            Ok(plan) => Verdict::Send(plan),
            Err((failure, service)) => {
                self.worker.counters.failure(failure.label());
                Verdict::Refuse(failure, service)
            }
        }
    }

    fn onward(&self, called: &Called, failed: &[SocketAddr]) -> Option<Onward> {
        let worker = &self.worker;
        let snapshot = worker.reader.load();
        // A place is good for its own snapshot; of a newer one the authority that was named last tells, if it is the same service.
        let destination = match called.place.revision == snapshot.revision {
            true => snapshot.at(called.place),
            false => self.destination(&snapshot, &self.authority.borrow()),
        };
        let Destination::Known { service, port, protocol, .. } = &destination else { return None };
        if !Rc::ptr_eq(&worker.upstream.traffics.of(&service.name), &called.traffic) {
            return None;
        }
        let pool = &worker.upstream.pool;
        // Who is out may be well again, and is better than nobody.
        let elsewhere = [false, true].into_iter().find_map(|with_ejected| {
            let load = Untried { pool, failed, with_ejected };
            let scratch = &mut worker.scratch.borrow_mut();
            decide_again(&snapshot, &destination, called.tag, called.instance_tag, &load, scratch)
        })?;
        let address = with_port(elsewhere.endpoint.address, *port);
        if worker.is_self(address) {
            return None;
        }
        let tag = elsewhere.endpoint.tag;
        let flow = worker.meter.flow(&snapshot, Direction::Outbound, Party::Callee(service, tag), called.tag);
        let service_id = Arc::clone(&service.id);
        let target = target(address, connect_timeout(worker, &snapshot, service), *protocol);
        Some(Onward { target, tag, why: elsewhere.why, flow, service: service_id })
    }

    fn learn(self: Rc<Self>, authority: String) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            let mut is_known = false;
            if let Some(original) = self.original {
                learn_address(&self.worker, original).await;
                let snapshot = self.worker.reader.load();
                is_known = !matches!(snapshot.destination(Some(original), None, None), Destination::Unknown);
            }
            if !is_known {
                learn_host(&self.worker, &authority).await;
            }
            // Known or not: it was asked for, and is not asked for again by this connection's next requests.
            self.turn_to(&authority);
            self.asked.now(&self.worker.demand);
        })
    }
}

impl Connection {
    /// The client names this authority from now on.
    fn turn_to(&self, authority: &str) {
        authority.clone_into(&mut self.authority.borrow_mut());
        self.place.set(None);
        self.called.take();
        self.asked.clear();
    }

    /// Nobody knows where this leads, and nobody was asked; or it was known, and given up as idle.
    fn must_ask(&self, snapshot: &Snapshot, authority: &str) -> bool {
        if self.place.get().is_some_and(|place| place.revision == snapshot.revision) {
            return false;
        }
        let is_unknown = match self.original {
            // A default service is for what stays unknown.
            None => needs_learning(snapshot, authority),
            Some(_) => matches!(self.destination(snapshot, authority), Destination::Unknown),
        };
        is_unknown && !self.asked.holds(&self.worker.demand)
    }

    /// Where the authority that was named last leads, looked up once for a snapshot.
    fn destination<'s>(&self, snapshot: &'s Snapshot, authority: &str) -> Destination<'s> {
        if let Some(place) = self.place.get().filter(|place| place.revision == snapshot.revision) {
            return snapshot.at(place);
        }
        let place = snapshot.locate(self.original, Some(authority), self.listener.default_service.as_deref());
        let destination = place.map_or(Destination::Unknown, |place| snapshot.at(place));
        if let Destination::Known { service, .. } = &destination {
            *self.traffic.borrow_mut() = Some(self.worker.upstream.traffics.of(&service.name));
        }
        self.place.set(place);
        destination
    }

    /// What a call to that service needs to know when its instance fails; counts it.
    fn called(&self, snapshot: &Snapshot, service: &Service, decision: &Outbound<'_>) -> Option<Rc<Called>> {
        let place = self.place.get()?;
        let mut last = self.called.borrow_mut();
        if let Some(last) = &*last
            && last.place.revision == place.revision
            && last.tag == decision.leaves
            && last.instance_tag == decision.endpoint_tag
        {
            last.traffic.asked();
            return Some(Rc::clone(last));
        }
        let traffic = self.traffic.borrow().clone()?;
        traffic.asked();
        let conduct = snapshot.conduct(service).cloned();
        let (tag, instance_tag) = (decision.leaves, decision.endpoint_tag);
        let called = Called { place, tag, instance_tag, conduct, service: Arc::clone(&service.name), traffic };
        *last = Some(Rc::new(called));
        last.clone()
    }
}

/// Decides, and writes the tag.
fn plan(connection: &Connection, snapshot: &Snapshot, head: &Head<'_>) -> Result<Plan, (Failure, Option<Arc<str>>)> {
    let worker = &connection.worker;
    let names = worker.names(snapshot);
    let destination = connection.destination(snapshot, head.authority);
    let Destination::Known { service, port, protocol, .. } = &destination else {
        // The service went away while the connection stood: its address is all there is.
        let flow = worker.meter.flow(snapshot, Direction::Outbound, Party::Unknown, RequestTag::None);
        let entry = if worker.journal.is_kept() { note_unknown(connection, head) } else { None };
        let mut account = Account::open(flow, entry, head.spoken(), Why::Passthrough, TagSource::None);
        let Some(original) = connection.original else {
            account.failed(Failure::UnknownDestination);
            return Err((Failure::UnknownDestination, None));
        };
        let target = target(original, worker.config.timeouts.connect, Protocol::Detect);
        let rewrite = Rewrite::new(names);
        return Ok(Plan {
            target,
            called: None,
            request_timeout: None,
            service: None,
            rewrite,
            path: None,
            in_flight: None,
            account,
        });
    };
    let facts = Facts {
        method: head.method,
        target: head.target,
        authority: head.authority,
        headers: head.headers,
        is_grpc: head.is_grpc,
        source: Source {
            service: snapshot.own_service_name(),
            tag: snapshot.identity.tag,
            address: None,
            is_meshed: true,
        },
    };
    let call = Call {
        evidence: &worker.shared.evidence,
        ids: &snapshot.group().ids,
        headers: head.headers,
        own: snapshot.identity.tag,
        source: connection.peer,
        destination: connection.original,
        now: worker.clock.seconds(),
    };
    let decision =
        decide_outbound(snapshot, &destination, &facts, &call, &worker.upstream.pool, &mut worker.scratch.borrow_mut());
    let id = Some(Arc::clone(&service.id));
    let Some(decision) = decision else { return Err((Failure::UnknownDestination, id)) };
    let party = Party::Callee(service, decision.endpoint_tag);
    let flow = worker.meter.flow(snapshot, Direction::Outbound, party, decision.tag);
    if let Some(refused) = decision.refused {
        worker.counters.tag_refused(refused);
    }
    if let Some(doubt) = decision.doubt {
        worker.counters.doubted(doubt);
        if let Some(flow) = &flow {
            flow.doubted();
        }
    }
    if decision.tag == RequestTag::None
        && decision.source == TagSource::None
        && snapshot.is_of_group(service)
        && let Some(flow) = &flow
    {
        flow.escaped(worker.shared.evidence.in_lane());
    }
    let mut rewrite = Rewrite::new(Rc::clone(&names));
    // For correlation a call begins none: the request that it belongs to has one, or hands nothing on.
    let random = || worker.random();
    let traced = propagate::trace(head.headers, snapshot.group(), None, &worker.journal, random, &mut rewrite);
    let entry = if worker.journal.is_kept() { note(worker, head, &decision, &traced, *port) } else { None };
    let mut account = Account::open(flow, entry, head.spoken(), decision.why, decision.source);
    let asks = snapshot.group().path_header;
    let path = (asks != PathHeader::Never).then(|| {
        let is_shown = asks == PathHeader::Any;
        Path::call(&service.id, decision.endpoint_tag, decision.why, call.trail(), is_shown)
    });
    let Some(endpoint) = decision.endpoint else {
        if let Some(path) = path {
            path.refused();
        }
        let refusal = refusal_of(&decision);
        account.failed(refusal);
        return Err((refusal, id));
    };
    let address = with_port(endpoint.address, *port);
    if worker.is_self(address) {
        account.failed(Failure::Loop);
        return Err((Failure::Loop, id));
    }
    propagate::write(head.headers, &names, decision.leaves, &mut rewrite);
    // Sidecars alone say it: what an application says there goes no further.
    match decision.hop {
        Some(hop) => rewrite.add_hop(hop),
        None => rewrite.drop_hop(),
    }
    if let Some(context) = &decision.context {
        propagate::pass(head.headers, context, &mut rewrite);
    }
    Ok(Plan {
        target: target(address, connect_timeout(worker, snapshot, service), *protocol),
        called: connection.called(snapshot, service, &decision),
        request_timeout: snapshot.conduct(service).and_then(|conduct| conduct.request_timeout(head.target)),
        service: id,
        rewrite,
        path: path.map(Rc::new),
        in_flight: None,
        account,
    })
}

/// What is told of a call, if anything.
#[cold]
fn note(worker: &Worker, head: &Head<'_>, decision: &Outbound<'_>, traced: &Traced, port: u16) -> Option<Entry> {
    let seen = || Seen {
        is_inbound: false,
        head: journal::Head::of(head.method, head.authority, head.target),
        tag: decision.tag,
        endpoint_tag: decision.endpoint_tag,
        source: decision.source,
        why: decision.why,
        service: Arc::clone(&decision.service.id),
        upstream: decision.endpoint.map(|endpoint| with_port(endpoint.address, port)),
        trace: traced.trace,
    };
    worker.journal.note(traced.span, || worker.random()[0], seen)
}

/// The same of a call to nobody that we know: it is left as it is, so it gets no span.
#[cold]
fn note_unknown(connection: &Connection, head: &Head<'_>) -> Option<Entry> {
    let worker = &connection.worker;
    let seen = || Seen {
        is_inbound: false,
        head: journal::Head::of(head.method, head.authority, head.target),
        tag: RequestTag::None,
        endpoint_tag: None,
        source: TagSource::None,
        why: Why::Passthrough,
        service: Arc::from(""),
        upstream: connection.original,
        trace: propagate::said_trace(head.headers).map(|said| said.trace),
    };
    worker.journal.note(None, || worker.random()[0], seen)
}

/// Why a call has no instance.
fn refusal_of(decision: &Outbound<'_>) -> Failure {
    let lane = match decision.tag {
        RequestTag::Lane(tag) => Some(tag),
        RequestTag::None | RequestTag::Baseline => None,
    };
    match decision.why {
        Why::StrictReject => Failure::NoInstance { lane },
        Why::AmbiguousReject => Failure::Ambiguous,
        _ => Failure::NoBaseline,
    }
}

fn connect_timeout(worker: &Worker, snapshot: &Snapshot, service: &Service) -> std::time::Duration {
    snapshot.conduct(service).map_or(worker.config.timeouts.connect, |conduct| conduct.connect_timeout)
}

fn target(address: SocketAddr, connect_timeout: std::time::Duration, protocol: Protocol) -> Target {
    Target { address, from: From::Any, connect_timeout, protocol }
}

/// Without the port; an IPv6 literal without its brackets.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or("");
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}
