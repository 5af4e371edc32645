//! Floods of HTTP/2 frames that cost the sender next to nothing, each small and bounded: the sidecar lives, answers a second
//! client while the first still holds its connection, and grows by less than 8 MiB. No time is judged.
//!
//! The origin speaks both protocols, so each flood is led to HTTP/1.1 and to HTTP/2.

use std::path::Path;

use laneway_tests::process::Process;

use crate::alone::{free, start_echo};
use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, INITIAL_WINDOW_SIZE, Outcome, PING,
    PRIORITY, Peer, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, field, frame, get, string,
};
use crate::sidecar::Sidecar;

/// What a flood may cost the sidecar, KiB of anonymous memory (docs: 8 MiB for one connection).
const GROWTH_MAX_KIB: i64 = 8 << 10;
/// Lawful requests before the first look at the memory, so that what is made once is not taken for growth.
const WARMING: u32 = 200;
/// Streams that a client opens at a time: as many as a sidecar may allow, and more.
const STREAMS: u32 = 400;

#[test]
fn a_rapid_reset_is_borne() {
    let path = "/bytes/100000";
    check("reset", &[], |peer| {
        for stream in odd(2_000) {
            open(peer, stream, path, END_STREAM);
            drop(peer.send(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        }
    });
}

#[test]
fn continuations_without_an_end_are_borne() {
    let piece = block(&[field("x-a", "a".repeat(1000))]);
    check("continuation", &[], move |peer| {
        drop(peer.send(HEADERS, 0, 1, &block(&get("/"))));
        for _ in 0..4_000 {
            if peer.send(CONTINUATION, 0, 1, &piece).is_err() {
                break;
            }
        }
    });
}

#[test]
fn empty_continuations_are_borne() {
    check("continuation-empty", &[], |peer| {
        drop(peer.send(HEADERS, 0, 1, &block(&get("/"))));
        drop(peer.write(&frame(CONTINUATION, 0, 1, &[]).repeat(20_000)));
        drop(peer.send(CONTINUATION, END_HEADERS, 1, &[]));
    });
}

#[test]
fn empty_data_is_borne() {
    check("data-empty", &[], |peer| {
        open(peer, 1, "/echo", 0);
        drop(peer.write(&frame(DATA, 0, 1, &[]).repeat(20_000)));
    });
}

#[test]
fn settings_and_pings_whose_answers_nobody_reads_are_borne() {
    check("settings", &[], |peer| {
        let setting = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &65_535_u32.to_be_bytes()].concat();
        drop(peer.write(&frame(SETTINGS, 0, 0, &setting).repeat(5_000)));
    });
    check("ping", &[], |peer| drop(peer.write(&frame(PING, 0, 0, b"a flood!").repeat(5_000))));
}

#[test]
fn a_flood_of_what_brings_nothing_ends_its_connection_and_no_other() {
    for (kind, stream, payload) in
        [(PING, 0, &[0; 8][..]), (PRIORITY, 3, &[0, 0, 0, 0, 7]), (WINDOW_UPDATE, 0, &[0, 0, 0, 1])]
    {
        let origin = free();
        let sidecar = Sidecar::start("flood-calmed", "http1", origin);
        let mut echo = start_echo("B", "", origin, sidecar.directory());
        await_listening(&mut echo, origin);
        let mut peer = Peer::connect(sidecar.address, &[]);
        let flood = frame(kind, 0, stream, payload).repeat(1_000);
        // Six times what is borne; the sidecar may have hung up long before.
        let _ = (0..60).try_for_each(|_| peer.write(&flood));
        let tally = peer.settle();
        assert!(!tally.is_open, "kind {kind}: {tally:?}");
        assert_eq!(tally.goaway.unwrap_or(ENHANCE_YOUR_CALM), ENHANCE_YOUR_CALM, "kind {kind}");
        assert_eq!(sidecar.failures("http2-flood"), 1, "kind {kind}: {}", sidecar.process.log());
        assert_eq!(ask(&sidecar), Outcome::Answer(200), "kind {kind}");
    }
}

#[test]
fn answers_that_nobody_takes_are_borne() {
    check("window", &[(INITIAL_WINDOW_SIZE, 0)], |peer| {
        for stream in odd(STREAMS) {
            open(peer, stream, "/bytes/1000000", END_STREAM);
        }
    });
}

/// One entry of the dynamic table, and a byte for each time that it is meant.
#[test]
fn a_header_bomb_is_borne() {
    for (label, settings) in [("bomb", &[][..]), ("bomb-window", &[(INITIAL_WINDOW_SIZE, 0)])] {
        check(label, settings, |peer| {
            let mut entry = block(&get("/bytes/100000"));
            entry.push(0x40);
            string(&mut entry, b"cookie");
            string(&mut entry, &[b'a'; 3_900]);
            drop(peer.send(HEADERS, END_HEADERS | END_STREAM, 1, &entry));
            let mut bomb = block(&get("/bytes/100000"));
            // Index 62: the newest entry of the dynamic table (RFC 7541 section 2.3.3).
            bomb.resize(bomb.len() + 16_000, 0x80 | 62);
            for stream in odd(STREAMS).skip(1) {
                drop(peer.send(HEADERS, END_HEADERS | END_STREAM, stream, &bomb));
            }
        });
    }
}

/// Crumbs of no bytes: within a limit of bytes, and many. Alone, and with answers that are held.
#[test]
fn empty_cookie_crumbs_are_borne() {
    for (label, path) in [("crumbs", "/bytes/100"), ("crumbs-window", "/bytes/100000")] {
        check(label, &[(INITIAL_WINDOW_SIZE, 0)], |peer| {
            let mut entry = block(&get(path));
            entry.push(0x40);
            string(&mut entry, b"cookie");
            string(&mut entry, b"");
            drop(peer.send(HEADERS, END_HEADERS | END_STREAM, 1, &entry));
            let mut crumbs = block(&get(path));
            crumbs.resize(crumbs.len() + 1_500, 0x80 | 62);
            for stream in odd(STREAMS).skip(1) {
                drop(peer.send(HEADERS, END_HEADERS | END_STREAM, stream, &crumbs));
            }
        });
    }
}

fn check(label: &str, settings: &[(u16, u32)], flood: impl Fn(&mut Peer)) {
    let faults: Vec<_> =
        ["http1", "http2"].iter().flat_map(|protocol| faults(label, protocol, settings, &flood)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[allow(clippy::print_stdout, reason = "the figures, for who asks with --nocapture")]
fn faults(label: &str, protocol: &str, settings: &[(u16, u32)], flood: impl Fn(&mut Peer)) -> Vec<String> {
    let label = format!("flood-{label}-{protocol}");
    let origin = free();
    let mut sidecar = Sidecar::start(&label, protocol, origin);
    let mut echo = start_echo("B", "", origin, sidecar.directory());
    await_listening(&mut echo, origin);
    warm(&sidecar);
    let before = anonymous_kib(sidecar.process.id());

    let mut peer = Peer::connect(sidecar.address, settings);
    flood(&mut peer);
    let tally = peer.settle();
    let second = ask(&sidecar);
    let growth = anonymous_kib(sidecar.process.id()) - before;
    drop(peer);
    let third = ask(&sidecar);
    println!("{label}: {growth} KiB, {tally:?}");

    let log = sidecar.process.log();
    [
        (second != Outcome::Answer(200), format!("{label}: a second client gets {second:?}")),
        (third != Outcome::Answer(200), format!("{label}: with the first client gone, another gets {third:?}")),
        (growth >= GROWTH_MAX_KIB, format!("{label}: {growth} KiB more")),
        (sidecar.process.ended().is_some() || log.contains("panicked"), format!("{label}: {log}")),
    ]
    .into_iter()
    .filter_map(|(is_fault, words)| is_fault.then_some(words))
    .collect()
}

fn await_listening(echo: &mut Process, at: std::net::SocketAddr) {
    let listens = || std::net::TcpStream::connect(at).is_ok();
    echo.wait_until(std::time::Duration::from_secs(10), "listening", listens).expect("it listens");
}

fn warm(sidecar: &Sidecar) {
    let mut peer = Peer::connect(sidecar.address, &[]);
    for stream in odd(WARMING) {
        open(&mut peer, stream, "/bytes/100", END_STREAM);
        let outcome = peer.outcome(stream);
        assert!(matches!(outcome, Outcome::Answer(_)), "{outcome:?}: {}", sidecar.process.log());
    }
}

/// A second client, with a connection of its own.
fn ask(sidecar: &Sidecar) -> Outcome {
    let mut peer = Peer::connect(sidecar.address, &[]);
    open(&mut peer, 1, "/bytes/100", END_STREAM);
    peer.outcome(1)
}

fn open(peer: &mut Peer, stream: u32, path: &str, flags: u8) {
    drop(peer.send(HEADERS, END_HEADERS | flags, stream, &block(&get(path))));
}

/// Numbers of this many streams of a client.
fn odd(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|stream| 2 * stream + 1)
}

/// Memory of a process that no file is behind, KiB.
fn anonymous_kib(process: u32) -> i64 {
    let status = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status"));
    let status = status.expect("the sidecar lives");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux 4.5 or later");
    line.trim().trim_end_matches(" kB").parse().expect("a number of kB")
}
