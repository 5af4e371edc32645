//! The value that a test looks at, taken from the head as it came. What must be decoded or joined goes into a buffer.

use std::net::IpAddr;

use super::Source;
use super::claim::{self, Claims};
use crate::carry::{hex, trim};
use crate::facts::{Facts, Headers};
use crate::name;

pub(super) fn read<'b>(
    source: &Source,
    facts: &Facts<'b>,
    buffer: &'b mut Vec<u8>,
    claims: &'b mut Claims,
) -> Option<&'b [u8]> {
    let caller = &facts.source;
    // What nobody knows is absent; a caller without a tag is known to be baseline.
    let is_known = caller.is_meshed || !caller.service.is_empty() || caller.tag.is_some();
    match source {
        Source::Header(name) => header(facts.headers, name, buffer),
        Source::Cookie(name) => cookie(facts.headers, name.as_bytes()),
        Source::Query(name) => query(facts.target, name.as_bytes(), buffer),
        Source::JwtClaim(name) => claim::read(facts.headers, name, claims, buffer),
        Source::Path => path(facts.target, buffer),
        Source::Method => (!facts.method.is_empty()).then_some(facts.method.as_bytes()),
        Source::Host => host(facts.authority, buffer),
        Source::GrpcMethod => facts.is_grpc.then(|| grpc_method(facts.target)).flatten(),
        Source::CallerService => (!caller.service.is_empty()).then(|| name::id_of(caller.service).as_bytes()),
        Source::CallerNamespace => (!caller.service.is_empty()).then(|| name::namespace_of(caller.service).as_bytes()),
        Source::CallerTag => is_known.then(|| {
            buffer.clear();
            buffer.extend_from_slice(caller.tag.as_ref().map_or(&[], |tag| tag.as_bytes()));
            buffer.as_slice()
        }),
        Source::CallerIp => caller.address.map(|address| text_of(address, buffer)),
    }
}

/// For sticky keys; tests on it compare addresses.
fn text_of(address: IpAddr, buffer: &mut Vec<u8>) -> &[u8] {
    use std::io::Write;
    buffer.clear();
    // Writing to a vector cannot fail.
    let _ = write!(buffer, "{}", address.to_canonical());
    buffer
}

fn header<'b>(headers: &'b dyn Headers, name: &str, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
    let first = headers.line(name, 0)?;
    if headers.line(name, 1).is_none() {
        return Some(trim(first));
    }
    buffer.clear();
    for (index, line) in (0..).map_while(|index| headers.line(name, index)).enumerate() {
        if index > 0 {
            buffer.push(b',');
        }
        buffer.extend_from_slice(trim(line));
    }
    Some(buffer)
}

fn cookie<'b>(headers: &'b dyn Headers, name: &[u8]) -> Option<&'b [u8]> {
    for line in (0..).map_while(|index| headers.line("cookie", index)) {
        for pair in line.split(|&b| b == b';') {
            let Some(equals) = pair.iter().position(|&b| b == b'=') else { continue };
            if trim(&pair[..equals]) == name {
                return Some(trim(&pair[equals + 1..]));
            }
        }
    }
    None
}

fn query<'b>(target: &str, name: &[u8], buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
    let target = target.split('#').next().unwrap_or_default();
    let (_, query) = target.split_once('?')?;
    for pair in query.as_bytes().split(|&b| b == b'&') {
        let equals = pair.iter().position(|&b| b == b'=');
        let (key, value) = match equals {
            Some(equals) => (&pair[..equals], &pair[equals + 1..]),
            None => (pair, &[][..]),
        };
        if form_decode(key).eq(name.iter().copied()) {
            buffer.clear();
            buffer.extend(form_decode(value));
            return Some(buffer);
        }
    }
    None
}

/// Percent-decoded, `+` read as a space; what is not a good escape stays as it is.
pub(crate) fn form_decode(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (&first, tail) = rest.split_first()?;
        rest = tail;
        match (first, tail) {
            (b'+', _) => Some(b' '),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    Some(high << 4 | low)
                }
                _ => Some(first),
            },
            _ => Some(first),
        }
    })
}

/// Path of a target in origin or absolute form, without the query; `*` is itself, an authority has none.
fn raw_path(target: &str) -> Option<&str> {
    let target = &target[..target.find(['?', '#']).unwrap_or(target.len())];
    if target.starts_with('/') || target == "*" {
        return Some(target);
    }
    let (_, rest) = target.split_once("://")?;
    Some(rest.find('/').map_or("/", |slash| &rest[slash..]))
}

/// RFC 3986 section 6.2.2: escapes of unreserved characters decoded once, other escapes in capitals, dot segments removed.
fn path<'b>(target: &str, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
    let path = raw_path(target)?.as_bytes();
    buffer.clear();
    let mut rest = path;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                rest = after;
                let byte = hex(*high).unwrap_or_default() << 4 | hex(*low).unwrap_or_default();
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    buffer.push(byte);
                } else {
                    buffer.extend_from_slice(&[b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]);
                }
            }
            _ => buffer.push(first),
        }
    }
    if buffer.first() == Some(&b'/') {
        remove_dot_segments(buffer);
    }
    Some(buffer)
}

/// In place: what is kept is never longer than what was read.
fn remove_dot_segments(path: &mut Vec<u8>) {
    let mut written = 0;
    let mut at = 0;
    while at < path.len() {
        // `at` stands on a slash; the segment follows it.
        let start = at + 1;
        let end = path[start..].iter().position(|&b| b == b'/').map_or(path.len(), |slash| start + slash);
        let is_last = end == path.len();
        let is_dot = &path[start..end] == b".";
        let is_dots = &path[start..end] == b"..";
        if is_dots {
            written = path[..written].iter().rposition(|&b| b == b'/').unwrap_or(0);
        }
        if is_dot || is_dots {
            if is_last {
                path[written] = b'/';
                written += 1;
            }
        } else {
            path.copy_within(at..end, written);
            written += end - at;
        }
        at = end;
    }
    path.truncate(written);
}

/// Lower case, without the port; brackets of an IPv6 address stay.
fn host<'b>(authority: &str, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
    if authority.is_empty() {
        return None;
    }
    buffer.clear();
    buffer.extend(split_authority(authority).0.bytes().map(|b| b.to_ascii_lowercase()));
    Some(buffer)
}

/// Host and port of an authority; a port that is no number belongs to the host.
pub(crate) fn split_authority(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) if port.is_empty() => (host, None),
            Err(_) => (authority, None),
        },
        _ => (authority, None),
    }
}

/// `package.Service/Method`.
fn grpc_method(target: &str) -> Option<&[u8]> {
    raw_path(target)?.strip_prefix('/').map(str::as_bytes)
}
