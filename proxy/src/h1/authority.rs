//! `uri-host [ ":" port ]` (RFC 9110 section 7.2), as Host, `:authority` and the authority form of CONNECT say it.

use std::net::Ipv6Addr;

/// May be empty, as the Host of a target without an authority is. No userinfo, path, comma or space; a port of digits.
pub fn is_authority(value: &[u8]) -> bool {
    let port = match value {
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|&byte| byte == b']') else { return false };
            if !std::str::from_utf8(&rest[..end]).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok()) {
                return false;
            }
            &rest[end + 1..]
        }
        _ => {
            let mut end = value.iter().position(|&byte| !REG_NAME[usize::from(byte)]).unwrap_or(value.len());
            if value.get(end) == Some(&b'%') {
                end = value.iter().position(|&byte| byte == b':').unwrap_or(value.len());
                if !is_percent_encoded(&value[..end]) {
                    return false;
                }
            }
            &value[end..]
        }
    };
    match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// A host with `%`: two digits behind every one.
fn is_percent_encoded(host: &[u8]) -> bool {
    let mut parts = host.split(|&byte| byte == b'%');
    let is_plain = |part: &[u8]| part.iter().all(|&byte| REG_NAME[usize::from(byte)]);
    parts.next().is_some_and(is_plain)
        && parts.all(|part| part.len() >= 2 && part[..2].iter().all(u8::is_ascii_hexdigit) && is_plain(part))
}

/// `unreserved / sub-delims` (RFC 3986 section 3.2.2) but the comma, which joins two hosts.
static REG_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-._~!$&'()*+;=";
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
};

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
            "a b",
            "a,b",
            "a@b",
            "a/b",
            "a:b",
            "a:80:90",
            "a:800000",
            "[::1",
            "[]",
            "[::1]x",
            "[::1]:x",
            "::1",
            "[.]",
            "[1]",
            "[1:2]",
            "[::1::]",
            "[::1%25eth0]",
            "[::1.2.3.256]",
            "a%",
            "a%2",
            "a%2g",
            "%%20",
            "a\tb",
            "a#",
            "ä",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }
}
