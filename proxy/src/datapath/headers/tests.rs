//! What one hop removes and what it must keep.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{is_upgrade, strip_hop_by_hop};

fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
}

fn stripped(lines: &[(&'static str, &'static str)]) -> Vec<String> {
    let mut headers = map(lines);
    let upgrade = is_upgrade(&headers);
    strip_hop_by_hop(&mut headers, upgrade, |name| matches!(name.as_str(), "x-mse-tag" | "traceparent"));
    headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().expect("test value"))).collect()
}

#[test]
fn hop_by_hop_goes_and_the_order_stays() {
    assert_eq!(
        stripped(&[
            ("connection", "keep-alive, x-secret"),
            ("a", "1"),
            ("x-secret", "s"),
            ("keep-alive", "5"),
            ("b", "2")
        ]),
        ["a: 1", "b: 2"]
    );
}

#[test]
fn a_connection_token_never_removes_a_lane_or_framing_header() {
    assert_eq!(
        stripped(&[
            ("connection", "x-mse-tag, traceparent, host, content-length"),
            ("host", "b"),
            ("content-length", "1"),
            ("x-mse-tag", "gray"),
            ("traceparent", "t")
        ]),
        ["host: b", "content-length: 1", "x-mse-tag: gray", "traceparent: t"]
    );
}

#[test]
fn an_upgrade_goes_on_but_not_h2c() {
    assert_eq!(
        stripped(&[("connection", "Upgrade"), ("upgrade", "websocket"), ("a", "1")]),
        ["a: 1", "connection: upgrade", "upgrade: websocket"]
    );
    assert_eq!(
        stripped(&[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "x")]),
        Vec::<String>::new()
    );
    assert_eq!(stripped(&[("upgrade", "websocket")]), Vec::<String>::new());
}

#[test]
fn te_trailers_alone_survives() {
    assert_eq!(stripped(&[("te", "gzip, trailers"), ("a", "1")]), ["a: 1", "te: trailers"]);
    assert_eq!(stripped(&[("te", "gzip")]), Vec::<String>::new());
}
