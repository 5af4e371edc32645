//! The field lines of one head: what each is to a proxy, and the copying of those that go on.

use std::mem::MaybeUninit;

use httparse::Header;

use super::{FIELDS_MAX, Reason};

/// Room for the fields of one head, on the stack of who parses it.
pub struct Slots<'b> {
    pub(super) lines: [MaybeUninit<Header<'b>>; FIELDS_MAX],
    pub(super) kinds: [Kind; FIELDS_MAX],
}

impl Slots<'_> {
    pub fn new() -> Self {
        Slots { lines: [const { MaybeUninit::uninit() }; FIELDS_MAX], kinds: [Kind::Other; FIELDS_MAX] }
    }
}

impl Default for Slots<'_> {
    fn default() -> Self {
        Self::new()
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
    /// `Keep-Alive`, `Proxy-Connection`: never goes on.
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
    lines: &'h [Header<'b>],
    kinds: &'h [Kind],
    summary: Summary<'b>,
}

impl<'h, 'b> Fields<'h, 'b> {
    /// Looks at every line once. `head` is the whole message head, `lines` were parsed from it.
    pub(super) fn scan(
        head: &'b [u8],
        lines: &'h [Header<'b>],
        kinds: &'h mut [Kind; FIELDS_MAX],
    ) -> Result<Fields<'h, 'b>, Reason> {
        let mut scan = Scan::default();
        for (index, line) in lines.iter().enumerate() {
            kinds[index] = scan.field(line)?;
            // What ends before the next name begins. httparse takes a bare LF for a line end; others do not.
            require_crlf(head, offset(head, line))?;
        }
        require_crlf(head, head.len() - 2)?;
        if head[head.len() - 2] != b'\r' {
            return Err(Reason::LineEnd);
        }
        Ok(Fields { head, lines, kinds: &kinds[..lines.len()], summary: scan.finish()? })
    }

    pub fn summary(&self) -> &Summary<'b> {
        &self.summary
    }

    pub fn count(&self) -> usize {
        self.lines.len()
    }

    /// Name as it was spelled, value without the space around it.
    pub fn iter(&self) -> impl Iterator<Item = (&'b str, &'b [u8], Kind)> + '_ {
        self.lines.iter().zip(self.kinds).map(|(line, kind)| (line.name, line.value, *kind))
    }

    /// The `index`-th value of `name`, whatever its case.
    pub fn line(&self, name: &str, index: usize) -> Option<&'b [u8]> {
        let mut same = self.lines.iter().filter(|line| line.name.eq_ignore_ascii_case(name));
        same.nth(index).map(|line| line.value)
    }

    /// Is `name` named by a `Connection` option?
    pub fn is_named_by_connection(&self, name: &str) -> bool {
        self.summary.names_fields
            && self.lines.iter().zip(self.kinds).any(|(line, kind)| {
                *kind == Kind::Connection && tokens(line.value).any(|token| token.eq_ignore_ascii_case(name.as_bytes()))
            })
    }

    /// Copies the lines that `is_kept`, as they were spelled, in runs as long as possible. A run may begin before the first field:
    /// `from` is an offset in the head.
    pub fn copy_kept(&self, out: &mut Vec<u8>, from: usize, mut is_kept: impl FnMut(&str, Kind) -> bool) {
        let end = self.head.len() - 2;
        let mut run = from;
        for (index, line) in self.lines.iter().enumerate() {
            if is_kept(line.name, self.kinds[index]) {
                continue;
            }
            out.extend_from_slice(&self.head[run..offset(self.head, line)]);
            run = self.lines.get(index + 1).map_or(end, |next| offset(self.head, next));
        }
        out.extend_from_slice(&self.head[run..end]);
    }

    /// Offset of the first field line in the head.
    pub fn start(&self) -> usize {
        self.lines.first().map_or(self.head.len() - 2, |line| offset(self.head, line))
    }

    pub fn head(&self) -> &'b [u8] {
        self.head
    }
}

/// The line before `end` must end with CRLF.
fn require_crlf(head: &[u8], end: usize) -> Result<(), Reason> {
    if end >= 2 && head[end - 2..end] == *b"\r\n" { Ok(()) } else { Err(Reason::LineEnd) }
}

/// Where a line begins in the bytes that it was parsed from.
fn offset(head: &[u8], line: &Header<'_>) -> usize {
    line.name.as_ptr() as usize - head.as_ptr() as usize
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
    fn field(&mut self, line: &Header<'b>) -> Result<Kind, Reason> {
        let kind = classify(line.name.as_bytes())?;
        match kind {
            Kind::Other | Kind::Hop => {}
            Kind::Host => {
                if self.summary.host.replace(line.value).is_some() {
                    return Err(Reason::HostTwice);
                }
            }
            Kind::ContentType => self.summary.content_type = Some(line.value),
            Kind::ContentLength => {
                if self.summary.content_length.replace(length(line.value)?).is_some() {
                    return Err(Reason::ContentLengthTwice);
                }
            }
            Kind::TransferEncoding => {
                // One encoding, and that is chunked: a list, a second line or an odd spelling is read differently by others.
                if self.has_encoding || !line.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Reason::TransferEncoding);
                }
                self.has_encoding = true;
            }
            Kind::Expect => self.summary.expects_continue |= line.value.eq_ignore_ascii_case(b"100-continue"),
            Kind::Connection => self.connection(line.value),
            Kind::Upgrade => {
                self.has_upgrade = true;
                self.has_h2c |= tokens(line.value).any(|token| token.eq_ignore_ascii_case(b"h2c"));
            }
            Kind::Te => {
                self.summary.wants_trailers |= tokens(line.value).any(|token| token.eq_ignore_ascii_case(b"trailers"));
            }
        }
        Ok(kind)
    }

    fn connection(&mut self, value: &[u8]) {
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

fn classify(name: &[u8]) -> Result<Kind, Reason> {
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    // By length first: most fields are told apart from all of these by it.
    Ok(match name.len() {
        2 if is(b"te") => Kind::Te,
        4 if is(b"host") => Kind::Host,
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
