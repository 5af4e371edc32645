//! Well-formed messages, and what an attacker makes of them.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// What smuggling is made of: each stands where it hurts once it lands between two lines, in a name, a value or a size.
const FRAGMENTS: [&[u8]; 84] = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\n\n",
    b"\r\r\n",
    b"\n\r\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"\0",
    b"\x0b",
    b"\x0c",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xc2\xa0",
    b"\xe2\x80\xa8",
    b":",
    b" :",
    b": ",
    b";",
    b",",
    b"\"",
    b"#",
    b"%00",
    b"%0d%0a",
    b"%",
    b"@",
    b"\\",
    b"\r\n ",
    b"\r\n\t",
    b"\r\n folded\r\n",
    b"\n folded",
    b"Transfer-Encoding: chunked\r\n",
    b"transfer-encoding:chunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding: chunked, chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: chunked, identity\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding: \"chunked\"\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"Transfer-Encoding: ,chunked\r\n",
    b"Transfer-Encoding: chunked,\r\n",
    b"Transfer-Encoding: chunked;q=1\r\n",
    b"Transfer-Encoding:\r\n",
    b"Transfer_Encoding: chunked\r\n",
    b" Transfer-Encoding: chunked\r\n",
    b"X: y\nTransfer-Encoding: chunked\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: +5\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Content-Length: 0x5\r\n",
    b"Content-Length: 5 5\r\n",
    b"Content-Length: 05\r\n",
    b"Content-Length:\r\n",
    b"Content-Length: 9223372036854775808\r\n",
    b"Content-Length: 18446744073709551621\r\n",
    b"Content_Length: 5\r\n",
    b"Content-Length : 5\r\n",
    b"Content-Length: 5;a\r\n",
    b"Host: other\r\n",
    b"Host:\r\n",
    b"host: a, b\r\n",
    b"Host: u@h\r\n",
    b"Host: h/p\r\n",
    b"Host : h\r\n",
    b"Connection: close\r\n",
    b"Connection: content-length, host, transfer-encoding\r\n",
    b"Connection: x-a\r\n",
    b"Upgrade: h2c\r\n",
    b"Expect: 100-continue\r\n",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"0x5",
    b"+5",
    b"00000000000000005",
    b"ffffffffffffffff",
    b"8000000000000000",
    b"5;a=\"\r\n\"",
    b"HTTP/1.0",
];

pub(crate) fn requests() -> impl Strategy<Value = Vec<u8>> {
    message(true)
}

/// A message and the bytes that come behind it.
fn message(is_request: bool) -> impl Strategy<Value = Vec<u8>> {
    let start = if is_request { request_line().boxed() } else { status_line().boxed() };
    let behind =
        select(vec![&b""[..], b"", b"GET /next HTTP/1.1\r\nhost: n\r\n\r\n", b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]);
    (start, vec(field(), 0..5), body(), behind, any::<bool>()).prop_map(
        move |(mut start, fields, (framing, body), behind, is_host_first)| {
            if framing.starts_with(b"Transfer-Encoding") {
                // HTTP/1.0 has no chunks.
                start = String::from_utf8_lossy(&start).replace("HTTP/1.0", "HTTP/1.1").into_bytes();
            }
            let host = if is_request { &b"Host: a.b:80\r\n"[..] } else { b"" };
            let (first, last) = if is_host_first { (host, &b""[..]) } else { (&b""[..], host) };
            [&start, first, &fields.concat(), &framing, last, b"\r\n", &body, behind].concat()
        },
    )
}

/// The same with up to three faults.
pub(crate) fn mutated(messages: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (messages, vec(fault(), 1..4)).prop_map(|(mut bytes, faults)| {
        for fault in faults {
            fault.apply(&mut bytes);
        }
        bytes
    })
}

/// Interim answers, then one.
pub(crate) fn answers() -> impl Strategy<Value = Vec<u8>> {
    let interim = select(vec![&b"HTTP/1.1 100 Continue\r\n\r\n"[..], b"HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n"]);
    (vec(interim, 0..2), message(false)).prop_map(|(interim, last)| [interim.concat(), last].concat())
}

fn request_line() -> impl Strategy<Value = Vec<u8>> {
    let methods = ["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "M-SEARCH", "get", "CONNECT"];
    let targets = [
        "/",
        "/a/b?c=d&e",
        "//x/../y",
        "/a%20b",
        "/:80",
        "/a;b=c?d=/e?f",
        "http://a.b/c?d",
        "http://a.b",
        "https://[::1]:8443/x",
        "HTTP://A:80/",
        "*",
        "a.b:443",
        "/{a}|b",
    ];
    let versions = ["1.1", "1.1", "1.1", "1.0"];
    (select(methods.to_vec()), select(targets.to_vec()), select(versions.to_vec())).prop_map(
        |(method, target, version)| {
            // `*` and an authority go with one method each.
            let method = match target {
                "*" => "OPTIONS",
                "a.b:443" => "CONNECT",
                _ if method == "CONNECT" => "TRACE",
                _ => method,
            };
            format!("{method} {target} HTTP/{version}\r\n").into_bytes()
        },
    )
}

fn status_line() -> impl Strategy<Value = Vec<u8>> {
    let statuses = [
        "200 OK",
        "200 ",
        "404 Not Found",
        "204 No Content",
        "304 Not Modified",
        "101 Switching",
        "500 a\tb \u{e9}",
        "999 x",
    ];
    let versions = ["1.1", "1.1", "1.1", "1.0"];
    (select(statuses.to_vec()), select(versions.to_vec()))
        .prop_map(|(status, version)| format!("HTTP/{version} {status}\r\n").into_bytes())
}

fn field() -> impl Strategy<Value = Vec<u8>> {
    let names =
        ["X-A", "x-b", "Accept", "cookie", "X-A", "Content-Type", "TE", "Keep-Alive", "Upgrade", "~!#$%&'*+-.^_`|"];
    let values = ["", "1", "a, b", "text/plain; x=\"y\"", "trailers", "websocket", "a:b: c", "\u{e9}", "a\tb"];
    let spaces = ["", " ", "\t", "  "];
    let plain = (select(names.to_vec()), select(spaces.to_vec()), select(values.to_vec()), select(spaces.to_vec()))
        .prop_map(|(name, before, value, after)| format!("{name}:{before}{value}{after}\r\n"));
    let connection = ["close", "keep-alive", "X-A", "x-b, close", "upgrade", "TE, x-a"];
    let connection = select(connection.to_vec()).prop_map(|options| format!("Connection: {options}\r\n"));
    prop_oneof![5 => plain, 1 => connection].prop_map(String::into_bytes)
}

/// Framing fields and the body that they tell of.
fn body() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let data = || vec(prop_oneof![select(b"\r\n0;: a5".to_vec()), any::<u8>()], 0..20);
    let exact = data().prop_map(|data| (format!("Content-Length: {}\r\n", data.len()).into_bytes(), data));
    let extensions = ["", "", ";a", ";a=b", " ; a = \"b;c\"", ";a;b=\"\\\"\"", ";"];
    let chunk = (data(), select(extensions.to_vec()), 0..3_usize).prop_filter_map(
        "not the last",
        |(data, extension, zeros)| {
            let size = format!("{:0>width$x}{extension}\r\n", data.len(), width = zeros + 1);
            (!data.is_empty()).then(|| [size.as_bytes(), &data, b"\r\n"].concat())
        },
    );
    let trailers = ["X-T: 1\r\n", "content-length: 3\r\n", "x-b:\r\n", "Host: t\r\n", "grpc-status: 0\r\n"];
    let chunked = (vec(chunk, 0..4), select(extensions.to_vec()), vec(select(trailers.to_vec()), 0..3)).prop_map(
        |(chunks, extension, trailers)| {
            let end = format!("0{extension}\r\n{}\r\n", trailers.concat());
            (b"Transfer-Encoding: chunked\r\n".to_vec(), [&chunks.concat(), end.as_bytes()].concat())
        },
    );
    prop_oneof![1 => Just((Vec::new(), Vec::new())), 2 => exact, 3 => chunked]
}

#[derive(Clone, Debug)]
enum Fault {
    /// At any place.
    Insert(Index, &'static [u8]),
    /// Where a line begins.
    InsertLine(Index, &'static [u8]),
    /// Around a byte that ends something.
    InsertAtDelimiter(Index, bool, &'static [u8]),
    Replace(Index, u8),
    Delete(Index, usize),
    DeleteDelimiter(Index),
    DoubleLine(Index),
    Cut(Index),
    /// More of something than anybody needs.
    Flood(Index, &'static str, usize),
}

/// One of them above a limit, and behind it what makes the rest a line again.
const FLOODS: [(&str, usize); 4] =
    [("a: b\r\n", 100), ("a", 66 << 10), (";a", 9 << 10), ("x: 0123456789abcdef\r\n", 900)];

fn fault() -> impl Strategy<Value = Fault> {
    let fragment = || select(FRAGMENTS.to_vec());
    prop_oneof![
        20 => (any::<Index>(), fragment()).prop_map(|(at, fragment)| Fault::Insert(at, fragment)),
        40 => (any::<Index>(), fragment()).prop_map(|(at, fragment)| Fault::InsertLine(at, fragment)),
        30 => (any::<Index>(), any::<bool>(), fragment())
            .prop_map(|(at, is_behind, fragment)| Fault::InsertAtDelimiter(at, is_behind, fragment)),
        20 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Fault::Replace(at, byte)),
        10 => (any::<Index>(), 1..4_usize).prop_map(|(at, count)| Fault::Delete(at, count)),
        20 => any::<Index>().prop_map(Fault::DeleteDelimiter),
        10 => any::<Index>().prop_map(Fault::DoubleLine),
        10 => any::<Index>().prop_map(Fault::Cut),
        1 => (any::<Index>(), select(FLOODS.to_vec())).prop_map(|(at, (what, count))| Fault::Flood(at, what, count)),
    ]
}

impl Fault {
    fn apply(self, bytes: &mut Vec<u8>) {
        let starts: Vec<usize> = (0..=bytes.len()).filter(|&at| at == 0 || bytes[at - 1] == b'\n').collect();
        let delimiters: Vec<usize> = (0..bytes.len()).filter(|&at| b" \r\n:;,".contains(&bytes[at])).collect();
        match self {
            Fault::Insert(at, fragment) => insert(bytes, at.index(bytes.len() + 1), fragment),
            Fault::InsertLine(at, fragment) => insert(bytes, *at.get(&starts), fragment),
            Fault::Flood(at, what, count) if what.ends_with('\n') => {
                insert(bytes, *at.get(&starts), what.repeat(count).as_bytes());
            }
            _ if bytes.is_empty() || delimiters.is_empty() => {}
            Fault::Flood(at, what, count) => insert(bytes, *at.get(&delimiters), what.repeat(count).as_bytes()),
            Fault::InsertAtDelimiter(at, is_behind, fragment) => {
                insert(bytes, *at.get(&delimiters) + usize::from(is_behind), fragment);
            }
            Fault::Replace(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            Fault::Delete(at, count) => {
                let at = at.index(bytes.len());
                bytes.drain(at..bytes.len().min(at + count));
            }
            Fault::DeleteDelimiter(at) => {
                bytes.remove(*at.get(&delimiters));
            }
            Fault::DoubleLine(at) => {
                let start = *at.get(&starts);
                let end = starts.iter().copied().find(|end| *end > start).unwrap_or(bytes.len());
                let line = bytes[start..end].to_vec();
                insert(bytes, start, &line);
            }
            Fault::Cut(at) => bytes.truncate(at.index(bytes.len())),
        }
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, fragment: &[u8]) {
    bytes.splice(at..at, fragment.iter().copied());
}
