//! Requests from others to this pod's application: decides the tag, once, and writes it for the application.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use laneway_core::context::Context;
use laneway_core::decide::{Inbound, decide_inbound};
use laneway_core::facts::{Facts, Source};
use laneway_core::hop::Hop;
use laneway_core::snapshot::{Protocol, Snapshot};
use laneway_core::tag::RequestTag;
use laneway_core::why::{TagSource, Why};
use laneway_proto::contract::HOP_HEADER;
use laneway_proto::routing::PathHeader;

use super::account::Account;
use super::client::{Accepted, Opened, Opening, opening};
use super::connect::{self, From};
use super::opaque::{self, Passage, Tally};
use super::path::Path;
use super::propagate::{self, Rewrite, Traced};
use super::route::{Head, Plan, Route, Target, Verdict};
use super::worker::Worker;
use crate::current::Asked;
use crate::journal::{self, Entry, Seen};
use crate::telemetry::{Direction, Party, RuleMode};

/// What all requests of one connection share.
struct Connection {
    worker: Rc<Worker>,
    peer: SocketAddr,
    /// The application.
    to: SocketAddr,
    from: From,
    /// Who calls was asked for. A caller that stays unknown is a stranger.
    asked: Asked,
}

/// Finds out what a connection is. `None`: it was served to its end, without being read.
pub(crate) async fn open(worker: Rc<Worker>, accepted: Accepted) -> Option<Opened> {
    let Accepted { wire, peer, original, listener } = accepted;
    let (to, from) = match (original, listener.forward_to) {
        (Some(original), _) => (original, From::Marker),
        (None, Some(forward_to)) => (forward_to, From::Any),
        // config.rs refuses an inbound listener that has neither.
        (None, None) => return None,
    };
    let passage = || passage(&worker, peer, to, from);
    if worker.config.opaque_ports.contains(&to.port()) || worker.reader.load().is_opaque_port(to) {
        opaque::pass(&worker, wire, passage()).await;
        return None;
    }
    let (wire, is_http2) = match Box::pin(opening(&worker, wire, || Some(passage()))).await {
        Opening::Http1(wire) => (wire, false),
        Opening::Http2(wire) => (wire, true),
        Opening::Opaque(wire) => {
            opaque::pass(&worker, wire, passage()).await;
            return None;
        }
        Opening::Over => return None,
    };
    let connection = Connection { worker: Rc::clone(&worker), peer, to, from, asked: Asked::default() };
    Some(Opened { wire, is_http2, route: Rc::new(connection) })
}

/// Bytes that we do not read: to the application, without a tag.
fn passage(worker: &Worker, peer: SocketAddr, to: SocketAddr, from: From) -> Passage {
    let snapshot = worker.reader.load();
    let party = snapshot.peer(peer.ip()).map_or(Party::Unknown, Party::Caller);
    let flow = worker.meter.flow(&snapshot, Direction::Inbound, party, RequestTag::None);
    let tally = Tally { flow, direction: Direction::Inbound, why: Why::Hit, source: TagSource::None };
    Passage { to, from, service: None, tally }
}

/// What is told of a request, if anything.
#[cold]
fn note(
    worker: &Worker,
    snapshot: &Snapshot,
    head: &Head<'_>,
    decision: &Inbound<'_>,
    traced: &Traced,
    target: Target,
) -> Option<Entry> {
    let handed_over = decision.hand_over.map(|other| other.endpoint.tag);
    let seen = || Seen {
        is_inbound: true,
        head: journal::Head::of(head.method, head.authority, head.target),
        tag: decision.tag,
        endpoint_tag: handed_over.unwrap_or(snapshot.identity.tag),
        source: decision.source,
        why: Why::Hit,
        service: Arc::from(snapshot.identity.service.as_str()),
        upstream: Some(target.address),
        trace: traced.trace,
    };
    worker.journal.note(traced.span, || worker.random()[0], seen)
}

impl Route for Connection {
    fn route(&self, head: &Head<'_>) -> Verdict {
        let worker = &self.worker;
        let snapshot = worker.reader.load();
        let names = worker.names(&snapshot);
        let peer = snapshot.peer(self.peer.ip());
        // By the rules of now: the connection may be older than they are.
        if peer.is_none() && snapshot.asks_who_calls() && !self.asked.holds(&worker.demand) {
            return Verdict::Learn;
        }
        let facts = Facts {
            method: head.method,
            target: head.target,
            authority: head.authority,
            headers: head.headers,
            is_grpc: head.is_grpc,
            source: Source {
                service: peer.map_or("", |peer| peer.service.as_ref()),
                tag: peer.and_then(|peer| peer.tag),
                address: Some(self.peer.ip()),
                is_meshed: peer.is_some(),
            },
        };
        let hop = head.headers.line(HOP_HEADER, 0).and_then(Hop::read);
        let hop = hop.filter(|hop| *hop != Hop::HandedOver || snapshot.is_own_instance(self.peer.ip()));
        let decision = decide_inbound(
            &snapshot,
            &facts,
            self.to.port(),
            hop,
            &worker.upstream.pool,
            &mut worker.scratch.borrow_mut(),
        );
        if let Some(refused) = decision.refused {
            worker.counters.tag_refused(refused);
        }
        for (matched, mode) in [(decision.rule, RuleMode::Enabled), (decision.dry_run, RuleMode::DryRun)] {
            if let Some((lane, rule)) = matched {
                worker.counters.rule_matched(lane, rule, mode);
            }
        }
        let tag = decision.tag;
        let party = peer.map_or(Party::Unknown, Party::Caller);
        let flow = worker.meter.flow(&snapshot, Direction::Inbound, party, tag);
        let mut rewrite = Rewrite::new(Rc::clone(&names));
        rewrite.drop_hop();
        let group = snapshot.group();
        let context = Context::of(group, tag, head.headers);
        let random = || worker.random();
        let traced = propagate::trace(head.headers, group, context.as_deref(), &worker.journal, random, &mut rewrite);
        propagate::write(head.headers, &names, tag, &mut rewrite);
        let mut target = Target {
            address: self.to,
            from: self.from,
            connect_timeout: worker.config.timeouts.connect,
            protocol: Protocol::Detect,
        };
        let asks = snapshot.group().path_header;
        let is_shown = asks == PathHeader::Any || (asks == PathHeader::Mesh && peer.is_some());
        let (mut in_flight, mut path) = (None, None);
        match decision.hand_over {
            Some(other) => {
                rewrite.add_hop(Hop::HandedOver);
                target.address = connect::with_port(other.endpoint.address, self.to.port());
                target.from = From::Any;
                path = (asks != PathHeader::Never).then(|| Rc::new(Path::handed_over(is_shown)));
            }
            None => {
                let ids = group.ids.read(head.headers).chain(traced.new_id);
                let evidence = &worker.shared.evidence;
                let mut running = evidence.begin(context, ids, decision.lane_seconds, worker.clock.seconds());
                if asks != PathHeader::Never {
                    let own = &snapshot.identity;
                    let trail = running.trail();
                    path = Some(Rc::new(Path::own(&own.service, own.tag, decision.source, trail, is_shown)));
                }
                in_flight = Some(running);
            }
        }
        let entry =
            if worker.journal.is_kept() { note(worker, &snapshot, head, &decision, &traced, target) } else { None };
        let account = Account::open(flow, entry, head.spoken(), Why::Hit, decision.source);
        Verdict::Send(Plan {
            target,
            called: None,
            request_timeout: None,
            service: None,
            rewrite,
            path,
            in_flight,
            account,
        })
    }

    fn learn(self: Rc<Self>, _authority: String) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            let worker = &self.worker;
            let key = format!("ip/{}", self.peer.ip());
            worker.demand.ensure_caller(&worker.timer, &key, worker.config.on_demand_timeout).await;
            self.asked.now(&worker.demand);
        })
    }
}
