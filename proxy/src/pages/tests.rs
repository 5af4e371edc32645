//! The server over real sockets: whole answers, and askers that never read.

use std::net::SocketAddr;

use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Bounds, bind, serve, text};

async fn start(bounds: Bounds, page_bytes: usize) -> SocketAddr {
    let listener = bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(serve(listener, bounds, move |_| std::future::ready(text(StatusCode::OK, vec![b'x'; page_bytes]))));
    address
}

async fn ask(address: SocketAddr, method: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("{method} /x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    stream
}

#[tokio::test]
async fn a_page_comes_whole_and_to_head_without_its_body() {
    let address = start(Bounds { connections_max: 2, only_loopback: true }, 100_000).await;
    for (method, bytes) in [("GET", 100_000), ("HEAD", 0)] {
        let mut answer = String::new();
        ask(address, method).await.read_to_string(&mut answer).await.expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-length: 100000"), "{head}");
        assert!(head.contains("cache-control: no-store") && head.contains("x-content-type-options: nosniff"), "{head}");
        assert_eq!(body.len(), bytes);
    }
}

#[tokio::test(start_paused = true)]
async fn askers_that_never_read_take_no_more_than_their_places_and_lose_them() {
    let address = start(Bounds { connections_max: 2, only_loopback: true }, 32 << 20).await;
    let silent = [ask(address, "GET").await, ask(address, "GET").await];
    // Served only when the time of the first two is over; the clock moves by itself while everybody waits.
    let mut first = [0];
    ask(address, "GET").await.read_exact(&mut first).await.expect("a place became free");
    assert_eq!(&first, b"H");
    drop(silent);
}
