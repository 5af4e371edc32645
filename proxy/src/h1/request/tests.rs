use super::{BodyLength, parse};
use crate::h1::fields::{Kind, Slots};
use crate::h1::{Parsed, Reason};

#[track_caller]
fn refused(head: &str) -> Reason {
    match parse(head.as_bytes(), &mut Slots::new()) {
        Err(reason) => reason,
        Ok(_) => panic!("taken: {head:?}"),
    }
}

#[test]
fn a_head_is_read_and_what_goes_on_is_copied_as_it_was_spelled() {
    let text = "POST /a?b HTTP/1.1\r\nHOST: x:80\r\nX-One:  1 \r\nConnection: x-two, close\r\nx-two: 2\r\nContent-Length: 5\r\n\r\nhello";
    let mut slots = Slots::new();
    let Ok(Parsed::Whole(request)) = parse(text.as_bytes(), &mut slots) else { panic!("refused") };
    assert_eq!((request.method, request.origin, request.authority), ("POST", "/a?b", "x:80"));
    assert_eq!((request.body, request.closes(), request.bytes), (BodyLength::Exact(5), true, text.len() - 5));
    assert!(request.fields.is_named_by_connection(b"X-Two") && !request.fields.is_named_by_connection(b"x-one"));
    let mut out = Vec::new();
    request
        .fields
        .copy_kept(&mut out, request.fields.start(), |name, kind| kind != Kind::Connection && name != b"x-two");
    assert_eq!(String::from_utf8_lossy(&out), "HOST: x:80\r\nX-One:  1 \r\nContent-Length: 5\r\n");
}

#[test]
fn what_ends_at_this_hop_is_told_by_kind_or_by_connection() {
    let text = "GET / HTTP/1.1\r\nhost: h\r\nConnection: close\r\nClose: 1\r\nKeep-Alive: 1\r\nx-one: 1\r\n\r\n";
    let mut slots = Slots::new();
    let Ok(Parsed::Whole(request)) = parse(text.as_bytes(), &mut slots) else { panic!("refused") };
    let fields = &request.fields;
    let is_kept = |name: &[u8], kind| matches!(kind, Kind::Host | Kind::Other) && !fields.is_named_by_connection(name);
    let kept: Vec<_> = fields.iter().filter(|(name, _, kind)| is_kept(name, *kind)).map(|field| field.0).collect();
    assert_eq!(kept, [&b"host"[..], b"x-one"]);
}

#[test]
fn every_part_of_a_head_is_partial() {
    let text = "\r\nGET http://h/ HTTP/1.1\r\nhost: other\r\nx: y\r\n\r\n";
    for length in 0..text.len() {
        assert!(matches!(parse(&text.as_bytes()[..length], &mut Slots::new()), Ok(Parsed::Partial)), "{length}");
    }
    let mut slots = Slots::new();
    let Ok(Parsed::Whole(request)) = parse(text.as_bytes(), &mut slots) else { panic!("refused") };
    assert_eq!((request.origin, request.authority, request.is_absolute), ("/", "h", true));
}

#[test]
fn options_of_a_whole_server_asks_it_with_an_asterisk() {
    for (target, origin) in [("http://h", "*"), ("http://h/", "/"), ("http://h/a?b", "/a?b"), ("*", "*")] {
        let text = format!("OPTIONS {target} HTTP/1.1\r\nhost: h\r\n\r\n");
        let mut slots = Slots::new();
        let Ok(Parsed::Whole(request)) = parse(text.as_bytes(), &mut slots) else { panic!("refused: {target}") };
        assert_eq!(request.origin, origin, "{target}");
    }
}

#[test]
fn what_two_parsers_could_read_differently_is_refused_by_name() {
    for (head, reason) in [
        ("GET / HTTP/1.1\nhost: a\r\n\r\n", Reason::LineEnd),
        ("GET / HTTP/1.1\r\nhost: a\n\r\n", Reason::LineEnd),
        ("GET / HTTP/1.1\r\nhost: a\r\n\n", Reason::LineEnd),
        ("\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", Reason::LineEnd),
        ("GET  / HTTP/1.1\r\nhost: a\r\n\r\n", Reason::Target),
        ("G@T / HTTP/1.1\r\nhost: a\r\n\r\n", Reason::Method),
        ("GET /#x HTTP/1.1\r\nhost: a\r\n\r\n", Reason::Fragment),
        ("GET /%00 HTTP/1.1\r\nhost: a\r\n\r\n", Reason::Nul),
        ("GET a HTTP/1.1\r\nhost: a\r\n\r\n", Reason::Target),
        ("GET * HTTP/1.1\r\nhost: a\r\n\r\n", Reason::Target),
        ("CONNECT / HTTP/1.1\r\nhost: a\r\n\r\n", Reason::Target),
        ("GET http://:80/ HTTP/1.1\r\nhost: a\r\n\r\n", Reason::Target),
        ("GET http://u@h/ HTTP/1.1\r\nhost: a\r\n\r\n", Reason::Userinfo),
        ("GET / HTTP/1.2\r\nhost: a\r\n\r\n", Reason::Version),
        ("GET / HTTP/2.0\r\nhost: a\r\n\r\n", Reason::Version),
        ("GET / HTTP/1.1\r\nhost : a\r\n\r\n", Reason::FieldName),
        ("GET / HTTP/1.1\r\nhost: a\r\n folded\r\n\r\n", Reason::FieldName),
        ("GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n", Reason::FieldValue),
        ("GET / HTTP/1.1\r\n\r\n", Reason::HostMissing),
        ("GET / HTTP/1.1\r\nhost: a\r\nHost: a\r\n\r\n", Reason::HostTwice),
        ("GET / HTTP/1.1\r\nhost: a,b\r\n\r\n", Reason::Host),
        ("GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\n\r\n", Reason::TransferEncoding),
        ("GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n", Reason::TransferEncoding),
        (
            "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            Reason::TransferEncoding,
        ),
        ("GET / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", Reason::TransferEncodingVersion),
        (
            "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            Reason::TransferEncodingAndContentLength,
        ),
        ("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n", Reason::ContentLengthTwice),
        ("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\n", Reason::ContentLength),
        ("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1, 1\r\n\r\n", Reason::ContentLength),
        ("GET / HTTP/1.1\r\nhost: a\r\ncontent-length:\r\n\r\n", Reason::ContentLength),
        ("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 9223372036854775808\r\n\r\n", Reason::ContentLength),
        ("GET / HTTP/1.1\r\nhost: a\r\ncontent_length: 1\r\n\r\n", Reason::FramingLookAlike),
    ] {
        assert_eq!(refused(head), reason, "{head:?}");
    }
}

#[test]
fn sizes_are_bounded() {
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "a: b\r\n".repeat(100));
    assert_eq!(refused(&many), Reason::FieldsTooMany);
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\na: {}\r\n\r\n", "b".repeat(64 << 10));
    assert_eq!(refused(&long), Reason::HeadTooLarge);
}
