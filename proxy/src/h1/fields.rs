//! The field lines of one head: what each is to a proxy, and the copying of those that go on.

use laneway_core::facts::name_index;

use super::lines::{Line, NO_LINE, Reader, Stop};
use super::{FIELDS_MAX, Reason};

/// Room for the field lines of one head.
pub struct Slots {
    lines: [Line; FIELDS_MAX],
    /// By [`name_index`], the first line with it, where there is one.
    firsts: [u8; 64],
}

impl Slots {
    pub fn new() -> Slots {
        Slots { lines: [NO_LINE; FIELDS_MAX], firsts: [0; 64] }
    }
}

impl Default for Slots {
    fn default() -> Slots {
        Slots::new()
    }
}

/// What a field is to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes on, unless a `Connection` option names it.
    Other,
    Host,
    ContentType,
    ContentLength,
    TransferEncoding,
    Expect,
    /// Names other fields that end here.
    Connection,
    Upgrade,
    Te,
    /// `Keep-Alive`, `Proxy-Connection`, and `Close`, whose name is taken by the option: never goes on.
    Hop,
}

/// What the fields of a head say together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary<'b> {
    pub host: Option<&'b [u8]>,
    pub content_type: Option<&'b [u8]>,
    pub content_length: Option<u64>,
    pub is_chunked: bool,
    /// `Connection: close`.
    pub closes: bool,
    /// `Connection: keep-alive`, which HTTP/1.0 needs to say.
    pub keeps_alive: bool,
    /// `Connection: upgrade` beside an `Upgrade` to anything but h2c: that one would hide requests in a tunnel.
    pub is_upgrade: bool,
    /// `TE` holds `trailers`.
    pub wants_trailers: bool,
    /// `Expect: 100-continue`.
    pub expects_continue: bool,
    /// A `Connection` option that is none of the known ones names a field.
    names_fields: bool,
}

/// The fields of one head, in order.
pub struct Fields<'h, 'b> {
    /// From the first byte of the first line to the end of the empty line.
    head: &'b [u8],
    lines: &'h [Line],
    /// A bit for the [`name_index`] of each, and of those that others share.
    names: u64,
    repeated: u64,
    firsts: &'h [u8; 64],
    summary: Summary<'b>,
}

impl<'h, 'b> Fields<'h, 'b> {
    /// Reads the lines behind the first one, to the end of the head.
    pub(super) fn read(reader: &mut Reader<'b>, slots: &'h mut Slots) -> Result<Fields<'h, 'b>, Stop> {
        let Slots { lines, firsts } = slots;
        let mut scan = Scan::default();
        let (mut names, mut repeated, mut count) = (0_u64, 0_u64, 0);
        while let Some(mut line) = reader.field()? {
            let Some(slot) = lines.get_mut(count) else { return Err(Reason::FieldsTooMany.into()) };
            let (length, first) = (usize::from(line.name_end - line.start), reader.head[usize::from(line.start)]);
            let index = name_index(length, first);
            if names & 1 << index == 0 {
                names |= 1 << index;
                // Of at most FIELDS_MAX.
                firsts[index] = count as u8;
            } else {
                repeated |= 1 << index;
            }
            if may_be_known(length, first) {
                let of = |from: u16, to: u16| &reader.head[usize::from(from)..usize::from(to)];
                line.kind = classify(of(line.start, line.name_end))?;
                if line.kind != Kind::Other {
                    scan.field(line.kind, of(line.value_start, line.value_end))?;
                }
            }
            *slot = line;
            count += 1;
        }
        let head = &reader.head[..reader.at];
        Ok(Fields { head, lines: &lines[..count], names, repeated, firsts, summary: scan.finish()? })
    }

    pub fn summary(&self) -> &Summary<'b> {
        &self.summary
    }

    pub fn count(&self) -> usize {
        self.lines.len()
    }

    /// Name as it was spelled, value without the space around it.
    pub fn iter(&self) -> impl Iterator<Item = (&'b [u8], &'b [u8], Kind)> + '_ {
        self.lines.iter().map(|line| (self.name(line), self.value(line), line.kind))
    }

    /// The `index`-th value of `name`, whatever its case.
    pub fn line(&self, name: &str, index: usize) -> Option<&'b [u8]> {
        let at = name_index(name.len(), name.bytes().next().unwrap_or(0));
        if self.names & 1 << at == 0 || (index > 0 && self.repeated & 1 << at == 0) {
            return None;
        }
        let mut before = index;
        for line in &self.lines[usize::from(self.firsts[at])..] {
            if usize::from(line.name_end - line.start) == name.len() && is_same_name(self.name(line), name) {
                if before == 0 {
                    return Some(self.value(line));
                }
                before -= 1;
            }
        }
        None
    }

    /// A bit for the [`name_index`] of each name.
    pub fn names(&self) -> u64 {
        self.names
    }

    /// Is `name` named by a `Connection` option?
    #[inline]
    pub fn is_named_by_connection(&self, name: &[u8]) -> bool {
        self.summary.names_fields && self.is_connection_option(name)
    }

    fn is_connection_option(&self, name: &[u8]) -> bool {
        let mut connections = self.lines.iter().filter(|line| line.kind == Kind::Connection);
        connections.any(|line| tokens(self.value(line)).any(|token| token.eq_ignore_ascii_case(name)))
    }

    /// Copies the lines that `is_kept`, as they were spelled, in runs as long as possible. A run may begin before the first field:
    /// `from` is an offset in the head.
    pub fn copy_kept(&self, out: &mut Vec<u8>, from: usize, mut is_kept: impl FnMut(&[u8], Kind) -> bool) {
        let end = self.head.len() - 2;
        let mut run = from;
        for (index, line) in self.lines.iter().enumerate() {
            if is_kept(self.name(line), line.kind) {
                continue;
            }
            out.extend_from_slice(&self.head[run..usize::from(line.start)]);
            run = self.lines.get(index + 1).map_or(end, |next| usize::from(next.start));
        }
        out.extend_from_slice(&self.head[run..end]);
    }

    fn name(&self, line: &Line) -> &'b [u8] {
        // Every line lies in the head. Without a way to panic this costs nothing where the name is not looked at.
        self.head.get(usize::from(line.start)..usize::from(line.name_end)).unwrap_or_default()
    }

    fn value(&self, line: &Line) -> &'b [u8] {
        &self.head[usize::from(line.value_start)..usize::from(line.value_end)]
    }

    /// Offset of the first field line in the head.
    pub fn start(&self) -> usize {
        self.lines.first().map_or(self.head.len() - 2, |line| usize::from(line.start))
    }

    pub fn head(&self) -> &'b [u8] {
        self.head
    }
}

#[derive(Default)]
struct Scan<'b> {
    summary: Summary<'b>,
    has_encoding: bool,
    asks_upgrade: bool,
    has_upgrade: bool,
    has_h2c: bool,
}

impl<'b> Scan<'b> {
    fn field(&mut self, kind: Kind, value: &'b [u8]) -> Result<(), Reason> {
        match kind {
            Kind::Other | Kind::Hop => {}
            Kind::Host => {
                if self.summary.host.replace(value).is_some() {
                    return Err(Reason::HostTwice);
                }
            }
            Kind::ContentType => self.summary.content_type = Some(value),
            Kind::ContentLength => {
                if self.summary.content_length.replace(length(value)?).is_some() {
                    return Err(Reason::ContentLengthTwice);
                }
            }
            Kind::TransferEncoding => {
                // One encoding, and that is chunked: a list, a second line or an odd spelling is read differently by others.
                if self.has_encoding || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Reason::TransferEncoding);
                }
                self.has_encoding = true;
            }
            Kind::Expect => self.summary.expects_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            Kind::Connection => self.connection(value),
            Kind::Upgrade => {
                self.has_upgrade = true;
                self.has_h2c |= tokens(value).any(|token| token.eq_ignore_ascii_case(b"h2c"));
            }
            Kind::Te => {
                self.summary.wants_trailers |= tokens(value).any(|token| token.eq_ignore_ascii_case(b"trailers"));
            }
        }
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) {
        if let b"keep-alive" | b"Keep-Alive" = value {
            self.summary.keeps_alive = true;
            return;
        }
        for token in tokens(value) {
            if token.eq_ignore_ascii_case(b"close") {
                self.summary.closes = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.summary.keeps_alive = true;
            } else if token.eq_ignore_ascii_case(b"upgrade") {
                self.asks_upgrade = true;
            } else if !token.eq_ignore_ascii_case(b"te") {
                self.summary.names_fields = true;
            }
        }
    }

    fn finish(mut self) -> Result<Summary<'b>, Reason> {
        self.summary.is_upgrade = self.asks_upgrade && self.has_upgrade && !self.has_h2c;
        self.summary.is_chunked = self.has_encoding;
        if self.has_encoding && self.summary.content_length.is_some() {
            return Err(Reason::TransferEncodingAndContentLength);
        }
        Ok(self.summary)
    }
}

/// By length and first letter: nearly every field is told apart by them from all that [`classify`] knows.
#[inline]
fn may_be_known(length: usize, first: u8) -> bool {
    const fn letters(letters: &[u8]) -> u32 {
        let (mut bits, mut index) = (0, 0);
        while index < letters.len() {
            bits |= 1 << (letters[index] & 0x1f);
            index += 1;
        }
        bits
    }
    static LETTERS: [u32; 18] = {
        let mut table = [0; 18];
        table[2] = letters(b"t");
        table[4] = letters(b"h");
        table[5] = letters(b"c");
        table[6] = letters(b"e");
        table[7] = letters(b"u");
        table[10] = letters(b"ck");
        table[12] = letters(b"c");
        table[14] = letters(b"c");
        table[16] = letters(b"p");
        table[17] = letters(b"t");
        table
    };
    LETTERS.get(length).is_some_and(|letters| letters & 1 << (first & 0x1f) != 0)
}

fn classify(name: &[u8]) -> Result<Kind, Reason> {
    let is = |known: &[u8]| is_same(name, known);
    // `may_be_known` has these lengths and first letters.
    Ok(match name.len() {
        2 if is(b"te") => Kind::Te,
        4 if is(b"host") => Kind::Host,
        5 if is(b"close") => Kind::Hop,
        6 if is(b"expect") => Kind::Expect,
        7 if is(b"upgrade") => Kind::Upgrade,
        10 if is(b"connection") => Kind::Connection,
        10 if is(b"keep-alive") => Kind::Hop,
        12 if is(b"content-type") => Kind::ContentType,
        14 if is(b"content-length") => Kind::ContentLength,
        // To a peer that maps `_` to `-` (CGI and its heirs) these frame the message.
        14 if is(b"content_length") => return Err(Reason::FramingLookAlike),
        16 if is(b"proxy-connection") => Kind::Hop,
        17 if is(b"transfer-encoding") => Kind::TransferEncoding,
        17 if is(b"transfer_encoding") => return Err(Reason::FramingLookAlike),
        _ => Kind::Other,
    })
}

/// Is it this name, in any case?
#[inline]
pub fn is_same_name(name: &[u8], known: &str) -> bool {
    is_same(name, known.as_bytes())
}

/// Two tokens that differ at most in the bit that tells letters' cases apart. Of the other characters of a token (RFC 9110 section
/// 5.6.2) only `^` and `~` differ in that bit alone, and no name that we know has one.
#[inline]
fn is_same(name: &[u8], known: &[u8]) -> bool {
    const CASE: u64 = u64::from_ne_bytes([0x20; 8]);
    if name.len() != known.len() {
        return false;
    }
    let ((words, tail), (known_words, known_tail)) = (name.as_chunks::<8>(), known.as_chunks::<8>());
    let is_same_word = |(a, b): (&[u8; 8], &[u8; 8])| (u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b)) & !CASE == 0;
    words.iter().zip(known_words).all(is_same_word) && tail.iter().zip(known_tail).all(|(a, b)| (a ^ b) & !0x20 == 0)
}

/// Digits only, at most 2^63 - 1: more is read differently by others.
fn length(value: &[u8]) -> Result<u64, Reason> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Reason::ContentLength);
    }
    let number = value.iter().fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    if i64::try_from(number).is_ok() { Ok(number) } else { Err(Reason::ContentLength) }
}

/// The members of a comma list, without the space around them.
pub fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}
