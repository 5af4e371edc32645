//! A strict reader of HTTP/1.x messages: what is not the letter of RFC 9112 is a fault, and nothing is repaired.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::exchange::case::Text;

/// Longest wait for the next bytes of a peer.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
const LINE_BYTES_MAX: usize = 64 << 10;
/// Cut to the letter of a case; pieces after them are larger, or a long body would be a hundred thousand writes.
const CUT_BYTES_MAX: usize = 2048;
/// Pieces of what follows.
const LARGE_PIECES: usize = 64;

/// What is wrong, in words.
pub(super) type Fault = String;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) name: String,
    /// Without the white space around it.
    pub(super) value: Text,
}

impl Line {
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// A request or an answer as its reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The words of its first line: method, target, version; or version, status, reason.
    pub(super) start: [Text; 3],
    pub(super) fields: Vec<Line>,
    pub(super) framing: Framing,
    pub(super) body: Text,
    pub(super) trailers: Vec<Line>,
}

impl Message {
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().filter(move |line| line.is(name)).map(|line| line.value.0.as_slice())
    }

    /// The members of a list field.
    pub(super) fn tokens(&self, name: &str) -> Vec<String> {
        let lines = self.values(name).map(|value| String::from_utf8_lossy(value).to_ascii_lowercase());
        lines.flat_map(|line| line.split(',').map(|token| token.trim().to_owned()).collect::<Vec<_>>()).collect()
    }

    pub(super) fn is_http10(&self) -> bool {
        self.start.iter().any(|word| word.0 == b"HTTP/1.0")
    }

    /// Nothing follows this message on its connection (RFC 9112 section 9.3).
    pub(super) fn ends_connection(&self) -> bool {
        let says = |option: &str| self.tokens("connection").iter().any(|token| token == option);
        says("close") || self.framing == Framing::UntilClose || (self.is_http10() && !says("keep-alive"))
    }

    pub(super) fn status(&self) -> &[u8] {
        &self.start[1].0
    }

    pub(super) fn is_interim(&self) -> bool {
        self.status().starts_with(b"1")
    }
}

/// A connection, read strictly.
pub(super) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Result<Wire, Fault> {
        stream.set_nodelay(true).and_then(|()| stream.set_write_timeout(Some(DEADLINE))).map_err(said("set up"))?;
        Ok(Wire { stream, buffer: Vec::new() })
    }

    /// For as long as it takes: an idle connection waits for its next request.
    pub(super) fn wait(&mut self) -> Result<(), Fault> {
        self.stream.set_read_timeout(None).map_err(said("set up"))?;
        if self.buffer.is_empty() {
            self.fill()?;
        }
        self.stream.set_read_timeout(Some(DEADLINE)).map_err(said("set up"))
    }

    pub(super) fn deadline(&mut self) -> Result<(), Fault> {
        self.stream.set_read_timeout(Some(DEADLINE)).map_err(said("set up"))
    }

    /// The request that comes next without its body; `None` where the peer has ended.
    pub(super) fn request_head(&mut self) -> Result<Option<Message>, Fault> {
        let Some(mut message) = self.head()? else { return Ok(None) };
        let [method, target, version] = &message.start;
        let is_sound = !method.0.is_empty() && method.0.iter().all(|byte| is_token(*byte)) && !target.0.is_empty();
        if !is_sound || target.0.iter().any(|byte| !byte.is_ascii_graphic()) || !is_version(version) {
            return Err(format!("not a request line: {:?}", message.start));
        }
        message.framing = framing(&message, Framing::None)?;
        Ok(Some(message))
    }

    /// The next answer, interim or final, to a request of this method.
    pub(super) fn answer(&mut self, method: &str) -> Result<Option<Message>, Fault> {
        let Some(mut message) = self.head()? else { return Ok(None) };
        let [version, status, reason] = &message.start;
        let is_status = status.0.len() == 3 && status.0.iter().all(u8::is_ascii_digit);
        if !is_version(version) || !is_status || !reason.0.iter().all(|byte| is_value(*byte)) {
            return Err(format!("not a status line: {:?}", message.start));
        }
        let declared = framing(&message, Framing::UntilClose)?;
        let is_bodiless = message.is_interim() || status.0 == b"204";
        if is_bodiless && declared != Framing::UntilClose {
            return Err(format!("framing where no content can be: {message:?}"));
        }
        let has_content = method != "HEAD" && !is_bodiless && status.0 != b"304";
        message.framing = if has_content { declared } else { Framing::None };
        self.body(&mut message)?;
        Ok(Some(message))
    }

    pub(super) fn body(&mut self, message: &mut Message) -> Result<(), Fault> {
        match message.framing {
            Framing::None => {}
            Framing::Length(length) => message.body.0 = self.exact(length)?,
            Framing::Chunked => loop {
                let line = self.line()?.ok_or("ended before a chunk size")?;
                let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
                let size = hexadecimal(digits).ok_or_else(|| format!("not a chunk size: {:?}", Text(line.clone())))?;
                if size == 0 {
                    message.trailers = self.lines()?;
                    break;
                }
                message.body.0.extend(self.exact(size)?);
                if self.line()?.is_none_or(|line| !line.is_empty()) {
                    return Err("a chunk is longer than its size".to_owned());
                }
            },
            Framing::UntilClose => {
                while self.fill()? {}
                message.body.0 = std::mem::take(&mut self.buffer);
            }
        }
        Ok(())
    }

    /// The peer ends here, and says nothing before.
    pub(super) fn expect_end(&mut self) -> Result<(), Fault> {
        while self.buffer.is_empty() {
            if !self.fill()? {
                return Ok(());
            }
        }
        self.expect_nothing()
    }

    /// Nothing came that was not asked for.
    pub(super) fn expect_nothing(&self) -> Result<(), Fault> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        Err(format!("bytes after the last message: {:?}", Text(self.buffer.clone())))
    }

    /// Ends our side, and waits for the end of the peer's, so that it can read all that we said.
    pub(super) fn linger(mut self) {
        if self.stream.shutdown(std::net::Shutdown::Write).is_ok() {
            while matches!(self.fill(), Ok(true)) {
                self.buffer.clear();
            }
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8], pieces: &[usize]) -> Result<(), Fault> {
        write_pieces(&mut self.stream, bytes, pieces)
    }

    fn fill(&mut self) -> Result<bool, Fault> {
        let mut bytes = [0; 16 << 10];
        match self.stream.read(&mut bytes) {
            Ok(length) => {
                self.buffer.extend_from_slice(&bytes[..length]);
                Ok(length > 0)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(format!("nothing came for {DEADLINE:?} after {:?}", Text(self.buffer.clone())))
            }
            Err(error) => Err(format!("read: {error}")),
        }
    }

    /// Up to CR LF, without it.
    fn line(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        let mut seen = 0;
        loop {
            if let Some(at) = self.buffer[seen..].iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=seen + at).collect();
                line.pop();
                if line.pop() != Some(b'\r') || line.contains(&b'\r') {
                    return Err(format!("a line that does not end with CR LF: {:?}", Text(line)));
                }
                return Ok(Some(line));
            }
            seen = self.buffer.len();
            if seen > LINE_BYTES_MAX {
                return Err(format!("a line without an end: {:?}", Text(self.buffer.clone())));
            }
            if !self.fill()? {
                return if seen == 0 { Ok(None) } else { Err(format!("ended in {:?}", Text(self.buffer.clone()))) };
            }
        }
    }

    fn head(&mut self) -> Result<Option<Message>, Fault> {
        let Some(line) = self.line()? else { return Ok(None) };
        let words: Vec<Text> = line.splitn(3, |byte| *byte == b' ').map(|word| Text(word.to_vec())).collect();
        let start = words.try_into().map_err(|words| format!("not a first line: {words:?}"))?;
        let fields = self.lines()?;
        Ok(Some(Message { start, fields, framing: Framing::None, body: Text::default(), trailers: Vec::new() }))
    }

    /// Header or trailer lines and the empty line after them.
    fn lines(&mut self) -> Result<Vec<Line>, Fault> {
        let mut lines = Vec::new();
        loop {
            let line = self.line()?.ok_or("ended before the empty line")?;
            if line.is_empty() {
                return Ok(lines);
            }
            let wrong = || format!("not a field: {:?}", Text(line.clone()));
            let colon = line.iter().position(|byte| *byte == b':').ok_or_else(wrong)?;
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) || !value.iter().all(|byte| is_value(*byte))
            {
                return Err(wrong());
            }
            let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
            let first = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
            let end = value.iter().rposition(|byte| !is_space(byte)).map_or(first, |last| last + 1);
            lines.push(Line {
                name: String::from_utf8_lossy(name).into_owned(),
                value: Text(value[first..end].to_vec()),
            });
        }
    }

    fn exact(&mut self, length: u64) -> Result<Vec<u8>, Fault> {
        let length = usize::try_from(length).map_err(|_| format!("a length of {length}"))?;
        while self.buffer.len() < length {
            if !self.fill()? {
                return Err(format!("ended after {} bytes of {length}", self.buffer.len()));
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }
}

/// Writes in pieces of these sizes, each by itself; no sizes is all at once.
pub(super) fn write_pieces(stream: &mut TcpStream, bytes: &[u8], pieces: &[usize]) -> Result<(), Fault> {
    let mut sizes = pieces.iter().cycle();
    let large = bytes.len() / LARGE_PIECES;
    let mut rest = bytes;
    while !rest.is_empty() {
        let piece_min = if bytes.len() - rest.len() < CUT_BYTES_MAX { 1 } else { large };
        let size = sizes.next().map_or(rest.len(), |size| piece_min.max(*size));
        let (piece, after) = rest.split_at(size.min(rest.len()));
        stream.write_all(piece).map_err(said("write"))?;
        rest = after;
        // Lets the reader have this piece before the next one comes, mostly.
        thread::yield_now();
    }
    Ok(())
}

pub(super) fn said(what: &'static str) -> impl Fn(std::io::Error) -> Fault {
    move |error| format!("{what}: {error}")
}

/// RFC 9112 section 6.3, without its repairs.
fn framing(message: &Message, otherwise: Framing) -> Result<Framing, Fault> {
    let codings: Vec<_> = message.values("transfer-encoding").collect();
    let lengths: Vec<_> = message.values("content-length").collect();
    match (codings.as_slice(), lengths.as_slice()) {
        ([], []) => Ok(otherwise),
        ([], [length]) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
            let length = String::from_utf8_lossy(length).parse().map_err(|_| "a length beyond all bounds")?;
            Ok(Framing::Length(length))
        }
        ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") && !message.is_http10() => Ok(Framing::Chunked),
        _ => Err(format!("two readings of a length: {message:?}")),
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok()?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

fn is_version(text: &Text) -> bool {
    matches!(text.0.as_slice(), b"HTTP/1.1" | b"HTTP/1.0")
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}
