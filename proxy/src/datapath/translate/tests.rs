//! One head for the next hop, in each combination of versions.

use std::rc::Rc;

use http::{Request, Response};
use laneway_core::snapshot::Snapshot;
use laneway_core::tag::{RequestTag, Tag};

use super::super::headers::HeadView;
use super::super::path::Line;
use super::super::propagate::{self, Names, Rewrite};
use super::{
    Framing, Persistence, request_1_to_1, request_1_to_2, request_2_to_1, request_2_to_2, response_1_to_1,
    response_1_to_2, response_2_to_1,
};
use crate::h1::fields::Slots;
use crate::h1::{Parsed, Reason, request, response};

fn names() -> Rc<Names> {
    Rc::new(Names::new(1, Snapshot::empty(Default::default()).group()))
}

fn rewrite() -> Rewrite {
    Rewrite::new(names())
}

/// `head` has `\n` for CRLF.
fn with_request<T>(head: &str, then: impl FnOnce(&request::Request<'_, '_>) -> T) -> T {
    let bytes = head.replace('\n', "\r\n");
    let mut slots = Slots::new();
    match request::parse(bytes.as_bytes(), &mut slots) {
        Ok(Parsed::Whole(request)) => then(&request),
        Ok(Parsed::Partial) => panic!("partial: {head:?}"),
        Err(reason) => panic!("{reason}: {head:?}"),
    }
}

fn lines(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("test heads are text").replace("\r\n", "\n")
}

fn one_to_one(head: &str) -> String {
    let mut out = Vec::new();
    with_request(head, |request| request_1_to_1(request, &rewrite(), &mut out));
    lines(out)
}

#[test]
fn a_request_of_http1_keeps_its_spelling_and_loses_what_belongs_to_its_hop() {
    assert_eq!(one_to_one("GET /a HTTP/1.1\nHOST: b\nX-A:  1\n\n"), "GET /a HTTP/1.1\nHOST: b\nX-A:  1\n\n");
    assert_eq!(
        one_to_one(
            "POST / HTTP/1.1\nHost: b\nKeep-Alive: 5\nConnection: x-a, close, x-mse-tag\nX-A: 1\nX-Mse-Tag: gray\nContent-Length: 2\nX-B: 2\n\n"
        ),
        "POST / HTTP/1.1\nHost: b\nX-Mse-Tag: gray\nContent-Length: 2\nX-B: 2\n\n"
    );
    assert_eq!(
        one_to_one("GET / HTTP/1.1\nHost: b\nConnection: Upgrade\nUpgrade: websocket\n\n"),
        "GET / HTTP/1.1\nHost: b\nUpgrade: websocket\nConnection: Upgrade\n\n"
    );
    assert_eq!(
        one_to_one("GET / HTTP/1.1\nHost: b\nConnection: Upgrade\nUpgrade: h2c\n\n"),
        "GET / HTTP/1.1\nHost: b\n\n"
    );
    assert_eq!(one_to_one("GET / HTTP/1.1\nHost: b\nUpgrade: websocket\n\n"), "GET / HTTP/1.1\nHost: b\n\n");
    assert_eq!(
        one_to_one("GET http://b:1/x HTTP/1.1\nAccept: */*\nHost: other\n\n"),
        "GET /x HTTP/1.1\nHost: b:1\nAccept: */*\n\n"
    );
    assert_eq!(one_to_one("GET / HTTP/1.0\nA: b\n\n"), "GET / HTTP/1.1\nHost: \nA: b\n\n");
    assert_eq!(
        one_to_one("GET / HTTP/1.1\nHost: b\nTE: gzip, trailers\n\n"),
        "GET / HTTP/1.1\nHost: b\nTE: trailers\nConnection: TE\n\n"
    );
}

#[test]
fn the_tag_is_written_in_the_same_pass() {
    let names = names();
    let tag = RequestTag::Lane(Tag::parse(b"gray").expect("test tag"));
    let mut out = Vec::new();
    with_request("GET / HTTP/1.1\nHost: b\nX-Mse-Tag: blue\nA: 1\n\n", |request| {
        let mut rewrite = Rewrite::new(Rc::clone(&names));
        propagate::write(&request.fields, &names, tag, &mut rewrite);
        request_1_to_1(request, &rewrite, &mut out);
    });
    assert_eq!(lines(out), "GET / HTTP/1.1\nHost: b\nA: 1\nx-mse-tag: gray\nbaggage: x-mse-tag=gray\n\n");

    let request = Request::get("http://b/").header("x-mse-tag", "blue").header("a", "1").body(()).expect("test head");
    let mut rewrite = Rewrite::new(Rc::clone(&names));
    propagate::write(&HeadView(request.headers()), &names, tag, &mut rewrite);
    let request = request_2_to_2(request, &rewrite).expect("it can be said");
    let all: Vec<_> = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    assert_eq!(all, [("a", &b"1"[..]), ("x-mse-tag", b"gray"), ("baggage", b"x-mse-tag=gray")]);
}

#[test]
fn http1_becomes_http2() {
    let head =
        "POST /a?b HTTP/1.1\nHost: b:80\nTransfer-Encoding: chunked\nConnection: x-a\nX-A: 1\nX-B: 2\nTE: trailers\n\n";
    let request = with_request(head, |request| request_1_to_2(request, &rewrite())).expect("it can be said");
    assert_eq!(request.uri().to_string(), "http://b:80/a?b");
    let all: Vec<_> = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    assert_eq!(all, [("x-b", &b"2"[..]), ("te", b"trailers")]);
    for refused in ["CONNECT b:80 HTTP/1.1\nHost: b\n\n", "GET / HTTP/1.1\nHost:\n\n"] {
        let reason =
            with_request(refused, |request| request_1_to_2(request, &rewrite()).map(|_| ())).expect_err(refused);
        assert_eq!(reason, Reason::Translation);
    }
}

#[test]
fn http2_becomes_http1() {
    let request = Request::post("http://b/a?b")
        .header("host", "b")
        .header("cookie", "a=1")
        .header("x-b", "2")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .body(())
        .expect("test head");
    let said = |has_body| {
        let mut out = Vec::new();
        let framing = request_2_to_1(&request, &rewrite(), has_body, &mut out).expect("it can be said");
        (framing, lines(out))
    };
    let head = "POST /a?b HTTP/1.1\nhost: b\nx-b: 2\ncookie: a=1; b=2\nte: trailers\nconnection: te\n";
    assert_eq!(said(true), (Framing::NewChunks, format!("{head}transfer-encoding: chunked\n\n")));
    assert_eq!(said(false), (Framing::Plain, format!("{head}content-length: 0\n\n")));
    let connect = Request::builder().method("CONNECT").uri("b:80").body(()).expect("test head");
    assert_eq!(request_2_to_1(&connect, &rewrite(), true, &mut Vec::new()), Err(Reason::Translation));
}

#[test]
fn answers_lose_what_belongs_to_their_hop() {
    let with = |head: &str, then: &dyn Fn(&response::Response<'_, '_>)| {
        let bytes = head.replace('\n', "\r\n");
        let mut slots = Slots::new();
        let Ok(Parsed::Whole(response)) = response::parse(bytes.as_bytes(), &mut slots, false, false) else {
            panic!("refused: {head:?}")
        };
        then(&response);
    };
    with("HTTP/1.0 200 Fine\nServer: x\nConnection: y\nY: 1\nKeep-Alive: 3\n\n", &|response| {
        let mut out = Vec::new();
        response_1_to_1(response, Framing::NewChunks, Persistence::Close, false, &Line::AsItCame, &mut out);
        let expected = "HTTP/1.1 200 Fine\nServer: x\nTransfer-Encoding: chunked\nConnection: close\n\n";
        assert_eq!(lines(out), expected);
        let translated = response_1_to_2(response, &Line::AsItCame).expect("it can be said");
        assert_eq!((translated.status().as_u16(), translated.headers().len()), (200, 1));
    });
    let response = Response::builder().status(404).header("a", "b").body(()).expect("test head");
    let mut out = Vec::new();
    response_2_to_1(&response, Framing::Plain, Persistence::Silent, true, &Line::AsItCame, &mut out);
    assert_eq!(lines(out), "HTTP/1.1 404 Not Found\na: b\ncontent-length: 0\n\n");
}
