//! One message as each reader understood it, so that readers can be compared. No reader is known here.

use std::fmt;

/// Which messages are on the wire, and what they answer: that decides whether a body follows (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Request,
    /// An answer to GET.
    Response,
    ResponseToHead,
    ResponseToConnect,
}

/// Name in lower case, value without the space around it.
pub(crate) type Field = (String, Vec<u8>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// `target` is what the next server is asked: the origin form, `*`, or the authority of a CONNECT.
    Request {
        method: String,
        target: String,
    },
    Response {
        status: u16,
    },
}

/// How the end of the body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Exact(u64),
    Chunked,
    UntilClose,
}

/// What a proxy may hand on of one message.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) start: Start,
    /// Whom a request is for: of the target, else of Host.
    pub(crate) authority: String,
    /// What goes on, in order; the Host of a request left out: it is `authority`.
    pub(crate) fields: Vec<Field>,
    pub(crate) framing: Framing,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<Field>,
    /// Bytes of everything up to the end of this message.
    pub(crate) used: usize,
}

impl fmt::Debug for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{:?} for {:?}, {:?}, {} bytes", self.start, self.authority, self.framing, self.used)?;
        for (kind, fields) in [("field", &self.fields), ("trailer", &self.trailers)] {
            for (name, value) in fields {
                writeln!(formatter, "  {kind} {name}: {}", value.escape_ascii())?;
            }
        }
        write!(formatter, "  body {}", self.body.escape_ascii())
    }
}

impl Message {
    /// In the order of a map that keeps the values of one name together, as hyper's does.
    #[must_use]
    pub(crate) fn grouped(mut self) -> Message {
        self.fields = group(self.fields);
        self.trailers = group(self.trailers);
        self
    }
}

fn group(fields: Vec<Field>) -> Vec<Field> {
    let mut names: Vec<String> = Vec::new();
    for (name, _) in &fields {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names.iter().flat_map(|name| fields.iter().filter(move |field| field.0 == *name).cloned()).collect()
}
