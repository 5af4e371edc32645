//! The request gate of HTTP/2: what its library lets through and a proxy must not, above all one that may go on in HTTP/1.1.
//! HTTP/1 needs none: its engine (`h1`) takes nothing that would be refused here.
//!
//! Refused, never repaired: each reason is a word in `x-laneway-error` and a counter. RFC 9113 sections 8.2 and 8.3.

use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, TE, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{Method, Request};

use super::headers::is_connection_specific;
use crate::h1::request::check_target;
use crate::h1::{FIELDS_MAX, Reason, is_authority};

/// To a peer that maps `_` to `-` (CGI and its heirs) these frame the message.
static LOOK_ALIKES: [HeaderName; 2] =
    [HeaderName::from_static("transfer_encoding"), HeaderName::from_static("content_length")];

/// Checks the head of a request.
pub(crate) fn check(request: &Request<()>) -> Result<(), Reason> {
    framing(request.headers())?;
    host(request)?;
    target(request)
}

fn framing(headers: &HeaderMap) -> Result<(), Reason> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return Err(Reason::TransferEncodingVersion);
    }
    if headers.keys().any(is_connection_specific)
        || headers.get_all(TE).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"trailers"))
    {
        return Err(Reason::Translation);
    }
    if headers.len() > FIELDS_MAX {
        return Err(Reason::FieldsTooMany);
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        if lengths.next().is_some() {
            return Err(Reason::ContentLengthTwice);
        }
        let digits = length.as_bytes();
        let value = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<i64>().ok());
        if !digits.iter().all(u8::is_ascii_digit) || value.is_none() {
            return Err(Reason::ContentLength);
        }
    }
    if LOOK_ALIKES.iter().any(|name| headers.contains_key(name)) {
        return Err(Reason::FramingLookAlike);
    }
    Ok(())
}

fn host(request: &Request<()>) -> Result<(), Reason> {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    if authority.is_some_and(|authority| authority.contains('@')) {
        return Err(Reason::Userinfo);
    }
    if authority.is_some_and(|authority| !is_authority(authority.as_bytes())) {
        return Err(Reason::Host);
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let first = hosts.next();
    if hosts.next().is_some() {
        return Err(Reason::HostTwice);
    }
    match (first, authority) {
        (None, None) => Err(Reason::HostMissing),
        (Some(host), _) if !is_authority(host.as_bytes()) => Err(Reason::Host),
        (Some(host), Some(authority)) if !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) => {
            Err(Reason::HostDiffers)
        }
        _ => Ok(()),
    }
}

fn target(request: &Request<()>) -> Result<(), Reason> {
    if *request.method() == Method::CONNECT {
        return Ok(());
    }
    let target = request.uri().path_and_query().map_or("", PathAndQuery::as_str);
    check_target(target)?;
    let is_asterisk = target == "*" && *request.method() == Method::OPTIONS;
    if target.starts_with('/') || is_asterisk { Ok(()) } else { Err(Reason::Target) }
}

#[cfg(any(test, fuzzing))]
#[allow(unreachable_pub, reason = "only a fuzzer reaches it")]
pub mod hostile;
#[cfg(test)]
mod tests;
