//! Requests of HTTP/2 with anything that its library lets through: what passes the gate is, said in HTTP/1.1, exactly one head
//! that our own engine takes, with the same meaning. Run on drawn inputs by the tests, and for long by `fuzz/`.
//!
//! An input is method, target and authority, then names and values, each ended by a zero.

use std::rc::Rc;

use http::header::{CONTENT_LENGTH, COOKIE, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use laneway_core::snapshot::Snapshot;
use laneway_proto::contract::TAG_HEADER;

use super::check as passes;
use crate::datapath::headers;
use crate::datapath::propagate::{Names, Rewrite};
use crate::datapath::translate::request_2_to_1;
use crate::h1::Parsed;
use crate::h1::fields::Slots;
use crate::h1::request::{self, BodyLength};

/// Returns whether the request passed.
pub fn check(bytes: &[u8]) -> bool {
    let mut words = bytes.split(|byte| *byte == 0);
    let Some(request) = read(&mut words) else { return false };
    if passes(&request).is_err() {
        return false;
    }
    let rewrite = Rewrite::new(Rc::new(Names::new(1, Snapshot::empty(Default::default()).group())));
    let mut head = Vec::new();
    let Ok(_) = request_2_to_1(&request, &rewrite, false, &mut head) else { return false };
    let shown = || String::from_utf8_lossy(&head).into_owned();
    let mut slots = Slots::new();
    let read = match request::parse(&head, &mut slots) {
        Ok(Parsed::Whole(read)) => read,
        Ok(Parsed::Partial) => panic!("half a head: {:?}", shown()),
        Err(reason) => panic!("our own engine refuses it, {reason}: {:?}", shown()),
    };
    assert_eq!(read.bytes, head.len(), "one head and no more: {:?}", shown());
    assert_eq!(read.method, request.method().as_str());
    assert_eq!(read.origin, request.uri().path_and_query().map_or("/", |target| target.as_str()), "{:?}", shown());
    let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let expected = length.filter(|length| *length > 0).map_or(BodyLength::None, BodyLength::Exact);
    assert_eq!(read.body, expected, "framed as it was: {:?}", shown());
    // What frames or names the hop is said anew, what only looks like the tag's header is dropped; all the rest stands there as it
    // came.
    let looks_like_tag = |name: &str| name.contains('_') && name.replace('_', "-") == TAG_HEADER;
    let is_said_anew = |name: &HeaderName| {
        [http::header::HOST, COOKIE, http::header::TE].contains(name) || headers::is_connection_specific(name)
    };
    for name in request.headers().keys().filter(|name| !is_said_anew(name)) {
        let came: Vec<&[u8]> = request.headers().get_all(name).iter().map(HeaderValue::as_bytes).collect();
        let lines = (0..).map_while(|index| read.fields.line(name.as_str(), index));
        let went: Vec<&[u8]> = lines.collect();
        let trimmed: Vec<&[u8]> = came.iter().map(|value| value.trim_ascii()).collect();
        let expected = if looks_like_tag(name.as_str()) { Vec::new() } else { trimmed };
        assert_eq!(went, expected, "{name}: {:?}", shown());
    }
    true
}

fn read<'b>(words: &mut impl Iterator<Item = &'b [u8]>) -> Option<Request<()>> {
    let mut word = || words.next().unwrap_or_default();
    let method = Method::from_bytes(word()).ok()?;
    let (target, authority) = (word(), word());
    let uri = match authority {
        b"" => Uri::try_from(target).ok()?,
        authority => Uri::builder().scheme("http").authority(authority).path_and_query(target).build().ok()?,
    };
    let mut request = Request::builder().method(method).uri(uri).body(()).ok()?;
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        // As RFC 9113 wants names; the library refuses the others.
        if name.iter().any(u8::is_ascii_uppercase) {
            continue;
        }
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) else { continue };
        request.headers_mut().append(name, value);
    }
    Some(request)
}
