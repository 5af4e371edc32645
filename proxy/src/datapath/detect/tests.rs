//! First bytes and what they say.

use super::{Detected, detect};

#[test]
fn first_bytes_decide_the_protocol() {
    let cases: [(&[u8], Detected); 20] = [
        (b"", Detected::NeedMore),
        (b"G", Detected::NeedMore),
        (b"GET", Detected::NeedMore),
        (b"GET ", Detected::NeedMore),
        (b"GET /", Detected::Http1),
        (b"\r\nPOST /a HTTP/1.1", Detected::Http1),
        (b"OPTIONS * HTTP/1.1", Detected::Http1),
        (b"GET http://b/x HTTP/1.1", Detected::Http1),
        (b"CONNECT b:443 HTTP/1.1", Detected::Http1),
        (b"M-SEARCH * HTTP/1.1", Detected::Http1),
        (b"PRI", Detected::NeedMore),
        (b"PRI * HTTP/2.0\r\n\r\nSM", Detected::NeedMore),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", Detected::Http2),
        (b"\x16\x03\x01\x02\0", Detected::Opaque),
        (b"*1\r\n$4\r\nPING", Detected::Opaque),
        (b"PING\r\n", Detected::Opaque),
        (b"SET a 1\r\n", Detected::Opaque),
        (b"get /", Detected::Opaque),
        (b"\xda\xbb\xc2", Detected::Opaque),
        (b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", Detected::Opaque),
    ];
    for (bytes, expected) in cases {
        assert_eq!(detect(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn every_prefix_of_http_asks_for_more_until_it_is_sure() {
    for whole in [&b"DELETE /x HTTP/1.1"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut settled = None;
        for length in 0..=whole.len() {
            match (detect(&whole[..length]), settled) {
                (Detected::NeedMore, None) => {}
                (answer, None) => settled = Some(answer),
                (answer, Some(before)) => assert_eq!(answer, before),
            }
        }
        assert!(matches!(settled, Some(Detected::Http1 | Detected::Http2)));
    }
}
