//! An instance of a service as a test wants it: it answers with its name, fails, is silent, goes away in good order and comes back.
//! And one sidecar before such instances, and a client that counts.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use laneway_tests::process::{Process, Scratch, program, wait_for};

use crate::alone::free;

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// So often an instance looks whether it is to end.
const LOOK: Duration = Duration::from_millis(5);
/// So long the other side of a connection has for its own end.
const END_PAUSE: Duration = Duration::from_millis(20);

/// HTTP/1.1 over kept connections. `/silent` is never answered, `/slow` after half a second, `/stream` has no end.
pub(crate) struct Instance {
    name: String,
    pub(crate) address: SocketAddr,
    status: Arc<AtomicU16>,
    heard: Arc<AtomicUsize>,
    running: Option<Running>,
}

struct Running {
    stop: Arc<AtomicBool>,
    accepting: JoinHandle<()>,
    connections: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Instance {
    pub(crate) fn start(name: &str) -> Instance {
        Instance::start_at(name, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// At an address that is not this pod's own, as 127.0.0.1 is: only another's can go away.
    pub(crate) fn start_at(name: &str, address: SocketAddr) -> Instance {
        let listener = TcpListener::bind(address).expect("the address is free");
        let address = listener.local_addr().expect("it is bound");
        let mut instance = Instance {
            name: name.to_owned(),
            address,
            status: Arc::new(AtomicU16::new(200)),
            heard: Arc::default(),
            running: None,
        };
        instance.run(listener);
        instance
    }

    /// What it answers from now on.
    pub(crate) fn says(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// Requests that reached it, answered or not.
    pub(crate) fn heard(&self) -> usize {
        self.heard.load(Ordering::Relaxed)
    }

    /// Ends as a good server does: takes no connection, finishes what runs, closes what rests.
    pub(crate) fn stop(&mut self) {
        let Some(Running { stop, accepting, connections }) = self.running.take() else { return };
        stop.store(true, Ordering::Release);
        accepting.join().expect("it does not panic");
        for connection in std::mem::take(&mut *connections.lock().expect("no panic holds it")) {
            connection.join().expect("it does not panic");
        }
    }

    /// Comes back where it was.
    pub(crate) fn start_again(&mut self) {
        let listener = wait_for(DEADLINE, || TcpListener::bind(self.address).ok()).expect("its address is free again");
        self.run(listener);
    }

    fn run(&mut self, listener: TcpListener) {
        listener.set_nonblocking(true).expect("a socket");
        let stop = Arc::<AtomicBool>::default();
        let connections = Arc::<Mutex<Vec<JoinHandle<()>>>>::default();
        let (name, status, count) = (self.name.clone(), Arc::clone(&self.status), Arc::clone(&self.heard));
        let accepting = thread::spawn({
            let (stop, connections) = (Arc::clone(&stop), Arc::clone(&connections));
            move || {
                while !stop.load(Ordering::Acquire) {
                    let Ok((stream, _)) = listener.accept() else {
                        thread::sleep(LOOK);
                        continue;
                    };
                    let (name, status, count, stop) =
                        (name.clone(), Arc::clone(&status), Arc::clone(&count), Arc::clone(&stop));
                    let serving = thread::spawn(move || serve(stream, &name, &status, &count, &stop));
                    let mut connections = connections.lock().expect("no panic holds it");
                    connections.retain(|connection| !connection.is_finished());
                    connections.push(serving);
                }
                // What the kernel took and nobody accepted is served too, as closing the listener would reset it; and from here on
                // it takes nobody: a filter that drops whatever asks for a connection.
                const RETURN: u16 = 0x06;
                let nothing = socket2::SockFilter::new(RETURN, 0, 0, 0);
                socket2::SockRef::from(&listener).attach_filter(&[nothing]).expect("a filter is taken");
                while let Ok((stream, _)) = listener.accept() {
                    serve(stream, &name, &status, &count, &stop);
                }
            }
        });
        self.running = Some(Running { stop, accepting, connections });
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(Running { stop, .. }) = self.running.take() {
            stop.store(true, Ordering::Release);
        }
    }
}

fn serve(mut stream: TcpStream, name: &str, status: &AtomicU16, count: &AtomicUsize, stop: &AtomicBool) {
    stream.set_nonblocking(false).expect("a socket");
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(LOOK)).expect("a time");
    let mut heard = Vec::new();
    let mut rests = 0;
    let mut is_deaf = false;
    loop {
        while let Some((path, bytes)) = whole_request(&heard) {
            heard.drain(..bytes);
            count.fetch_add(1, Ordering::Relaxed);
            match path.as_str() {
                "/silent" => return wait_for_stop(stop),
                "/stream" => {
                    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n";
                    let _ = stream.write_all(head);
                    return wait_for_stop(stop);
                }
                "/slow" => thread::sleep(Duration::from_millis(500)),
                _ => {}
            }
            let status = status.load(Ordering::Relaxed);
            let is_last = stop.load(Ordering::Acquire);
            let closes = if is_last { "connection: close\r\n" } else { "" };
            let length = name.len();
            let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\n{closes}\r\n{name}");
            // The last answer and the end leave together: nothing is taken that nobody will read.
            socket2::SockRef::from(&stream).set_tcp_cork(is_last).expect("a socket");
            let is_over = stream.write_all(answer.as_bytes()).is_err() || is_last;
            if is_over && is_deaf {
                return hang_up(&stream);
            }
            if is_over {
                return;
            }
            rests = 0;
        }
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => heard.extend_from_slice(&bytes[..count]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                rests += 1;
                // One look more than one: what was on its way when it was told to end is here by then.
                if is_deaf {
                    return hang_up(&stream);
                }
                if stop.load(Ordering::Acquire) && heard.is_empty() && rests > 2 {
                    // What came behind that look is heard by the next one, and what comes from here on is nobody's.
                    take_nothing_more(&stream);
                    is_deaf = true;
                }
            }
            Err(_) => return,
        }
    }
}

/// From here on no byte that comes over this connection is acknowledged, so that its sender knows that nobody has it. What is sent is
/// delivered as ever, and so is the sender's end: only segments with a payload are dropped.
pub(crate) fn take_nothing_more(stream: &TcpStream) {
    // Classic BPF over a segment from its TCP header on.
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const SHIFT_RIGHT: u16 = 0x74;
    const TO_INDEX: u16 = 0x07;
    const LOAD_LENGTH: u16 = 0x80;
    const JUMP_IF_GREATER_THAN_INDEX: u16 = 0x2d;
    const RETURN: u16 = 0x06;
    let step = socket2::SockFilter::new;
    let filter = [
        // Words of the header, in the upper half of byte 12; four bytes each.
        step(LOAD_BYTE, 0, 0, 12),
        step(AND, 0, 0, 0xf0),
        step(SHIFT_RIGHT, 0, 0, 2),
        step(TO_INDEX, 0, 0, 0),
        step(LOAD_LENGTH, 0, 0, 0),
        step(JUMP_IF_GREATER_THAN_INDEX, 0, 1, 0),
        step(RETURN, 0, 0, 0),
        step(RETURN, 0, 0, u32::MAX),
    ];
    socket2::SockRef::from(stream).attach_filter(&filter).expect("a filter is taken");
}

/// Ends a connection that takes nothing any more. Whoever had sent nothing answers with an end of its own; to whoever had, and waits,
/// a reset says that nobody has it.
pub(crate) fn hang_up(mut stream: &TcpStream) {
    if stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    stream.set_read_timeout(Some(END_PAUSE)).expect("a time");
    if !matches!(stream.read(&mut [0]), Ok(0)) {
        let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
}

#[test]
fn what_comes_to_a_connection_that_takes_nothing_more_is_nobodys_and_all_else_arrives() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    for is_sent in [false, true] {
        let mut near = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        let (mut far, _) = listener.accept().expect("a connection");
        near.write_all(b"before").expect("it is written");
        far.read_exact(&mut [0; 6]).expect("it arrives");
        take_nothing_more(&far);
        far.write_all(b"answer").expect("it is written");
        near.read_exact(&mut [0; 6]).expect("it arrives");
        if is_sent {
            near.write_all(b"behind").expect("the kernel takes it");
        }
        let ending = thread::spawn(move || hang_up(&far));
        near.set_read_timeout(Some(DEADLINE)).expect("a time");
        assert!(matches!(near.read(&mut [0]), Ok(0) | Err(_)), "nothing more comes");
        if is_sent {
            ending.join().expect("it does not panic");
            // A busy kernel delivers it a moment later.
            let told = || near.take_error().expect("a socket").or_else(|| near.write_all(b"more").err());
            wait_for(DEADLINE, told).expect("it is told that nobody has it");
        } else {
            near.shutdown(Shutdown::Write).expect("the end is not an error");
            ending.join().expect("it does not panic");
            assert!(near.take_error().expect("a socket").is_none(), "a proper end");
        }
    }
}

fn wait_for_stop(stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        thread::sleep(LOOK);
    }
}

/// The path of the first request, and its bytes, if it is whole.
fn whole_request(heard: &[u8]) -> Option<(String, usize)> {
    let end = heard.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&heard[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let bytes = end + length.unwrap_or(0);
    let path = head.split(' ').nth(1)?.to_owned();
    (heard.len() >= bytes).then_some((path, bytes))
}

/// One sidecar in static mode whose documents a test rewrites. Service `b` is what its listener leads to.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    protocol: &'static str,
    status: SocketAddr,
    file: PathBuf,
    pub(crate) process: Process,
    scratch: Scratch,
}

/// One endpoint in a document.
pub(crate) fn endpoint(instance: &Instance, more: &str) -> String {
    format!("{{address: '{}'{more}}}", instance.address)
}

impl Front {
    pub(crate) fn start(label: &str, endpoints: &[String], more: &str) -> Front {
        Front::start_speaking("http1", label, endpoints, more)
    }

    /// Its service's port says `protocol`.
    pub(crate) fn start_speaking(protocol: &'static str, label: &str, endpoints: &[String], more: &str) -> Front {
        let scratch = Scratch::new(label).expect("a directory");
        let (address, status) = (free(), free());
        let file = scratch.path().join("resources.yaml");
        std::fs::write(&file, text(address, protocol, endpoints, more)).expect("the directory is ours");
        let mut command = Command::new(program("laneway-proxy").expect("it is built"));
        command.arg("--resources").arg(&file);
        command.args(["--status", &status.to_string(), "--admin", &free().to_string()]);
        let mut process = Process::start("sidecar", command, &scratch.path().join("proxy.log")).expect("it starts");
        let listens = || TcpStream::connect(address).is_ok() && TcpStream::connect(status).is_ok();
        process.wait_until(DEADLINE, "listening", listens).expect("it listens");
        Front { address, protocol, status, file, process, scratch }
    }

    /// Other documents. Returns when they are in force.
    pub(crate) fn rewrite(&self, endpoints: &[String], more: &str) {
        let before = self.metric("laneway_config_revision", "");
        let fresh = self.scratch.path().join("fresh");
        std::fs::write(&fresh, text(self.address, self.protocol, endpoints, more)).expect("the directory is ours");
        std::fs::rename(&fresh, &self.file).expect("the directory is ours");
        let is_new = || (self.metric("laneway_config_revision", "") > before).then_some(());
        wait_for(DEADLINE, is_new).unwrap_or_else(|| panic!("not in force: {}", self.process.log()));
    }

    /// A metric when it is what is expected, or after a while: a request is counted when it has ended, and its client may know before.
    pub(crate) fn metric_when(&self, name: &str, words: &str, expected: u64) -> u64 {
        let is_so = || (self.metric(name, words) == expected).then_some(expected);
        wait_for(DEADLINE, is_so).unwrap_or_else(|| self.metric(name, words))
    }

    /// Sum of the series of a metric whose labels hold these words.
    pub(crate) fn metric(&self, name: &str, words: &str) -> u64 {
        let mut stream = TcpStream::connect(self.status).expect("it has a status port");
        stream.set_read_timeout(Some(DEADLINE)).expect("a time");
        stream.write_all(b"GET /metrics HTTP/1.0\r\nhost: x\r\n\r\n").expect("it reads");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("it answers");
        let is_it = |line: &&str| line.starts_with(name) && line[name.len()..].starts_with(['{', ' ']);
        let lines = page.lines().filter(is_it).filter(|line| line.contains(words));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
    }
}

fn text(address: SocketAddr, protocol: &str, endpoints: &[String], more: &str) -> String {
    format!(
        "kind: Service\nname: b\nhosts: [sc-b]\nports: [{{port: 80, protocol: {protocol}}}]\nendpoints: [{}]\n---\n\
         kind: Proxy\nservice: a\nlisteners: [{{address: '{address}', direction: outbound, defaultService: b}}]\n{more}",
        endpoints.join(", ")
    )
}

/// One kept connection to a sidecar.
pub(crate) struct Asker {
    stream: TcpStream,
    to: SocketAddr,
    patience: Duration,
}

/// Status, what `x-laneway-error` says, and the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) error: String,
    pub(crate) body: String,
}

impl Asker {
    pub(crate) fn new(to: SocketAddr) -> Asker {
        Asker::patient(to, DEADLINE)
    }

    /// It waits so long for an answer.
    pub(crate) fn patient(to: SocketAddr, patience: Duration) -> Asker {
        let stream = TcpStream::connect(to).expect("the sidecar listens");
        stream.set_read_timeout(Some(patience)).expect("a time");
        stream.set_nodelay(true).expect("a socket");
        Asker { stream, to, patience }
    }

    pub(crate) fn get(&mut self, path: &str, headers: &str) -> Result<Said, String> {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: sc-b\r\n{headers}\r\n"))
    }

    pub(crate) fn post(&mut self, path: &str, headers: &str) -> Result<Said, String> {
        self.ask(&format!("POST {path} HTTP/1.1\r\nhost: sc-b\r\n{headers}content-length: 8\r\n\r\norder 66"))
    }

    fn ask(&mut self, request: &str) -> Result<Said, String> {
        self.send(request)?;
        self.hear()
    }

    pub(crate) fn send(&mut self, request: &str) -> Result<(), String> {
        self.stream.write_all(request.as_bytes()).map_err(|error| error.to_string())
    }

    /// Has something come for it?
    pub(crate) fn has_answer(&self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket");
        let is_there = self.stream.peek(&mut [0]).is_ok();
        self.stream.set_nonblocking(false).expect("a socket");
        is_there
    }

    /// An error: the connection ended without a whole answer; the next request has a new one.
    pub(crate) fn hear(&mut self) -> Result<Said, String> {
        let mut heard = Vec::new();
        loop {
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(count) if count > 0 => heard.extend_from_slice(&bytes[..count]),
                other => {
                    *self = Asker::patient(self.to, self.patience);
                    return Err(format!("{other:?} behind {:?}", String::from_utf8_lossy(&heard)));
                }
            }
            let Some(end) = heard.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&heard[..end]).into_owned();
            let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").to_owned();
            let length: usize = header("content-length: ").parse().unwrap_or(usize::MAX);
            if heard.len() - end - 4 < length {
                continue;
            }
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
            if head.to_ascii_lowercase().contains("connection: close") {
                *self = Asker::patient(self.to, self.patience);
            }
            let body = String::from_utf8_lossy(&heard[end + 4..]).trim_end().to_owned();
            return Ok(Said { status, error: header("x-laneway-error: "), body });
        }
    }
}
