//! The lines of a head: reads them once, each byte once, and says where they are. RFC 9112 sections 3 to 5, RFC 9110 section 5.
//!
//! Every line ends with CRLF and nothing else. No line is folded, no name is empty or followed by space, no value holds a control
//! character but the tab.

use super::fields::Kind;
use super::{Reason, block};

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
        let start = self.at;
        self.at = visible_end(self.head, start).ok_or(Stop::Partial)?;
        if self.at == start { Err(Reason::Target.into()) } else { Ok(&self.head[start..self.at]) }
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

    /// The next field line; nothing: it was the empty line, which is read too.
    #[inline]
    pub(super) fn field(&mut self) -> Result<Option<Line>, Stop> {
        let (head, start) = (self.head, self.at);
        let name_end = token_end(head, start);
        match head.get(name_end) {
            Some(b':') if name_end > start => {}
            Some(b'\r' | b'\n') if name_end == start => {
                self.line_end()?;
                return Ok(None);
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
        let text_end = text_end(head, value_start);
        match head.get(text_end..text_end + 2) {
            Some(b"\r\n") => {}
            ends => return Err(Self::why(ends.unwrap_or(&head[text_end..]))),
        }
        let mut value_end = text_end;
        if let b' ' | b'\t' = head[text_end - 1] {
            value_end = value_start + head[value_start..text_end].trim_ascii_end().len();
        }
        self.at = text_end + 2;
        // A head has at most HEAD_BYTES_MAX bytes, so 16 bits are enough.
        Ok(Some(Line {
            start: start as u16,
            name_end: name_end as u16,
            value_start: value_start as u16,
            value_end: value_end as u16,
            kind: Kind::Other,
        }))
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

/// Where the token that begins at `at` ends.
#[inline]
fn token_end(head: &[u8], mut at: usize) -> usize {
    while let Some(block) = head[at..].first_chunk() {
        let plain = block::plain_name(block);
        at += plain;
        if plain < block::BYTES {
            // The end of nearly every name; else one of the rarer characters.
            return if head[at] == b':' { at } else { token_end_slowly(head, at) };
        }
    }
    token_end_slowly(head, at)
}

/// One at a time: for the last bytes that were read, and for rare characters.
fn token_end_slowly(head: &[u8], at: usize) -> usize {
    at + head[at..].iter().take_while(|byte| TOKEN[usize::from(**byte)]).count()
}

/// Where visible ASCII ends; nothing: not in what is here.
#[inline]
fn visible_end(head: &[u8], mut at: usize) -> Option<usize> {
    while let Some(block) = head[at..].first_chunk() {
        let visible = block::visible(block);
        at += visible;
        if visible < block::BYTES {
            return Some(at);
        }
    }
    head[at..].iter().position(|byte| !byte.is_ascii_graphic()).map(|count| at + count)
}

/// Where VCHAR, obs-text, space and tab end, which a value or a phrase may hold.
#[inline]
fn text_end(head: &[u8], mut at: usize) -> usize {
    while let Some(block) = head[at..].first_chunk() {
        let text = block::text(block);
        at += text;
        if text < block::BYTES {
            return if head[at] == b'\t' { text_end_slowly(head, at) } else { at };
        }
    }
    text_end_slowly(head, at)
}

/// One at a time: for the last bytes that were read, and for the rare tab.
fn text_end_slowly(head: &[u8], at: usize) -> usize {
    at + head[at..].iter().take_while(|byte| is_text(**byte)).count()
}

#[cold]
fn space_bytes(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
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
