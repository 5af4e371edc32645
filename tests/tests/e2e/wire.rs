//! HTTP/1.1 byte by byte through one sidecar: what curl and ordinary servers never say. A server of bytes, a client of bytes, no
//! redirect.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use laneway_tests::process::{Process, Scratch, program, wait_for};

use crate::alone::free;

const DEADLINE: Duration = Duration::from_secs(10);

/// Answers each head by its target, as bytes, and echoes after a CONNECT.
fn serve(listener: TcpListener) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { return };
        thread::spawn(move || {
            while let Some(head) = read_head(&mut stream) {
                let Some(goes_on) = answer(&mut stream, &head) else { return };
                if !goes_on {
                    return;
                }
            }
        });
    }
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

fn answer(stream: &mut TcpStream, head: &str) -> Option<bool> {
    let line = head.lines().next()?;
    let mut say = |text: &str| stream.write_all(text.as_bytes()).ok();
    if line.contains("/hints") {
        say("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
    } else if line.contains("/refuse") {
        say("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n")?;
    } else if line.contains("/accept") {
        assert!(head.to_ascii_lowercase().contains("expect: 100-continue"), "{head}");
        say("HTTP/1.1 100 Continue\r\n\r\n")?;
        let mut body = [0; 5];
        stream.read_exact(&mut body).ok()?;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").ok()?;
        stream.write_all(&body).ok()?;
    } else if line.contains("/unasked") {
        say("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")?;
        return Some(false);
    } else if line.starts_with("CONNECT") {
        say("HTTP/1.1 200 Connected\r\n\r\n")?;
        let mut more = [0; 64];
        while let Ok(length @ 1..) = stream.read(&mut more) {
            stream.write_all(&more[..length]).ok()?;
        }
        return Some(false);
    } else {
        say(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{line}", line.len()))?;
    }
    Some(true)
}

/// Says `first`, waits until the answer holds `until`, and goes on with the next pair; returns all that came.
fn talk(to: SocketAddr, turns: &[(&str, &str)]) -> String {
    let mut stream = TcpStream::connect(to).expect("the sidecar listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a time");
    let mut heard = String::new();
    for (said, until) in turns {
        stream.write_all(said.as_bytes()).expect("the sidecar reads");
        let mut bytes = [0; 4096];
        while !heard.contains(until) {
            match stream.read(&mut bytes) {
                Ok(length @ 1..) => heard.push_str(&String::from_utf8_lossy(&bytes[..length])),
                other => panic!("waited for {until:?}, heard {heard:?}, then {other:?}"),
            }
        }
    }
    heard
}

#[test]
fn what_ordinary_clients_never_say_is_carried_or_refused_by_name() {
    let scratch = Scratch::new("wire").expect("a directory");
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    let instance = server.local_addr().expect("it is bound");
    thread::spawn(move || serve(server));
    let (outbound, status) = (free(), free());
    let file = scratch.path().join("resources.yaml");
    let text = format!(
        "kind: Service\nname: b\nports: [{{port: 80}}]\nendpoints: [{{address: '{instance}'}}]\n---\n\
         kind: Proxy\nservice: a\nlisteners: [{{address: '{outbound}', direction: outbound, defaultService: b}}]\n"
    );
    std::fs::write(&file, text).expect("the directory is ours");
    let mut command = Command::new(program("laneway-proxy").expect("it is built"));
    command.arg("--resources").arg(&file).args(["--status", &status.to_string(), "--admin", &free().to_string()]);
    let proxy = Process::start("sidecar", command, &scratch.path().join("proxy.log")).expect("it starts");
    let up = wait_for(DEADLINE, || TcpStream::connect(outbound).ok());
    assert!(up.is_some(), "{}", proxy.log());

    let interim = talk(outbound, &[("GET /hints HTTP/1.1\r\nhost: b\r\n\r\n", "\r\n\r\nok")]);
    assert!(interim.starts_with("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK"), "{interim}");

    let body = "expect: 100-continue\r\ncontent-length: 5\r\n\r\n";
    let refused = talk(outbound, &[(&format!("POST /refuse HTTP/1.1\r\nhost: b\r\n{body}"), "content-length: 0")]);
    assert!(refused.starts_with("HTTP/1.1 417 "), "no 100 that the application did not say: {refused}");
    let first = format!("POST /accept HTTP/1.1\r\nhost: b\r\n{body}");
    let accepted = talk(outbound, &[(&first, "100 Continue\r\n\r\n"), ("12345", "12345")]);
    assert!(accepted.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"), "{accepted}");

    let tunnel =
        talk(outbound, &[("CONNECT b:80 HTTP/1.1\r\nhost: b\r\n\r\n", "\r\n\r\n"), ("not \0 HTTP", "not \0 HTTP")]);
    assert!(tunnel.starts_with("HTTP/1.1 200 "), "{tunnel}");

    let two = "GET /1 HTTP/1.1\r\nhost: b\r\n\r\nGET /2 HTTP/1.1\r\nhost: b\r\n\r\n";
    let answers = talk(outbound, &[(two, "GET /2 HTTP/1.1")]);
    assert!(answers.find("GET /1 HTTP/1.1") < answers.find("GET /2 HTTP/1.1"), "in order: {answers}");
    let old = talk(outbound, &[("GET /old HTTP/1.0\r\n\r\n", "GET /old HTTP/1.1")]);
    assert!(old.starts_with("HTTP/1.1 200 "), "{old}");
    let absolute = talk(outbound, &[("GET http://b/abs HTTP/1.1\r\nhost: other\r\n\r\n", "GET /abs HTTP/1.1")]);
    assert!(absolute.starts_with("HTTP/1.1 200 "), "{absolute}");

    for (request, reason) in [
        ("GET /unasked HTTP/1.1\r\nhost: b\r\n\r\n", "upstream-protocol unasked-upgrade service=b"),
        ("GET / HTTP/1.1\r\n\r\n", "bad-request host-missing"),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", "bad-request host-twice"),
        ("POST / HTTP/1.1\r\nhost: b\r\ntransfer-encoding: identity, chunked\r\n\r\n0\r\n\r\n", "transfer-encoding"),
    ] {
        let answer = talk(outbound, &[(request, "x-laneway-error: ")]);
        assert!(answer.contains(reason), "{request:?}: {answer}");
    }
}
