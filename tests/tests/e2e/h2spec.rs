//! h2spec, the conformance suite of HTTP/2, in strict mode against a listener of the sidecar. `./x h2spec` runs this alone.
//!
//! The origin is lawful and answers a request only when it has ended. Many cases send a request's head and then, by a second
//! write, what must be refused; an origin that answers the head alone would race it, and the case would fail by chance.
//! One case, the invalid preface, is about the origin: the sidecar carries what is not HTTP byte for byte.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use laneway_tests::process::skip;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::sidecar::Sidecar;

/// Cases that must pass. Release 2.6.0 has 147, of which a lawful server may leave one skipped; 2.2.1 has 146.
const PASSED_MIN: usize = 146;
/// Longest wait of h2spec for one frame, seconds: far more than an answer takes, because a late one is a failed case.
const FRAME_TIMEOUT_SECONDS: &str = "5";

#[test]
#[allow(clippy::print_stdout, reason = "the figures, for `./x h2spec`")]
fn h2spec_in_strict_mode_finds_no_fault() {
    let Some(tool) = tool() else {
        return skip("h2spec", "the program h2spec is not there: `./x h2spec` builds it");
    };
    let sidecar = Sidecar::start("h2spec", "http2", serve());
    let report = sidecar.directory().join("report.txt");
    let file = std::fs::File::create(&report).expect("the directory is ours");
    let mut command = Command::new(tool);
    command.args(["--strict", "--timeout", FRAME_TIMEOUT_SECONDS]);
    command.args(["--host", &sidecar.address.ip().to_string(), "--port", &sidecar.address.port().to_string()]);
    // Its status says only whether a case failed; the report says which.
    let ran = command.stdout(file).status().expect("h2spec starts");
    let report = std::fs::read_to_string(&report).expect("it wrote its report");

    let figures = Figures::read(&report).unwrap_or_else(|| panic!("no figures in the report ({ran}):\n{report}"));
    println!("{}", figures.summary);
    let faults = report.split_once("\nFailures:").map_or("", |(_, faults)| faults);
    let skipped = skipped(&report).join("\n");
    if !skipped.is_empty() {
        println!("skipped:\n{skipped}");
    }
    assert_eq!(figures.failed, 0, "{faults}\n{}", sidecar.process.log());
    assert!(figures.passed >= PASSED_MIN, "{}\n{skipped}", figures.summary);
}

/// The last line of a report: `146 tests, 145 passed, 0 skipped, 1 failed`.
struct Figures {
    summary: String,
    passed: usize,
    failed: usize,
}

impl Figures {
    fn read(report: &str) -> Option<Self> {
        let summary = report.lines().rev().find(|line| line.contains(" tests, "))?.trim();
        let figure = |word: &str| summary.split(", ").find_map(|part| part.strip_suffix(word))?.trim().parse().ok();
        Some(Self { summary: summary.to_owned(), passed: figure("passed")?, failed: figure("failed")? })
    }
}

/// Cases that were skipped. A case is first written as `1: Sends ...` and over that, behind a carriage return, with its mark;
/// one that was skipped gets none.
fn skipped(report: &str) -> Vec<&str> {
    let cases = report.lines().map(|line| line.rsplit('\r').next().unwrap_or(line).trim());
    let is_unmarked = |case: &&str| case.split_once(": ").is_some_and(|(number, _)| number.parse::<usize>().is_ok());
    cases.filter(is_unmarked).collect()
}

/// Where `./x` puts it, else where the shell would find it.
fn tool() -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::iter::once(own).chain(std::env::split_paths(&path));
    places.find_map(|place| place.join("h2spec").canonicalize().ok())
}

/// An HTTP/2 origin on a thread of its own, which ends with the test.
pub(crate) fn serve() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    listener.set_nonblocking(true).expect("it is a socket");
    let address = listener.local_addr().expect("it is bound");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    thread::spawn(move || {
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).expect("it is a listener");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve_one(stream));
            }
        });
    });
    address
}

/// Ends orderly: a close before all was read resets the connection, the sidecar passes the reset on, and this h2spec takes a reset for
/// no end.
async fn serve_one(mut stream: TcpStream) {
    let serving = http2::Builder::new(TokioExecutor::new());
    let _ = serving.serve_connection(TokioIo::new(&mut stream), service_fn(answer)).await;
    if stream.shutdown().await.is_ok() {
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    // A body that breaks off leaves a stream on which no answer arrives.
    let _ = body.collect().await;
    // hyper would send the body of an answer to HEAD.
    let body = if head.method == Method::HEAD { "" } else { "answer" };
    Ok(Response::new(Full::from(body)))
}
