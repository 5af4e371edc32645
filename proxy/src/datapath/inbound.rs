//! Requests from others to this pod's application: decides the tag, once, and writes it for the application.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ::http::header::HeaderName;
use laneway_core::decide::decide_inbound;
use laneway_core::facts::{Facts, Source};
use laneway_core::why::Why;
use laneway_proto::contract::HOP_HEADER;

use super::client::{Accepted, first_bytes, serve_http};
use super::connect::{self, From};
use super::detect::Detected;
use super::failure::Failure;
use super::headers::{self, HeadView};
use super::http::{self, Request, Response, refusal};
use super::opaque::{self, Spoke};
use super::upstream::Target;
use super::worker::Worker;
use super::{gate, propagate};

const HOP: HeaderName = HeaderName::from_static(HOP_HEADER);

/// What all requests of one connection share.
struct Context {
    worker: Rc<Worker>,
    peer: SocketAddr,
    /// The application.
    to: SocketAddr,
    from: From,
}

pub(crate) async fn serve(worker: Rc<Worker>, accepted: Accepted) {
    let Accepted { mut stream, peer, original, listener } = accepted;
    let (to, from) = match (original, listener.forward_to) {
        (Some(original), _) => (original, From::Marker),
        (None, Some(forward_to)) => (forward_to, From::Any),
        // config.rs refuses an inbound listener that has neither.
        (None, None) => return,
    };
    if worker.config.opaque_ports.contains(&to.port()) || worker.reader.load().is_opaque_port(to) {
        return opaque::pass(&worker, stream, Default::default(), to, from).await;
    }
    let timeouts = &worker.config.timeouts;
    let (before, detected) = match first_bytes(&mut stream, timeouts.detect, timeouts.header_read).await {
        Ok((before, Detected::Opaque)) if before.is_empty() => {
            match opaque::wait_for_speaker(&worker, stream, to, from).await {
                Spoke::Server => return,
                Spoke::Client(back) => stream = back,
            }
            match first_bytes(&mut stream, timeouts.header_read, timeouts.header_read).await {
                Ok(known) => known,
                Err(_) => return,
            }
        }
        Ok(known) => known,
        Err(error) => return tracing::debug!(%error, "client gone before its first byte"),
    };
    let is_http2 = match detected {
        Detected::Http1 => false,
        Detected::Http2 => true,
        Detected::Opaque | Detected::NeedMore => return opaque::pass(&worker, stream, before, to, from).await,
    };
    if worker.reader.load().asks_who_calls() {
        // Once a connection; a caller that stays unknown is a stranger.
        worker.demand.ensure_caller(&format!("ip/{}", peer.ip()), worker.config.on_demand_timeout).await;
    }
    let context = Rc::new(Context { worker: Rc::clone(&worker), peer, to, from });
    serve_http(worker, stream, before, is_http2, move |request| answer(Rc::clone(&context), request)).await;
}

async fn answer(context: Rc<Context>, mut request: Request) -> Response {
    let worker = &context.worker;
    let is_grpc = http::is_grpc(request.headers());
    if let Err(reason) = gate::check(request.version(), request.method(), request.uri(), request.headers()) {
        worker.counters.gate_refused(reason);
        return refusal(Failure::BadRequest(reason), "", is_grpc);
    }
    let (target, guard) = {
        let snapshot = worker.reader.load();
        let names = worker.names(&snapshot);
        let is_upgrade = headers::is_upgrade(request.headers());
        headers::strip_hop_by_hop(request.headers_mut(), is_upgrade, |name| names.is_kept(name));

        let peer = snapshot.peer(context.peer.ip());
        let facts = Facts {
            method: request.method().as_str(),
            target: request.uri().path_and_query().map_or("", |target| target.as_str()),
            authority: http::authority(&request),
            headers: &HeadView(request.headers()),
            is_grpc,
            source: Source {
                service: peer.map_or("", |peer| peer.service.as_ref()),
                tag: peer.and_then(|peer| peer.tag),
                address: Some(context.peer.ip()),
                is_meshed: peer.is_some(),
            },
        };
        let handed_over = request.headers().contains_key(&HOP) && snapshot.is_own_instance(context.peer.ip());
        let decision = decide_inbound(
            &snapshot,
            &facts,
            context.to.port(),
            handed_over,
            &worker.upstream.pool,
            &mut worker.scratch.borrow_mut(),
        );
        if let Some(refused) = decision.refused {
            worker.counters.tag_refused(refused);
        }

        let (tag, hand_over) = (decision.tag, decision.hand_over.map(|other| other.endpoint.address));
        worker.counters.request("inbound", Why::Hit, decision.source);
        let own_tag = snapshot.identity.tag;
        request.headers_mut().remove(&HOP);
        propagate::start_trace(request.headers_mut(), &names, tag, || worker.random());
        propagate::write(request.headers_mut(), &names, tag);
        match hand_over {
            Some(endpoint) => {
                request.headers_mut().insert(HOP, ::http::HeaderValue::from_static("1"));
                let target = Target {
                    address: connect::with_port(endpoint, context.to.port()),
                    from: From::Any,
                    connect_timeout: worker.config.timeouts.connect,
                };
                (target, None)
            }
            None => {
                let guard = worker.begin_inbound(tag, own_tag);
                (to_application(&context, worker.config.timeouts.connect), Some(guard))
            }
        }
    };
    match worker.upstream.send(target, request).await {
        Ok(mut response) => {
            let is_upgrade = response.status() == ::http::StatusCode::SWITCHING_PROTOCOLS;
            headers::strip_hop_by_hop(response.headers_mut(), is_upgrade, |_| false);
            if let Some(guard) = guard {
                response.body_mut().hold(guard);
            }
            response
        }
        Err(failure) => {
            worker.counters.failure(failure.label());
            tracing::debug!(to = %target.address, blame = ?failure.blame(), reason = failure.label(), "application did not answer");
            refusal(failure, "", is_grpc)
        }
    }
}

fn to_application(context: &Context, connect_timeout: Duration) -> Target {
    Target { address: context.to, from: context.from, connect_timeout }
}
