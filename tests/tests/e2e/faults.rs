//! What networks and dying peers do to one request, and that it stays that request's trouble: late, half open, dripping, cut and
//! reset connections, clients that stop, descriptors that run out. The rows of docs/faults.md name these tests.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use laneway_tests::fault_relay::{Fault, Relay};
use laneway_tests::process::{run, wait_for};
use laneway_tests::usage::resident_kib;

use crate::frames::{
    END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW_SIZE, Outcome, Peer, WINDOW_UPDATE, block, get as get_http2,
};
use crate::sidecar::Sidecar;

/// A test fails rather than hangs.
const DEADLINE: Duration = Duration::from_secs(20);
/// What an instance takes for `/late`: several of the sweeper's seconds.
const LATE: Duration = Duration::from_secs(4);
/// Shorter than [`LATE`].
const BODY_TIMEOUT: [&str; 2] = ["--body-timeout", "1s"];
/// RFC 9113 section 6.9.1.
const WINDOW_MAX: u32 = (1 << 31) - 1;
/// What a stalled body may cost the sidecar.
const GROWTH_MAX_KIB: u64 = 2 << 10;

/// An instance that answers `/N` with so many bytes, `/late/N` with half of them, a pause, and the rest; `/stuck/N` with half of
/// them, and whoever waits for the rest fails first.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    /// Connections that ended while it was about to answer.
    abandoned: Arc<AtomicU32>,
}

impl Origin {
    pub(crate) fn start() -> Origin {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        let origin = Origin { address: listener.local_addr().expect("it is bound"), abandoned: Arc::default() };
        let abandoned = Arc::clone(&origin.abandoned);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let abandoned = Arc::clone(&abandoned);
                thread::spawn(move || while serve(&stream, &abandoned).is_some() {});
            }
        });
        origin
    }
}

/// One request; nothing: the connection has ended.
fn serve(mut stream: &TcpStream, abandoned: &AtomicU32) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let path = head.split(' ').nth(1)?.to_owned();
    let pauses = [("/late/", Some(LATE)), ("/stuck/", Some(2 * DEADLINE)), ("/", None)];
    let (pause, count) = pauses.iter().find_map(|(prefix, pause)| Some((*pause, path.strip_prefix(prefix)?)))?;
    let count: usize = count.parse().ok()?;
    let answer = vec![b'x'; count];
    let (first, rest) = answer.split_at(if pause.is_some() { count / 2 } else { count });
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {count}\r\n\r\n").ok()?;
    stream.write_all(first).ok()?;
    if pause.is_some() {
        stream.set_read_timeout(pause).ok()?;
        // Nothing is pipelined: what comes now is an end.
        if let Ok(0) = stream.read(&mut [0]) {
            abandoned.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        stream.set_read_timeout(None).ok()?;
    }
    stream.write_all(rest).ok()
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("the sidecar listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a time");
    stream
}

fn ask(stream: &mut TcpStream, method: &str, path: &str, headers: &str) {
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: sc-b\r\n{headers}\r\n").expect("the sidecar reads");
}

/// Status and bytes of the body, of what comes until the connection ends or the body is whole.
fn answer(stream: &mut TcpStream) -> (u16, usize) {
    let mut heard = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let end = heard.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|at| at + 4);
        let head = String::from_utf8_lossy(&heard[..end.unwrap_or(0)]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let body = heard.len() - end.unwrap_or(heard.len());
        if length.is_some_and(|length| body >= length) {
            return (status, body);
        }
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => heard.extend_from_slice(&buffer[..count]),
            _ => return (status, body),
        }
    }
}

/// One GET over a connection of its own.
pub(crate) fn get(to: SocketAddr, path: &str) -> (u16, usize) {
    let mut stream = connect(to);
    ask(&mut stream, "GET", path, "");
    answer(&mut stream)
}

#[test]
fn an_instance_that_breaks_off_is_a_502_before_its_head_and_a_cut_connection_behind_it() {
    let origin = Origin::start();
    let relay = Relay::start(origin.address, Fault::None).expect("a port");
    let sidecar = Sidecar::start("faults-cut", "http1", relay.address);
    for fault in [Fault::EndAfter(0), Fault::ResetAfter(0)] {
        relay.set(fault);
        // A connection of its own for each request: none is kept over a fault.
        let (status, _) = get(sidecar.address, "/1000");
        // A reset may come so early that there was no connection.
        assert!(status == 502 || (status == 503 && fault == Fault::ResetAfter(0)), "{fault:?}: {status}");
    }
    for fault in [Fault::EndAfter(500), Fault::ResetAfter(500)] {
        relay.set(fault);
        let (status, bytes) = get(sidecar.address, "/1000");
        assert!((status, bytes < 1000) == (200, true), "{fault:?}: {status}, {bytes} bytes that look whole");
    }
    relay.set(Fault::None);
    assert_eq!(get(sidecar.address, "/1000"), (200, 1000), "{}", sidecar.process.log());
}

#[test]
fn what_is_late_or_drips_arrives_whole_and_holds_up_nobody_else() {
    let origin = Origin::start();
    // Each with a sidecar of its own: a connection that is kept has the fault that it began with.
    let behind = |fault| {
        let relay = Relay::start(origin.address, fault).expect("a port");
        let sidecar = Sidecar::start("faults-slow", "http1", relay.address);
        (relay, sidecar)
    };
    let everybody_else = |relay: &Relay, sidecar: &Sidecar| {
        relay.set(Fault::None);
        for _ in 0..50 {
            assert_eq!(get(sidecar.address, "/1000"), (200, 1000), "{}", sidecar.process.log());
        }
    };
    let (_relay, sidecar) = behind(Fault::Delay(Duration::from_millis(20)));
    assert_eq!(get(sidecar.address, "/100000"), (200, 100_000), "{}", sidecar.process.log());

    let (relay, sidecar) = behind(Fault::Drip { bytes: 100, pause: Duration::from_millis(5) });
    let mut dripping = connect(sidecar.address);
    ask(&mut dripping, "GET", "/40000", "");
    dripping.peek(&mut [0]).expect("it begins to drip");
    everybody_else(&relay, &sidecar);
    assert_eq!(answer(&mut dripping), (200, 40_000), "{}", sidecar.process.log());

    let (relay, sidecar) = behind(Fault::Swallow);
    let mut swallowed = connect(sidecar.address);
    ask(&mut swallowed, "GET", "/7", "");
    let is_on_its_way = wait_for(DEADLINE, || (relay.swallowed() > 0).then_some(()));
    assert!(is_on_its_way.is_some(), "{}", sidecar.process.log());
    everybody_else(&relay, &sidecar);
    drop(swallowed);
    assert_eq!(get(sidecar.address, "/1000"), (200, 1000), "{}", sidecar.process.log());
}

#[test]
fn a_client_that_goes_takes_its_call_along_and_one_that_only_stops_sending_is_answered() {
    let origin = Origin::start();
    let sidecar = Sidecar::start("faults-gone", "http1", origin.address);
    let mut gone = connect(sidecar.address);
    ask(&mut gone, "GET", "/stuck/100", "");
    let mut head = [0; 12];
    gone.read_exact(&mut head).expect("half of the answer");
    // With unread bytes it is a reset, as of a process that has died.
    drop(gone);
    let told = wait_for(DEADLINE, || (origin.abandoned.load(Ordering::Relaxed) > 0).then_some(()));
    assert!(told.is_some(), "the instance answers nobody: {}", sidecar.process.log());

    let mut half = connect(sidecar.address);
    ask(&mut half, "GET", "/late/100", "");
    half.shutdown(Shutdown::Write).expect("our half ends");
    assert_eq!(answer(&mut half), (200, 100));
}

#[test]
fn a_body_that_waits_for_its_client_is_cut_and_one_that_waits_for_its_instance_is_not() {
    let origin = Origin::start();
    let sidecar = Sidecar::start_with("faults-stalled", "http1", origin.address, &BODY_TIMEOUT);
    let mut sends_slowly = connect(sidecar.address);
    ask(&mut sends_slowly, "POST", "/1", "content-length: 10\r\n");
    sends_slowly.write_all(b"x").expect("the sidecar reads");

    // More than all buffers on the way hold.
    let before = resident_kib(sidecar.process.id()).expect("it runs");
    let mut takes_nothing = connect(sidecar.address);
    ask(&mut takes_nothing, "GET", "/67108864", "");

    let mut awaits = connect(sidecar.address);
    ask(&mut awaits, "GET", "/late/100", "");
    assert_eq!(answer(&mut awaits), (200, 100), "its instance is slow, not its client");

    assert_eq!(answer(&mut sends_slowly).0, 0, "cut without an answer");
    let cut = wait_for(DEADLINE, || (sidecar.failures("slow-body") == 2).then_some(()));
    assert!(cut.is_some(), "{} were cut: {}", sidecar.failures("slow-body"), sidecar.process.log());
    let growth = resident_kib(sidecar.process.id()).expect("it runs").saturating_sub(before);
    assert!(growth < GROWTH_MAX_KIB, "{growth} KiB more");
    assert!(answer(&mut takes_nothing).1 < 67_108_864);
}

#[test]
fn a_client_of_http2_is_cut_when_it_stops_in_a_head_or_takes_nothing_and_not_when_its_window_is_closed() {
    let origin = Origin::start();
    // Longer than this test may be held up on its way to the first whole head.
    let limits = ["--body-timeout", "5s", "--header-timeout", "5s"];
    let sidecar = Sidecar::start_with("faults-stalled-2", "http1", origin.address, &limits);
    let ask = |settings: &[(u16, u32)], path: &str, flags: u8| {
        let mut peer = Peer::connect(sidecar.address, settings);
        peer.send(HEADERS, END_STREAM | flags, 1, &block(&get_http2(path))).expect("the sidecar reads");
        peer
    };
    // First, so that it has rested for longer than the others when they are cut.
    let mut rests = ask(&[(INITIAL_WINDOW_SIZE, 0)], "/1000", END_HEADERS);
    let mut stops = ask(&[], "/1000", 0);
    let mut takes_nothing = ask(&[(INITIAL_WINDOW_SIZE, WINDOW_MAX)], "/67108864", END_HEADERS);
    let more = (WINDOW_MAX - 65_535).to_be_bytes();
    takes_nothing.send(WINDOW_UPDATE, 0, 0, &more).expect("the sidecar reads");

    for reason in ["slow-head", "slow-body"] {
        let cut = wait_for(DEADLINE, || (sidecar.failures(reason) >= 1).then_some(()));
        assert!(cut.is_some(), "{reason}: {}: {}", sidecar.failures(reason), sidecar.process.log());
    }
    assert_eq!(stops.outcome(1), Outcome::Closed);
    assert_eq!(takes_nothing.outcome(1), Outcome::Closed);
    rests.send(WINDOW_UPDATE, 0, 1, &1000_u32.to_be_bytes()).expect("the sidecar reads");
    assert_eq!(rests.outcome(1), Outcome::Answer(200));
}

#[test]
fn a_client_that_takes_slowly_but_steadily_is_not_cut() {
    let origin = Origin::start();
    // A pause of this reader's own, on a busy machine, stays far below it.
    let sidecar = Sidecar::start_with("faults-steady", "http1", origin.address, &["--body-timeout", "5s"]);
    let mut steady = connect(sidecar.address);
    ask(&mut steady, "GET", "/16777216", "");
    let mut buffer = vec![0; 256 << 10];
    let mut taken = 0;
    // Ten seconds and more, each with a quarter of a second's pause: buffers on the way hide it from who writes.
    for _ in 0..40 {
        thread::sleep(Duration::from_millis(250));
        taken += steady.read(&mut buffer).expect("it goes on");
    }
    loop {
        match steady.read(&mut buffer) {
            Ok(count) if count > 0 => taken += count,
            _ => break,
        }
        if taken >= 16_777_216 {
            break;
        }
    }
    assert!(taken > 16_777_216, "{taken} bytes: {}", sidecar.process.log());
    assert_eq!(sidecar.failures("slow-body"), 0);
}

#[test]
fn without_descriptors_nothing_spins_what_runs_goes_on_and_room_is_used_again() {
    let origin = Origin::start();
    let sidecar = Sidecar::start("faults-descriptors", "http1", origin.address);
    let mut running = connect(sidecar.address);
    ask(&mut running, "GET", "/10", "");
    assert_eq!(answer(&mut running), (200, 10));

    let id = sidecar.process.id().to_string();
    let open = std::fs::read_dir(format!("/proc/{id}/fd")).expect("it runs").count();
    let limit = format!("--nofile={0}:{0}", open + 8);
    let mut command = Command::new("prlimit");
    command.args(["--pid", &id, &limit]);
    run(command).expect("util-linux");

    let crowd: Vec<TcpStream> = (0..40).map(|_| connect(sidecar.address)).collect();
    let log = || sidecar.process.log();
    let told = wait_for(DEADLINE, || log().contains("raise the limit of open files").then_some(()));
    assert!(told.is_some(), "{}", log());
    let before = log().matches("raise the limit of open files").count();
    let begun = Instant::now();
    thread::sleep(Duration::from_secs(2));
    let tries = log().matches("raise the limit of open files").count() - before;
    let within = begun.elapsed();
    assert!(tries as f64 <= 20.0 * within.as_secs_f64(), "{tries} tries in {within:?}: it spins");
    ask(&mut running, "GET", "/20", "");
    assert_eq!(answer(&mut running), (200, 20), "what runs goes on");

    drop(crowd);
    assert_eq!(get(sidecar.address, "/1000"), (200, 1000), "{}", log());
    assert!(sidecar.failures("exhausted") > 0);
}

#[test]
fn near_its_bound_of_memory_a_sidecar_takes_nothing_new_and_lives() {
    let origin = Origin::start();
    let free = Sidecar::start_with("faults-memory-free", "http1", origin.address, &["--memory-max", "off"]);
    assert_eq!(get(free.address, "/1000"), (200, 1000));
    let resident = resident_kib(free.process.id()).expect("it runs");
    drop(free);

    // What such a process holds from the start is 97 % of it, or more.
    let bound = format!("{}MiB", resident * 100 / 97 / 1024);
    let mut short = Sidecar::start_with("faults-memory", "http1", origin.address, &["--memory-max", &bound]);
    let refused = wait_for(DEADLINE, || {
        let mut stream = connect(short.address);
        // A reset may come before we have asked.
        let asked = stream.write_all(b"GET /1000 HTTP/1.1\r\nhost: sc-b\r\n\r\n");
        let (status, _) = if asked.is_ok() { answer(&mut stream) } else { (0, 0) };
        (status == 503 || status == 0).then_some(())
    });
    assert!(refused.is_some(), "{bound}: {}", short.process.log());
    assert!(short.failures("memory") > 0, "it says so, and its status port answers: {}", short.process.log());
    assert!(short.process.ended().is_none());
}
