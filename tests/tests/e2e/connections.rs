//! What becomes of a client connection: cut when its head is slow, ended when it rests too long, translated when the instance speaks
//! the other version of HTTP.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
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
    let flags = ["--header-timeout", "1s", "--idle-timeout", "2s"];
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
