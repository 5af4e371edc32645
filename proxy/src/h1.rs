//! HTTP/1.1 without I/O: bytes in, what they mean out (RFC 9112). Both sides of the proxy use it.
//!
//! No socket, no clock, no allocation but for trailers. A head is parsed once, into slices of the bytes that were read; what is
//! kept of it is copied in contiguous runs. Strict: what two parsers could read differently is refused with a [`Reason`], never
//! repaired.
//!
//! ```text
//!  bytes -> request | response -> fields (what is hop-by-hop, what frames)
//!                    \-> body (where it ends, which bytes are data)
//! ```

mod authority;
mod block;
pub mod body;
pub mod fields;
mod lines;
mod reason;
pub mod request;
pub mod response;

pub use authority::is_authority;
pub use reason::Reason;

/// Bytes of a head, from the first of its first line to the end of the empty line.
/// One less than 64 KiB, so that a place in it has 16 bits.
pub const HEAD_BYTES_MAX: usize = (64 << 10) - 1;
/// Field lines of a head.
pub const FIELDS_MAX: usize = 100;
/// Empty lines before a request line that are read over (section 2.2), in bytes.
const EMPTY_LINES_MAX: usize = 4;
/// Bytes of all field lines behind the last chunk.
pub const TRAILER_BYTES_MAX: usize = 16 << 10;
/// Bytes of all chunk extensions of one body. They are read over and never forwarded.
pub const EXTENSION_BYTES_MAX: u32 = 16 << 10;

/// What became of an attempt to read a head.
#[derive(Debug)]
pub enum Parsed<T> {
    /// The head is not whole yet.
    Partial,
    Whole(T),
}

/// Where the head ends in `bytes`, behind its empty line; `from` bytes were looked at before without finding it. Says early what
/// can never become a head: a line that ends with a bare LF. For heads that come in many small parts, which are not parsed anew
/// with every part.
pub fn find_end(bytes: &[u8], from: usize) -> Result<Option<usize>, Reason> {
    // Those before a request line end nothing.
    let start = empty_lines(bytes);
    for index in from..bytes.len() {
        if bytes[index] != b'\n' {
            continue;
        }
        if index == 0 || bytes[index - 1] != b'\r' {
            return Err(Reason::LineEnd);
        }
        if index > start && index >= 3 && bytes[index - 3..index - 1] == *b"\r\n" {
            return Ok(Some(index + 1));
        }
    }
    Ok(None)
}

/// Bytes of the empty lines that `bytes` begin with, as far as they are read over.
fn empty_lines(bytes: &[u8]) -> usize {
    let mut start = 0;
    while start < EMPTY_LINES_MAX && bytes[start..].starts_with(b"\r\n") {
        start += 2;
    }
    start
}

#[cfg(test)]
mod tests;
