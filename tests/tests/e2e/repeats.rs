//! What goes out once more and what must not, where an instance hangs up; and whom it counts against.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use laneway_tests::fault_relay::{Fault, Relay};

use crate::instance::{Asker, Front, Instance, endpoint};

const GRAY: &str = "x-mse-tag: gray\r\n";

fn policy(says: &str) -> String {
    format!("---\nkind: ServicePolicy\nname: b\n{says}\n")
}

/// Answers the first request of each connection; reads the second one to its last byte, and resets.
struct Treacherous {
    address: SocketAddr,
    heard: Arc<AtomicUsize>,
}

impl Treacherous {
    fn start() -> Treacherous {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let heard = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&heard);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let count = Arc::clone(&count);
                thread::spawn(move || serve(stream, &count));
            }
        });
        Treacherous { address, heard }
    }
}

fn serve(mut stream: TcpStream, heard: &AtomicUsize) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    stream.set_nodelay(true).ok()?;
    for is_first in [true, false] {
        let mut request = Vec::new();
        while !request.ends_with(b"order 66") {
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).ok().filter(|count| *count > 0)?;
            request.extend_from_slice(&bytes[..count]);
        }
        heard.fetch_add(1, Ordering::Relaxed);
        if is_first {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK").ok()?;
        }
    }
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).ok()
}

/// The acknowledgement of what was read may not have been sent when the reset is, and then nothing tells that it was read.
#[test]
fn a_post_that_was_read_before_a_reset_goes_out_once() {
    let instance = Treacherous::start();
    let endpoints = [format!("{{address: '{}'}}", instance.address)];
    let front = Front::start("treacherous", &endpoints, &policy("outlierDetection: {consecutiveFailures: 0}"));
    let mut asker = Asker::new(front.address);
    for round in 1..=20 {
        let statuses = [(); 2].map(|()| asker.post("/", "").expect("it is answered").status);
        assert_eq!(statuses, [200, 502], "round {round}");
        assert_eq!(instance.heard.load(Ordering::Relaxed), 2 * round, "each was heard once");
    }
}

/// Nothing of it is lost, though it went out over a connection that was made for it.
#[test]
fn an_idempotent_request_with_a_body_goes_to_another_instance_too() {
    let (stays, goes) = (Instance::start("A"), Instance::start("B"));
    let relay = Relay::start(goes.address, Fault::EndAfter(0)).expect("loopback has free ports");
    let endpoints = [endpoint(&stays, ""), format!("{{address: '{}'}}", relay.address)];
    let rules = policy("outlierDetection: {consecutiveFailures: 0}\nretry: {budget: 100%}");
    let front = Front::start("put", &endpoints, &rules);
    let mut asker = Asker::new(front.address);
    for number in 0..20 {
        asker.send("PUT / HTTP/1.1\r\nhost: sc-b\r\ncontent-length: 8\r\n\r\norder 66").expect("the sidecar reads");
        let said = asker.hear().expect("it is answered");
        assert_eq!((said.status, said.body.as_str()), (200, "A"), "request {number}: {}", front.process.log());
    }
    assert!(front.metric("laneway_retries_total", "unprocessed") > 0);
}

/// What must not go out twice is paid for by its caller, and still counts against the instance.
#[test]
fn an_instance_that_hangs_up_on_posts_alone_is_taken_out() {
    let (stays, goes) = (Instance::start("A"), Instance::start("B"));
    let relay = Relay::start(goes.address, Fault::EndAfter(0)).expect("loopback has free ports");
    let endpoints = [endpoint(&stays, ""), format!("{{address: '{}'}}", relay.address)];
    let front = Front::start("posts", &endpoints, "");
    let mut asker = Asker::new(front.address);
    let statuses: Vec<_> = (0..60).map(|_| asker.post("/", "").expect("it is answered").status).collect();
    assert!(statuses.iter().filter(|status| **status == 502).count() <= 5, "{statuses:?}");
    assert_eq!(front.metric_when("laneway_endpoints_ejected", "baseline", 1), 1, "{}", front.process.log());
    // It is no instance of the service any more.
    front.rewrite(&[endpoint(&stays, "")], "");
    assert_eq!(front.metric_when("laneway_endpoints_ejected", "baseline", 0), 0);
}

#[test]
fn a_lane_with_nobody_behind_it_keeps_its_last_instance() {
    let gray = Instance::start("gray");
    gray.says(503);
    let more = format!("---\nkind: Lane\nname: gray\n{}", policy("outlierDetection: {consecutiveFailures: 2}"));
    let front = Front::start("alone-gray", &[endpoint(&gray, ", tag: gray")], &more);
    let mut asker = Asker::new(front.address);
    for _ in 0..10 {
        assert_eq!(asker.get("/", GRAY).expect("it is answered").body, "gray", "what it says is better than nothing");
    }
    gray.says(200);
    assert_eq!(asker.get("/", GRAY).expect("it is answered").status, 200);
    assert_eq!(front.metric("laneway_endpoints_ejected", ""), 0);
}
