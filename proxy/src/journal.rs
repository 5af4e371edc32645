//! What access log and traces tell of one request: noted when it is decided, told once when it has ended. Neither is on by default,
//! and then nothing is noted. No query, no cookie and no authorization is ever looked at.
//!
//! ```text
//!  decided ─ note ─▶ Entry ─ tell ─┬─ line ─▶ ring of the worker ─▶ writer's thread ─▶ standard output, a file
//!                                  └─ span ─▶ spans of the worker ─▶ exporter on the control thread ─▶ collector (OTLP)
//! ```
//! A request never waits for either: what finds no room is dropped and counted.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use laneway_core::tag::{RequestTag, Tag};
use laneway_core::why::{TagSource, Why};

use self::context::{SpanIds, TraceContext};
pub use self::line::Format;
use self::spans::{Queues, Spans};
use self::writer::{Ring, Writer};

pub mod context;
mod line;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod spans;
pub mod writer;

/// A share of requests, in basis points of at most 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(pub u32);

impl Share {
    pub const NONE: Share = Share(0);
    pub const ALL: Share = Share(10_000);

    /// `random` is any word.
    fn takes(self, random: u64) -> bool {
        ((random >> 32) * 10_000) >> 32 < u64::from(self.0)
    }
}

/// What is told, of which requests.
#[derive(Clone, Debug)]
pub struct Config {
    pub log: Option<LogConfig>,
    pub traces: Option<TraceConfig>,
}

#[derive(Clone, Debug)]
pub struct LogConfig {
    pub format: Format,
    pub sample: Share,
    /// `None`: standard output.
    pub file: Option<std::path::PathBuf>,
}

#[derive(Clone, Debug)]
pub struct TraceConfig {
    /// Of the collector: `http://HOST:PORT`.
    pub endpoint: String,
    /// Of the requests that belong to no trace, so many begin one.
    pub sample: Share,
}

/// What a request is when it has been decided.
#[derive(Clone, Debug)]
pub struct Seen {
    pub is_inbound: bool,
    pub head: Head,
    pub tag: RequestTag,
    pub endpoint_tag: Option<Tag>,
    pub source: TagSource,
    pub why: Why,
    /// Id of the destination; inbound: of this pod. Empty: unknown.
    pub service: Arc<str>,
    /// Where it was sent.
    pub upstream: Option<SocketAddr>,
    pub trace: Option<u128>,
}

/// What of a head is told.
#[derive(Clone, Debug)]
pub struct Head {
    pub method: Box<str>,
    /// Without a user.
    pub host: Box<str>,
    /// Without the query.
    pub path: Box<str>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Of the answer that the client got; 0: none.
    pub status: u16,
    /// Of its body.
    pub response_bytes: u64,
    pub took: Duration,
    pub flag: Option<Flag>,
}

/// Why a request did not end as it should, in the words that people know from Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    NoHealthyUpstream,
    UpstreamFailed,
    UpstreamOverflow,
    UpstreamTimeout,
    UpstreamClosed,
    UpstreamProtocol,
    NoRoute,
    LocalRefusal,
    DownstreamProtocol,
    DownstreamClosed,
}

impl Flag {
    pub const ALL: [Flag; 10] = [
        Flag::NoHealthyUpstream,
        Flag::UpstreamFailed,
        Flag::UpstreamOverflow,
        Flag::UpstreamTimeout,
        Flag::UpstreamClosed,
        Flag::UpstreamProtocol,
        Flag::NoRoute,
        Flag::LocalRefusal,
        Flag::DownstreamProtocol,
        Flag::DownstreamClosed,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Flag::NoHealthyUpstream => "UH",
            Flag::UpstreamFailed => "UF",
            Flag::UpstreamOverflow => "UO",
            Flag::UpstreamTimeout => "UT",
            Flag::UpstreamClosed => "UC",
            Flag::UpstreamProtocol => "UPE",
            Flag::NoRoute => "NR",
            Flag::LocalRefusal => "LR",
            Flag::DownstreamProtocol => "DPE",
            Flag::DownstreamClosed => "DC",
        }
    }
}

/// One worker's side. Cheap to clone.
#[derive(Clone, Default)]
pub struct Journal {
    log: Option<Log>,
    tracer: Option<Tracer>,
}

#[derive(Clone)]
struct Log {
    format: Format,
    sample: Share,
    ring: Arc<Ring>,
}

#[derive(Clone)]
struct Tracer {
    sample: Share,
    spans: Arc<Spans>,
}

/// One request that is to be told of.
pub struct Entry {
    journal: Journal,
    seen: Seen,
    at: SystemTime,
    is_logged: bool,
    span: Option<SpanIds>,
}

/// Where lines and spans go to; one a process.
#[derive(Clone, Default)]
pub struct Outlets {
    pub writer: Option<Writer>,
    pub queues: Option<Queues>,
}

impl Outlets {
    /// Opens the file of the access log and starts its thread, where they are asked for. The error names the file.
    pub fn open(config: &Config, workers: usize) -> io::Result<Outlets> {
        let writer = match &config.log {
            None => None,
            Some(log) => {
                let file = log.file.as_deref();
                let out = writer::open(file).map_err(|error| {
                    let named = file.map_or_else(|| "standard output".to_owned(), |file| file.display().to_string());
                    io::Error::new(error.kind(), format!("open {named} for the access log: {error}"))
                })?;
                Some(Writer::start(workers, out)?)
            }
        };
        Ok(Outlets { writer, queues: config.traces.as_ref().map(|_| Queues::new(workers)) })
    }

    /// What a worker tells them by.
    pub fn journal(&self, config: &Config, worker: usize) -> Journal {
        let ring = self.writer.as_ref().map(|writer| writer.ring(worker));
        Journal::new(config, ring, self.queues.as_ref().map(|queues| queues.worker(worker)))
    }
}

impl Journal {
    pub(crate) fn new(config: &Config, ring: Option<Arc<Ring>>, spans: Option<Arc<Spans>>) -> Journal {
        let log = config.log.as_ref().zip(ring);
        let tracer = config.traces.as_ref().zip(spans);
        Journal {
            log: log.map(|(log, ring)| Log { format: log.format, sample: log.sample, ring }),
            tracer: tracer.map(|(traces, spans)| Tracer { sample: traces.sample, spans }),
        }
    }

    /// Is anything told? `false` saves looking.
    #[inline]
    pub fn is_kept(&self) -> bool {
        self.log.is_some() || self.tracer.is_some()
    }

    pub fn traces(&self) -> bool {
        self.tracer.is_some()
    }

    /// The span that a request is to have. `came`: the trace that it says; `has_other`: it belongs to one of another kind, which
    /// none of ours is to stand beside.
    pub fn span(
        &self,
        came: Option<TraceContext>,
        has_other: impl FnOnce() -> bool,
        random: impl FnOnce() -> [u64; 3],
    ) -> Option<SpanIds> {
        let tracer = self.tracer.as_ref()?;
        match came {
            Some(came) => came.is_sampled().then(|| came.child(random()[0].max(1))),
            None if tracer.sample == Share::NONE || has_other() => None,
            None => {
                let [high, low, span] = random();
                // One more word for the lot: what is drawn by a part of an id says something of the id.
                let ids = SpanIds::root(u128::from(high) << 64 | u128::from(low.max(1)), span.max(1));
                tracer.sample.takes(low.rotate_left(32) ^ span).then_some(ids)
            }
        }
    }

    /// Notes a request that was decided. `None`: nothing is to be told of it.
    pub fn note(
        &self,
        span: Option<SpanIds>,
        random: impl FnOnce() -> u64,
        seen: impl FnOnce() -> Seen,
    ) -> Option<Entry> {
        let is_drawn = |log: &Log| log.sample == Share::ALL || log.sample.takes(random());
        let is_logged = self.log.as_ref().is_some_and(is_drawn);
        (is_logged || span.is_some()).then(|| Entry {
            journal: self.clone(),
            seen: seen(),
            at: SystemTime::now(),
            is_logged,
            span,
        })
    }
}

impl Entry {
    /// Another instance has the request now.
    pub fn turned(&mut self, to: SocketAddr, tag: Option<Tag>) {
        self.seen.upstream = Some(to);
        self.seen.endpoint_tag = tag;
    }

    /// That is why it is there.
    pub fn is_because(&mut self, why: Why) {
        self.seen.why = why;
    }

    /// Tells of the request, which has ended.
    pub fn tell(self, ended: Ended) {
        let Entry { journal, seen, at, is_logged, span } = self;
        if let (true, Some(log)) = (is_logged, &journal.log) {
            log.ring.push(|line| line::write(log.format, at, &seen, &ended, line));
        }
        if let (Some(ids), Some(tracer)) = (span, &journal.tracer) {
            tracer.spans.push(spans::Span { ids, seen, at, ended });
        }
    }
}

impl Head {
    /// `target`: path and query.
    pub fn of(method: &str, authority: &str, target: &str) -> Head {
        let path = target.split(['?', '#']).next().unwrap_or("");
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        Head {
            method: cut(method, line::METHOD_BYTES_MAX).into(),
            host: cut(host, line::HOST_BYTES_MAX).into(),
            path: cut(path, line::PATH_BYTES_MAX).into(),
        }
    }
}

/// At most so many bytes, and whole letters.
fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests;
