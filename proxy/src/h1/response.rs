//! The head of an answer (RFC 9112 section 4), as strictly: an instance is a peer like any other.

use super::fields::{Fields, Slots};
use super::{HEAD_BYTES_MAX, Parsed, Reason};

/// An answer's head in the bytes that it was read from.
pub struct Response<'h, 'b> {
    /// 100 to 999.
    pub status: u16,
    /// HTTP/1.0.
    pub is_old: bool,
    pub body: BodyLength,
    pub fields: Fields<'h, 'b>,
    /// Bytes of the head.
    pub bytes: usize,
}

/// How much body an answer has (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    None,
    /// At least 1.
    Exact(u64),
    Chunked,
    /// To the end of the connection.
    UntilClose,
}

impl Response<'_, '_> {
    /// Comes before the final answer; not 101, which is one.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// The connection takes no other request.
    pub fn closes(&self) -> bool {
        let summary = self.fields.summary();
        summary.closes || (self.is_old && !summary.keeps_alive) || self.body == BodyLength::UntilClose
    }

    /// The status line behind the version, with its space and line end: ` 200 OK\r\n`.
    pub fn status_line_rest(&self) -> &[u8] {
        &self.fields.head()["HTTP/1.1".len()..self.fields.start()]
    }
}

/// Reads a head from the start of `bytes`. `is_head`: it answers HEAD, so no body follows whatever it says. `is_connect`: a
/// success makes a tunnel.
pub fn parse<'h, 'b>(
    bytes: &'b [u8],
    slots: &'h mut Slots<'b>,
    is_head: bool,
    is_connect: bool,
) -> Result<Parsed<Response<'h, 'b>>, Reason> {
    let mut response = httparse::Response::new(&mut []);
    let window = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut response, window, &mut slots.lines) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if window.len() == HEAD_BYTES_MAX => return Err(Reason::HeadTooLarge),
        Ok(httparse::Status::Partial) => return Ok(Parsed::Partial),
        Err(httparse::Error::Token) => return Err(Reason::Version),
        Err(error) => return Err(error.into()),
    };
    // httparse reads over empty lines, and counts them in.
    if !window.starts_with(b"HTTP/1.") {
        return Err(Reason::Version);
    }
    let (Some(status @ 100..=999), Some(version)) = (response.code, response.version) else {
        return Err(Reason::Status);
    };
    let fields = Fields::scan(&window[..length], response.headers, &mut slots.kinds)?;
    let summary = fields.summary();
    if summary.is_chunked && version == 0 {
        return Err(Reason::TransferEncodingVersion);
    }
    let has_no_body = is_head || status < 200 || status == 204 || status == 304 || (is_connect && status < 300);
    let body = match summary.content_length {
        _ if has_no_body => BodyLength::None,
        _ if summary.is_chunked => BodyLength::Chunked,
        Some(0) => BodyLength::None,
        Some(length) => BodyLength::Exact(length),
        None => BodyLength::UntilClose,
    };
    Ok(Parsed::Whole(Response { status, is_old: version == 0, body, fields, bytes: length }))
}

#[cfg(test)]
mod tests;
