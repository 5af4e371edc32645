//! A request that its instance did not begin goes out once more and nobody notices; one that it may have begun does not, unless
//! doing it twice does no harm. The instance is played frame by frame (RFC 9113 section 8.7).

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::frames::{
    DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, Outcome, Peer, RST_STREAM, SETTINGS, block, field, frame,
    get,
};
use crate::instance::{hang_up, take_nothing_more};
use crate::sidecar::Sidecar;

const DEADLINE: Duration = Duration::from_secs(20);
const ACK: u8 = 1;
const REFUSED_STREAM: u32 = 7;
const MAX_CONCURRENT_STREAMS: u16 = 3;

/// What the first connection does with the second of its streams. All others are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// RST_STREAM with REFUSED_STREAM; the connection goes on.
    Refuses,
    /// GOAWAY: the first stream was the last that it looked at.
    GoesAway,
    /// GOAWAY that owns up to the second, and the end.
    GoesAwayWithin,
    /// The end without a word.
    Closes,
    /// None; one stream at a time.
    Narrow,
}

/// An instance of HTTP/2. What it has begun: of each request, its bytes of body.
struct Instance {
    address: SocketAddr,
    begun: Arc<Mutex<Vec<usize>>>,
    connections: Arc<Mutex<usize>>,
}

fn serve(fault: Fault) -> Instance {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    let (begun, connections) = (Arc::<Mutex<Vec<usize>>>::default(), Arc::<Mutex<usize>>::default());
    thread::spawn({
        let (begun, connections) = (Arc::clone(&begun), Arc::clone(&connections));
        move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (begun, connections) = (Arc::clone(&begun), Arc::clone(&connections));
                thread::spawn(move || drop(play(stream, fault, &begun, &connections)));
            }
        }
    });
    Instance { address, begun, connections }
}

/// Answers each stream when its request is whole, but for the fault.
fn play(
    mut stream: TcpStream,
    fault: Fault,
    begun: &Mutex<Vec<usize>>,
    connections: &Mutex<usize>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_nodelay(true)?;
    // One that says nothing is no connection: whoever waited for the sidecar to listen was led here.
    stream.read_exact(&mut [0; 24])?;
    let number = {
        let mut connections = connections.lock().expect("no panic holds it");
        *connections += 1;
        *connections
    };
    let fault = (number == 1 || fault == Fault::Narrow).then_some(fault);
    let narrow = [&MAX_CONCURRENT_STREAMS.to_be_bytes()[..], &1_u32.to_be_bytes()].concat();
    stream.write_all(&frame(SETTINGS, 0, 0, if fault == Some(Fault::Narrow) { &narrow } else { &[] }))?;
    let mut bodies = std::collections::BTreeMap::new();
    loop {
        let Frame { kind, flags, stream: id, payload } = Frame::read(&mut stream)?;
        match kind {
            SETTINGS if flags & ACK == 0 => stream.write_all(&frame(SETTINGS, ACK, 0, &[]))?,
            HEADERS => drop(bodies.insert(id, 0)),
            DATA => *bodies.entry(id).or_default() += payload.len(),
            _ => {}
        }
        if !matches!(kind, HEADERS | DATA) || flags & END_STREAM == 0 {
            continue;
        }
        let goaway = |last: u32| frame(GOAWAY, 0, 0, &[last.to_be_bytes(), 0_u32.to_be_bytes()].concat());
        match fault {
            Some(Fault::Refuses) if id == 3 => {
                stream.write_all(&frame(RST_STREAM, 0, id, &REFUSED_STREAM.to_be_bytes()))?;
            }
            Some(Fault::GoesAway) if id == 3 => stream.write_all(&goaway(1))?,
            Some(Fault::GoesAwayWithin) if id == 3 => {
                begun.lock().expect("no panic holds it").push(bodies[&id]);
                stream.write_all(&goaway(3))?;
                return stream.shutdown(Shutdown::Both);
            }
            Some(Fault::Closes) if id == 3 => {
                begun.lock().expect("no panic holds it").push(bodies[&id]);
                return stream.shutdown(Shutdown::Both);
            }
            _ => {
                begun.lock().expect("no panic holds it").push(bodies[&id]);
                // 0x88: `:status: 200`.
                stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, id, &[0x88]))?;
            }
        }
    }
}

const BODY: &[u8] = b"order 66";

/// A second request over a pooled connection, from a client of HTTP/2; the first has shown that the connection serves.
fn second(sidecar: &Sidecar, method: &str) -> Outcome {
    let mut peer = Peer::connect(sidecar.address, &[]);
    drop(peer.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(&get("/first"))));
    assert_eq!(peer.outcome(1), Outcome::Answer(200), "{}", sidecar.process.log());
    let mut head = get("/second");
    head[0] = field(":method", method);
    if method == "GET" {
        drop(peer.send(HEADERS, END_HEADERS | END_STREAM, 3, &block(&head)));
    } else {
        drop(peer.send(HEADERS, END_HEADERS, 3, &block(&head)));
        drop(peer.send(DATA, END_STREAM, 3, BODY));
    }
    peer.outcome(3)
}

#[test]
fn a_stream_that_was_not_begun_goes_out_once_more() {
    for fault in [Fault::Refuses, Fault::GoesAway] {
        for method in ["GET", "POST"] {
            let instance = serve(fault);
            let sidecar = Sidecar::start("unprocessed", "http2", instance.address);
            assert_eq!(second(&sidecar, method), Outcome::Answer(200), "{fault:?} {method}: {}", sidecar.process.log());
            let body = if method == "GET" { 0 } else { BODY.len() };
            assert_eq!(*instance.begun.lock().expect("no panic holds it"), [0, body], "{fault:?} {method}");
            assert_eq!(*instance.connections.lock().expect("no panic holds it"), 2, "{fault:?} {method}: a fresh one");
        }
    }
}

#[test]
fn a_stream_that_may_have_been_begun_goes_out_once_more_where_that_does_no_harm() {
    for fault in [Fault::GoesAwayWithin, Fault::Closes] {
        for (method, status, begun) in
            [("GET", 200, &[0, 0, 0][..]), ("PUT", 200, &[0, BODY.len(), BODY.len()]), ("POST", 502, &[0, BODY.len()])]
        {
            let instance = serve(fault);
            let sidecar = Sidecar::start("begun", "http2", instance.address);
            let outcome = second(&sidecar, method);
            assert_eq!(outcome, Outcome::Answer(status), "{fault:?} {method}: {}", sidecar.process.log());
            assert_eq!(*instance.begun.lock().expect("no panic holds it"), begun, "{fault:?} {method}");
        }
    }
}

#[test]
fn a_client_of_http1_notices_nothing_of_a_stream_that_was_not_begun() {
    for fault in [Fault::Refuses, Fault::GoesAway, Fault::Closes] {
        let instance = serve(fault);
        let sidecar = Sidecar::start("unprocessed1", "http2", instance.address);
        let mut client = TcpStream::connect(sidecar.address).expect("the sidecar listens");
        client.set_read_timeout(Some(DEADLINE)).expect("a time");
        for number in 0..4 {
            client.write_all(b"GET / HTTP/1.1\r\nhost: sc-b\r\n\r\n").expect("the sidecar reads");
            let (mut heard, mut byte) = (Vec::new(), [0]);
            while !heard.ends_with(b"\r\n\r\n") && matches!(client.read(&mut byte), Ok(1)) {
                heard.push(byte[0]);
            }
            let heard = String::from_utf8_lossy(&heard);
            assert!(heard.starts_with("HTTP/1.1 200 "), "{fault:?}, request {number}: {heard}");
        }
    }
}

#[test]
fn streams_wait_for_an_instance_that_takes_one_at_a_time() {
    let instance = serve(Fault::Narrow);
    let sidecar = Sidecar::start("narrow", "http2", instance.address);
    let mut peer = Peer::connect(sidecar.address, &[]);
    let streams: Vec<u32> = (0..20).map(|number| 2 * number + 1).collect();
    for stream in &streams {
        drop(peer.send(HEADERS, END_HEADERS | END_STREAM, *stream, &block(&get("/"))));
    }
    let mut answered = peer.answers(streams.len());
    answered.sort_unstable();
    let wanted: Vec<_> = streams.iter().map(|stream| (*stream, 200)).collect();
    assert_eq!(answered, wanted, "{}", sidecar.process.log());
}

/// An instance of HTTP/1.1 that ends each connection behind its third answer, which does not say so.
fn serve_three_each() -> (SocketAddr, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    let served = Arc::<Mutex<usize>>::default();
    let count = Arc::clone(&served);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let count = Arc::clone(&count);
            thread::spawn(move || {
                for number in 0..3 {
                    let (mut request, mut byte) = (Vec::new(), [0]);
                    while !request.ends_with(b"\r\n\r\norder 66") {
                        if !matches!(stream.read(&mut byte), Ok(1)) {
                            return;
                        }
                        request.push(byte[0]);
                    }
                    *count.lock().expect("no panic holds it") += 1;
                    // The last answer and the end leave together, or nearly so: what comes behind that answer is not taken by a kernel
                    // whose application has gone.
                    let is_last = number == 2;
                    if is_last {
                        take_nothing_more(&stream);
                    }
                    socket2::SockRef::from(&stream).set_tcp_cork(is_last).expect("a socket");
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
                }
                hang_up(&stream);
            });
        }
    });
    (address, served)
}

/// Some of these requests go out just as the instance closes; none may be lost, and none may be served twice.
#[test]
fn posts_over_connections_that_their_instance_closes_are_served_once_each() {
    const REQUESTS: usize = 1_500;
    let (instance, served) = serve_three_each();
    let sidecar = Sidecar::start("posts", "http1", instance);
    let mut client = TcpStream::connect(sidecar.address).expect("the sidecar listens");
    client.set_read_timeout(Some(DEADLINE)).expect("a time");
    for number in 0..REQUESTS {
        let request = b"POST / HTTP/1.1\r\nhost: sc-b\r\ncontent-length: 8\r\n\r\norder 66";
        client.write_all(request).expect("the sidecar reads");
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\nok") {
            let mut bytes = [0; 512];
            match client.read(&mut bytes) {
                Ok(count) if count > 0 => heard.extend_from_slice(&bytes[..count]),
                other => panic!("request {number}: {other:?}, {:?}", String::from_utf8_lossy(&heard)),
            }
        }
        assert!(heard.starts_with(b"HTTP/1.1 200 "), "request {number}: {:?}", String::from_utf8_lossy(&heard));
    }
    assert_eq!(*served.lock().expect("no panic holds it"), REQUESTS);
}
