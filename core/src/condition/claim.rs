//! A claim of the bearer token (RFC 6750, RFC 7519), read WITHOUT verification: who sends the request chooses it. A routing
//! hint, never an authorisation.
//!
//! A scanner of our own, because serde_json allocates for escapes and for what it skips, and reads numbers where their text
//! is wanted. Every byte is hostile: what is not a signed token with one JSON object has no claims.

use std::ops::Range;

use crate::base64url::decode;
use crate::carry::trim;
use crate::facts::Headers;

/// Claims longer than this are not read, bytes of JSON: each test walks them, and an ordinary server takes no longer line.
pub(super) const CLAIMS_BYTES_MAX: usize = 8 << 10;
/// What they are encoded in.
const PAYLOAD_BYTES_MAX: usize = (CLAIMS_BYTES_MAX * 4).div_ceil(3);
/// Objects and arrays inside one another; the scanner recurses.
const DEPTH_MAX: usize = 32;

/// The claims that were read last. Many tests look at one token, and a connection sends the same one again.
pub(super) struct Claims {
    /// Without the signature it lets nobody in, so it may stay here.
    payload: Vec<u8>,
    /// Empty: it has no claims.
    json: Vec<u8>,
}

impl Claims {
    pub(super) fn new() -> Claims {
        Claims { payload: Vec::with_capacity(PAYLOAD_BYTES_MAX), json: Vec::with_capacity(CLAIMS_BYTES_MAX) }
    }

    fn of(&mut self, payload: &[u8]) -> &[u8] {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return &[];
        }
        if self.payload != payload {
            self.payload.clear();
            self.payload.extend_from_slice(payload);
            if decode(payload, &mut self.json).is_none() || !is_object(&self.json) {
                self.json.clear();
            }
        }
        &self.json
    }
}

/// A text without its escapes, the JSON text of a number, `true` or `false`. An array, an object, `null` and a claim that is
/// not there are absent. Of members with one name the last counts (RFC 7519 section 4).
pub(super) fn read<'b>(
    headers: &dyn Headers,
    claim: &str,
    claims: &'b mut Claims,
    buffer: &'b mut Vec<u8>,
) -> Option<&'b [u8]> {
    let authorization = headers.line("authorization", 0)?;
    if headers.line("authorization", 1).is_some() {
        return None;
    }
    let json = claims.of(payload(trim(authorization))?);
    let value = &json[find(json, claim)?];
    match value {
        [b'"', text @ .., b'"'] if text.contains(&b'\\') => {
            buffer.clear();
            for letter in Unescaped(text) {
                buffer.extend_from_slice(letter.bytes(&mut [0; 4]));
            }
            Some(buffer)
        }
        [b'"', text @ .., b'"'] => Some(text),
        [b'{' | b'[' | b'n', ..] => None,
        _ => Some(value),
    }
}

/// The second of three parts. A token of five is encrypted (RFC 7516): its second part is no claims.
fn payload(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(b"Bearer".len())?;
    if !scheme.eq_ignore_ascii_case(b"Bearer") || token.first() != Some(&b' ') {
        return None;
    }
    let mut parts = trim(token).split(|&b| b == b'.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some(payload)
}

/// One object of JSON, and nothing else.
fn is_object(json: &[u8]) -> bool {
    let mut scanner = Scanner { json, at: 0 };
    scanner.blanks();
    let is_value = std::str::from_utf8(json).is_ok() && scanner.peek() == Some(b'{') && scanner.value(0).is_some();
    scanner.blanks();
    is_value && scanner.at == json.len()
}

/// Where the value of a claim stands, quotes and brackets too. In each object the longest name that is the whole of what is
/// left of `claim`, or goes before a dot in it, leads on: `tenant.id` is the member `tenant.id`, else `id` of `tenant`.
fn find(json: &[u8], claim: &str) -> Option<Range<usize>> {
    let mut wanted = claim.as_bytes();
    let mut object = 0..json.len();
    loop {
        let (name, value) = member(&json[..object.end], object.start, wanted)?;
        if name == wanted.len() {
            return Some(value);
        }
        // After the dot.
        wanted = &wanted[name + 1..];
        object = value;
    }
}

/// The member of the object at `start` that leads on: how much of `wanted` its name is, and where its value stands. The object
/// was scanned before, so it has no error.
fn member(json: &[u8], start: usize, wanted: &[u8]) -> Option<(usize, Range<usize>)> {
    let mut scanner = Scanner { json, at: start };
    scanner.token(b'{')?;
    let mut found: Option<(usize, Range<usize>)> = None;
    if scanner.token(b'}').is_some() {
        return None;
    }
    loop {
        scanner.blanks();
        let name = scanner.string()?;
        scanner.token(b':')?;
        scanner.blanks();
        let value = scanner.value(0)?;
        let fits = length_in(&json[name.start + 1..name.end - 1], wanted);
        if let Some(length) = fits.filter(|length| found.as_ref().is_none_or(|(longest, _)| length >= longest)) {
            found = Some((length, value));
        }
        if scanner.token(b',').is_none() {
            return found;
        }
    }
}

/// Bytes of `wanted` that an escaped name stands for, where that is all of it, or a dot follows.
fn length_in(name: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut length = 0;
    for letter in Unescaped(name) {
        let mut utf8 = [0; 4];
        let utf8 = letter.bytes(&mut utf8);
        wanted[length..].starts_with(utf8).then_some(())?;
        length += utf8.len();
    }
    matches!(wanted.get(length), None | Some(b'.')).then_some(length)
}

/// What a text that was scanned stands for, piece by piece. Half of a surrogate pair is U+FFFD.
struct Unescaped<'t>(&'t [u8]);

enum Letter {
    /// One byte of UTF-8, as it stands.
    Plain(u8),
    Escaped(char),
}

impl Letter {
    fn bytes<'u>(&self, utf8: &'u mut [u8; 4]) -> &'u [u8] {
        match self {
            Letter::Plain(byte) => {
                utf8[0] = *byte;
                &utf8[..1]
            }
            Letter::Escaped(letter) => letter.encode_utf8(utf8).as_bytes(),
        }
    }
}

impl Iterator for Unescaped<'_> {
    type Item = Letter;

    fn next(&mut self) -> Option<Letter> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        if first != b'\\' {
            return Some(Letter::Plain(first));
        }
        let (&kind, rest) = self.0.split_first()?;
        self.0 = rest;
        let letter = match kind {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = hex4(rest)?;
                self.0 = &rest[4..];
                match (unit, self.0) {
                    (0xd800..0xdc00, [b'\\', b'u', low @ ..]) => match hex4(low) {
                        Some(second @ 0xdc00..0xe000) => {
                            self.0 = &low[4..];
                            char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + (second - 0xdc00))
                        }
                        _ => None,
                    },
                    _ => char::from_u32(unit),
                }
                .unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            other => char::from(other),
        };
        Some(Letter::Escaped(letter))
    }
}

fn hex4(digits: &[u8]) -> Option<u32> {
    digits.get(..4)?.iter().try_fold(0, |sum, &digit| Some(sum << 4 | char::from(digit).to_digit(16)?))
}

/// JSON as RFC 8259 has it; `None` is an error.
struct Scanner<'j> {
    json: &'j [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.json.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// This byte, blanks before it.
    fn token(&mut self, wanted: u8) -> Option<()> {
        self.blanks();
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    fn value(&mut self, depth: usize) -> Option<Range<usize>> {
        let start = self.at;
        match self.peek()? {
            b'"' => return self.string(),
            b'{' => self.items(depth, b'}', |scanner, depth| {
                scanner.blanks();
                scanner.string()?;
                scanner.token(b':')?;
                scanner.blanks();
                scanner.value(depth)
            })?,
            b'[' => self.items(depth, b']', |scanner, depth| {
                scanner.blanks();
                scanner.value(depth)
            })?,
            b't' => self.word(b"true")?,
            b'f' => self.word(b"false")?,
            b'n' => self.word(b"null")?,
            _ => self.number()?,
        }
        Some(start..self.at)
    }

    fn items(&mut self, depth: usize, end: u8, item: impl Fn(&mut Self, usize) -> Option<Range<usize>>) -> Option<()> {
        if depth == DEPTH_MAX {
            return None;
        }
        self.at += 1;
        if self.token(end).is_some() {
            return Some(());
        }
        loop {
            item(self, depth + 1)?;
            if self.token(b',').is_none() {
                return self.token(end);
            }
        }
    }

    /// With its quotes.
    fn string(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        (self.peek()? == b'"').then_some(())?;
        self.at += 1;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Some(start..self.at),
                b'\\' => {
                    let kind = self.peek()?;
                    self.at += 1;
                    match kind {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                        b'u' => {
                            hex4(&self.json[self.at..])?;
                            self.at += 4;
                        }
                        _ => return None,
                    }
                }
                0..0x20 => return None,
                _ => {}
            }
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.json[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    fn number(&mut self) -> Option<()> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek()? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}

#[cfg(test)]
mod tests;
