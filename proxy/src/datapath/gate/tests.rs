//! Heads of HTTP/2 and what the gate says of them.

use http::{HeaderName, HeaderValue, Request};

use super::{check, hostile};
use crate::draw;

fn verdict(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<(), &'static str> {
    let mut request = Request::builder().method(method).uri(target).body(()).expect("test target");
    for (name, value) in headers {
        request.headers_mut().append(
            HeaderName::try_from(*name).expect("test name"),
            HeaderValue::from_bytes(value.as_bytes()).expect("test value"),
        );
    }
    check(&request).map_err(crate::h1::Reason::label)
}

#[test]
fn each_smuggling_class_is_refused_by_name() {
    for (headers, expected) in [
        (&[][..], Ok(())),
        (&[("host", "B")], Ok(())),
        (&[("te", "trailers")], Ok(())),
        (&[("content-length", "5")], Ok(())),
        (&[("host", "c")], Err("host-differs")),
        (&[("host", "b"), ("host", "b")], Err("host-twice")),
        (&[("host", "b,c")], Err("host")),
        (&[("transfer-encoding", "chunked")], Err("transfer-encoding-version")),
        (&[("connection", "close")], Err("translation")),
        (&[("te", "gzip")], Err("translation")),
        (&[("content-length", "1"), ("content-length", "1")], Err("content-length-twice")),
        (&[("content-length", "+1")], Err("content-length")),
        (&[("content-length", "9223372036854775808")], Err("content-length")),
        (&[("content_length", "1")], Err("framing-look-alike")),
    ] {
        assert_eq!(verdict("GET", "http://b/", headers), expected, "{headers:?}");
    }
}

#[test]
fn a_target_has_an_authority_and_a_path() {
    for (method, target, host, expected) in [
        ("GET", "http://b/a?b", None, Ok(())),
        ("GET", "/", Some("b"), Ok(())),
        ("GET", "/", None, Err("host-missing")),
        ("GET", "http://u@b/", None, Err("userinfo")),
        ("GET", "http://b/%00", None, Err("nul")),
        ("OPTIONS", "*", Some("b"), Ok(())),
        ("GET", "*", Some("b"), Err("target")),
        ("CONNECT", "b:80", None, Ok(())),
    ] {
        let headers: Vec<_> = host.iter().map(|host| ("host", *host)).collect();
        assert_eq!(verdict(method, target, &headers), expected, "{method} {target}");
    }
}

/// Inputs without a fuzzer; `./x fuzz gate` is for more.
const HOSTILE_INPUTS: u32 = 40_000;

#[test]
fn what_passes_is_one_head_of_http1_with_the_same_meaning() {
    let seeds: [&[u8]; 3] = [
        include_bytes!("../../../../fuzz/seeds/gate/get"),
        include_bytes!("../../../../fuzz/seeds/gate/options"),
        include_bytes!("../../../../fuzz/seeds/gate/post"),
    ];
    for seed in seeds {
        assert!(hostile::check(seed), "a seed is refused: {}", String::from_utf8_lossy(seed));
    }
    let passed = draw::inputs(HOSTILE_INPUTS, 64, &seeds).filter(|bytes| hostile::check(bytes)).count();
    assert!(passed > HOSTILE_INPUTS as usize / 40, "only {passed} of {HOSTILE_INPUTS} passed: the rest showed little");
}
