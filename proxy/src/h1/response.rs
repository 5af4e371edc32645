//! The head of an answer (RFC 9112 section 4), as strictly: an instance is a peer like any other.

use super::fields::{Fields, Slots};
use super::lines::{Reader, Stop};
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
    slots: &'h mut Slots,
    is_head: bool,
    is_connect: bool,
) -> Result<Parsed<Response<'h, 'b>>, Reason> {
    let window = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    match read(window, slots, is_head, is_connect) {
        Ok(response) => Ok(Parsed::Whole(response)),
        Err(Stop::Partial) if window.len() == HEAD_BYTES_MAX => Err(Reason::HeadTooLarge),
        Err(Stop::Partial) => Ok(Parsed::Partial),
        Err(Stop::Wrong(reason)) => Err(reason),
    }
}

fn read<'h, 'b>(
    window: &'b [u8],
    slots: &'h mut Slots,
    is_head: bool,
    is_connect: bool,
) -> Result<Response<'h, 'b>, Stop> {
    let mut reader = Reader { head: window, at: 0 };
    let is_old = reader.version()?;
    reader.expect(b" ", Reason::Version)?;
    let status = status(&mut reader)?;
    // The reason phrase, with or without the space before it (section 4).
    match window.get(reader.at) {
        None => return Err(Stop::Partial),
        Some(b' ' | b'\r' | b'\n') => reader.reason_phrase()?,
        Some(_) => return Err(Reason::Status.into()),
    }
    let fields = Fields::read(&mut reader, slots)?;
    let summary = fields.summary();
    if summary.is_chunked && is_old {
        return Err(Reason::TransferEncodingVersion.into());
    }
    let has_no_body = is_head || status < 200 || status == 204 || status == 304 || (is_connect && status < 300);
    let body = match summary.content_length {
        _ if has_no_body => BodyLength::None,
        _ if summary.is_chunked => BodyLength::Chunked,
        Some(0) => BodyLength::None,
        Some(length) => BodyLength::Exact(length),
        None => BodyLength::UntilClose,
    };
    Ok(Response { status, is_old, body, fields, bytes: reader.at })
}

/// Three digits, from 100.
fn status(reader: &mut Reader<'_>) -> Result<u16, Stop> {
    let mut status = 0;
    for _ in 0..3 {
        match reader.head.get(reader.at) {
            None => return Err(Stop::Partial),
            Some(digit) if digit.is_ascii_digit() => status = status * 10 + u16::from(digit - b'0'),
            Some(_) => return Err(Reason::Status.into()),
        }
        reader.at += 1;
    }
    if status < 100 { Err(Reason::Status.into()) } else { Ok(status) }
}

#[cfg(test)]
mod tests;
