//! Heads, bodies and trailers of HTTP/2 that no lawful client sends (RFC 9113 sections 8.1 to 8.3, RFC 9110 section 8.6), each
//! with one thing wrong, and lawful ones like them.
//!
//! What is injected says `smuggled`: the word may reach an origin in a body and nowhere else.

use crate::frames::{Field, field, get};

/// One request.
pub(super) struct Case {
    pub(super) claim: String,
    pub(super) head: Vec<Field>,
    /// Empty: the head ends the stream.
    pub(super) data: Vec<&'static str>,
    pub(super) trailers: Vec<Field>,
    pub(super) is_lawful: bool,
}

/// What ends or splits a line, or a part of one, for some reader.
const BAD: [&str; 7] = ["\r\n", "\n", "\r", "\0", "\x0b", "\x7f", " "];
const SECOND: &str = "GET /smuggled HTTP/1.1\r\nhost: smuggled\r\n\r\n";

/// Every case, the lawful ones first and last.
pub(super) fn all() -> Vec<Case> {
    let parts =
        [lawful(), bytes(), names(), connection_specific(), pseudo(), targets(), lengths(), trailers(), lawful()];
    parts.into_iter().flatten().collect()
}

fn case(claim: impl Into<String>, head: Vec<Field>) -> Case {
    Case { claim: claim.into(), head, data: Vec::new(), trailers: Vec::new(), is_lawful: false }
}

/// A GET with these more fields.
fn with(claim: impl Into<String>, more: &[(&str, &str)]) -> Case {
    let mut head = get("/");
    head.extend(more.iter().map(|(name, value)| field(name, value)));
    case(claim, head)
}

/// A GET with another value of one field.
fn instead(name: &str, value: &str) -> Case {
    let mut head = get("/");
    for (_, old) in head.iter_mut().filter(|(other, _)| other == name.as_bytes()) {
        *old = value.as_bytes().to_vec();
    }
    case(format!("{name} {value:?}"), head)
}

fn post(claim: impl Into<String>, more: &[(&str, &str)], data: &[&'static str]) -> Case {
    let mut case = with(claim, more);
    case.head[0] = field(":method", "POST");
    case.data = data.to_vec();
    case
}

fn lawful() -> Vec<Case> {
    let mut cases = vec![
        with("a plain GET", &[]),
        with("te: trailers", &[("te", "trailers")]),
        with("host like :authority", &[("host", "sc-b")]),
        with("a tab and bytes above 127 in a value", &[("x-a", "a\tb\u{e9}")]),
        with("cookie crumbs", &[("cookie", "a=1"), ("cookie", "b=2")]),
        post("a body with its length", &[("content-length", "4")], &["ab", "cd"]),
        post("a body without a length", &[], &["ab", SECOND]),
    ];
    let mut case = post("lawful trailers", &[], &["abcd"]);
    case.trailers = vec![field("x-checksum", "1")];
    cases.push(case);
    for case in &mut cases {
        case.claim.insert_str(0, "lawful: ");
        case.is_lawful = true;
    }
    cases
}

fn bytes() -> Vec<Case> {
    let mut cases = Vec::new();
    for bad in BAD {
        cases.push(with(format!("{bad:?} in a name"), &[(&format!("x-a{bad}smuggled"), "1")]));
        cases.push(with(format!("{bad:?} and a colon in a name"), &[(&format!("x-a: 1{bad}smuggled"), "1")]));
        cases.push(instead(":method", &format!("GET{bad}/smuggled")));
        cases.push(instead(":path", &format!("/{bad}smuggled")));
        cases.push(instead(":path", &format!("/ HTTP/1.1{bad}smuggled: 1{bad}x-b: ")));
        cases.push(instead(":authority", &format!("sc-b{bad}smuggled: 1")));
        cases.push(instead(":scheme", &format!("http{bad}smuggled")));
        if bad != " " {
            for name in ["x-a", "x-mse-tag", "host", "content-type", "cookie", "traceparent"] {
                cases
                    .push(with(format!("{bad:?} in the value of {name}"), &[(name, &format!("sc-b{bad}smuggled: 1"))]));
            }
            let twice = format!("1{bad}{bad}GET /smuggled HTTP/1.1{bad}host: b{bad}{bad}");
            cases.push(with(format!("a request behind {bad:?} in a value"), &[("x-a", &twice)]));
        }
    }
    cases
}

fn names() -> Vec<Case> {
    let names = ["X-Smuggled", "x-SMUGGLED", "", "x-smuggled:", "x(smuggled)", "x-smuggled\u{e9}", "\tsmuggled"];
    let mut cases: Vec<_> =
        names.iter().map(|name| with(format!("a field named {name:?}"), &[(name, "smuggled")])).collect();
    cases.push(with("Transfer-Encoding in upper case", &[("Transfer-Encoding", "chunked")]));
    cases.push(with("transfer_encoding: chunked", &[("transfer_encoding", "smuggled")]));
    cases.push(with("content_length", &[("content_length", "smuggled")]));
    cases.push(with("transfer-encoding with a space behind", &[("transfer-encoding ", "smuggled")]));
    cases
}

fn connection_specific() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, value) in [
        ("connection", "smuggled"),
        ("connection", "x-mse-tag, smuggled"),
        ("keep-alive", "timeout=5, smuggled"),
        ("proxy-connection", "smuggled"),
        ("upgrade", "smuggled"),
        ("transfer-encoding", "smuggled"),
        ("transfer-encoding", "chunked, smuggled"),
        ("te", "smuggled"),
        ("te", "trailers, smuggled"),
    ] {
        cases.push(with(format!("{name}: {value}"), &[(name, value)]));
    }
    cases.push(with("te: trailers and another", &[("te", "trailers"), ("te", "smuggled")]));
    cases.push(with("h2c", &[("connection", "upgrade, http2-settings"), ("upgrade", "h2c"), ("http2-settings", "AA")]));
    let framed = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: b\r\n\r\n";
    cases.push(post("transfer-encoding: chunked", &[("transfer-encoding", "chunked")], &[framed]));
    let both = [("content-length", "40"), ("transfer-encoding", "chunked")];
    cases.push(post("content-length and transfer-encoding", &both, &[framed]));
    cases
}

fn pseudo() -> Vec<Case> {
    let mut cases = Vec::new();
    for (index, (name, value)) in get("/smuggled").into_iter().enumerate() {
        let shown = String::from_utf8_lossy(&name).into_owned();
        let mut twice = get("/");
        twice.insert(index + 1, (name.clone(), value));
        cases.push(case(format!("{shown} twice"), twice));
        let mut late = get("/");
        let moved = late.remove(index);
        late.extend([field("x-smuggled", "1"), moved]);
        cases.push(case(format!("{shown} behind a field"), late));
        if name != b":authority" {
            let mut none = get("/");
            none.remove(index);
            none.push(field("x-smuggled", "1"));
            cases.push(case(format!("no {shown}"), none));
            cases.push(instead(&shown, ""));
        }
    }
    for name in [":smuggled", ":status", ":", ":Path", ":protocol", ":method "] {
        let mut head = get("/");
        head.push(field(name, "smuggled"));
        cases.push(case(format!("a pseudo field named {name:?}"), head));
    }
    let mut connect = get("/smuggled");
    connect[0] = field(":method", "CONNECT");
    cases.push(case("CONNECT with a path", connect));
    // Nothing says whom it is for: an HTTP/1.1 request could have no lawful Host.
    let mut nobody = get("/");
    nobody.retain(|(name, _)| name != b":authority");
    cases.push(case("no :authority and no host", nobody));
    cases
}

fn targets() -> Vec<Case> {
    let mut cases = Vec::new();
    for path in ["/#smuggled", "smuggled", "*smuggled", "http://smuggled/", "\\smuggled"] {
        cases.push(instead(":path", path));
    }
    // What these ask for is no more than a client may ask for; only their form is unlawful.
    for path in ["?a", "*", "/\u{e9}", "/a\tb"] {
        cases.push(instead(":path", path));
    }
    for authority in [
        "smuggled@sc-b",
        "user:smuggled@sc-b",
        "sc-b,smuggled",
        "sc-b/smuggled",
        "sc-b?smuggled",
        "sc-b#smuggled",
        "sc-b\\smuggled",
    ] {
        cases.push(instead(":authority", authority));
    }
    cases.push(with("host unlike :authority", &[("host", "smuggled")]));
    cases.push(with("two hosts alike", &[("host", "sc-b"), ("host", "sc-b")]));
    cases.push(with("two hosts", &[("host", "sc-b"), ("host", "smuggled")]));
    for host in ["smuggled@sc-b", "sc-b,smuggled", "sc-b/smuggled", "sc-b smuggled"] {
        let mut head = get("/");
        head.retain(|(name, _)| name != b":authority");
        head.push(field("host", host));
        cases.push(case(format!("host {host:?} and no :authority"), head));
    }
    cases
}

fn lengths() -> Vec<Case> {
    let length = |value: &'static str, data: &[&'static str]| {
        post(format!("content-length {value:?} of {} bytes", data.concat().len()), &[("content-length", value)], data)
    };
    let mut cases = vec![
        length("5", &["abcd"]),
        length("5", &[]),
        length("2", &["abcd"]),
        length("2", &["ab", SECOND]),
        length("0", &[SECOND]),
    ];
    for value in [
        "+4",
        "-4",
        "4,4",
        "4, 4",
        "4 4",
        "0x4",
        "4.0",
        "",
        "four",
        "04smuggled",
        "99999999999999999999",
        "18446744073709551620",
    ] {
        cases.push(length(value, &["abcd"]));
    }
    let twice = |first, second| [("content-length", first), ("content-length", second)];
    cases.push(post("two lengths alike", &twice("4", "4"), &["abcd"]));
    cases.push(post("two lengths", &twice("4", "0"), &["abcd"]));
    cases.push(post("two lengths, the second right", &twice("0", "4"), &["abcd"]));
    cases
}

fn trailers() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, value) in [
        (":path", "/smuggled"),
        (":status", "200"),
        (":smuggled", "1"),
        ("content-length", "9"),
        ("transfer-encoding", "chunked"),
        ("host", "smuggled"),
        ("connection", "smuggled"),
        ("te", "smuggled"),
        ("upgrade", "smuggled"),
        ("x-mse-tag", "smuggled"),
        ("X-Smuggled", "1"),
        ("x-a\r\nsmuggled", "1"),
        ("x-a", "1\r\nsmuggled: 1"),
        ("x-a", "1\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: b\r\n\r\n"),
    ] {
        let mut case = post(format!("trailer {name:?}: {value:?}"), &[], &["abcd"]);
        case.trailers = vec![field(name, value)];
        cases.push(case);
    }
    cases
}
