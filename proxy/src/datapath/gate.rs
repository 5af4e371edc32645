//! The request gate: what hyper lets through and a proxy must not. Before routing, for every request of HTTP/1 and HTTP/2.
//!
//! Refused, never repaired: each reason is a word in `x-laneway-error` and a counter. RFC 9112 sections 3.2, 6.1, 6.3; RFC
//! 9113 section 8.2.

use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, TRANSFER_ENCODING};
use http::uri::Uri;
use http::{Method, Version};

/// Header bytes that look like a framing header to a peer that maps `_` to `-` (CGI and its heirs).
static LOOK_ALIKES: [HeaderName; 2] =
    [HeaderName::from_static("transfer_encoding"), HeaderName::from_static("content_length")];

/// Checks a head. The error is the reason, stable, in words of a counter.
pub(crate) fn check(version: Version, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), &'static str> {
    framing(version, headers)?;
    host(version, method, uri, headers)?;
    if uri.path_and_query().is_some_and(|target| target.as_str().contains('#')) {
        return Err("fragment");
    }
    Ok(())
}

fn framing(version: Version, headers: &HeaderMap) -> Result<(), &'static str> {
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(encoding) = encodings.next() {
        if version != Version::HTTP_11 {
            return Err("transfer-encoding-version");
        }
        // One encoding, and that is chunked: a list, a second line or an odd spelling is read differently by others.
        if encodings.next().is_some() || !encoding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err("transfer-encoding");
        }
        if headers.contains_key(CONTENT_LENGTH) {
            return Err("transfer-encoding-and-content-length");
        }
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        if lengths.next().is_some() {
            return Err("content-length-twice");
        }
        let digits = length.as_bytes();
        let value = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<i64>().ok());
        if !digits.iter().all(u8::is_ascii_digit) || value.is_none() {
            return Err("content-length");
        }
    }
    if LOOK_ALIKES.iter().any(|name| headers.contains_key(name)) {
        return Err("framing-look-alike");
    }
    Ok(())
}

fn host(version: Version, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), &'static str> {
    let mut hosts = headers.get_all(HOST).iter();
    let first = hosts.next();
    if hosts.next().is_some() {
        return Err("host-twice");
    }
    if let Some(host) = first {
        if !is_authority(host.as_bytes()) {
            return Err("host");
        }
        if version == Version::HTTP_2
            && uri.authority().is_some_and(|a| !a.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()))
        {
            return Err("host-differs");
        }
    } else if version == Version::HTTP_11 {
        return Err("host-missing");
    }
    if method != Method::CONNECT && uri.authority().is_some_and(|a| a.as_str().contains('@')) {
        return Err("userinfo");
    }
    Ok(())
}

/// `uri-host [ ":" port ]` of RFC 9110 section 7.2; may be empty. No userinfo, path, comma or space.
fn is_authority(value: &[u8]) -> bool {
    value.iter().all(|b| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'%' | b':' | b'[' | b']' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'='))
}

#[cfg(test)]
mod tests;
