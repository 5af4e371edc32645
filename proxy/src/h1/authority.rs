//! `uri-host [ ":" port ]` (RFC 9110 section 7.2), as Host, `:authority` and the authority form of CONNECT say it.

/// May be empty, as the Host of a target without an authority is. No userinfo, path, comma or space; a port of digits.
pub fn is_authority(value: &[u8]) -> bool {
    let (host, port) = match value {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|&byte| byte == b']') else { return false };
            if !rest[..end].iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')) || end == 0 {
                return false;
            }
            (&value[..0], &rest[end + 1..])
        }
        _ => {
            let end = value.iter().position(|&byte| byte == b':').unwrap_or(value.len());
            value.split_at(end)
        }
    };
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_port && host.iter().all(|&byte| is_reg_name(byte))
}

/// `unreserved / pct-encoded / sub-delims` (RFC 3986 section 3.2.2) but the comma, which joins two hosts.
fn is_reg_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::is_authority;

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        for good in
            ["", "a", "a.b", "a:80", "a:", "1.2.3.4:8080", "[::1]", "[::1]:80", "[::ffff:1.2.3.4]", "b_c", "a%20b"]
        {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in [
            "a b", "a,b", "a@b", "a/b", "a:b", "a:80:90", "a:800000", "[::1", "[]", "[::1]x", "[::1]:x", "::1", "a\tb",
            "a#", "ä",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }
}
