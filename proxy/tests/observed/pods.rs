//! Pods: an application that forwards trace and lane headers, and a sidecar of the program that was built with this test.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Generous: the machine may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// What the applications hand from a request to their call, as an instrumented one would.
const FORWARDED: [&str; 4] = ["traceparent", "tracestate", "baggage", "x-mse-tag"];

pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "{what}: not in {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port that is free now.
pub(crate) fn free() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("it is bound")
}

/// The whole answer to one request, over a connection of its own.
pub(crate) fn ask(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
    write!(stream, "{head}connection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

pub(crate) fn get(address: SocketAddr, target: &str, headers: &str) -> String {
    ask(address, &format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n{headers}"))
}

/// A sidecar and its application.
pub(crate) struct Pod {
    pub(crate) inbound: SocketAddr,
    pub(crate) outbound: SocketAddr,
    pub(crate) status: SocketAddr,
    sidecar: Child,
    scratch: PathBuf,
}

impl Drop for Pod {
    fn drop(&mut self) {
        // It fails only if the child has ended.
        let _ = self.sidecar.kill();
        let _ = self.sidecar.wait();
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

impl Pod {
    pub(crate) fn sidecar(&mut self) -> &mut Child {
        &mut self.sidecar
    }

    /// The value of a metric; 0: it is not there.
    pub(crate) fn metric(&self, series: &str) -> u64 {
        let page = get(self.status, "/metrics", "");
        let value = page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
        value.unwrap_or(0)
    }
}

/// Pods of services `a`, `b`, `c`, .., each calling the next, with these flags for every sidecar.
pub(crate) fn chain(label: &str, length: usize, flags: &[&str]) -> Vec<Pod> {
    let names = ["a", "b", "c"];
    let places: Vec<_> = (0..length).map(|_| (free(), free(), free())).collect();
    let mut documents = "kind: Lane\nname: gray\n".to_owned();
    for (name, (inbound, ..)) in names.iter().zip(&places) {
        let _ = write!(
            documents,
            "---\nkind: Service\nname: {name}\nhosts: [sc-{name}]\nports: [{{port: 80, name: http}}]\n\
             endpoints: [{{address: '{inbound}', portName: http}}]\n"
        );
    }
    let pod = |(index, (inbound, outbound, status)): (usize, &(SocketAddr, SocketAddr, SocketAddr))| {
        let next = (index + 1 < length).then(|| (*outbound, names[index + 1]));
        let application = application(next);
        let scratch = std::env::temp_dir().join(format!("laneway-{label}-{}-{index}", std::process::id()));
        fs::create_dir_all(&scratch).expect("a directory");
        let resources = scratch.join("resources.yaml");
        fs::write(&resources, &documents).expect("the directory is ours");
        let mut command = Command::new(env!("CARGO_BIN_EXE_laneway-proxy"));
        command.arg("--resources").arg(&resources).args(["--service", names[index], "--pod-ip", "127.0.0.1"]);
        command.args(["--listen", &format!("inbound={inbound},forward={application}")]);
        command.args(["--listen", &format!("outbound={outbound}")]);
        command.args(["--status", &status.to_string(), "--admin", &free().to_string(), "--drain-min", "0s"]);
        command.args(flags).stdin(Stdio::null()).stdout(Stdio::piped());
        let sidecar = command.spawn().expect("it was built");
        let pod = Pod { inbound: *inbound, outbound: *outbound, status: *status, sidecar, scratch };
        wait_until("ready", || TcpStream::connect(pod.inbound).is_ok() && TcpStream::connect(pod.status).is_ok());
        pod
    };
    places.iter().enumerate().map(pod).collect()
}

/// Answers every request, after it has called the next service if there is one.
fn application(next: Option<(SocketAddr, &'static str)>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(&stream, next));
        }
    });
    address
}

/// One connection to its end. Returns when the client has gone.
fn serve(stream: &TcpStream, next: Option<(SocketAddr, &str)>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let mut forwarded = String::new();
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        let status = if line.contains("/broken") { 500 } else { 200 };
        loop {
            line.clear();
            reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
            if line == "\r\n" {
                break;
            }
            let name = line.split(':').next().unwrap_or("").to_ascii_lowercase();
            if FORWARDED.contains(&name.as_str()) {
                forwarded.push_str(&line);
            }
        }
        let body = match next {
            Some((outbound, service)) => {
                let head = format!("GET /next?token=secret HTTP/1.1\r\nhost: sc-{service}\r\n{forwarded}");
                let answer = ask(outbound, &head);
                answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())
            }
            None => "end".to_owned(),
        };
        let length = body.len();
        write!(writer, "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}").ok()?;
    }
}
