//! The character classes and small productions of RFC 3986, 9110 and 9112, as the oracle needs them. Not from our code.

/// RFC 9110 section 5.6.2.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_tchar(byte))
}

fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 9110 section 5.5, without the space around it.
pub(crate) fn is_field_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..))
}

/// RFC 9112 section 4.
pub(crate) fn is_reason(bytes: &[u8]) -> bool {
    is_field_value(bytes)
}

/// Without OWS around it (RFC 9110 section 5.6.3).
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// `uri-host [ ":" port ]` (RFC 9110 section 7.2).
pub(crate) fn is_uri_host(bytes: &[u8]) -> bool {
    let host_end = match bytes {
        [b'[', ..] => match bytes.iter().position(|&byte| byte == b']') {
            Some(end) if is_ip_literal(&bytes[1..end]) => end + 1,
            _ => return false,
        },
        _ => bytes.iter().position(|&byte| byte == b':').unwrap_or(bytes.len()),
    };
    let (host, port) = bytes.split_at(host_end);
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_port && (host.starts_with(b"[") || is_encoded(host, is_reg_name_byte))
}

/// RFC 3986 section 3.2.2.
fn is_reg_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}

/// `IPv6address` of RFC 3986 section 3.2.2. `IPvFuture` has no future.
fn is_ip_literal(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    match text.split_once("::") {
        None => groups(text, true) == Some(8),
        Some((before, after)) => {
            let count = |part: &str, is_last| if part.is_empty() { Some(0) } else { groups(part, is_last) };
            matches!((count(before, false), count(after, true)), (Some(before), Some(after)) if before + after <= 7)
        }
    }
}

/// 16-bit groups of a part of an address; an IPv4 address at its end is two.
fn groups(part: &str, is_last: bool) -> Option<usize> {
    let pieces: Vec<&str> = part.split(':').collect();
    let mut count = 0;
    for (index, piece) in pieces.iter().enumerate() {
        if (1..=4).contains(&piece.len()) && piece.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            count += 1;
        } else if is_last && index + 1 == pieces.len() && is_ipv4(piece) {
            count += 2;
        } else {
            return None;
        }
    }
    Some(count)
}

fn is_ipv4(text: &str) -> bool {
    let is_octet = |octet: &str| {
        let is_plain = octet == "0" || !octet.starts_with('0');
        is_plain && octet.bytes().all(|byte| byte.is_ascii_digit()) && octet.parse::<u8>().is_ok()
    };
    text.split('.').count() == 4 && text.split('.').all(is_octet)
}

/// Every `%` is followed by two digits, and every other byte is good.
fn is_encoded(bytes: &[u8], is_good: impl Fn(u8) -> bool) -> bool {
    let mut rest = bytes;
    while let [first, behind @ ..] = rest {
        rest = match behind {
            [high, low, behind @ ..] if *first == b'%' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => behind,
            _ if is_good(*first) => behind,
            _ => return false,
        };
    }
    true
}

/// Bytes that a URI may hold: an absolute one, or path and query.
pub(crate) fn is_uri_target(target: &str) -> bool {
    is_encoded(target.as_bytes(), |byte| is_reg_name_byte(byte) || b":@/?[]".contains(&byte))
}

/// `*( BWS ";" BWS name [ BWS "=" BWS value ] )` (RFC 9112 section 7.1.1).
pub(crate) fn is_extensions(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while !rest.is_empty() {
        let [b';', behind @ ..] = skip_space(rest) else { return false };
        let Some(behind) = skip_token(skip_space(behind)) else { return false };
        rest = match skip_space(behind) {
            [b'=', value @ ..] => match skip_space(value) {
                [b'"', quoted @ ..] => match skip_quoted(quoted) {
                    Some(behind) => behind,
                    None => return false,
                },
                value => match skip_token(value) {
                    Some(behind) => behind,
                    None => return false,
                },
            },
            _ => behind,
        };
    }
    true
}

fn skip_space(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()..]
}

fn skip_token(bytes: &[u8]) -> Option<&[u8]> {
    let count = bytes.iter().take_while(|&&byte| is_tchar(byte)).count();
    (count > 0).then(|| &bytes[count..])
}

/// Behind the closing quote.
fn skip_quoted(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes;
    loop {
        rest = match rest {
            [b'"', behind @ ..] => return Some(behind),
            [b'\\', _, behind @ ..] | [_, behind @ ..] => behind,
            [] => return None,
        };
    }
}
