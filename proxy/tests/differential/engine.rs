//! What our engine makes of bytes, and what a driver on top of it would forward.

use crate::h1::body::{Decoder, Piece, for_each_trailer};
use crate::h1::fields::{Fields, Kind, Slots};
use crate::h1::{Parsed, Reason, find_end, request, response};

use super::message::{Framing, Message, Role, Start};

/// A message that was taken, and the bytes that go on for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) message: Message,
    pub(crate) forwarded: Vec<u8>,
}

/// Owned, so that heads read from two buffers can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Head {
    start: Start,
    authority: String,
    fields: Vec<(String, Vec<u8>)>,
    framing: Framing,
    forwarded: Vec<u8>,
    bytes: usize,
}

/// Reads the first message of a connection that carries `parts` and then ends; interim answers before it are passed on.
/// Heads are looked at whenever a part has come, as a driver does.
pub(crate) fn take(role: Role, parts: &[&[u8]]) -> Result<Taken, Reason> {
    let mut parts = parts.iter();
    let (mut bytes, mut start, mut forwarded) = (Vec::new(), 0, Vec::new());
    loop {
        let Some(head) = head(role, &bytes[start..])? else {
            bytes.extend_from_slice(parts.next().ok_or(Reason::Truncated)?);
            continue;
        };
        start += head.bytes;
        forwarded.extend_from_slice(&head.forwarded);
        if matches!(head.start, Start::Response { status: 100 | 102..=199 }) {
            continue;
        }
        return whole(head, forwarded, start, &bytes[start..], parts.as_slice());
    }
}

fn head(role: Role, bytes: &[u8]) -> Result<Option<Head>, Reason> {
    match role {
        Role::Request => request_head(bytes),
        _ => response_head(role, bytes),
    }
}

fn request_head(bytes: &[u8]) -> Result<Option<Head>, Reason> {
    let mut slots = Slots::new();
    let Parsed::Whole(request) = request::parse(bytes, &mut slots)? else { return Ok(None) };
    // Of an absolute form (section 3.2.2), of a CONNECT, and where HTTP/1.0 has left it out.
    let has_other_host = request.fields.summary().host != Some(request.authority.as_bytes());
    let mut forwarded = format!("{} {} HTTP/1.1\r\n", request.method, request.origin).into_bytes();
    if has_other_host {
        forwarded.extend_from_slice(format!("host: {}\r\n", request.authority).as_bytes());
    }
    let fields = &request.fields;
    fields.copy_kept(&mut forwarded, fields.start(), |name, kind| {
        goes_on(fields, name, kind) && (kind != Kind::Host || !has_other_host)
    });
    forwarded.extend_from_slice(b"\r\n");
    Ok(Some(Head {
        start: Start::Request { method: request.method.to_owned(), target: request.origin.to_owned() },
        authority: request.authority.to_owned(),
        fields: kept(fields).into_iter().filter(|field| field.0 != "host").collect(),
        framing: match request.body {
            request::BodyLength::None => Framing::None,
            request::BodyLength::Exact(length) => Framing::Exact(length),
            request::BodyLength::Chunked => Framing::Chunked,
        },
        forwarded,
        bytes: request.bytes,
    }))
}

fn response_head(role: Role, bytes: &[u8]) -> Result<Option<Head>, Reason> {
    let mut slots = Slots::new();
    let (is_head, is_connect) = (role == Role::ResponseToHead, role == Role::ResponseToConnect);
    let Parsed::Whole(response) = response::parse(bytes, &mut slots, is_head, is_connect)? else { return Ok(None) };
    let fields = &response.fields;
    let mut forwarded = b"HTTP/1.1".to_vec();
    fields.copy_kept(&mut forwarded, "HTTP/1.1".len(), |name, kind| goes_on(fields, name, kind));
    assert!(forwarded["HTTP/1.1".len()..].starts_with(response.status_line_rest()));
    forwarded.extend_from_slice(b"\r\n");
    Ok(Some(Head {
        start: Start::Response { status: response.status },
        authority: String::new(),
        fields: kept(fields),
        framing: match response.body {
            response::BodyLength::None => Framing::None,
            response::BodyLength::Exact(length) => Framing::Exact(length),
            response::BodyLength::Chunked => Framing::Chunked,
            response::BodyLength::UntilClose => Framing::UntilClose,
        },
        forwarded,
        bytes: response.bytes,
    }))
}

fn goes_on(fields: &Fields<'_, '_>, name: &[u8], kind: Kind) -> bool {
    match kind {
        Kind::Other => !fields.is_named_by_connection(name),
        Kind::Host | Kind::ContentType | Kind::ContentLength | Kind::TransferEncoding | Kind::Expect => true,
        Kind::Connection | Kind::Upgrade | Kind::Te | Kind::Hop => false,
    }
}

fn kept(fields: &Fields<'_, '_>) -> Vec<(String, Vec<u8>)> {
    fields
        .iter()
        .filter(|(name, _, kind)| goes_on(fields, name, *kind))
        .map(|(name, value, _)| (String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()))
        .collect()
}

/// Reads the body behind a head: `first`, what is left of the bytes that the head came in, then the other parts.
fn whole(head: Head, mut forwarded: Vec<u8>, start: usize, first: &[u8], parts: &[&[u8]]) -> Result<Taken, Reason> {
    let mut decoder = match head.framing {
        Framing::None => Decoder::Exact(0),
        Framing::Exact(length) => Decoder::Exact(length),
        Framing::Chunked => Decoder::from(request::BodyLength::Chunked),
        Framing::UntilClose => Decoder::UntilClose,
    };
    let (mut body, mut used) = (Vec::new(), start);
    for part in std::iter::once(&first).chain(parts) {
        let mut rest = *part;
        loop {
            let (count, is_data, is_kept) = match decoder.next(rest)? {
                Piece::Data(count) => (count, true, true),
                Piece::Frame(count) => (count, false, true),
                Piece::Skip(count) => (count, false, false),
                Piece::More => break,
                Piece::End => {
                    assert!(decoder.is_ended());
                    break;
                }
            };
            assert!((1..=rest.len()).contains(&count), "a piece without bytes, or beyond them");
            if is_data {
                body.extend_from_slice(&rest[..count]);
            }
            if is_kept {
                forwarded.extend_from_slice(&rest[..count]);
            }
            used += count;
            rest = &rest[count..];
        }
    }
    decoder.finish()?;
    let mut trailers = Vec::new();
    for_each_trailer(decoder.trailers(), |name, value, line| {
        trailers.push((name.to_ascii_lowercase(), value.to_vec()));
        forwarded.extend_from_slice(line);
    });
    if !decoder.trailers().is_empty() {
        forwarded.extend_from_slice(b"\r\n");
    }
    let Head { start, authority, fields, framing, .. } = head;
    Ok(Taken { message: Message { start, authority, fields, framing, body, trailers, used }, forwarded })
}

/// A head that is whole is whole at the same place however much is behind it, a refusal stays that refusal, and before its end a
/// head is nothing but partial. `cuts` are the lengths to try.
pub(crate) fn check_prefixes(role: Role, bytes: &[u8], cuts: impl Iterator<Item = usize>) {
    let all = head(role, bytes);
    for cut in cuts.filter(|cut| *cut <= bytes.len()) {
        match (head(role, &bytes[..cut]), &all) {
            (Ok(None), Ok(Some(whole))) => assert!(cut < whole.bytes, "partial at {cut} of {whole:?}"),
            (Ok(None), Ok(None) | Err(_)) => {}
            (part, all) => assert_eq!(&part, all, "the first {cut} bytes alone"),
        }
        check_end(&bytes[..cut], bytes, &all);
    }
}

/// `find_end` and `parse` agree about where a head ends, and `find_end` may be asked bit by bit.
fn check_end(prefix: &[u8], bytes: &[u8], head: &Result<Option<Head>, Reason>) {
    let end = find_end(bytes, 0);
    match find_end(prefix, 0) {
        Ok(None) => assert_eq!(find_end(bytes, prefix.len()), end, "asked again from {}", prefix.len()),
        part => assert_eq!(part, end, "of the first {} bytes", prefix.len()),
    }
    match (end, head) {
        (Ok(Some(end)), Ok(Some(head))) => assert_eq!(end, head.bytes, "find_end and parse"),
        (Ok(Some(end)), Ok(None)) => panic!("find_end ends the head at {end}, parse waits for more"),
        (Ok(None) | Err(_), Ok(Some(head))) => panic!("parse ends the head at {}, find_end does not", head.bytes),
        (_, Err(_)) | (Ok(None) | Err(_), Ok(None)) => {}
    }
}
