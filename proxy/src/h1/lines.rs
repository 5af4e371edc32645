//! The lines of a head: reads them once, each byte once, and says where they are. RFC 9112 sections 3 to 5, RFC 9110 section 5.
//!
//! Every line ends with CRLF and nothing else. No line is folded, no name is empty or followed by space, no value holds a control
//! character but the tab.

use super::fields::Kind;
use super::{FIELDS_MAX, Reason};

/// Where a field line is in its head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) start: u16,
    pub(super) name_end: u16,
    pub(super) value_start: u16,
    pub(super) value_end: u16,
    pub(super) kind: Kind,
}

pub(super) const NO_LINE: Line = Line { start: 0, name_end: 0, value_start: 0, value_end: 0, kind: Kind::Other };

/// Why reading stopped before the end of a head.
pub(super) enum Stop {
    /// The bytes are used up.
    Partial,
    Wrong(Reason),
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Stop {
        Stop::Wrong(reason)
    }
}

/// Reads on in the bytes of a head.
pub(super) struct Reader<'b> {
    pub(super) head: &'b [u8],
    pub(super) at: usize,
}

impl<'b> Reader<'b> {
    fn peek(&self) -> Result<u8, Stop> {
        self.head.get(self.at).copied().ok_or(Stop::Partial)
    }

    /// A token (RFC 9110 section 5.6.2); `reason`: it is empty.
    pub(super) fn token(&mut self, reason: Reason) -> Result<&'b [u8], Stop> {
        let start = self.at;
        while TOKEN[usize::from(self.peek()?)] {
            self.at += 1;
        }
        if self.at == start { Err(reason.into()) } else { Ok(&self.head[start..self.at]) }
    }

    /// Up to the next space: visible ASCII, at least one.
    pub(super) fn target(&mut self) -> Result<&'b [u8], Stop> {
        let rest = &self.head[self.at..];
        let count = rest.iter().position(|byte| !matches!(byte, b'!'..=b'~')).ok_or(Stop::Partial)?;
        self.at += count;
        if count == 0 { Err(Reason::Target.into()) } else { Ok(&rest[..count]) }
    }

    pub(super) fn expect(&mut self, bytes: &[u8], reason: Reason) -> Result<(), Stop> {
        let here = &self.head[self.at..self.head.len().min(self.at + bytes.len())];
        if here == bytes {
            self.at += bytes.len();
            return Ok(());
        }
        if bytes.starts_with(here) { Err(Stop::Partial) } else { Err(reason.into()) }
    }

    /// `HTTP/1.0` or `HTTP/1.1`; true: the former.
    pub(super) fn version(&mut self) -> Result<bool, Stop> {
        self.expect(b"HTTP/1.", Reason::Version)?;
        let minor = self.peek()?;
        self.at += 1;
        match minor {
            b'0' => Ok(true),
            b'1' => Ok(false),
            _ => Err(Reason::Version.into()),
        }
    }

    /// CRLF.
    pub(super) fn line_end(&mut self) -> Result<(), Stop> {
        self.expect(b"\r\n", Reason::LineEnd)
    }

    /// A reason phrase, which may be empty; then CRLF.
    pub(super) fn reason_phrase(&mut self) -> Result<(), Stop> {
        while is_text(self.peek()?) {
            self.at += 1;
        }
        match self.peek()? {
            b'\r' | b'\n' => self.line_end(),
            _ => Err(Reason::Status.into()),
        }
    }

    /// All field lines up to the empty line, which is read too.
    pub(super) fn fields<'l>(&mut self, lines: &'l mut [Line; FIELDS_MAX]) -> Result<&'l mut [Line], Stop> {
        let head = self.head;
        let (mut start, mut count) = (self.at, 0);
        loop {
            let name_end = start + token_bytes(&head[start..]);
            match head.get(name_end) {
                Some(b':') if name_end > start => {}
                Some(b'\r' | b'\n') if name_end == start => {
                    self.at = start;
                    self.line_end()?;
                    return Ok(&mut lines[..count]);
                }
                Some(_) => return Err(Reason::FieldName.into()),
                None => return Err(Stop::Partial),
            }
            let mut value_start = name_end + 1;
            // One space before and none behind: nearly every line.
            if let Some(b' ') = head.get(value_start) {
                value_start += 1;
            }
            if let Some(b' ' | b'\t') = head.get(value_start) {
                value_start += space_bytes(&head[value_start..]);
            }
            let text = &head[value_start..];
            let text_bytes = text_bytes(text);
            match text.get(text_bytes..text_bytes + 2) {
                Some(b"\r\n") => {}
                ends => return Err(Self::why(ends.unwrap_or(&text[text_bytes..]))),
            }
            let mut value = &text[..text_bytes];
            if let [.., b' ' | b'\t'] = value {
                value = value.trim_ascii_end();
            }
            let Some(line) = lines.get_mut(count) else { return Err(Reason::FieldsTooMany.into()) };
            // A head has at most HEAD_BYTES_MAX bytes, so 16 bits are enough.
            *line = Line {
                start: start as u16,
                name_end: name_end as u16,
                value_start: value_start as u16,
                value_end: (value_start + value.len()) as u16,
                kind: Kind::Other,
            };
            count += 1;
            start = value_start + text_bytes + 2;
        }
    }

    /// Of what stands where a line should end.
    #[cold]
    fn why(ends: &[u8]) -> Stop {
        match ends {
            [] | [b'\r'] => Stop::Partial,
            [b'\r' | b'\n', ..] => Reason::LineEnd.into(),
            _ => Reason::FieldValue.into(),
        }
    }
}

/// How many bytes are a token. Four at a time.
#[inline]
fn token_bytes(bytes: &[u8]) -> usize {
    let is_token = |byte: u8| TOKEN[usize::from(byte)];
    let mut count = 0;
    for &[a, b, c, d] in bytes.as_chunks().0 {
        if !is_token(a) {
            return count;
        }
        if !is_token(b) {
            return count + 1;
        }
        if !is_token(c) {
            return count + 2;
        }
        if !is_token(d) {
            return count + 3;
        }
        count += 4;
    }
    count + bytes[count..].iter().take_while(|byte| is_token(**byte)).count()
}

/// How many bytes are VCHAR, obs-text, space or tab: what a value or a phrase may hold. Eight at a time.
#[inline]
fn text_bytes(bytes: &[u8]) -> usize {
    let mut count = 0;
    for word in bytes.as_chunks::<8>().0 {
        let odd = odd_bytes(u64::from_le_bytes(*word));
        if odd != 0 {
            count += odd.trailing_zeros() as usize / 8;
            return if bytes[count] == b'\t' { text_bytes_from(bytes, count) } else { count };
        }
        count += 8;
    }
    text_bytes_from(bytes, count)
}

/// The same where `count` bytes are known to be. One at a time: for ends, and for the rare tab.
fn text_bytes_from(bytes: &[u8], count: usize) -> usize {
    count + bytes[count..].iter().take_while(|byte| is_text(**byte)).count()
}

#[cold]
fn space_bytes(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

/// A high bit for each byte below 0x20 and each 0x7f; perhaps for others behind one of them.
#[inline]
fn odd_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let below = word.wrapping_sub(ONES * 0x20);
    let delete = (word ^ (ONES * 0x7f)).wrapping_sub(ONES);
    // Bytes of 0x80 and more are neither.
    (below | delete) & !word & HIGHS
}

fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// `tchar` of RFC 9110 section 5.6.2.
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
};
