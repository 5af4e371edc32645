//! What a sidecar tells of its traffic: by lane, within its bounds, at no cost to that traffic.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use laneway_tests::process::{Process, Scratch, program, skip, wait_for};

use crate::alone::{free, start_echo};

const DEADLINE: Duration = Duration::from_secs(30);

/// A sidecar of service `a` in front of `b`, baseline and gray, with a port whose bytes are not read.
struct Rig {
    outbound: SocketAddr,
    inbound: SocketAddr,
    status: SocketAddr,
    proxy: Process,
    _echoes: [Process; 3],
    scratch: Scratch,
}

impl Rig {
    fn start(label: &str, flags: &[&str]) -> Self {
        let scratch = Scratch::new(label).expect("a directory");
        let [base, gray, own, outbound, inbound, status, admin] = std::array::from_fn(|_| free());
        let echo = |name: &str, tag: &str, at| start_echo(name, tag, at, scratch.path());
        let echoes = [echo("B", "", base), echo("B", "gray", gray), echo("A", "own", own)];
        let file = scratch.path().join("resources.yaml");
        let text = format!(
            "kind: Lane\nname: gray\n---\n\
             kind: Service\nname: b\nhosts: [sc-b]\nports: [{{port: 80, name: http}}]\nendpoints:\n\
             - {{address: '{base}', portName: http}}\n- {{address: '{gray}', portName: http, tag: gray}}\n---\n\
             kind: Proxy\nservice: a\nlisteners:\n- {{address: '{outbound}', direction: outbound, defaultService: b}}\n\
             - {{address: '{inbound}', direction: inbound, forwardTo: '{own}'}}\n"
        );
        std::fs::write(&file, text).expect("the directory is ours");
        let mut proxy = start_proxy(&file, status, admin, flags, scratch.path());
        // Its outbound listener last: that is looked at once, and the look is counted.
        let listens = || [base, gray, own, status, inbound, outbound].iter().all(|at| TcpStream::connect(at).is_ok());
        proxy.wait_until(DEADLINE, "listening", listens).expect("it listens");
        Self { outbound, inbound, status, proxy, _echoes: echoes, scratch }
    }

    fn directory(&self) -> &Path {
        self.scratch.path()
    }

    fn page(&self) -> String {
        let answer = ask(&mut TcpStream::connect(self.status).expect("the status port"), "/metrics", "");
        answer.split_once("\r\n\r\n").expect("a head").1.to_owned()
    }

    /// Sum of the samples of a metric whose labels have all of these.
    fn count(&self, metric: &str, labels: &[&str]) -> u64 {
        count(&self.page(), metric, labels)
    }

    fn await_count(&self, metric: &str, labels: &[&str], wanted: u64) {
        let reached = wait_for(DEADLINE, || (self.count(metric, labels) == wanted).then_some(()));
        assert!(reached.is_some(), "{metric}{labels:?} is not {wanted}:\n{}", self.page());
    }

    /// Kilobytes that the sidecar has in memory.
    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.proxy.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

fn start_proxy(file: &Path, status: SocketAddr, admin: SocketAddr, flags: &[&str], directory: &Path) -> Process {
    let mut command = Command::new(program("laneway-proxy").expect("it is built"));
    command.arg("--resources").arg(file).args(["--status", &status.to_string(), "--admin", &admin.to_string()]);
    command.args(flags);
    Process::start("sidecar", command, &directory.join("proxy.log")).expect("it starts")
}

fn count(page: &str, metric: &str, labels: &[&str]) -> u64 {
    let samples = page.lines().filter_map(|line| line.strip_prefix(metric)?.strip_prefix('{')?.rsplit_once(' '));
    let matching = samples.filter(|(all, _)| labels.iter().all(|label| all.contains(label)));
    matching.map(|(_, value)| value.parse::<u64>().expect("a count")).sum()
}

fn series(page: &str) -> usize {
    page.lines().filter(|line| !line.starts_with('#')).count()
}

/// One request on a connection that stays, and its answer, whole.
fn ask(stream: &mut TcpStream, target: &str, headers: &str) -> String {
    stream.set_read_timeout(Some(DEADLINE)).expect("a time");
    let request = format!("GET {target} HTTP/1.1\r\nhost: sc-b\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("the sidecar reads");
    let (mut heard, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let text = String::from_utf8_lossy(&heard).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase();
            let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if body.len() >= length.expect("the answer has a length") {
                return text;
            }
        }
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => heard.extend_from_slice(&buffer[..count]),
            other => panic!("{other:?} after {text:?}"),
        }
    }
}

#[test]
fn requests_are_counted_by_lane_on_both_sides_and_under_istios_names() {
    let rig = Rig::start("metrics", &["--metrics-compat", "istio"]);
    let mut client = TcpStream::connect(rig.outbound).expect("it listens");
    for _ in 0..5 {
        ask(&mut client, "/", "x-mse-tag: gray\r\n");
    }
    ask(&mut client, "/", "");
    ask(&mut client, "/", "x-mse-tag: nobody-has-it\r\n");
    let mut peer = TcpStream::connect(rig.inbound).expect("it listens");
    for _ in 0..3 {
        ask(&mut peer, "/", "x-mse-tag: gray\r\n");
    }
    let requests = "laneway_requests_total";
    rig.await_count(requests, &[], 10);
    let outbound =
        ["direction=\"outbound\"", "service=\"a\"", "peer_service=\"b\"", "protocol=\"http1\"", "code=\"200\""];
    let with = |more: &[&'static str]| [outbound.as_slice(), more].concat();
    for (more, wanted) in [
        (["lane=\"gray\"", "peer_tag=\"gray\"", "why=\"hit\"", "source=\"carried\""].as_slice(), 5),
        (&["lane=\"baseline\"", "peer_tag=\"baseline\"", "why=\"baseline\"", "source=\"none\""], 1),
        (&["lane=\"other\"", "peer_tag=\"baseline\"", "why=\"fallback_absent\""], 1),
    ] {
        assert_eq!(rig.count(requests, &with(more)), wanted, "{more:?} in\n{}", rig.page());
    }
    assert_eq!(rig.count(requests, &["direction=\"inbound\"", "lane=\"gray\"", "peer_service=\"unknown\""]), 3);
    let duration = "laneway_request_duration_seconds_count";
    assert_eq!(rig.count(duration, &["direction=\"outbound\"", "lane=\"gray\"", "peer_service=\"b\""]), 5);
    assert!(rig.count("laneway_response_bytes_total", &["lane=\"gray\"", "direction=\"outbound\""]) > 0);
    assert_eq!(rig.count("laneway_tag_source_total", &["direction=\"outbound\"", "source=\"carried\""]), 6);
    assert_eq!(rig.count("laneway_endpoints", &["service=\"b\"", "tag=\"gray\"", "state=\"ready\""]), 1);
    assert_eq!(rig.count("laneway_config_info", &["type=\"Lane\""]), 1);
    let istio = ["reporter=\"source\"", "destination_service_name=\"b\"", "destination_version=\"gray\""];
    assert_eq!(rig.count("istio_requests_total", &istio), 5);
    assert_eq!(rig.count("istio_request_duration_milliseconds_count", &istio), 5);
    assert_eq!(rig.count("istio_requests_total", &["reporter=\"destination\"", "destination_workload=\"a\""]), 3);
}

#[test]
fn bytes_that_are_not_read_are_counted_as_they_come() {
    let rig = Rig::start("opaque", &["--detect-timeout", "5s"]);
    let labels = ["direction=\"outbound\"", "peer_service=\"b\"", "lane=\"baseline\""];
    // The rig's look whether it listens was a connection without a byte, and is over.
    rig.await_count("laneway_tcp_connections_closed_total", &labels, 1);
    let mut client = TcpStream::connect(rig.outbound).expect("it listens");
    client.write_all(b"\x16\x03\x01 no HTTP is this").expect("it reads");
    rig.await_count("laneway_tcp_connections_opened_total", &labels, 2);
    rig.await_count("laneway_tcp_sent_bytes_total", &labels, 19);
    drop(client);
    rig.await_count("laneway_tcp_connections_closed_total", &labels, 2);
    assert_eq!(rig.count("laneway_requests_total", &[]), 0, "it was no request");
}

#[test]
fn ten_thousand_tags_of_clients_make_no_series_and_take_no_memory() {
    let rig = Rig::start("cardinality", &[]);
    let mut client = TcpStream::connect(rig.outbound).expect("it listens");
    let mut call = |round: u32, count: u32| {
        for number in 0..count {
            // Spread over the grammar, so that no prefix is shared.
            let tag = format!("{:x}-{round}", u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            ask(&mut client, "/", &format!("x-mse-tag: {tag}\r\n"));
        }
    };
    call(0, 1_000);
    rig.await_count("laneway_requests_total", &["lane=\"other\""], 1_000);
    let (before, resident_before) = (series(&rig.page()), rig.resident_kib());
    call(1, 10_000);
    rig.await_count("laneway_requests_total", &["lane=\"other\""], 11_000);
    let (after, resident_after) = (series(&rig.page()), rig.resident_kib());
    assert_eq!(after, before, "{}", rig.page());
    assert!(resident_after < resident_before + 2048, "{resident_before} KiB became {resident_after} KiB");
    eprintln!("series {before} then {after}; resident {resident_before} KiB then {resident_after} KiB");
}

/// What sends and receives.
const CALLS: [&str; 8] = ["read", "write", "readv", "writev", "recvfrom", "sendto", "recvmsg", "sendmsg"];

/// How often the thread that carries the traffic sends or receives while something is done, as strace counts it. How often it waits
/// and looks at the clock is the machine's affair.
fn worker_calls(rig: &Rig, label: &str, work: impl FnOnce()) -> u64 {
    let tasks = format!("/proc/{}/task", rig.proxy.id());
    let threads = std::fs::read_dir(&tasks).expect("it runs").filter_map(Result::ok);
    let named = |thread: &Path| std::fs::read_to_string(thread.join("comm")).unwrap_or_default().trim() == "worker-0";
    let worker = threads.map(|thread| thread.path()).find(|thread| named(thread)).expect("it has a worker");
    let table = rig.directory().join(format!("{label}.strace"));
    let mut command = Command::new("strace");
    command.args(["-c", "-o"]).arg(&table).arg("-p").arg(worker.file_name().expect("a number"));
    let mut strace = Process::start("strace", command, &rig.directory().join("strace.log")).expect("it starts");
    let is_traced = || {
        let status = std::fs::read_to_string(worker.join("status")).unwrap_or_default();
        status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|id| id.trim() != "0"))
    };
    strace.wait_until(DEADLINE, "tracing", is_traced).expect("it attaches");
    work();
    strace.terminate();
    strace.wait(DEADLINE).expect("it ends");
    // % time, seconds, microseconds a call, calls, errors if any, name
    let text = std::fs::read_to_string(&table).expect("strace writes its table");
    let counts = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let counts = counts.filter(|cells| cells.len() >= 5 && cells.last().is_some_and(|name| CALLS.contains(name)));
    let total: u64 = counts.filter_map(|cells| cells[3].parse::<u64>().ok()).sum();
    assert!(total > 0, "{text}");
    total
}

#[test]
fn fifty_scrapers_that_never_read_hurt_nobody() {
    if Command::new("strace").arg("-V").output().is_err() {
        skip("fifty_scrapers_that_never_read_hurt_nobody", "it needs strace (./x test installs it)");
        return;
    }
    const REQUESTS: u64 = 1_000;
    let rig = Rig::start("scrapers", &[]);
    let mut client = TcpStream::connect(rig.outbound).expect("it listens");
    let mut call = |requests: u64| {
        for _ in 0..requests {
            let answer = ask(&mut client, "/", "x-mse-tag: gray\r\n");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    };
    call(200);
    let alone = worker_calls(&rig, "alone", || call(REQUESTS));
    let page_kib = rig.page().len() as u64 / 1024 + 1;
    let before = rig.resident_kib();
    let scrapers: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut scraper = TcpStream::connect(rig.status).expect("there is room");
            // As many as fit: answers are made one after the other, each when the one before it was taken.
            for _ in 0..100 {
                scraper.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").expect("the request fits");
            }
            scraper
        })
        .collect();
    let beside = worker_calls(&rig, "beside", || call(REQUESTS));
    let after = rig.resident_kib();
    // A page for each, and what its connection needs; hyper grows its buffer by doubling.
    let bound = before + 50 * (2 * page_kib + 64);
    assert!(after < bound, "{before} KiB became {after} KiB with pages of {page_kib} KiB");
    // A fiftieth is for what comes in two pieces.
    assert!(beside <= alone + alone / 50, "{alone} times the worker sent or received became {beside}");
    eprintln!(
        "page {page_kib} KiB; resident {before} KiB, with 50 scrapers {after} KiB; {} and {} sends and receives of the worker a request",
        alone as f64 / REQUESTS as f64,
        beside as f64 / REQUESTS as f64
    );
    drop(scrapers);
}
