//! A case as bytes, for the client and for the origin, and as a transcript for people.

use std::fmt;

use crate::exchange::case::{
    Answer, Body, Case, Exchange, Expects, Field, Interim, Layout, Request, Spelling, Text, Version, readable,
};
use crate::exchange::parse::Message;

/// Names an exchange, so that the origin knows what to answer whatever the target is.
pub(super) const ID: &str = "X-Exchange";

impl Request {
    pub(super) fn head(&self, id: &str) -> Vec<u8> {
        let spelling = self.layout.spelling;
        let mut special = self.body.framing(spelling);
        special.push(Field::new(ID.to_owned(), id));
        special.extend(self.host.map(|host| Field::new(spelling.name("Host"), host)));
        if self.expects != Expects::Nothing {
            special.push(Field::new(spelling.name("Expect"), "100-continue"));
        }
        let mut tokens = Vec::new();
        match (self.version, self.closes) {
            (Version::Http11, true) => tokens.push("close".to_owned()),
            (Version::Http10, false) => tokens.push("keep-alive".to_owned()),
            (Version::Http11, false) | (Version::Http10, true) => {}
        }
        if self.takes_trailers {
            special.push(Field::new(spelling.name("TE"), "trailers"));
            tokens.push("TE".to_owned());
        }
        special.extend(self.layout.connection(tokens));
        let start = format!("{} {} {}", self.method, self.target, self.version.as_str());
        self.layout.head(start.as_bytes(), &self.fields, special)
    }

    pub(super) fn content(&self) -> Vec<u8> {
        self.body.render()
    }
}

impl Interim {
    pub(super) fn render(&self) -> Vec<u8> {
        let layout = Layout { spelling: Spelling::Title, place: 0, hop: None };
        let start = [format!("HTTP/1.1 {} ", self.status).as_bytes(), &self.reason.0].concat();
        layout.head(&start, &self.fields, Vec::new())
    }
}

impl Answer {
    /// The interim answers of one side of the request's body, and nothing for a client that knows none.
    pub(super) fn interims(&self, request: &Message, is_early: bool) -> Vec<u8> {
        if request.is_http10() {
            return Vec::new();
        }
        self.interims.iter().filter(|interim| interim.is_early == is_early).flat_map(Interim::render).collect()
    }

    /// The final answer as an ordinary origin says it to this request, and whether it closes then.
    pub(super) fn render(&self, request: &Message) -> (Vec<u8>, bool) {
        let is_old = request.is_http10();
        let body = match &self.body {
            // A client of HTTP/1.0 does not know the coding (RFC 9112 section 6.1).
            Body::Chunked { .. } if is_old => Body::UntilClose(Text(self.body.data())),
            body => body.clone(),
        };
        let has_content = request.start[0].0 != b"HEAD" && !matches!(self.status, 204 | 304);
        let ends_by_close = has_content && matches!(body, Body::UntilClose(_));
        let closes = self.closes || ends_by_close || self.version == Version::Http10 || request.ends_connection();
        let mut tokens = Vec::new();
        if self.version == Version::Http11 && closes {
            tokens.push("close".to_owned());
        } else if is_old && !closes {
            tokens.push("keep-alive".to_owned());
        }
        let mut bytes = self.head(&body, tokens);
        if has_content {
            bytes.extend(body.render());
        }
        (bytes, closes)
    }

    fn head(&self, body: &Body, connection: Vec<String>) -> Vec<u8> {
        let mut special = body.framing(self.layout.spelling);
        special.extend(self.layout.connection(connection));
        let start = [format!("{} {} ", self.version.as_str(), self.status).as_bytes(), &self.reason.0].concat();
        self.layout.head(&start, &self.fields, special)
    }
}

impl Body {
    fn framing(&self, spelling: Spelling) -> Vec<Field> {
        match self {
            Body::None | Body::UntilClose(_) => Vec::new(),
            Body::Length(data) => vec![Field::new(spelling.name("Content-Length"), &data.0.len().to_string())],
            Body::Chunked { trailers, announces, .. } => {
                let mut fields = vec![Field::new(spelling.name("Transfer-Encoding"), &spelling.name("chunked"))];
                if *announces && !trailers.is_empty() {
                    let names: Vec<_> = trailers.iter().map(|field| field.name.as_str()).collect();
                    fields.push(Field::new(spelling.name("Trailer"), &names.join(", ")));
                }
                fields
            }
        }
    }

    fn render(&self) -> Vec<u8> {
        let Body::Chunked { chunks, last_extension, trailers, .. } = self else { return self.data() };
        let mut bytes = Vec::new();
        for chunk in chunks {
            let size = chunk.size.size(chunk.data.0.len());
            bytes.extend([size.as_bytes(), &chunk.extension.0, b"\r\n", &chunk.data.0, b"\r\n"].concat());
        }
        bytes.extend([b"0", last_extension.0.as_slice(), b"\r\n"].concat());
        for field in trailers {
            bytes.extend([field.render().as_slice(), b"\r\n"].concat());
        }
        bytes.extend(b"\r\n");
        bytes
    }
}

impl Layout {
    /// A head: `special` fields put among the `ordinary`.
    fn head(&self, start: &[u8], ordinary: &[Field], special: Vec<Field>) -> Vec<u8> {
        let mut fields = ordinary.to_vec();
        for (index, field) in special.into_iter().enumerate() {
            fields.insert(self.place.wrapping_mul(index + 1) % (fields.len() + 1), field);
        }
        let mut bytes = [start, b"\r\n"].concat();
        for field in fields {
            bytes.extend([field.render().as_slice(), b"\r\n"].concat());
        }
        bytes.extend(b"\r\n");
        bytes
    }

    /// The fields of this hop: `Connection` with its tokens, and what they name.
    fn connection(&self, mut tokens: Vec<String>) -> Vec<Field> {
        let mut fields = Vec::new();
        if let Some(hop) = &self.hop {
            tokens.push(hop.name.clone());
            fields.push(hop.clone());
        }
        if !tokens.is_empty() {
            fields.push(Field::new(self.spelling.name("Connection"), &tokens.join(", ")));
        }
        fields
    }
}

/// As a transcript: what fails is read by people.
impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = |f: &mut fmt::Formatter<'_>, head: Vec<u8>| {
            head.split_inclusive(|byte| *byte == b'\n').try_for_each(|line| writeln!(f, "    {}", readable(line)))
        };
        write!(f, "pieces of the client: {:?}, of the origin: {:?}", self.client_pieces, self.origin_pieces)?;
        for (index, Exchange { request, answer }) in self.exchanges.iter().enumerate() {
            let pipelined = if request.is_pipelined { "pipelined, " } else { "" };
            writeln!(f, "\nrequest {index}, {pipelined}of 100 Continue it expects {:?}:", request.expects)?;
            lines(f, request.head(&index.to_string()))?;
            writeln!(f, "    {:?}", request.body)?;
            for interim in &answer.interims {
                writeln!(
                    f,
                    "interim answer {index}, {} the body of the request:",
                    if interim.is_early { "before" } else { "after" }
                )?;
                lines(f, interim.render())?;
            }
            writeln!(f, "answer {index}:")?;
            lines(f, answer.head(&answer.body, if answer.closes { vec!["close".to_owned()] } else { Vec::new() }))?;
            write!(f, "    {:?}", answer.body)?;
        }
        Ok(())
    }
}
