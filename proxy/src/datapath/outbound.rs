//! Calls of this pod's application to others: finds the service, decides the instance for each request, writes the tag.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use laneway_core::decide::decide_outbound;
use laneway_core::facts::{Facts, Source};
use laneway_core::snapshot::{Destination, Protocol, Snapshot};
use laneway_core::tag::RequestTag;
use laneway_core::why::{TagSource, Why};
use tokio::net::TcpStream;

use super::client::{Accepted, first_bytes, reset, serve_http};
use super::connect::{From, with_port};
use super::detect::Detected;
use super::failure::Failure;
use super::headers::{self, HeadView};
use super::http::{self, Request, Response, refusal};
use super::opaque::{self, Spoke};
use super::upstream::Target;
use super::worker::Worker;
use super::{gate, propagate};

/// What all requests of one connection share.
struct Context {
    worker: Rc<Worker>,
    original: Option<SocketAddr>,
    default_service: Option<String>,
    /// The authority that was asked for last; a client of one connection rarely names another.
    learned: RefCell<String>,
}

/// What was decided for one request, free of the snapshot.
struct Plan {
    address: SocketAddr,
    connect_timeout: Duration,
    tag: RequestTag,
    service: std::sync::Arc<str>,
}

pub(crate) async fn serve(worker: Rc<Worker>, accepted: Accepted) {
    let Accepted { mut stream, original, listener, .. } = accepted;
    let context = Rc::new(Context {
        worker: Rc::clone(&worker),
        original,
        default_service: listener.default_service.clone(),
        learned: RefCell::default(),
    });
    let mut is_known = original.is_none();
    if let Some(original) = original {
        learn_address(&worker, original).await;
        match worker.reader.load().destination(Some(original), None, None) {
            Destination::Known { protocol: Protocol::Opaque, .. } => {
                return pass(&context, stream, Bytes::new()).await;
            }
            Destination::Known { .. } => is_known = true,
            Destination::Unknown => {}
        }
        if worker.config.opaque_ports.contains(&original.port()) {
            return pass(&context, stream, Bytes::new()).await;
        }
    }
    let timeouts = &worker.config.timeouts;
    let (before, detected) = match first_bytes(&mut stream, timeouts.detect, timeouts.header_read).await {
        Ok((before, Detected::Opaque)) if before.is_empty() => {
            let Some(to) = connection_target(&context) else { return reset(&stream) };
            match opaque::wait_for_speaker(&worker, stream, to, From::Any).await {
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
        Detected::Opaque | Detected::NeedMore => return pass(&context, stream, before).await,
    };
    if !is_known && !host_is_known(&worker, &before, is_http2).await {
        // Byte for byte, with no time-out of ours.
        return pass(&context, stream, before).await;
    }
    serve_http(worker, stream, before, is_http2, move |request| answer(Rc::clone(&context), request)).await;
}

/// Asks the control plane who has this address, unless it is known or known to be unknown.
async fn learn_address(worker: &Worker, original: SocketAddr) {
    let is_known = !matches!(worker.reader.load().destination(Some(original), None, None), Destination::Unknown);
    if !is_known {
        worker.demand.ensure(&format!("ip/{}", original.ip()), worker.config.on_demand_timeout).await;
    }
}

/// Asks for an authority. The key is lower case and without a port.
async fn learn_host(worker: &Worker, authority: &str) {
    let host = host_of(authority);
    if host.is_empty() || !matches!(worker.reader.load().destination(None, Some(authority), None), Destination::Unknown)
    {
        return;
    }
    worker.demand.ensure(&format!("host/{}", host.to_ascii_lowercase()), worker.config.on_demand_timeout).await;
}

/// The address is unknown to us; does the first request name a service that we know?
async fn host_is_known(worker: &Worker, before: &[u8], is_http2: bool) -> bool {
    if is_http2 {
        return false;
    }
    let Some(host) = first_host(before) else { return false };
    learn_host(worker, &host).await;
    !matches!(worker.reader.load().destination(None, Some(&host), None), Destination::Unknown)
}

/// The Host of the first request, if its head is here whole enough.
fn first_host(before: &[u8]) -> Option<String> {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut fields);
    request.parse(before).ok()?;
    let host = request.headers.iter().find(|field| field.name.eq_ignore_ascii_case("host"))?;
    std::str::from_utf8(host.value).ok().map(|host| host.trim().to_owned())
}

/// Bytes that we do not read: decided once for the connection.
async fn pass(context: &Context, stream: TcpStream, before: Bytes) {
    match connection_target(context) {
        Some(to) => opaque::pass(&context.worker, stream, before, to, From::Any).await,
        None => reset(&stream),
    }
}

/// The instance for bytes that we do not read, or the original destination where that is unknown to us.
fn connection_target(context: &Context) -> Option<SocketAddr> {
    let worker = &context.worker;
    let snapshot = worker.reader.load();
    let destination = snapshot.destination(context.original, None, context.default_service.as_deref());
    let Destination::Known { port, .. } = &destination else {
        worker.counters.request("outbound", Why::Passthrough, TagSource::None);
        return context.original;
    };
    let decision = laneway_core::decide::decide_connection(
        &snapshot,
        &destination,
        &worker.upstream.pool,
        &mut worker.scratch.borrow_mut(),
    )?;
    worker.counters.request("outbound", decision.why, decision.source);
    let address = with_port(decision.endpoint?.address, *port);
    (!worker.is_self(address)).then_some(address)
}

async fn answer(context: Rc<Context>, mut request: Request) -> Response {
    let worker = &context.worker;
    let is_grpc = http::is_grpc(request.headers());
    if let Err(reason) = gate::check(request.version(), request.method(), request.uri(), request.headers()) {
        worker.counters.gate_refused(reason);
        return refusal(Failure::BadRequest(reason), "", is_grpc);
    }
    if context.original.is_none() && *context.learned.borrow() != http::authority(&request) {
        let host = http::authority(&request).to_owned();
        Box::pin(learn_host(worker, &host)).await;
        context.learned.replace(host);
    }
    let plan = {
        let snapshot = worker.reader.load();
        match plan(&context, &snapshot, &mut request, is_grpc) {
            Ok(plan) => plan,
            Err((failure, service)) => {
                worker.counters.failure(failure.label());
                return refusal(failure, &service, is_grpc);
            }
        }
    };
    let target = Target { address: plan.address, from: From::Any, connect_timeout: plan.connect_timeout };
    match worker.upstream.send(target, request).await {
        Ok(mut response) => {
            let is_upgrade = response.status() == ::http::StatusCode::SWITCHING_PROTOCOLS;
            headers::strip_hop_by_hop(response.headers_mut(), is_upgrade, |_| false);
            response
        }
        Err(failure) => {
            worker.counters.failure(failure.label());
            tracing::debug!(to = %target.address, blame = ?failure.blame(), reason = failure.label(), tag = ?plan.tag, "instance did not answer");
            refusal(failure, &plan.service, is_grpc)
        }
    }
}

/// Decides, and writes the tag. Everything that needs the snapshot happens here, before anything waits.
fn plan(
    context: &Context,
    snapshot: &Snapshot,
    request: &mut Request,
    is_grpc: bool,
) -> Result<Plan, (Failure, std::sync::Arc<str>)> {
    let worker = &context.worker;
    let names = worker.names(snapshot);
    let is_upgrade = headers::is_upgrade(request.headers());
    headers::strip_hop_by_hop(request.headers_mut(), is_upgrade, |name| names.is_kept(name));

    let authority = http::authority(request);
    let destination = snapshot.destination(context.original, Some(authority), context.default_service.as_deref());
    let Destination::Known { service, port, .. } = &destination else {
        // The service went away while the connection stood: its address is all there is.
        worker.counters.request("outbound", Why::Passthrough, TagSource::None);
        let Some(original) = context.original else { return Err((Failure::UnknownDestination, "".into())) };
        return Ok(Plan {
            address: original,
            connect_timeout: worker.config.timeouts.connect,
            tag: RequestTag::None,
            service: "".into(),
        });
    };
    let facts = Facts {
        method: request.method().as_str(),
        target: request.uri().path_and_query().map_or("", |target| target.as_str()),
        authority,
        headers: &HeadView(request.headers()),
        is_grpc,
        source: Source {
            service: snapshot.own_service_name(),
            tag: snapshot.identity.tag,
            address: None,
            is_meshed: true,
        },
    };
    let decision = decide_outbound(
        snapshot,
        &destination,
        &facts,
        worker.in_flight(),
        &worker.upstream.pool,
        &mut worker.scratch.borrow_mut(),
    );
    let id = std::sync::Arc::clone(&service.id);
    let Some(decision) = decision else { return Err((Failure::UnknownDestination, id)) };
    worker.counters.request("outbound", decision.why, decision.source);
    if let Some(refused) = decision.refused {
        worker.counters.tag_refused(refused);
    }
    let Some(endpoint) = decision.endpoint else {
        let lane = match decision.tag {
            RequestTag::Lane(tag) => Some(tag),
            RequestTag::None | RequestTag::Baseline => None,
        };
        let failure = match decision.why {
            Why::StrictReject => Failure::NoInstance { lane },
            Why::AmbiguousReject => Failure::Ambiguous,
            _ => Failure::NoBaseline,
        };
        return Err((failure, id));
    };
    let policy = snapshot.timeouts(service);
    let plan = Plan {
        address: with_port(endpoint.address, *port),
        connect_timeout: policy.map_or(worker.config.timeouts.connect, |timeouts| timeouts.connect),
        tag: decision.tag,
        service: id,
    };
    if worker.is_self(plan.address) {
        return Err((Failure::Loop, plan.service));
    }
    propagate::write(request.headers_mut(), &names, plan.tag);
    Ok(plan)
}

/// Without the port; an IPv6 literal without its brackets.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or("");
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}
