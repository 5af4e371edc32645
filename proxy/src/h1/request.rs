//! The head of a request (RFC 9112 section 3), strictly.

use super::fields::{Fields, Slots};
use super::lines::{Reader, Stop};
use super::{HEAD_BYTES_MAX, Parsed, Reason, is_authority};

/// A request head in the bytes that it was read from.
pub struct Request<'h, 'b> {
    pub method: &'b str,
    /// What a server is asked: the target without scheme and authority, `*`, or the authority of a CONNECT.
    pub origin: &'b str,
    /// Of an absolute form, else of `Host`; may be empty.
    pub authority: &'b str,
    /// The target is in absolute form: its authority replaces Host (section 3.2.2).
    pub is_absolute: bool,
    /// HTTP/1.0.
    pub is_old: bool,
    pub body: BodyLength,
    pub fields: Fields<'h, 'b>,
    /// Bytes of the head, with empty lines before it.
    pub bytes: usize,
}

/// How much body follows a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    None,
    /// At least 1.
    Exact(u64),
    Chunked,
}

impl Request<'_, '_> {
    /// The client wants no other request on this connection.
    pub fn closes(&self) -> bool {
        let summary = self.fields.summary();
        summary.closes || (self.is_old && !summary.keeps_alive)
    }

    pub fn is_connect(&self) -> bool {
        self.method == "CONNECT"
    }

    /// Asks for another protocol on this connection, and may.
    pub fn is_upgrade(&self) -> bool {
        !self.is_old && self.fields.summary().is_upgrade
    }
}

/// Reads a head from the start of `bytes`.
pub fn parse<'h, 'b>(bytes: &'b [u8], slots: &'h mut Slots) -> Result<Parsed<Request<'h, 'b>>, Reason> {
    let start = request_line_start(bytes)?;
    if bytes[start..] == *b"\r" {
        return Ok(Parsed::Partial);
    }
    let window = &bytes[start..bytes.len().min(start + HEAD_BYTES_MAX)];
    match read(window, slots) {
        Ok(request) => Ok(Parsed::Whole(Request { bytes: start + request.bytes, ..request })),
        Err(Stop::Partial) if window.len() == HEAD_BYTES_MAX => Err(Reason::HeadTooLarge),
        Err(Stop::Partial) => Ok(Parsed::Partial),
        Err(Stop::Wrong(reason)) => Err(reason),
    }
}

fn read<'h, 'b>(window: &'b [u8], slots: &'h mut Slots) -> Result<Request<'h, 'b>, Stop> {
    let mut reader = Reader { head: window, at: 0 };
    let method = reader.token(Reason::Method)?;
    reader.expect(b" ", Reason::Method)?;
    let target = reader.target()?;
    reader.expect(b" ", Reason::Target)?;
    let is_old = reader.version()?;
    reader.line_end()?;
    let fields = Fields::read(&mut reader, slots)?;
    // Both are ASCII by now.
    let method = match method {
        b"GET" => "GET",
        b"POST" => "POST",
        other => std::str::from_utf8(other).map_err(|_| Reason::Method)?,
    };
    let target = std::str::from_utf8(target).map_err(|_| Reason::Target)?;
    let summary = fields.summary();
    if summary.is_chunked && is_old {
        return Err(Reason::TransferEncodingVersion.into());
    }
    let host = host(summary.host, is_old)?;
    let form = form(method, target)?;
    let body = match summary.content_length {
        _ if summary.is_chunked => BodyLength::Chunked,
        None | Some(0) => BodyLength::None,
        Some(length) => BodyLength::Exact(length),
    };
    Ok(Request {
        method,
        origin: form.origin,
        authority: form.authority.unwrap_or(host),
        is_absolute: form.is_absolute,
        is_old,
        body,
        fields,
        bytes: reader.at,
    })
}

/// Where the request line begins.
fn request_line_start(bytes: &[u8]) -> Result<usize, Reason> {
    let start = super::empty_lines(bytes);
    match bytes[start..] {
        [b'\n', ..] => Err(Reason::LineEnd),
        // One empty line too many.
        [b'\r', b'\n', ..] => Err(Reason::Method),
        _ => Ok(start),
    }
}

fn host(host: Option<&[u8]>, is_old: bool) -> Result<&str, Reason> {
    match host {
        None if is_old => Ok(""),
        None => Err(Reason::HostMissing),
        Some(host) if is_authority(host) => std::str::from_utf8(host).map_err(|_| Reason::Host),
        Some(_) => Err(Reason::Host),
    }
}

struct Form<'b> {
    origin: &'b str,
    authority: Option<&'b str>,
    is_absolute: bool,
}

fn form<'b>(method: &str, target: &'b str) -> Result<Form<'b>, Reason> {
    check_target(target)?;
    if method == "CONNECT" {
        // Section 3.2.3: host and port, both.
        let is_whole = target.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && !port.is_empty());
        return match () {
            () if target.contains('@') => Err(Reason::Userinfo),
            () if !is_whole || !is_authority(target.as_bytes()) => Err(Reason::Target),
            () => Ok(Form { origin: target, authority: Some(target), is_absolute: false }),
        };
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(Form { origin: target, authority: None, is_absolute: false });
    }
    let rest = strip_scheme(target).ok_or(Reason::Target)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, origin) = rest.split_at(end);
    if authority.contains('@') {
        return Err(Reason::Userinfo);
    }
    // RFC 9110 section 4.2.1: `http://:80/` has no host.
    if authority.is_empty() || authority.starts_with(':') || !is_authority(authority.as_bytes()) {
        return Err(Reason::Target);
    }
    // `http://host?query` has an empty path, which is `/` (section 3.2.1); what is there cannot be sent as it is.
    match origin.as_bytes().first() {
        // Section 3.2.4: the last proxy turns it back into what it was made of.
        None if method == "OPTIONS" => Ok(Form { origin: "*", authority: Some(authority), is_absolute: true }),
        None => Ok(Form { origin: "/", authority: Some(authority), is_absolute: true }),
        Some(b'/') => Ok(Form { origin, authority: Some(authority), is_absolute: true }),
        Some(_) => Err(Reason::Target),
    }
}

fn strip_scheme(target: &str) -> Option<&str> {
    ["http://", "https://"].iter().find_map(|scheme| {
        let start = target.get(..scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then(|| &target[scheme.len()..])
    })
}

/// What no target may hold, whatever its form, in either version of HTTP. Section 3.2; bytes above 127 are to be percent-encoded
/// (RFC 3986 section 2.1).
pub fn check_target(target: &str) -> Result<(), Reason> {
    let bytes = target.as_bytes();
    // Without an early end this takes many bytes at a time, and nearly every target ends here.
    if !bytes.iter().fold(false, |odd, &byte| odd | matches!(byte, 0..=b' ' | 0x7f.. | b'#' | b'%')) {
        return Ok(());
    }
    for (index, &byte) in bytes.iter().enumerate() {
        match byte {
            0..=b' ' | 0x7f.. => return Err(Reason::Target),
            b'#' => return Err(Reason::Fragment),
            b'%' if bytes[index + 1..].starts_with(b"00") => return Err(Reason::Nul),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
