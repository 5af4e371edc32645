//! The head of a request (RFC 9112 section 3), strictly.

use super::fields::{Fields, Slots};
use super::{HEAD_BYTES_MAX, Parsed, Reason, is_authority};

/// Empty lines before a request line that are read over (section 2.2), in bytes.
const EMPTY_LINES_MAX: usize = 4;

/// A request head in the bytes that it was read from.
pub struct Request<'h, 'b> {
    pub method: &'b str,
    /// As received: origin, absolute, authority or asterisk form.
    pub target: &'b str,
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
pub fn parse<'h, 'b>(bytes: &'b [u8], slots: &'h mut Slots<'b>) -> Result<Parsed<Request<'h, 'b>>, Reason> {
    let start = empty_lines(bytes)?;
    let mut request = httparse::Request::new(&mut []);
    let window = &bytes[start..bytes.len().min(start + HEAD_BYTES_MAX)];
    let length = match request.parse_with_uninit_headers(window, &mut slots.lines) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if window.len() == HEAD_BYTES_MAX => return Err(Reason::HeadTooLarge),
        Ok(httparse::Status::Partial) => return Ok(Parsed::Partial),
        // Behind the method it was the target that is none.
        Err(httparse::Error::Token) if request.method.is_some() => return Err(Reason::Target),
        Err(error) => return Err(error.into()),
    };
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Reason::Method);
    };
    let fields = Fields::scan(&window[..length], request.headers, &mut slots.kinds)?;
    let summary = fields.summary();
    let is_old = version == 0;
    if summary.is_chunked && is_old {
        return Err(Reason::TransferEncodingVersion);
    }
    let host = host(summary.host, is_old)?;
    let form = form(method, target)?;
    let body = match summary.content_length {
        _ if summary.is_chunked => BodyLength::Chunked,
        None | Some(0) => BodyLength::None,
        Some(length) => BodyLength::Exact(length),
    };
    Ok(Parsed::Whole(Request {
        method,
        target,
        origin: form.origin,
        authority: form.authority.unwrap_or(host),
        is_absolute: form.is_absolute,
        is_old,
        body,
        fields,
        bytes: start + length,
    }))
}

fn empty_lines(bytes: &[u8]) -> Result<usize, Reason> {
    let mut start = 0;
    while bytes[start..].starts_with(b"\r\n") {
        start += 2;
        if start > EMPTY_LINES_MAX {
            return Err(Reason::Method);
        }
    }
    match bytes.get(start) {
        Some(b'\n') => Err(Reason::LineEnd),
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
    if authority.is_empty() || !is_authority(authority.as_bytes()) {
        return Err(Reason::Target);
    }
    // `http://host?query` has an empty path, which is `/` (section 3.2.1); what is there cannot be sent as it is.
    match origin.as_bytes().first() {
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

/// What no target may hold, whatever its form, in either version of HTTP. Section 3.2.
pub fn check_target(target: &str) -> Result<(), Reason> {
    let bytes = target.as_bytes();
    // Without an early end this takes many bytes at a time, and nearly every target ends here.
    if !bytes.iter().fold(false, |odd, &byte| odd | matches!(byte, 0..=b' ' | 0x7f | b'#' | b'%')) {
        return Ok(());
    }
    for (index, &byte) in bytes.iter().enumerate() {
        match byte {
            0..=b' ' | 0x7f => return Err(Reason::Target),
            b'#' => return Err(Reason::Fragment),
            b'%' if bytes[index + 1..].starts_with(b"00") => return Err(Reason::Nul),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
