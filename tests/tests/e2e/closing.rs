//! What runs on an instance that goes away finishes, or is ended after the grace that its service's policy gives, in the way that its
//! protocol has for it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use laneway_tests::process::{Process, Scratch, wait_for};

use crate::alone::free;
use crate::frames::{
    DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, Outcome, Peer, RST_STREAM, SETTINGS, block, code, field,
    frame, get,
};
use crate::instance::{Asker, DEADLINE, Front, Instance, endpoint};
use crate::support::{python, script};

const AT_ONCE: &str = "---\nkind: ServicePolicy\nname: b\ndrain: {grace: 0s, closeStreams: true}\n";
const LATER: &str = "---\nkind: ServicePolicy\nname: b\ndrain: {grace: 1h, closeStreams: true}\n";
const NEVER: &str = "---\nkind: ServicePolicy\nname: b\ndrain: {grace: 0s}\n";

const ACK: u8 = 1;
const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;

fn at(address: SocketAddr, more: &str) -> String {
    format!("{{address: '{address}'{more}}}")
}

fn draining(address: SocketAddr) -> String {
    at(address, ", state: draining")
}

fn ended(front: &Front, kind: &str, count: u64) {
    let seen = front.metric_when("laneway_streams_ended_total", &format!("kind=\"{kind}\""), count);
    assert_eq!(seen, count, "{kind}: {}", front.process.log());
}

/// One request of HTTP/1.1, and its answer until the connection ends or the answer is what is waited for.
struct Client(TcpStream);

impl Client {
    fn send(to: &Front, request: &str) -> Client {
        let mut stream = TcpStream::connect(to.address).expect("the sidecar listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a time");
        stream.write_all(request.as_bytes()).expect("the sidecar reads");
        Client(stream)
    }

    fn get(to: &Front, path: &str) -> Client {
        Client::send(to, &format!("GET {path} HTTP/1.1\r\nhost: sc-b\r\n\r\n"))
    }

    /// Reads up to these words.
    fn hears(&mut self, words: &str) -> String {
        let (mut heard, mut byte) = (Vec::new(), [0]);
        while !heard.ends_with(words.as_bytes()) {
            match self.0.read(&mut byte) {
                Ok(1) => heard.push(byte[0]),
                other => panic!("{other:?} behind {:?}", String::from_utf8_lossy(&heard)),
            }
        }
        String::from_utf8_lossy(&heard).into_owned()
    }

    /// Reads to the end, however it ends.
    fn rest(&mut self) -> String {
        let mut heard = Vec::new();
        if let Err(error) = self.0.read_to_end(&mut heard) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{:?}", String::from_utf8_lossy(&heard));
        }
        String::from_utf8_lossy(&heard).into_owned()
    }
}

#[test]
fn an_answer_that_runs_is_cut_and_one_that_has_not_begun_is_503() {
    let instance = Instance::start_at("A", free());
    let front = Front::start("cut", &[endpoint(&instance, "")], LATER);
    let (mut stream, mut silent) = (Client::get(&front, "/stream"), Client::get(&front, "/silent"));
    stream.hears("begun\r\n");
    wait_for(DEADLINE, || (instance.heard() == 2).then_some(())).expect("it has both");
    front.rewrite(&[draining(instance.address)], AT_ONCE);
    assert_eq!(stream.rest(), "", "no last chunk: nobody takes it for whole");
    let refused = silent.rest();
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("x-laneway-error: instance-left service=b\r\n"), "{refused}");
    assert!(refused.contains("connection: close\r\n"), "{refused}");
    ended(&front, "http1", 2);
    let log = front.process.log();
    assert!(log.contains("an instance goes away: what still runs on it is ended"), "{log}");
}

#[test]
fn an_instance_that_is_gone_from_its_service_goes_away_too() {
    let (goes, stays) = (Instance::start_at("A", free()), Instance::start_at("B", free()));
    let front = Front::start("gone-away", &[endpoint(&goes, "")], AT_ONCE);
    let mut stream = Client::get(&front, "/stream");
    stream.hears("begun\r\n");
    front.rewrite(&[endpoint(&stays, "")], AT_ONCE);
    assert_eq!(stream.rest(), "");
    assert_eq!(Asker::new(front.address).get("/", "").expect("it is answered").body, "B");
}

/// An instance that has heard a request when it says so, and answers it when it is told to.
fn serve_late() -> (SocketAddr, Receiver<()>, Sender<()>) {
    let listener = TcpListener::bind(free()).expect("the address is free");
    let address = listener.local_addr().expect("it is bound");
    let (heard, hears) = channel();
    let (answer, answers) = channel::<()>();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let (mut request, mut byte) = (Vec::new(), [0]);
            while !request.ends_with(b"\r\n\r\norder 66") {
                match stream.read(&mut byte) {
                    Ok(1) => request.push(byte[0]),
                    _ => break,
                }
            }
            // One that says nothing is no request: whoever waited for the sidecar to listen was led here.
            if !request.is_empty() {
                let _ = heard.send(());
                let _ = answers.recv();
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone");
            }
        }
    });
    (address, hears, answer)
}

#[test]
fn a_post_that_finishes_within_the_grace_is_whole_and_says_that_it_is_the_last() {
    let (instance, hears, answer) = serve_late();
    let front = Front::start("within", &[at(instance, "")], LATER);
    let request = "POST / HTTP/1.1\r\nhost: sc-b\r\ncontent-length: 8\r\n\r\norder 66";
    let mut post = Client::send(&front, request);
    hears.recv_timeout(DEADLINE).expect("it has the request");
    front.rewrite(&[draining(instance)], LATER);
    answer.send(()).expect("it waits");
    let heard = post.rest();
    assert!(heard.starts_with("HTTP/1.1 200 ") && heard.ends_with("\r\n\r\ndone"), "{heard}");
    assert!(heard.to_ascii_lowercase().contains("connection: close\r\n"), "{heard}");
    assert_eq!(front.metric("laneway_streams_ended_total", ""), 0);
}

/// An instance of no protocol, which says back what it hears; and whether a connection to it has ended.
fn serve_echo() -> (SocketAddr, Receiver<()>) {
    let listener = TcpListener::bind(free()).expect("the address is free");
    let address = listener.local_addr().expect("it is bound");
    let (ended, ends) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), ended) = (stream, ended.clone()) else { return };
            thread::spawn(move || {
                let (mut bytes, mut has_spoken) = ([0; 512], false);
                while let Ok(count @ 1..) = stream.read(&mut bytes) {
                    has_spoken = true;
                    if stream.write_all(&bytes[..count]).is_err() {
                        return;
                    }
                }
                // One that says nothing is none: whoever waited for the sidecar to listen was led here.
                if has_spoken {
                    let _ = ended.send(());
                }
            });
        }
    });
    (address, ends)
}

#[test]
fn bytes_that_are_not_read_end_when_the_policy_of_now_says_so_and_not_while_the_instance_is_back() {
    let (instance, ends) = serve_echo();
    let front = Front::start("opaque", &[at(instance, "")], LATER);
    let mut client = Client::send(&front, "\0one");
    client.hears("one");
    let mut goes_on = |words: &str| {
        client.0.write_all(words.as_bytes()).expect("the sidecar reads");
        client.hears(words);
    };
    front.rewrite(&[draining(instance)], LATER);
    goes_on("within its grace");
    front.rewrite(&[at(instance, "")], AT_ONCE);
    goes_on("it is back");
    front.rewrite(&[draining(instance)], NEVER);
    goes_on("no policy ends it");
    assert_eq!(front.metric("laneway_streams_ended_total", ""), 0);
    assert!(ends.try_recv().is_err(), "{}", front.process.log());
    front.rewrite(&[draining(instance)], AT_ONCE);
    assert_eq!(client.rest(), "");
    ends.recv_timeout(DEADLINE).expect("the instance hears of the end");
    ended(&front, "opaque", 1);
}

#[test]
fn without_close_streams_everything_runs_on() {
    let instance = Instance::start_at("A", free());
    let front = Front::start("runs-on", &[endpoint(&instance, "")], NEVER);
    let (mut stream, mut slow) = (Client::get(&front, "/stream"), Client::get(&front, "/slow"));
    stream.hears("begun\r\n");
    front.rewrite(&[draining(instance.address)], NEVER);
    let answer = slow.hears("\r\n\r\nA");
    assert!(!answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    stream.0.set_read_timeout(Some(std::time::Duration::from_millis(100))).expect("a time");
    let read = stream.0.read(&mut [0]).map_err(|error| error.kind());
    assert!(matches!(read, Err(std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)), "{read:?}");
    assert_eq!(front.metric("laneway_streams_ended_total", ""), 0);
}

#[test]
fn another_upgraded_connection_ends_on_both_sides() {
    let listener = TcpListener::bind(free()).expect("the address is free");
    let address = listener.local_addr().expect("it is bound");
    let (ended_at, ends) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), ended_at) = (stream, ended_at.clone()) else { return };
            thread::spawn(move || switch(stream, &ended_at));
        }
    });
    let front = Front::start("upgrade", &[at(address, "")], AT_ONCE);
    let request = "GET / HTTP/1.1\r\nhost: sc-b\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";
    let mut client = Client::send(&front, request);
    client.hears("\r\n\r\nwelcome");
    front.rewrite(&[draining(address)], AT_ONCE);
    assert_eq!(client.rest(), "");
    ends.recv_timeout(DEADLINE).expect("the instance hears of the end");
    ended(&front, "tunnel", 1);
}

/// Agrees to speak something else, and waits for the end.
fn switch(mut stream: TcpStream, ended: &Sender<()>) {
    let (mut heard, mut byte) = (Vec::new(), [0]);
    while !heard.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return;
        }
        heard.push(byte[0]);
    }
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\nwelcome";
    stream.write_all(answer).expect("the sidecar reads");
    while matches!(stream.read(&mut byte), Ok(1)) {}
    let _ = ended.send(());
}

/// What an instance of HTTP/2 was told of a stream, or of all.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Begun,
    Reset(u32),
    GoAway(u32),
}

/// An instance of HTTP/2 that begins every answer, and ends it when it is told to.
fn serve_frames() -> (SocketAddr, Receiver<Told>, Sender<()>) {
    let listener = TcpListener::bind(free()).expect("the address is free");
    let address = listener.local_addr().expect("it is bound");
    let (told, tells) = channel();
    let (finish, finishes) = channel::<()>();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            // One that says nothing is no connection: whoever waited for the sidecar to listen was led here.
            if stream.read_exact(&mut [0; 24]).is_ok() {
                let writer = stream.try_clone().expect("a socket");
                let told = told.clone();
                thread::spawn(move || drop(play(stream, &told)));
                if finishes.recv().is_ok() {
                    let mut writer = writer;
                    let _ = writer.write_all(&frame(DATA, END_STREAM, 1, b"the end"));
                }
            }
        }
    });
    (address, tells, finish)
}

fn play(mut stream: TcpStream, told: &Sender<Told>) -> std::io::Result<()> {
    stream.write_all(&frame(SETTINGS, 0, 0, &[]))?;
    loop {
        let Frame { kind, flags, stream: id, payload } = Frame::read(&mut stream)?;
        let said = match kind {
            SETTINGS if flags & ACK == 0 => {
                stream.write_all(&frame(SETTINGS, ACK, 0, &[]))?;
                continue;
            }
            HEADERS => {
                // 0x88: `:status: 200`.
                stream.write_all(&frame(HEADERS, END_HEADERS, id, &[0x88]))?;
                Told::Begun
            }
            RST_STREAM => Told::Reset(code(&payload)),
            GOAWAY => Told::GoAway(code(&payload[4..])),
            _ => continue,
        };
        let _ = told.send(said);
    }
}

#[test]
fn a_stream_of_http2_is_reset_and_the_others_of_its_client_go_on() {
    let ((goes, goes_told, _kept), (stays, stays_told, finish)) = (serve_frames(), serve_frames());
    let lane = format!("{AT_ONCE}---\nkind: Lane\nname: gray\n");
    let gray = |more: &str| at(goes, &format!(", tag: gray{more}"));
    let front = Front::start_speaking("http2", "reset", &[gray(""), at(stays, "")], &lane);
    let mut peer = Peer::connect(front.address, &[]);
    let head = [get("/"), vec![field("x-mse-tag", "gray")]].concat();
    drop(peer.send(HEADERS, END_HEADERS | END_STREAM, 1, &block(&head)));
    drop(peer.send(HEADERS, END_HEADERS | END_STREAM, 3, &block(&get("/"))));
    for told in [&goes_told, &stays_told] {
        assert_eq!(told.recv_timeout(DEADLINE), Ok(Told::Begun), "{}", front.process.log());
    }
    front.rewrite(&[gray(", state: draining"), at(stays, "")], &lane);
    assert_eq!(peer.outcome(1), Outcome::Reset(INTERNAL_ERROR), "{}", front.process.log());
    assert_eq!(goes_told.recv_timeout(DEADLINE), Ok(Told::Reset(CANCEL)));
    assert_eq!(goes_told.recv_timeout(DEADLINE), Ok(Told::GoAway(0)));
    finish.send(()).expect("it waits");
    // Its head may have gone by while the first stream was waited for.
    let outcome = peer.outcome(3);
    assert!(matches!(outcome, Outcome::Answer(0 | 200)), "{outcome:?}: {}", front.process.log());
    ended(&front, "http2", 1);
}

/// A script of ours as instance and as client.
fn play_script(name: &str, what: &str, arguments: &[&str], scratch: &Scratch) -> Process {
    let mut command = Command::new(python());
    command.arg(script(name)).arg(what).args(arguments);
    Process::start(what, command, &scratch.path().join(what)).expect("it starts")
}

fn says(process: &Process, words: &str) -> String {
    let said = || Some(process.log()).filter(|log| log.contains(words));
    wait_for(DEADLINE, said).unwrap_or_else(|| panic!("not said: {words}: {}", process.log()))
}

#[test]
fn a_websocket_in_full_flow_hears_1001_on_both_sides_and_loses_no_message() {
    let scratch = Scratch::new("closing-websocket").expect("a directory");
    let address = free();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let server = play_script("websocket_leaving.py", "server", &[&host, &port], &scratch);
    wait_for(DEADLINE, || TcpStream::connect(address).ok()).expect("it listens");
    let front = Front::start("websocket", &[at(address, "")], LATER);
    let client = play_script("websocket_leaving.py", "client", &[&format!("ws://{}/", front.address)], &scratch);
    says(&client, "flows");
    says(&server, "flows");
    front.rewrite(&[draining(address)], AT_ONCE);
    // Either would say that a number is missing, or that a frame is none.
    says(&client, "closed 1001 behind");
    says(&server, "closed 1001 behind");
    ended(&front, "websocket", 1);
}

#[test]
fn a_grpc_stream_ends_as_unavailable() {
    let scratch = Scratch::new("closing-grpc").expect("a directory");
    let address = free();
    let server = play_script("grpc_leaving.py", "server", &[&address.to_string()], &scratch);
    wait_for(DEADLINE, || TcpStream::connect(address).ok()).unwrap_or_else(|| panic!("{}", server.log()));
    let front = Front::start_speaking("grpc", "grpc-leaving", &[at(address, "")], LATER);
    let client = play_script("grpc_leaving.py", "client", &[&front.address.to_string()], &scratch);
    says(&client, "said 0");
    front.rewrite(&[draining(address)], AT_ONCE);
    says(&client, "ended UNAVAILABLE instance-left service=b");
    ended(&front, "grpc", 1);
}
