//! Where a body ends, and which of its bytes are data (RFC 9112 sections 6 and 7).

mod chunked;

use super::{Reason, request, response};
use chunked::Chunked;

/// Reads one body, part by part as it comes.
#[derive(Debug)]
pub enum Decoder {
    /// So many bytes are missing; 0: it has ended.
    Exact(u64),
    Chunked(Box<Chunked>),
    UntilClose,
}

/// What the next bytes of a body are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    Data(usize),
    /// Chunk sizes and line ends: to be kept where the next hop gets chunks too.
    Frame(usize),
    /// Chunk extensions and trailers: they do not go on as they are.
    Skip(usize),
    /// The body is whole; bytes behind it belong to the next message.
    End,
    /// All bytes are used up.
    More,
}

impl From<request::BodyLength> for Decoder {
    fn from(length: request::BodyLength) -> Decoder {
        match length {
            request::BodyLength::None => Decoder::Exact(0),
            request::BodyLength::Exact(length) => Decoder::Exact(length),
            request::BodyLength::Chunked => Decoder::Chunked(Box::default()),
        }
    }
}

impl From<response::BodyLength> for Decoder {
    fn from(length: response::BodyLength) -> Decoder {
        match length {
            response::BodyLength::None => Decoder::Exact(0),
            response::BodyLength::Exact(length) => Decoder::Exact(length),
            response::BodyLength::Chunked => Decoder::Chunked(Box::default()),
            response::BodyLength::UntilClose => Decoder::UntilClose,
        }
    }
}

impl Decoder {
    /// What `bytes` begin with. Called again with what is behind that piece.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Piece, Reason> {
        match self {
            Decoder::Exact(0) => Ok(Piece::End),
            Decoder::Exact(_) | Decoder::UntilClose if bytes.is_empty() => Ok(Piece::More),
            Decoder::Exact(missing) => {
                let here = usize::try_from(*missing).map_or(bytes.len(), |missing| missing.min(bytes.len()));
                *missing -= here as u64;
                Ok(Piece::Data(here))
            }
            Decoder::UntilClose => Ok(Piece::Data(bytes.len())),
            Decoder::Chunked(chunked) => chunked.next(bytes),
        }
    }

    pub fn is_ended(&self) -> bool {
        match self {
            Decoder::Exact(missing) => *missing == 0,
            Decoder::Chunked(chunked) => chunked.is_ended(),
            Decoder::UntilClose => false,
        }
    }

    /// The peer has ended the connection. Is the body whole by that?
    pub fn finish(&self) -> Result<(), Reason> {
        if self.is_ended() || matches!(self, Decoder::UntilClose) { Ok(()) } else { Err(Reason::Truncated) }
    }

    /// The field lines behind the last chunk, each with its CRLF; checked. Empty for most bodies.
    pub fn trailers(&self) -> &[u8] {
        match self {
            Decoder::Chunked(chunked) => chunked.trailers(),
            Decoder::Exact(_) | Decoder::UntilClose => &[],
        }
    }
}

/// Calls `each` with name, value and whole line of the trailers that may go on: none that frames, routes or authenticates
/// (RFC 9110 section 6.5.1). The lane's own are the caller's to leave out.
pub fn for_each_trailer(lines: &[u8], mut each: impl FnMut(&str, &[u8], &[u8])) {
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let Ok(name) = std::str::from_utf8(&line[..colon]) else { continue };
        if !is_forbidden_in_trailers(name) {
            each(name, line[colon + 1..].trim_ascii(), line);
        }
    }
}

/// Fields that must never count behind a body: who merges trailers into the head would frame, route or judge by them.
pub fn is_forbidden_in_trailers(name: &str) -> bool {
    const FORBIDDEN: [&str; 22] = [
        "authorization",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "max-forwards",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "www-authenticate",
        "range",
    ];
    let is = |known: &str| {
        // `_` for `-` is the same to CGI and its heirs.
        known.len() == name.len()
            && known
                .bytes()
                .zip(name.bytes())
                .all(|(known, byte)| known == byte.to_ascii_lowercase() || (known == b'-' && byte == b'_'))
    };
    FORBIDDEN.iter().any(|known| is(known))
}

#[cfg(test)]
mod tests;
