//! Hooks against ports that answer as they are told to.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use super::{Hook, HookError, reachable, run};

const SOON: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(60);

/// Answers one request after the other, each with status and body, and then nobody any more.
fn answering(answers: &[(u16, &str)]) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    let answers: Vec<_> = answers.iter().map(|(code, body)| (*code, (*body).to_owned())).collect();
    thread::spawn(move || {
        for (code, body) in answers {
            let (mut stream, _) = listener.accept().expect("somebody asks");
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                head.push(byte[0]);
            }
            let length = body.len();
            write!(stream, "HTTP/1.1 {code} Word\r\ncontent-length: {length}\r\n\r\n{body}").expect("it reads");
        }
    });
    address
}

fn nobody() -> SocketAddr {
    answering(&[])
}

#[test]
fn wait_returns_with_what_the_sidecar_says_when_it_is_ready() {
    let status =
        answering(&[(503, "starting: waiting\n"), (503, "starting: waiting\n"), (200, "degraded: baseline\n")]);
    let said = run(Hook::Wait { status, timeout: LONG }).expect("it gets ready");
    assert_eq!(said, "degraded: baseline");
}

#[test]
fn wait_tells_what_it_last_heard() {
    let starting = vec![(503, "starting: waiting for the configuration\n"); 100];
    let error = run(Hook::Wait { status: answering(&starting), timeout: SOON }).expect_err("it does not get ready");
    assert!(error.to_string().contains("answers 503, starting: waiting for the configuration"), "{error}");
    let error = run(Hook::Wait { status: nobody(), timeout: SOON }).expect_err("nobody is there");
    assert!(error.to_string().contains("does not answer") && error.to_string().contains("--status"), "{error}");
}

#[test]
fn announce_returns_as_soon_as_it_is_said() {
    run(Hook::Announce { admin: answering(&[(202, "{}")]) }).expect("it is taken");
    let error = run(Hook::Announce { admin: answering(&[(404, "{}")]) }).expect_err("an older sidecar");
    assert!(error.to_string().contains("answers 404"), "{error}");
    let error = run(Hook::Announce { admin: nobody() }).expect_err("nobody is there");
    assert!(error.to_string().contains("--admin"), "{error}");
}

#[test]
fn drain_returns_when_the_process_is_gone_or_another_one() {
    let (one, two) = (r#"{"pid": 1}"#, r#"{"pid": 2}"#);
    for answers in [&[(200, one), (202, "{}"), (200, one)][..], &[(200, one), (202, "{}"), (200, one), (200, two)]] {
        let said = run(Hook::Drain { admin: answering(answers), timeout: LONG }).expect("it drains");
        assert!(said.contains("process 1 "), "{said}");
    }
}

#[test]
fn drain_tells_why_not() {
    let error = run(Hook::Drain { admin: nobody(), timeout: SOON }).expect_err("nobody is there");
    assert!(matches!(&error, HookError::Nobody { .. }) && error.to_string().contains("--admin"), "{error}");
    let error = run(Hook::Drain { admin: answering(&[(200, "hello")]), timeout: SOON }).expect_err("no sidecar");
    assert!(error.to_string().contains("as no sidecar does"), "{error}");
    let mut for_ever = vec![(200, r#"{"pid": 7}"#), (202, "{}")];
    for_ever.resize(100, (200, r#"{"pid": 7}"#));
    let error = run(Hook::Drain { admin: answering(&for_ever), timeout: SOON }).expect_err("it does not end");
    assert!(error.to_string().contains("process 7 still runs"), "{error}");
}

#[test]
fn who_listens_everywhere_is_asked_on_loopback() {
    let at = |text: &str| reachable(text.parse().expect("an address")).to_string();
    assert_eq!(at("[::]:15421"), "127.0.0.1:15421");
    assert_eq!(at("0.0.0.0:15421"), "127.0.0.1:15421");
    assert_eq!(at("[::1]:15400"), "[::1]:15400");
}
