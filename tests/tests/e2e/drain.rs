//! SIGTERM to a sidecar: what runs is finished, nothing is lost.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use laneway_tests::load::Load;
use laneway_tests::mesh::network::Network;
use laneway_tests::process::{Process, Scratch, program, run, wait_for};

use crate::alone::free;
use crate::frames::{END_HEADERS, END_STREAM, HEADERS, Outcome, Peer, block, get};
use crate::sidecar::Sidecar;
use crate::support::{namespaces_or_skip, pair};

/// Longest wait for anything that is to happen at once.
const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn a_sidecar_that_is_told_to_end_loses_nothing() {
    if !namespaces_or_skip("a_sidecar_that_is_told_to_end_loses_nothing") {
        return;
    }
    let mut mesh = pair("drain", &["", "blue"], "", &[]);
    // Both are baseline for discovery; one of them is drained.
    mesh.rewrite_discovery(|plan| plan.pods[2].tag.clear()).expect("discovery is a file");
    let Network::Namespaces(namespaces) = mesh.network() else { unreachable!("the pair lives in namespaces") };
    let load = Load {
        namespace: Some(namespaces.name("entry")),
        to: mesh.socket("caller-base").expect("a pod"),
        path: "/".to_owned(),
        headers: Vec::new(),
        connections: 8,
        requests_per_second: 200,
    }
    .start();
    let deadline = DEADLINE;
    load.await_answers(100, deadline).expect("requests are answered");
    // As a cluster does: the instance is announced as draining, then its sidecar gets SIGTERM.
    mesh.rewrite_discovery(|plan| "draining".clone_into(&mut plan.pods[2].state)).expect("discovery is a file");
    let mut sidecar = mesh.pod("server-blue").expect("a pod").sidecar.take().expect("it has a sidecar");
    sidecar.terminate();
    load.await_answers(200, deadline).expect("requests are answered");
    let status = sidecar.wait(Duration::from_secs(40)).expect("a drained sidecar ends");
    assert!(status.success(), "{status}: {}", sidecar.log());
    load.await_answers(100, deadline).expect("requests are answered");
    let samples = load.stop().expect("the load ran");
    let lost: Vec<_> = samples.iter().filter_map(|sample| sample.answer.as_ref().err()).collect();
    assert!(lost.is_empty(), "{} of {} lost: {:?}", lost.len(), samples.len(), lost.first());
}

/// An instance that answers each request, on `/slow` not before it is told to.
struct Instance {
    address: SocketAddr,
    /// One word for each slow request that came.
    slow: Receiver<()>,
    /// One word lets one of them be answered.
    release: Sender<()>,
}

impl Instance {
    fn start() -> Instance {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let (came, slow) = channel();
        let (release, released) = channel();
        let released = Arc::new(Mutex::new(released));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(mut stream), came, released) = (stream, came.clone(), Arc::clone(&released)) else { return };
                thread::spawn(move || {
                    while let Some(head) = head_of(&mut stream) {
                        if head.starts_with("get /slow") {
                            let _ = came.send(());
                            let _ = released.lock().expect("no panic holds it").recv_timeout(DEADLINE);
                        }
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
                    }
                });
            }
        });
        Instance { address, slow, release }
    }
}

/// The next head. `None`: the peer has ended.
fn head_of(stream: &mut TcpStream) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&head).to_ascii_lowercase())
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("the sidecar listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a time");
    stream
}

fn ask(stream: &mut TcpStream, path: &str) {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: sc-b\r\n\r\n").expect("the sidecar reads");
}

/// The head of an answer whose body is `ok`.
fn answer(stream: &mut TcpStream) -> String {
    let mut body = [0; 2];
    let head = head_of(stream).expect("an answer");
    stream.read_exact(&mut body).expect("its body");
    assert!(head.starts_with("http/1.1 200") && body == *b"ok", "{head}");
    head
}

/// The answer says that it is the last, and it is.
fn assert_last(stream: &mut TcpStream) {
    let head = answer(stream);
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(stream.read(&mut [0]).expect("a proper end"), 0, "closed behind its last answer");
}

#[test]
fn a_drain_says_so_on_every_last_answer_accepts_for_min_and_ends_with_what_ran() {
    let instance = Instance::start();
    let flags = ["--drain-min", "15s", "--drain-max", "5m"];
    let mut sidecar = Sidecar::start_with("draining", "http1", instance.address, &flags);
    let (mut resting, mut running) = (connect(sidecar.address), connect(sidecar.address));
    ask(&mut resting, "/");
    assert!(!answer(&mut resting).contains("connection: close"), "nothing is announced before");
    ask(&mut running, "/slow");
    instance.slow.recv_timeout(DEADLINE).expect("the request reaches the instance");

    sidecar.process.terminate();
    let told = wait_for(DEADLINE, || sidecar.process.log().contains("SIGTERM: draining").then_some(()));
    assert!(told.is_some(), "{}", sidecar.process.log());
    ask(&mut resting, "/");
    assert_last(&mut resting);
    let mut fresh = connect(sidecar.address);
    ask(&mut fresh, "/");
    assert_last(&mut fresh);
    // A cluster sends it when a hook has drained already: in no more haste.
    sidecar.process.terminate();

    let closed = wait_for(DEADLINE, || TcpStream::connect(sidecar.address).is_err().then_some(()));
    assert!(closed.is_some(), "it accepts for ever");
    assert!(sidecar.process.ended().is_none(), "a request still runs: {}", sidecar.process.log());
    instance.release.send(()).expect("the instance waits");
    assert_last(&mut running);
    let status = sidecar.process.wait(DEADLINE).expect("nothing is left");
    assert!(status.success(), "{status}: {}", sidecar.process.log());
}

#[test]
fn http2_is_told_by_goaway_and_finishes_its_streams() {
    let instance = Instance::start();
    let mut sidecar =
        Sidecar::start_with("goaway", "http1", instance.address, &["--drain-min", "1s", "--drain-max", "5m"]);
    let mut peer = Peer::connect(sidecar.address, &[]);
    peer.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(&get("/"))).expect("the sidecar reads");
    assert_eq!(peer.outcome(1), Outcome::Answer(200));
    peer.send(HEADERS, END_HEADERS | END_STREAM, 3, &block(&get("/slow"))).expect("the sidecar reads");
    instance.slow.recv_timeout(DEADLINE).expect("the request reaches the instance");
    sidecar.process.terminate();
    // First that it is going away, whatever comes; when the client has seen that, which stream was the last.
    assert_eq!(peer.farewells(2), [(1 << 31) - 1, 3]);
    instance.release.send(()).expect("the instance waits");
    assert_eq!(peer.outcome(3), Outcome::Answer(200));
    let status = sidecar.process.wait(DEADLINE).expect("nothing is left");
    assert!(status.success(), "{status}: {}", sidecar.process.log());
}

#[test]
fn the_application_may_call_out_until_it_has_answered() {
    let (application, instance) = (Instance::start(), Instance::start());
    let (inbound, outbound) = (free(), free());
    let scratch = Scratch::new("egress").expect("a directory");
    let file = scratch.path().join("resources.yaml");
    let service = format!(
        "kind: Service\nname: b\nhosts: [sc-b]\nports: [{{port: 80, protocol: http1}}]\nendpoints: [{{address: '{}'}}]\n",
        instance.address
    );
    std::fs::write(&file, service).expect("the directory is ours");
    let mut command = proxy();
    command.arg("--resources").arg(&file).args(["--drain-min", "0s", "--drain-max", "5m"]);
    command.args(["--listen", &format!("inbound={inbound},forward={}", application.address)]);
    command.args(["--listen", &format!("outbound={outbound},service=b")]);
    let mut sidecar = Process::start("sidecar", command, &scratch.path().join("proxy.log")).expect("it starts");
    sidecar.wait_until(DEADLINE, "listening", || TcpStream::connect(inbound).is_ok()).expect("it listens");
    let mut caller = connect(inbound);
    ask(&mut caller, "/slow");
    application.slow.recv_timeout(DEADLINE).expect("the request reaches the application");
    sidecar.terminate();
    let closed = wait_for(DEADLINE, || TcpStream::connect(inbound).is_err().then_some(()));
    assert!(closed.is_some(), "it accepts for ever");
    let mut call = connect(outbound);
    ask(&mut call, "/");
    assert_last(&mut call);
    application.release.send(()).expect("the application waits");
    assert_last(&mut caller);
    let status = sidecar.wait(DEADLINE).expect("nothing is left");
    assert!(status.success(), "{status}: {}", sidecar.log());
}

/// As the preStop hook of a native sidecar does it: the application has been told to end, and goes on for as long as it needs.
#[test]
fn an_announced_end_is_told_to_callers_and_stops_nothing() {
    let (application, instance) = (Instance::start(), Instance::start());
    let (inbound, outbound, status, admin) = (free(), free(), free(), free());
    let scratch = Scratch::new("announced").expect("a directory");
    let file = scratch.path().join("resources.yaml");
    let service = format!(
        "kind: Service\nname: b\nhosts: [sc-b]\nports: [{{port: 80, protocol: http1}}]\nendpoints: [{{address: '{}'}}]\n",
        instance.address
    );
    std::fs::write(&file, service).expect("the directory is ours");
    let hook = |name: &str, port: &str, address: SocketAddr| {
        let mut command = Command::new(program("laneway-proxy").expect("it is built"));
        command.args([name, port, &address.to_string()]);
        run(command)
    };
    let mut command = Command::new(program("laneway-proxy").expect("it is built"));
    command.args(["--status", &status.to_string(), "--admin", &admin.to_string()]);
    command.arg("--resources").arg(&file).args(["--drain-min", "0s", "--drain-max", "5m"]);
    command.args(["--listen", &format!("inbound={inbound},forward={}", application.address)]);
    command.args(["--listen", &format!("outbound={outbound},service=b")]);
    let mut sidecar = Process::start("sidecar", command, &scratch.path().join("proxy.log")).expect("it starts");
    hook("wait", "--status", status).expect("it gets ready");
    let (mut resting, mut running, mut calling) = (connect(inbound), connect(inbound), connect(outbound));
    for stream in [&mut resting, &mut calling] {
        ask(stream, "/");
        assert!(!answer(stream).contains("connection: close"), "nothing is announced before");
    }
    ask(&mut running, "/slow");
    application.slow.recv_timeout(DEADLINE).expect("the request reaches the application");

    hook("announce", "--admin", admin).expect("it is told");
    let announced = wait_for(DEADLINE, || sidecar.log().contains("about to end").then_some(()));
    assert!(announced.is_some(), "{}", sidecar.log());
    let mut ready = connect(status);
    ask(&mut ready, "/ready");
    let ready = head_of(&mut ready).expect("an answer");
    assert!(ready.starts_with("http/1.1 503"), "{ready}");
    // Callers hear of it, whoever comes is served, and the application's own calls go on as they were.
    ask(&mut resting, "/");
    assert_last(&mut resting);
    for _ in 0..3 {
        let mut fresh = connect(inbound);
        ask(&mut fresh, "/");
        assert_last(&mut fresh);
        ask(&mut calling, "/");
        assert!(!answer(&mut calling).contains("connection: close"), "its own calls are not told");
    }
    hook("announce", "--admin", admin).expect("twice is once");
    application.release.send(()).expect("the application waits");
    assert_last(&mut running);
    assert!(sidecar.ended().is_none(), "{}", sidecar.log());

    sidecar.terminate();
    let status = sidecar.wait(DEADLINE).expect("nothing is left");
    assert!(status.success(), "{status}: {}", sidecar.log());
}

#[test]
fn a_sidecar_that_is_not_ready_yet_ends_at_once() {
    let scratch = Scratch::new("starting").expect("a directory");
    let mut command = proxy();
    // Nobody is there to tell it anything.
    command.args(["--control", &format!("http://{}", free()), "--boot-wait", "10m"]);
    command.args(["--drain-min", "10m", "--drain-max", "20m"]);
    command.args(["--inbound", &free().to_string(), "--outbound", &free().to_string()]);
    let mut sidecar = Process::start("sidecar", command, &scratch.path().join("proxy.log")).expect("it starts");
    let started = wait_for(DEADLINE, || sidecar.log().contains("listening").then_some(()));
    assert!(started.is_some(), "{}", sidecar.log());
    sidecar.terminate();
    let status = sidecar.wait(DEADLINE).expect("nobody has come");
    assert!(status.success(), "{status}: {}", sidecar.log());
}

#[test]
fn a_sidecar_whose_file_is_changing_ends_as_any_other() {
    let instance = Instance::start();
    let mut sidecar = Sidecar::start_with("reloading", "http1", instance.address, &["--drain-min", "1s"]);
    let file = sidecar.directory().join("resources.yaml");
    let text = std::fs::read_to_string(&file).expect("it is there");
    let mut number = 0;
    let mut change = |sidecar: &Sidecar| {
        number += 1;
        let fresh = sidecar.directory().join("fresh");
        std::fs::write(&fresh, format!("{text}# {number}\n")).expect("the directory is ours");
        std::fs::rename(&fresh, &file).expect("the directory is ours");
    };
    let reloaded = wait_for(DEADLINE, || {
        change(&sidecar);
        sidecar.process.log().contains("took the changed resources").then_some(())
    });
    assert!(reloaded.is_some(), "{}", sidecar.process.log());
    sidecar.process.terminate();
    let status = wait_for(DEADLINE, || {
        change(&sidecar);
        sidecar.process.ended()
    });
    assert!(status.is_some_and(|status| status.success()), "{status:?}: {}", sidecar.process.log());
}

/// With a status and an admin port of its own.
fn proxy() -> Command {
    let mut command = Command::new(program("laneway-proxy").expect("it is built"));
    command.args(["--status", &free().to_string(), "--admin", &free().to_string()]);
    command
}
