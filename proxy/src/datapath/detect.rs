//! What a connection speaks, by its first bytes. Pure: bytes in, answer out; whoever reads the bytes keeps them.

/// What the first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detected {
    Http1,
    /// With prior knowledge (RFC 9113 section 3.3).
    Http2,
    /// Anything that we do not read: TLS, and every protocol we do not know.
    Opaque,
    /// Could still be HTTP.
    NeedMore,
}

/// The client connection preface of HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longest method that we take for one. WebDAV's longest (UPDATEREDIRECTREF) has 17 letters.
const METHOD_BYTES_MAX: usize = 24;

pub(crate) fn detect(bytes: &[u8]) -> Detected {
    if bytes.is_empty() {
        return Detected::NeedMore;
    }
    let shared = bytes.len().min(PREFACE.len());
    if bytes[..shared] == PREFACE[..shared] {
        // "PRI" begins a method too; three letters more tell.
        return if shared == PREFACE.len() { Detected::Http2 } else { Detected::NeedMore };
    }
    // RFC 9112 section 2.2: an empty line before the request line is to be ignored.
    let start = bytes.iter().take(4).take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let line = &bytes[start..];
    let method = line.iter().take(METHOD_BYTES_MAX + 1).take_while(|b| b.is_ascii_uppercase() || **b == b'-').count();
    if method > METHOD_BYTES_MAX {
        return Detected::Opaque;
    }
    match (line.get(method), line.get(method + 1)) {
        (None, _) => Detected::NeedMore,
        (Some(b' '), None) if method > 0 => Detected::NeedMore,
        (Some(b' '), Some(target)) if method > 0 && is_target_start(&line[..method], *target) => Detected::Http1,
        _ => Detected::Opaque,
    }
}

/// RFC 9112 section 3.2: origin form, asterisk form, absolute form; authority form only for CONNECT.
fn is_target_start(method: &[u8], byte: u8) -> bool {
    matches!(byte, b'/' | b'*') || byte.eq_ignore_ascii_case(&b'h') || (method == b"CONNECT" && byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests;
