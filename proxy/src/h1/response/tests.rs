use super::{BodyLength, parse};
use crate::h1::fields::Slots;
use crate::h1::{Parsed, Reason};

#[test]
fn the_framing_of_an_answer_follows_the_request_too() {
    for (head, is_head, is_connect, body) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", false, false, BodyLength::Exact(3)),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", true, false, BodyLength::None),
        ("HTTP/1.1 304 \r\ncontent-length: 3\r\n\r\n", false, false, BodyLength::None),
        ("HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n", false, false, BodyLength::Chunked),
        ("HTTP/1.1 200 OK\r\n\r\n", false, false, BodyLength::UntilClose),
        ("HTTP/1.1 200 OK\r\n\r\n", false, true, BodyLength::None),
        ("HTTP/1.1 407 No\r\n\r\n", false, true, BodyLength::UntilClose),
        ("HTTP/1.1 103 Early\r\n\r\n", false, false, BodyLength::None),
    ] {
        let mut slots = Slots::new();
        let Ok(Parsed::Whole(response)) = parse(head.as_bytes(), &mut slots, is_head, is_connect) else {
            panic!("refused: {head:?}")
        };
        assert_eq!(response.body, body, "{head:?}");
        assert_eq!(response.bytes, head.len());
    }
}

#[test]
fn an_instance_is_as_hostile_as_a_client() {
    for (head, reason) in [
        ("HTTP/1.1 099 x\r\n\r\n", Reason::Status),
        ("HTTP/1.1 20 x\r\n\r\n", Reason::Status),
        ("HTTP/2.0 200 OK\r\n\r\n", Reason::Version),
        ("SSH-2.0-x\r\n", Reason::Version),
        ("\r\n", Reason::Version),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", Reason::Version),
        ("HTTP/1.1 200 OK\ncontent-length: 0\r\n\r\n", Reason::LineEnd),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", Reason::ContentLengthTwice),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            Reason::TransferEncodingAndContentLength,
        ),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Reason::TransferEncodingVersion),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", Reason::TransferEncoding),
        ("HTTP/1.1 200 OK\r\nx : y\r\n\r\n", Reason::FieldName),
    ] {
        let mut slots = Slots::new();
        match parse(head.as_bytes(), &mut slots, false, false) {
            Err(found) => assert_eq!(found, reason, "{head:?}"),
            Ok(_) => panic!("taken: {head:?}"),
        };
    }
}
