//! What differs from run to run, made the same.

/// Where the control plane and the admin port of a sidecar are in the document.
pub(super) const SERVER: &str = "http://127.0.0.1:15411";
pub(super) const ADMIN: &str = "http://127.0.0.1:15400";

/// Each word by its pattern, and gaps between columns, which are as wide as the words, by one gap.
pub(super) fn text(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let indent: String = line.chars().take_while(|letter| *letter == ' ').collect();
        let words: Vec<&str> = line.split_whitespace().collect();
        let words = words.iter().enumerate().map(|(at, own)| word(own, words.get(at + 1).copied().unwrap_or_default()));
        out.push_str(&format!("{indent}{}\n", words.collect::<Vec<_>>().join(" ")));
    }
    out
}

fn word(word: &str, next: &str) -> String {
    let core = word.trim_matches(|letter: char| "(),;\"".contains(letter));
    let pattern = match core {
        "" => return word.to_owned(),
        moment if is_moment(moment) => "MOMENT",
        span if is_span(span) && next.starts_with("ago") => "SPAN",
        span if is_number(span) && next.starts_with("ms") => "SPAN",
        hash if is_hash(hash) => "HASH",
        peer if is_peer(peer) => "PEER",
        _ => return word.to_owned(),
    };
    word.replacen(core, pattern, 1)
}

/// `2026-01-01T00:00:00Z`
fn is_moment(word: &str) -> bool {
    word.len() >= 20 && word.ends_with('Z') && word.as_bytes()[10] == b'T' && is_number(&word[..4])
}

/// `12s`
fn is_span(word: &str) -> bool {
    word.strip_suffix(['s', 'm', 'h', 'd']).is_some_and(is_number)
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// A connection over loopback.
fn is_peer(word: &str) -> bool {
    word.strip_prefix("127.0.0.1:").is_some_and(is_number)
}

/// A version: 16 hexadecimal digits.
fn is_hash(word: &str) -> bool {
    word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[test]
fn only_what_differs_from_run_to_run_is_made_the_same() {
    let check = |left: &str, right: &str, is_same: bool| {
        assert_eq!(text(left) == text(right), is_same, "{left:?} and {right:?}");
    };
    check("acknowledged 3/3 sidecars in 12 ms", "acknowledged 3/3 sidecars in 7 ms", true);
    check("acknowledged 3/3 sidecars in 12 ms", "acknowledged 2/3 sidecars in 12 ms", false);
    check("2   3s ago    me", "2   143s ago   me", true);
    check("revision 2 of 2026-01-01T00:00:00.5Z (3s ago) by", "revision 2 of 2027-11-01T00:00:00Z (12m ago) by", true);
    check("Lane   0123456789abcdef   x", "Lane   ffffffffffffffff   x", true);
    check("  a", "a", false);
    check("revision 2", "revision 3", false);
    check("127.0.0.1:56560   test", "127.0.0.1:4   test", true);
    check("10.0.0.1:8080", "10.0.0.1:8081", false);
    check("ends in 48h", "ends in 47h", false);
}
