//! A bug in one task is the trouble of its connection, or of its stream, and of nobody else.

use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream as StdStream};
use std::pin::Pin;
use std::sync::Arc;

use laneway_core::snapshot::{Identity, Snapshot};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_blocking, spawn_local};

use super::*;
use crate::current::{self, Demand};
use crate::datapath::failure::Failure;
use crate::datapath::route::{Head, Verdict};
use crate::datapath::worker::Shared;
use crate::datapath::{Config, Given, Limits, Timeouts};
use crate::drain;
use crate::journal::Journal;
use crate::telemetry::{self, Telemetry};

/// Has a bug at `/bug`, and refuses everything else.
struct Buggy;

impl Route for Buggy {
    fn route(&self, head: &Head<'_>) -> Verdict {
        assert_ne!(head.target, "/bug", "a bug");
        Verdict::Refuse(Failure::Loop, None)
    }

    fn learn(self: Rc<Self>, _authority: String) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(std::future::ready(()))
    }
}

/// Does `work` beside a worker, which serves whoever comes by [`Buggy`].
fn beside_a_worker<F: Future<Output = ()>>(work: impl FnOnce(SocketAddr) -> F) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(LocalSet::new().run_until(async {
        let identity = Identity { namespace: "default".into(), service: "b".into(), tag: None };
        let (publisher, mut readers) = current::channel(1, Snapshot::empty(identity));
        let telemetry = Telemetry::new(1, telemetry::Config::FOR_TESTS);
        let (_trigger, drain) = drain::channel();
        let given = Given {
            reader: readers.remove(0),
            demand: Demand::none(),
            counters: telemetry.worker(0),
            drain,
            opened: watch::channel(true).1,
            timer: Timer::current(),
            journal: Journal::default(),
            habits: crate::habits::Habits::default(),
            index: 0,
            pressure: crate::pressure::Pressure::default(),
        };
        let worker = Rc::new(Worker::new(Arc::new(config()), Shared::new(), given));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        listener.set_nonblocking(true).expect("a socket");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
        let serving = Rc::clone(&worker);
        let accepting = spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let worker = Rc::clone(&serving);
                spawn_local(async move {
                    let _admitted = worker.admit(Direction::Inbound);
                    let mut wire = Wire::new(stream);
                    let detected = poll_fn(|cx| match poll_detect(&mut wire, cx) {
                        Some(detected) => Poll::Ready(detected),
                        None => Poll::Pending,
                    });
                    let is_http2 = matches!(detected.await, Ok(Detected::Http2));
                    serve_http(worker, Direction::Inbound, Opened { wire, is_http2, route: Rc::new(Buggy) }).await;
                });
            }
        });
        work(address).await;
        accepting.abort();
        telemetry.render(&publisher.current()).into_text()
    }))
}

fn config() -> Config {
    let long = Duration::from_secs(60);
    Config {
        listeners: Vec::new(),
        workers: 1,
        own_addresses: Vec::new(),
        own_ports: Vec::new(),
        timeouts: Timeouts { connect: long, header_read: long, body: long, idle: long, detect: long, pool_idle: long },
        limits: Limits { connections: 100 },
        opaque_ports: Vec::new(),
        on_demand_timeout: long,
    }
}

/// What one connection of HTTP/1.1 hears until it ends.
fn hear(address: SocketAddr, path: &str) -> String {
    let mut stream = StdStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n").expect("it reads");
    let mut heard = String::new();
    stream.read_to_string(&mut heard).expect("it ends");
    heard
}

#[test]
fn a_panic_ends_its_connection_of_http1_and_no_other() {
    let page = beside_a_worker(|address| async move {
        for _ in 0..3 {
            let heard = spawn_blocking(move || [hear(address, "/bug"), hear(address, "/")]).await.expect("no panic");
            assert_eq!(heard[0], "", "it is hung up");
            assert!(heard[1].starts_with("HTTP/1.1 508"), "{}", heard[1]);
        }
    });
    assert!(page.contains("laneway_panics_total 3\n"), "{page}");
}

#[test]
fn a_panic_ends_its_stream_of_http2_and_not_its_connection() {
    let page = beside_a_worker(|address| async move {
        let stream = TcpStream::connect(address).await.expect("it listens");
        let (mut client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let connection = spawn_local(connection);
        let mut ask = async |path: &str| {
            let request = http::Request::get(format!("http://b{path}")).body(()).expect("a request");
            let (answer, _) = client.send_request(request, true).expect("a stream");
            let answer = answer.await;
            (
                answer.map(|answer| answer.status().as_u16()),
                std::future::poll_fn(|cx| client.poll_ready(cx)).await.is_ok(),
            )
        };
        for _ in 0..3 {
            let (broken, goes_on) = ask("/bug").await;
            assert!(broken.is_err_and(|error| error.is_reset()) && goes_on);
            let (answered, goes_on) = ask("/").await;
            assert_eq!((answered.expect("an answer"), goes_on), (508, true));
        }
        connection.abort();
    });
    assert!(page.contains("laneway_panics_total 3\n"), "{page}");
}
