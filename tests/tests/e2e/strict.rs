//! A reader of HTTP/1.1 that forgives nothing (RFC 9112, RFC 9110), and an origin that keeps every byte it was sent and answers
//! what that reader takes for whole requests. What it finds wrong, some server would read as something else.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// One whole request. Names are in lower case.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

/// Names that tell where a request ends, where it goes or what its lane is: never in trailers (RFC 9110 section 6.5.1).
pub(crate) const NEVER_TRAILERS: [&str; 8] =
    ["content-length", "transfer-encoding", "host", "connection", "te", "trailer", "upgrade", "x-mse-tag"];

/// The whole requests at the start of `bytes`, and what is left: an unfinished request.
pub(crate) fn parse(mut bytes: &[u8]) -> Result<(Vec<Request>, &[u8]), String> {
    let mut requests = Vec::new();
    while let Some((request, rest)) = parse_one(bytes)? {
        requests.push(request);
        bytes = rest;
    }
    Ok((requests, bytes))
}

fn parse_one(bytes: &[u8]) -> Result<Option<(Request, &[u8])>, String> {
    let Some((line, rest)) = line(bytes)? else { return Ok(None) };
    check_request_line(&line)?;
    let Some((headers, rest)) = fields(rest)? else { return Ok(None) };
    let all = |name: &str| -> Vec<&str> {
        headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
    };
    let hosts = all("host");
    let is_host = |host: &str| host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
    if hosts.len() != 1 || !is_host(hosts[0]) {
        return Err(format!("hosts {hosts:?}"));
    }
    let (lengths, encodings) = (all("content-length"), all("transfer-encoding"));
    let mut request = Request { line, headers: headers.clone(), ..Request::default() };
    let rest = match (lengths.as_slice(), encodings.as_slice()) {
        ([], []) => rest,
        ([length], []) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
            let length: usize = length.parse().map_err(|_| format!("content-length {length}"))?;
            let Some((body, rest)) = rest.split_at_checked(length) else { return Ok(None) };
            request.body = body.to_vec();
            rest
        }
        ([], ["chunked"]) => match chunks(rest)? {
            Some((body, trailers, rest)) => {
                (request.body, request.trailers) = (body, trailers);
                rest
            }
            None => return Ok(None),
        },
        _ => return Err(format!("content-length {lengths:?} with transfer-encoding {encodings:?}")),
    };
    Ok(Some((request, rest)))
}

fn check_request_line(line: &str) -> Result<(), String> {
    let parts: Vec<_> = line.split(' ').collect();
    match parts.as_slice() {
        [method, target, "HTTP/1.1"]
            if is_token(method)
                && (target.starts_with('/') || (*target == "*" && *method == "OPTIONS"))
                && target.bytes().all(|b| b.is_ascii_graphic() && b != b'#') =>
        {
            Ok(())
        }
        _ => Err(format!("request line {line:?}")),
    }
}

/// A line without its CRLF; `None` if it has not ended. A lone CR or LF, a NUL or another control byte is in no line.
fn line(bytes: &[u8]) -> Result<Option<(String, &[u8])>, String> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n");
    let line = &bytes[..end.unwrap_or(bytes.len())];
    // Its LF may not have come yet.
    let known = if end.is_none() { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
    if let Some(byte) = known.iter().find(|byte| byte.is_ascii_control() && **byte != b'\t') {
        return Err(format!("byte {byte:#04x} in line {:?}", String::from_utf8_lossy(known)));
    }
    Ok(end.map(|end| (line.iter().map(|byte| char::from(*byte)).collect(), &bytes[end + 2..])))
}

type Fields = Vec<(String, String)>;

fn fields(mut bytes: &[u8]) -> Result<Option<(Fields, &[u8])>, String> {
    let mut fields = Vec::new();
    loop {
        let Some((line, rest)) = line(bytes)? else { return Ok(None) };
        bytes = rest;
        if line.is_empty() {
            return Ok(Some((fields, bytes)));
        }
        match line.split_once(':') {
            Some((name, value)) if is_token(name) => {
                fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
            }
            _ => return Err(format!("field {line:?}")),
        }
    }
}

type Chunks<'a> = (Vec<u8>, Fields, &'a [u8]);

fn chunks(mut bytes: &[u8]) -> Result<Option<Chunks<'_>>, String> {
    let mut body = Vec::new();
    loop {
        let Some((size, rest)) = line(bytes)? else { return Ok(None) };
        let is_size = (1..=8).contains(&size.len()) && size.bytes().all(|b| b.is_ascii_hexdigit());
        let length = usize::from_str_radix(&size, 16).ok().filter(|_| is_size);
        let length = length.ok_or_else(|| format!("chunk size {size:?}"))?;
        if length == 0 {
            let Some((trailers, rest)) = fields(rest)? else { return Ok(None) };
            return match trailers.iter().find(|(name, _)| NEVER_TRAILERS.contains(&name.as_str())) {
                Some(found) => Err(format!("trailer {found:?}")),
                None => Ok(Some((body, trailers, rest))),
            };
        }
        let Some((chunk, rest)) = rest.split_at_checked(length) else { return Ok(None) };
        body.extend_from_slice(chunk);
        match rest {
            [b'\r', b'\n', rest @ ..] => bytes = rest,
            [] | [b'\r'] => return Ok(None),
            _ => return Err("a chunk longer than its size".to_owned()),
        }
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// An origin that keeps all bytes, a connection each.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    ends: Arc<AtomicBool>,
    accepting: JoinHandle<Vec<Vec<u8>>>,
}

impl Origin {
    pub(crate) fn start() -> Origin {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        let accepting = thread::spawn(move || {
            let mut connections = Vec::new();
            for stream in listener.incoming().flatten() {
                if told.load(Ordering::Acquire) {
                    break;
                }
                connections.push(thread::spawn(move || serve(stream)));
            }
            connections.into_iter().map(|connection| connection.join().expect("it does not panic")).collect()
        });
        Origin { address, ends, accepting }
    }

    /// What every connection sent. The sidecar must have ended, or this waits for it.
    pub(crate) fn finish(self) -> Vec<Vec<u8>> {
        self.ends.store(true, Ordering::Release);
        drop(TcpStream::connect(self.address));
        self.accepting.join().expect("it does not panic")
    }
}

/// Answers until the peer hangs up or says what is no request; returns all that it said.
fn serve(mut stream: TcpStream) -> Vec<u8> {
    let (mut said, mut answered, mut bytes) = (Vec::new(), 0, [0; 16 << 10]);
    while let Ok(length @ 1..) = stream.read(&mut bytes) {
        said.extend_from_slice(&bytes[..length]);
        let Ok((requests, _)) = parse(&said) else {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            break;
        };
        for _ in answered..requests.len() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
        answered = requests.len();
    }
    said
}

#[test]
fn the_strict_reader_takes_only_what_nobody_can_read_otherwise() {
    let good =
        b"GET /a?b HTTP/1.1\r\nhost: b:80\r\n\r\nPOST /c HTTP/1.1\r\nHost: b\r\ntransfer-encoding: chunked\r\n\r\n\
        4\r\n\r\nab\r\n0\r\nx-t: 1\r\n\r\nPUT / HTTP/1.1\r\nhost: b\r\ncontent-length: 3\r\n\r\nabc";
    let (requests, rest) = parse(good).expect("it is good");
    assert!(requests.len() == 3 && rest.is_empty(), "{requests:?}");
    assert_eq!(requests[1].body, b"\r\nab");
    for end in 0..good.len() {
        assert!(parse(&good[..end]).is_ok_and(|(whole, _)| whole.len() < 3), "cut at {end}");
    }
    let host = "host: b\r\n";
    for bad in [
        "GET  / HTTP/1.1\r\n".to_owned(),
        "GET / x HTTP/1.1\r\n".to_owned(),
        "GET /#a HTTP/1.1\r\n".to_owned(),
        "GET b HTTP/1.1\r\n".to_owned(),
        "GET / HTTP/1.0\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n".to_owned(),
        "GET / HTTP/1.1\nhost: b\r\n".to_owned(),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\n{host}{host}\r\n"),
        "GET / HTTP/1.1\r\nhost: b,c\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: b/c\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\n{host}a b: 1\r\n"),
        format!("GET / HTTP/1.1\r\n{host} a: 1\r\n"),
        format!("GET / HTTP/1.1\r\n{host}a: 1\0\r\n"),
        format!("GET / HTTP/1.1\r\n{host}a: 1\rb\r\n"),
        format!("GET / HTTP/1.1\r\n{host}content-length: +1\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{host}content-length: 1\r\ncontent-length: 1\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{host}content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{host}transfer-encoding: chunked, x\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{host}transfer-encoding: chunked\r\n\r\n1;a\r\n"),
        format!("GET / HTTP/1.1\r\n{host}transfer-encoding: chunked\r\n\r\n1\r\nabc\r\n"),
        format!("GET / HTTP/1.1\r\n{host}transfer-encoding: chunked\r\n\r\n0\r\nx-mse-tag: a\r\n\r\n"),
    ] {
        assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
}
