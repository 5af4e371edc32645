//! What becomes of a client connection: cut when its head is slow, ended when it rests too long, translated when the instance speaks
//! the other version of HTTP.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::h2spec::serve;
use crate::sidecar::Sidecar;

/// Far above the sweeper's second.
const DEADLINE: Duration = Duration::from_secs(20);

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("the sidecar listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a time");
    stream
}

/// What comes until the sidecar ends the connection.
fn rest(mut stream: TcpStream) -> String {
    let mut heard = Vec::new();
    match stream.read_to_end(&mut heard) {
        Ok(_) => String::from_utf8_lossy(&heard).into_owned(),
        Err(error) => panic!("not ended: {error}; heard {:?}", String::from_utf8_lossy(&heard)),
    }
}

#[test]
fn a_slow_head_is_cut_and_a_resting_connection_is_ended() {
    let flags = ["--header-timeout", "5s", "--idle-timeout", "6s"];
    let sidecar = Sidecar::start_with("connections", "http2", serve(), &flags);
    let mut slow = connect(sidecar.address);
    slow.write_all(b"GET / HTTP/1.1\r\nhost: ").expect("the sidecar reads");
    assert_eq!(rest(slow), "", "a head that never ends is never answered");
    let mut resting = connect(sidecar.address);
    resting.write_all(b"GET / HTTP/1.1\r\nhost: sc-b\r\n\r\n").expect("the sidecar reads");
    let heard = rest(resting);
    assert!(heard.starts_with("HTTP/1.1 200 ") && heard.ends_with("answer"), "{heard}");
    assert!(!heard.to_ascii_lowercase().contains("connection: close"), "it was ended for resting alone: {heard}");
}

/// Answers one request on each connection, says nothing of closing it, and closes it.
pub(crate) fn serve_once_each() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                head.push(byte[0]);
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    address
}

#[test]
fn a_pooled_connection_that_its_instance_has_closed_costs_no_request() {
    let sidecar = Sidecar::start("closed", "http1", serve_once_each());
    let mut client = connect(sidecar.address);
    for number in 0..50 {
        client.write_all(b"GET / HTTP/1.1\r\nhost: sc-b\r\n\r\n").expect("the sidecar reads");
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\nok") {
            let mut bytes = [0; 512];
            match client.read(&mut bytes) {
                Ok(count @ 1..) => heard.extend_from_slice(&bytes[..count]),
                other => panic!("request {number}: {other:?} after {:?}", String::from_utf8_lossy(&heard)),
            }
        }
        assert!(heard.starts_with(b"HTTP/1.1 200 "), "request {number}: {}", String::from_utf8_lossy(&heard));
    }
}

#[test]
fn a_refused_request_keeps_the_connection_if_its_body_is_here_and_ends_it_if_not() {
    // Nobody listens there.
    let sidecar = Sidecar::start("refused", "http1", crate::alone::free());
    let mut client = connect(sidecar.address);
    let get = "GET / HTTP/1.1\r\nhost: sc-b\r\n\r\n";
    let post = "POST / HTTP/1.1\r\nhost: sc-b\r\ncontent-length: 9\r\n\r\nGET / no";
    client.write_all(format!("{get}{get}{post}").as_bytes()).expect("the sidecar reads");
    let heard = rest(client);
    assert_eq!(heard.matches("HTTP/1.1 503 ").count(), 3, "each is answered, and what follows is no request: {heard}");
    assert_eq!(heard.matches("connection: close").count(), 1, "only the last ends the connection: {heard}");
}

#[test]
fn http1_reaches_an_instance_of_http2_in_every_framing() {
    let sidecar = Sidecar::start("translation", "http2", serve());
    for (request, ends) in [
        ("GET / HTTP/1.1\r\nhost: sc-b\r\nconnection: close\r\n\r\n", "answer"),
        ("HEAD / HTTP/1.1\r\nhost: sc-b\r\nconnection: close\r\n\r\n", "\r\n\r\n"),
        ("POST / HTTP/1.1\r\nhost: sc-b\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbody", "answer"),
        (
            "POST / HTTP/1.1\r\nhost: sc-b\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
             4;x\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n",
            "answer",
        ),
        ("GET / HTTP/1.0\r\nhost: sc-b\r\n\r\n", "answer"),
        ("GET /1 HTTP/1.1\r\nhost: sc-b\r\n\r\nGET /2 HTTP/1.1\r\nhost: sc-b\r\nconnection: close\r\n\r\n", "answer"),
    ] {
        let mut stream = connect(sidecar.address);
        stream.write_all(request.as_bytes()).expect("the sidecar reads");
        let heard = rest(stream);
        assert!(heard.starts_with("HTTP/1.1 200 OK\r\n") && heard.ends_with(ends), "{request:?}: {heard}");
        let answers = request.matches(" HTTP/1.").count();
        assert_eq!(heard.matches("HTTP/1.1 200 ").count(), answers, "{request:?}: {heard}");
    }
    for (request, reason) in [
        ("CONNECT sc-b:80 HTTP/1.1\r\nhost: sc-b:80\r\n\r\n", "bad-request translation"),
        ("POST / HTTP/1.1\r\nhost: sc-b\r\ntransfer-encoding: chunked\r\n\r\nx\r\n", "bad-request chunk-size"),
    ] {
        let mut stream = connect(sidecar.address);
        stream.write_all(request.as_bytes()).expect("the sidecar reads");
        let heard = rest(stream);
        assert!(heard.starts_with("HTTP/1.1 400 ") && heard.contains(reason), "{request:?}: {heard}");
    }
}
