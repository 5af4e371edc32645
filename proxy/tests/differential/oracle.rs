//! A strict reader of HTTP/1.1, written from RFC 9112 and RFC 9110 and not from our code. Slow, plain, and whole messages only.
//!
//! It refuses what the grammar refuses. Where we are milder on purpose it says so in [`Read::tolerated`], never in silence.

use super::grammar::{is_extensions, is_field_value, is_reason, is_token, is_uri_host, is_uri_target, trim};
use super::message::{Field, Framing, Message, Role, Start};

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The connection ends before the message does.
    Incomplete,
    Wrong(&'static str),
}

/// What the grammar refuses and cannot be read in two ways; a proxy in front of an application lets it through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tolerance {
    /// Bytes that no URI may hold, but that no parser takes for the end of a target.
    TargetByte,
    /// No space behind a status without a reason.
    StatusSpace,
    /// What is between `;` and CRLF of a chunk's size. It is not forwarded.
    ChunkExtension,
}

pub(crate) struct Read {
    pub(crate) message: Message,
    pub(crate) tolerated: Vec<Tolerance>,
}

type Result<T> = std::result::Result<T, Refusal>;

fn wrong<T>(why: &'static str) -> Result<T> {
    Err(Refusal::Wrong(why))
}

/// Reads the first message of a connection that carries `bytes` and then ends; interim answers before it are passed over.
pub(crate) fn read(role: Role, bytes: &[u8]) -> Result<Read> {
    let mut reader = Reader { bytes, at: 0, tolerated: Vec::new() };
    let message = match role {
        Role::Request => reader.request()?,
        _ => loop {
            let answer = reader.response(role)?;
            if !matches!(answer.start, Start::Response { status: 100 | 102..=199 }) {
                break answer;
            }
        },
    };
    Ok(Read { message, tolerated: reader.tolerated })
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    tolerated: Vec<Tolerance>,
}

/// What a head says about framing, both versions of the message alike.
struct Head {
    all: Vec<Field>,
    length: Option<u64>,
    codings: Vec<String>,
}

impl Reader<'_> {
    fn request(&mut self) -> Result<Message> {
        // Section 2.2: at least one empty line before a request line is to be ignored.
        while self.bytes[self.at..].starts_with(b"\r\n") {
            self.at += 2;
        }
        let line = self.line()?;
        let parts: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        let [method, target, version] = parts[..] else { return wrong("request line") };
        if !is_token(method) {
            return wrong("method");
        }
        let is_old = version_of(version)?;
        let method = text(method)?;
        let target = text(target)?;
        let form = self.form(&method, &target)?;
        let head = self.head(is_old)?;
        let hosts: Vec<&Field> = head.all.iter().filter(|field| field.0 == "host").collect();
        let host = match hosts[..] {
            [] if is_old => String::new(),
            [(_, value)] if value.is_empty() || is_uri_host(value) => text(value)?,
            _ => return wrong("host"),
        };
        let framing = match (head.codings.last(), head.length) {
            (Some(last), _) if last == "chunked" => Framing::Chunked,
            (Some(_), _) => return wrong("request body without an end"),
            (None, None | Some(0)) => Framing::None,
            (None, Some(length)) => Framing::Exact(length),
        };
        let start = Start::Request { method, target: form.0 };
        self.message(start, form.1.unwrap_or(host), head, framing)
    }

    fn response(&mut self, role: Role) -> Result<Message> {
        let line = self.line()?;
        let Some((version, rest)) = line.split_at_checked(8) else { return wrong("status line") };
        let is_old = version_of(version)?;
        let (Some(b' '), Some(digits)) = (rest.first(), rest.get(1..4)) else { return wrong("status line") };
        if !digits.iter().all(u8::is_ascii_digit) || digits[0] == b'0' {
            return wrong("status");
        }
        match rest.get(4) {
            None => self.tolerated.push(Tolerance::StatusSpace),
            Some(b' ') if is_reason(&rest[5..]) => {}
            Some(_) => return wrong("reason"),
        }
        let status = digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
        let head = self.head(is_old)?;
        let is_tunnel = role == Role::ResponseToConnect && (200..300).contains(&status);
        let framing = match (head.codings.last(), head.length) {
            _ if role == Role::ResponseToHead || is_tunnel => Framing::None,
            _ if matches!(status, 100..=199 | 204 | 304) => Framing::None,
            (Some(last), _) if last == "chunked" => Framing::Chunked,
            (Some(_), _) | (None, None) => Framing::UntilClose,
            (None, Some(0)) => Framing::None,
            (None, Some(length)) => Framing::Exact(length),
        };
        self.message(Start::Response { status }, String::new(), head, framing)
    }

    fn message(&mut self, start: Start, authority: String, head: Head, framing: Framing) -> Result<Message> {
        let (mut body, mut trailers) = (Vec::new(), Vec::new());
        match framing {
            Framing::None => {}
            Framing::Exact(length) => body.extend_from_slice(self.take(length)?),
            Framing::UntilClose => body.extend_from_slice(self.take((self.bytes.len() - self.at) as u64)?),
            Framing::Chunked => trailers = self.chunked(&mut body)?,
        }
        let mut fields = end_to_end(head.all);
        if let Start::Request { .. } = start {
            fields.retain(|field| field.0 != "host");
        }
        Ok(Message { start, authority, fields, framing, body, trailers, used: self.at })
    }

    /// A line without its CRLF, which is the only end of a line, and holds no CR otherwise (section 2.2).
    fn line(&mut self) -> Result<Vec<u8>> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().position(|&byte| byte == b'\n') else { return Err(Refusal::Incomplete) };
        let Some(line) = rest[..end].strip_suffix(b"\r") else { return wrong("bare LF") };
        if line.contains(&b'\r') {
            return wrong("bare CR");
        }
        self.at += end + 1;
        Ok(line.to_vec())
    }

    fn take(&mut self, count: u64) -> Result<&[u8]> {
        let count = usize::try_from(count).map_err(|_| Refusal::Incomplete)?;
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len()).ok_or(Refusal::Incomplete)?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// Target as the next server gets it, and the authority that it names.
    fn form(&mut self, method: &str, target: &str) -> Result<(String, Option<String>)> {
        if method == "CONNECT" {
            // Section 3.2.3: `uri-host ":" port`, both needed.
            let has_port = target.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && !port.is_empty());
            if !has_port || !is_uri_host(target.as_bytes()) {
                return wrong("authority form");
            }
            return Ok((target.to_owned(), Some(target.to_owned())));
        }
        if target == "*" && method == "OPTIONS" {
            return Ok((target.to_owned(), None));
        }
        if target.bytes().any(|byte| byte <= b' ' || byte >= 0x7f || byte == b'#') {
            return wrong("target");
        }
        if !is_uri_target(target) {
            self.tolerated.push(Tolerance::TargetByte);
        }
        if target.starts_with('/') {
            return Ok((target.to_owned(), None));
        }
        let Some((scheme, rest)) = target.split_once("://") else { return wrong("target form") };
        if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
            return wrong("scheme");
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        // RFC 9110 section 4.2.1: an empty host is invalid; section 4.2.4: so is userinfo.
        if !is_uri_host(authority.as_bytes()) || authority.starts_with(':') || authority.is_empty() {
            return wrong("authority");
        }
        let asked = match path {
            // Section 3.2.4.
            "" if method == "OPTIONS" => "*".to_owned(),
            // Section 3.2.1.
            path if path.starts_with('/') => path.to_owned(),
            path => format!("/{path}"),
        };
        Ok((asked, Some(authority.to_owned())))
    }

    /// Fields up to the empty line (section 5), and what they say of the body (section 6).
    fn head(&mut self, is_old: bool) -> Result<Head> {
        let all = self.fields()?;
        let values = |name: &'static str| all.iter().filter(move |field| field.0 == name).map(|field| &field.1);
        let length = match values("content-length").collect::<Vec<_>>()[..] {
            [] => None,
            [value] if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                let number = std::str::from_utf8(value).expect("digits").parse();
                Some(number.map_err(|_| Refusal::Wrong("content-length overflows"))?)
            }
            _ => return wrong("content-length"),
        };
        let mut codings = Vec::new();
        for coding in values("transfer-encoding").flat_map(|value| value.split(|&byte| byte == b',')).map(trim) {
            if !coding.is_empty() && !is_token(coding) {
                return wrong("transfer-encoding");
            }
            codings.push(text(coding)?.to_ascii_lowercase());
        }
        // RFC 9110 section 5.6.1: empty members count for nothing.
        let has_encoding = !codings.is_empty();
        codings.retain(|coding| !coding.is_empty());
        if has_encoding && (codings.is_empty() || is_old || length.is_some()) {
            return wrong("transfer-encoding beside another framing");
        }
        if codings.iter().filter(|coding| *coding == "chunked").count() > 1 {
            return wrong("chunked twice");
        }
        Ok(Head { all, length, codings })
    }

    fn fields(&mut self) -> Result<Vec<Field>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            // A folded line begins with a space, which is no token either.
            let Some(colon) = line.iter().position(|&byte| byte == b':') else { return wrong("field without colon") };
            let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
            if !is_token(name) {
                return wrong("field name");
            }
            if !is_field_value(value) {
                return wrong("field value");
            }
            fields.push((text(name)?.to_ascii_lowercase(), value.to_vec()));
        }
    }

    /// Section 7.1. Answers the trailers.
    fn chunked(&mut self, body: &mut Vec<u8>) -> Result<Vec<Field>> {
        loop {
            let line = self.line()?;
            let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            let size = std::str::from_utf8(&line[..digits]).expect("digits");
            let size = u64::from_str_radix(size, 16).map_err(|_| Refusal::Wrong("chunk size"))?;
            match trim(&line[digits..]) {
                [] if digits == line.len() => {}
                [b';', ..] if line[digits..].iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') => {
                    return wrong("chunk extension");
                }
                [b';', ..] if !is_extensions(&line[digits..]) => self.tolerated.push(Tolerance::ChunkExtension),
                [b';', ..] => {}
                _ => return wrong("chunk size"),
            }
            if size == 0 {
                return self.fields();
            }
            body.extend_from_slice(self.take(size)?);
            let end = self.take(2)?;
            if end != b"\r\n" {
                return wrong("chunk end");
            }
        }
    }
}

fn version_of(version: &[u8]) -> Result<bool> {
    match version {
        b"HTTP/1.1" => Ok(false),
        b"HTTP/1.0" => Ok(true),
        _ => wrong("version"),
    }
}

fn text(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Refusal::Wrong("not UTF-8"))
}

/// What a proxy hands on (RFC 9110 section 7.6.1). What frames, types or is asked of the whole way stays, whatever
/// `Connection` says of it.
fn end_to_end(fields: Vec<Field>) -> Vec<Field> {
    let options: Vec<String> = fields
        .iter()
        .filter(|field| field.0 == "connection")
        .flat_map(|field| field.1.split(|&byte| byte == b','))
        .map(|option| String::from_utf8_lossy(trim(option)).to_ascii_lowercase())
        .collect();
    let is_kept = |name: &str| match name {
        "connection" | "close" | "keep-alive" | "proxy-connection" | "te" | "upgrade" => false,
        "host" | "content-length" | "transfer-encoding" | "content-type" | "expect" => true,
        name => !options.iter().any(|option| option == name),
    };
    fields.into_iter().filter(|field| is_kept(&field.0)).collect()
}
