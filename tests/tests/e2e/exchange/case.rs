//! One case: what a client says on its connections, and what the origin answers to each request.
//!
//! Drawn part by part (`generate.rs`), a case is valid HTTP by RFC 9110 and RFC 9112 once [`Case::settle`] has run, and is never
//! repaired later. `render.rs` makes bytes of it.

use std::fmt;

/// Bytes, readable where a case is printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Text(pub(super) Vec<u8>);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", readable(&self.0))
    }
}

/// Bytes for people; of long ones the beginning.
pub(super) fn readable(bytes: &[u8]) -> String {
    const SHOWN_BYTES: usize = 200;
    match bytes.get(..SHOWN_BYTES) {
        Some(beginning) => format!("{} ... {} bytes", beginning.escape_ascii(), bytes.len()),
        None => bytes.escape_ascii().to_string(),
    }
}

/// One header line; `before` and `after` are the optional white space around its value.
#[derive(Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) before: &'static str,
    pub(super) value: Text,
    pub(super) after: &'static str,
}

impl Field {
    pub(super) fn new(name: String, value: &str) -> Field {
        Field { name, before: " ", value: Text(value.into()), after: "" }
    }

    pub(super) fn render(&self) -> Vec<u8> {
        let around = [self.name.as_bytes(), b":", self.before.as_bytes(), &self.value.0, self.after.as_bytes()];
        around.concat()
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Text(self.render()).fmt(f)
    }
}

#[derive(Clone)]
pub(super) struct Chunk {
    pub(super) data: Text,
    /// Of the size; leading zeros and upper case are valid.
    pub(super) size: Spelling,
    /// `;name=value`, or nothing.
    pub(super) extension: Text,
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} {:?}", Text(self.size.size(self.data.0.len()).into()), self.extension, self.data)
    }
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    None,
    Length(Text),
    Chunked {
        chunks: Vec<Chunk>,
        last_extension: Text,
        trailers: Vec<Field>,
        /// The trailers are named in a `Trailer` field.
        announces: bool,
    },
    /// Answers only.
    UntilClose(Text),
}

/// How the names that this test itself writes are spelled.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spelling {
    Title,
    Lower,
    Upper,
}

impl Spelling {
    pub(super) fn name(self, name: &str) -> String {
        match self {
            Spelling::Title => name.to_owned(),
            Spelling::Lower => name.to_ascii_lowercase(),
            Spelling::Upper => name.to_ascii_uppercase(),
        }
    }

    pub(super) fn size(self, size: usize) -> String {
        match self {
            Spelling::Title => format!("{size:x}"),
            Spelling::Lower => format!("{size:03x}"),
            Spelling::Upper => format!("{size:X}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http10,
    Http11,
}

impl Version {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        }
    }
}

/// What a request says of `100 Continue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expects {
    Nothing,
    /// The body follows the 100.
    Waits,
    /// The body follows at once.
    Hurries,
    /// The answer is final, and the body never sent.
    IsRefused,
}

/// Where and how the fields of framing and connection stand among the others, and what else belongs to one hop.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) spelling: Spelling,
    pub(super) place: usize,
    /// Named in `Connection`.
    pub(super) hop: Option<Field>,
}

#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) target: String,
    pub(super) version: Version,
    pub(super) host: Option<&'static str>,
    pub(super) fields: Vec<Field>,
    pub(super) body: Body,
    pub(super) expects: Expects,
    /// `Connection: close`, or in HTTP/1.0 no `keep-alive`.
    pub(super) closes: bool,
    /// `TE: trailers`.
    pub(super) takes_trailers: bool,
    /// Sent without waiting for the answer before.
    pub(super) is_pipelined: bool,
    pub(super) layout: Layout,
}

#[derive(Clone, Debug)]
pub(super) struct Interim {
    pub(super) status: u16,
    pub(super) reason: Text,
    pub(super) fields: Vec<Field>,
    /// Said before the body of the request is read.
    pub(super) is_early: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) interims: Vec<Interim>,
    pub(super) version: Version,
    pub(super) status: u16,
    pub(super) reason: Text,
    pub(super) fields: Vec<Field>,
    pub(super) body: Body,
    pub(super) closes: bool,
    pub(super) layout: Layout,
}

#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) request: Request,
    pub(super) answer: Answer,
}

/// What is said over the connections of one client, and in pieces of which sizes; no sizes is all at once.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) exchanges: Vec<Exchange>,
    pub(super) client_pieces: Vec<usize>,
    pub(super) origin_pieces: Vec<usize>,
}

impl Body {
    /// The content, without its coding.
    pub(super) fn data(&self) -> Vec<u8> {
        match self {
            Body::None => Vec::new(),
            Body::Length(data) | Body::UntilClose(data) => data.0.clone(),
            Body::Chunked { chunks, .. } => chunks.iter().flat_map(|chunk| chunk.data.0.clone()).collect(),
        }
    }
}

impl Request {
    /// After its answer the client says nothing more on this connection.
    pub(super) fn is_last(&self) -> bool {
        self.closes || self.expects == Expects::IsRefused
    }

    fn settle(&mut self) {
        if self.version == Version::Http10 {
            if let Body::Chunked { .. } = self.body {
                self.body = Body::Length(Text(self.body.data()));
            }
            self.expects = Expects::Nothing;
            self.takes_trailers = false;
            self.layout.hop = None;
        } else {
            self.host = Some(self.host.unwrap_or(""));
        }
        if self.body.data().is_empty() {
            self.expects = Expects::Nothing;
        }
        if self.method == "OPTIONS" && self.target.starts_with("/*") {
            "*".clone_into(&mut self.target);
        } else if let (true, Some(host @ ("b" | "b:80"))) = (self.target.starts_with("/abs"), self.host) {
            // Absolute form (RFC 9112 section 3.2.2).
            self.target = format!("http://{host}{}", self.target);
        }
    }
}

impl Case {
    /// Makes what was drawn by itself fit together.
    pub(super) fn settle(mut self) -> Case {
        let mut is_first_or_old = true;
        for Exchange { request, answer } in &mut self.exchanges {
            request.settle();
            answer.settle(request);
            request.is_pipelined &= !is_first_or_old;
            is_first_or_old = request.version == Version::Http10;
        }
        self
    }
}

impl Answer {
    fn settle(&mut self, request: &Request) {
        match request.expects {
            Expects::Nothing => {}
            Expects::Waits | Expects::Hurries => {
                self.version = Version::Http11;
                let go_on = |interim: &Interim| interim.is_early && interim.status == 100;
                if !self.interims.iter().any(go_on) {
                    let reason = Text(b"Continue".to_vec());
                    self.interims.push(Interim { status: 100, reason, fields: Vec::new(), is_early: true });
                }
            }
            Expects::IsRefused => {
                self.interims.retain(|interim| interim.status != 100);
                self.closes = true;
                self.status = 417;
            }
        }
        if self.version == Version::Http10 {
            self.interims.clear();
            self.layout.hop = None;
            if let Body::Chunked { .. } = self.body {
                self.body = Body::UntilClose(Text(self.body.data()));
            }
        }
        self.body = match (self.status, &self.body) {
            (204, _) | (304, Body::Chunked { .. }) => Body::None,
            (304, body) => body.clone(),
            (_, Body::None) if request.method != "HEAD" => Body::Length(Text::default()),
            (_, body) => body.clone(),
        };
    }
}
