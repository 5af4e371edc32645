//! Requests of HTTP/2 that would become something else on their way: each alone is refused, or harmless at the origin.
//!
//! Harmless at an origin of HTTP/1.1: a reader that forgives nothing finds in all bytes of all its connections whole requests of
//! ours only, at most one for each case, with nothing in their heads of what was injected. An origin of HTTP/2 is a library,
//! which may itself refuse what it is sent; so that half sees what was let through, not who refused.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use crate::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, Outcome, Peer, block, field};
use crate::sidecar::Sidecar;
use crate::strict::{NEVER_TRAILERS, Origin, parse};

mod cases;

use cases::Case;

/// What is injected says so.
const INJECTED: &str = "smuggled";
/// Which case a request belongs to: its number.
const CASE: &str = "x-case";

#[test]
fn what_http2_smuggles_is_refused_or_harmless_on_http1() {
    let origin = Origin::start();
    let sidecar = Sidecar::start("injection-1", "http1", origin.address);
    let cases = cases::all();
    let outcomes = send_all(&sidecar, &cases);
    let log = sidecar.process.log();
    // Its connections end with it, and so the origin has read all there was.
    drop(sidecar);
    let mut faults = Vec::new();
    let mut arrived = BTreeMap::new();
    for bytes in origin.finish() {
        let (requests, rest) = match parse(&bytes) {
            Ok(parsed) => parsed,
            Err(error) => {
                faults.push(format!("the origin cannot read {error} in {:?}", String::from_utf8_lossy(&bytes)));
                continue;
            }
        };
        // A request that broke off: its body may hold anything.
        let rest = String::from_utf8_lossy(rest);
        let rest = rest.split("\r\n\r\n").next().unwrap_or_default();
        if rest.contains(INJECTED) {
            faults.push(format!("an unfinished request holds it: {rest:?}"));
        }
        for request in requests {
            let head = format!("{} {:?} {:?}", request.line, request.headers, request.trailers);
            arrived.entry(number(request.header(CASE))).or_insert_with(Vec::new).push((head, request.body));
        }
    }
    judge(&cases, &outcomes, &arrived, faults, &log);
}

#[test]
fn what_http2_smuggles_is_refused_or_harmless_on_http2() {
    let (address, seen) = serve_http2();
    let sidecar = Sidecar::start("injection-2", "http2", address);
    let cases = cases::all();
    let outcomes = send_all(&sidecar, &cases);
    let log = sidecar.process.log();
    drop(sidecar);
    let mut arrived = BTreeMap::new();
    for (case, head, body) in std::mem::take(&mut *seen.lock().expect("no panic holds it")) {
        arrived.entry(case).or_insert_with(Vec::new).push((head, body));
    }
    judge(&cases, &outcomes, &arrived, Vec::new(), &log);
}

/// Sends each case on a connection of its own. The first is lawful: if it does not pass, refusals say nothing.
fn send_all(sidecar: &Sidecar, cases: &[Case]) -> Vec<Outcome> {
    let first = send(sidecar.address, 0, &cases[0]);
    assert_eq!(first, Outcome::Answer(200), "{}: it does not pass in the protocol of the origin", cases[0].claim);
    let others = cases.iter().enumerate().skip(1).map(|(number, case)| send(sidecar.address, number, case));
    std::iter::once(first).chain(others).collect()
}

fn send(to: SocketAddr, number: usize, case: &Case) -> Outcome {
    let mut peer = Peer::connect(to, &[]);
    let mut head = case.head.clone();
    // Pseudo fields of the case may stand behind fields, but not because of us.
    head.push(field(CASE, number.to_string()));
    let mut frames = vec![(HEADERS, END_HEADERS, block(&head))];
    frames.extend(case.data.iter().map(|data| (DATA, 0, data.as_bytes().to_vec())));
    if !case.trailers.is_empty() {
        frames.push((HEADERS, END_HEADERS, block(&case.trailers)));
    }
    let last = frames.len() - 1;
    frames[last].1 |= END_STREAM;
    for (kind, flags, payload) in frames {
        // A sidecar that hangs up half way has refused: the outcome says it.
        if peer.send(kind, flags, 1, &payload).is_err() {
            break;
        }
    }
    peer.outcome(1)
}

/// Heads with trailers, and bodies, that arrived for each case; `None` stands for requests that nobody sent.
type Arrived = BTreeMap<Option<usize>, Vec<(String, Vec<u8>)>>;

#[allow(clippy::print_stdout, reason = "the verdict on each case, for who asks with --nocapture")]
fn judge(cases: &[Case], outcomes: &[Outcome], arrived: &Arrived, mut faults: Vec<String>, log: &str) {
    // A connection that a panic ended looks like a refusal.
    if log.contains("panicked") {
        faults.push("the sidecar panicked".to_owned());
    }
    if let Some(requests) = arrived.get(&None) {
        faults.push(format!("requests that nobody sent: {requests:?}"));
    }
    for (number, (case, outcome)) in cases.iter().zip(outcomes).enumerate() {
        let requests = arrived.get(&Some(number)).map_or(&[][..], Vec::as_slice);
        if let Some(fault) = fault(case, outcome, requests) {
            faults.push(format!("{}: {fault}; {outcome:?}, arrived: {requests:?}", case.claim));
        }
        println!("{}: {outcome:?}, {} arrived", case.claim, requests.len());
    }
    assert!(faults.is_empty(), "{} of {} cases:\n{}\n{log}", faults.len(), cases.len(), faults.join("\n"));
}

fn fault(case: &Case, outcome: &Outcome, requests: &[(String, Vec<u8>)]) -> Option<&'static str> {
    if case.is_lawful {
        let body = case.data.concat().into_bytes();
        return match (outcome, requests) {
            (Outcome::Answer(200), [(_, arrived)]) if *arrived == body => None,
            _ => Some("a lawful request does not pass as it is"),
        };
    }
    if requests.iter().any(|(head, _)| head.to_ascii_lowercase().contains(INJECTED)) {
        return Some("what was injected arrived");
    }
    match (outcome, requests.len()) {
        (Outcome::Answer(200), 1) => None,
        // What is wrong behind the head may show when the head is on its way.
        (refused, 0 | 1) if refused.is_refusal() => None,
        _ => Some("neither refused nor one request"),
    }
}

fn number(value: Option<&str>) -> Option<usize> {
    value?.parse().ok()
}

type Seen = Arc<Mutex<Vec<(Option<usize>, String, Vec<u8>)>>>;

/// An origin of HTTP/2 on a thread of its own, which notes what it gets whole.
fn serve_http2() -> (SocketAddr, Seen) {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    listener.set_nonblocking(true).expect("it is a socket");
    let address = listener.local_addr().expect("it is bound");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let seen = Seen::default();
    let notes = Arc::clone(&seen);
    thread::spawn(move || {
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).expect("it is a listener");
            while let Ok((stream, _)) = listener.accept().await {
                let notes = Arc::clone(&notes);
                let service = service_fn(move |request| note(Arc::clone(&notes), request));
                let serving = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
                tokio::spawn(serving);
            }
        });
    });
    (address, seen)
}

async fn note(seen: Seen, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    if let Ok(body) = body.collect().await {
        let none = HeaderMap::new();
        let trailers = body.trailers().unwrap_or(&none);
        // Said as what it is, so that the verdict finds it.
        let unlawful: Vec<_> =
            trailers.keys().filter(|name| NEVER_TRAILERS.contains(&name.as_str())).map(|_| INJECTED).collect();
        let text = format!("{} {} {:?} {trailers:?} {unlawful:?}", head.method, head.uri, head.headers);
        let case = number(head.headers.get(CASE).and_then(|value| value.to_str().ok()));
        seen.lock().expect("no panic holds it").push((case, text, body.to_bytes().to_vec()));
    }
    Ok(Response::new(Full::from("ok")))
}
