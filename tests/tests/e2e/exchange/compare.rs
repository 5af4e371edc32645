//! What an exchange through sidecars must have in common with the direct one. The differences that are allowed stand here, each
//! with the reason why; everything else is a fault.

use std::fmt::Debug;

use crate::exchange::case::{Case, Exchange, Text, Version};
use crate::exchange::client::Heard;
use crate::exchange::parse::{Fault, Framing, Line, Message};
use crate::exchange::render::ID;

/// How a case went: what the client heard, and what the origin saw of each request.
pub(super) struct Played {
    pub(super) heard: Vec<Heard>,
    pub(super) seen: Vec<Vec<Message>>,
}

/// Of one hop (RFC 9110 section 7.6.1), besides what `Connection` names.
const HOP_BY_HOP: [&str; 6] = ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];
/// Never taken from a trailer (RFC 9110 section 6.5.1): what frames, routes, authenticates or describes, and what names the lane.
pub(super) const NEVER_TRAILERS: [&str; 10] = [
    "Content-Length",
    "Transfer-Encoding",
    "Host",
    "Authorization",
    "Connection",
    "Trailer",
    "Set-Cookie",
    "Cache-Control",
    "Content-Type",
    "X-MSE-Tag",
];

/// Says the first difference that is not allowed.
pub(super) fn compare(case: &Case, direct: &Played, through: &Played) -> Result<(), Fault> {
    for (index, exchange) in case.exchanges.iter().enumerate() {
        let ([expected], [found]) = (direct.seen[index].as_slice(), through.seen[index].as_slice()) else {
            let (expected, found) = (direct.seen[index].len(), through.seen[index].len());
            return Err(format!(
                "request {index} came to the origin {expected} times directly, {found} through sidecars"
            ));
        };
        request(expected, found).map_err(|fault| format!("request {index} as the origin sees it: {fault}"))?;
        answer(exchange, &direct.heard[index], &through.heard[index])
            .map_err(|fault| format!("answer {index} as the client sees it: {fault}"))?;
    }
    Ok(())
}

fn same<T: PartialEq + Debug>(what: &str, expected: T, found: T) -> Result<(), Fault> {
    if expected == found {
        return Ok(());
    }
    Err(format!("{what} differs\n  directly: {expected:?}\n  through sidecars: {found:?}"))
}

fn request(direct: &Message, through: &Message) -> Result<(), Fault> {
    same("method", &direct.start[0], &through.start[0])?;
    // An origin is asked in origin form (RFC 9112 section 3.2.1).
    same("target", &origin_form(&direct.start[1]), &through.start[1])?;
    // A message is sent in the version of its sender (RFC 9112 section 2.3).
    same("version", &Text(b"HTTP/1.1".to_vec()), &through.start[2])?;
    let mut found = end_to_end(through);
    if direct.values("host").next().is_none() {
        // HTTP/1.1 asks for one, HTTP/1.0 does not.
        found.retain(|line| !line.is("host"));
    }
    same("header", end_to_end(direct), found)?;
    same("framing", direct.framing, through.framing)?;
    same("body", &direct.body, &through.body)?;
    same("trailer", allowed_trailers(direct), through.trailers.clone())
}

fn answer(exchange: &Exchange, direct: &Heard, through: &Heard) -> Result<(), Fault> {
    let is_old = exchange.request.version == Version::Http10;
    let heads = |heard: &Heard| -> Vec<_> {
        heard.interims.iter().map(|interim| (interim.start[1..].to_vec(), end_to_end(interim))).collect()
    };
    same("interim answers", heads(direct), heads(through))?;
    let (expected, found) = (&direct.last, &through.last);
    same("version", &Text(b"HTTP/1.1".to_vec()), &found.start[0])?;
    same("status", &expected.start[1], &found.start[1])?;
    same("reason", &expected.start[2], &found.start[2])?;
    let without_announcement = |message| {
        let mut lines = end_to_end(message);
        // To a client of HTTP/1.0 there are no trailers that could be announced.
        lines.retain(|line| !is_old || !line.is("trailer"));
        lines
    };
    same("header", without_announcement(expected), without_announcement(found))?;
    let length = |message: &Message| message.values("content-length").next().map(|length| Text(length.to_vec()));
    same("content-length", length(expected), length(found))?;
    let framing = match expected.framing {
        // The end of a body by the end of the connection cannot be told from a cut, so it gets an end of its own.
        Framing::UntilClose if !is_old => Framing::Chunked,
        framing => framing,
    };
    same("framing", framing, found.framing)?;
    same("body", &expected.body, &found.body)?;
    same("trailer", allowed_trailers(expected), found.trailers.clone())?;
    persistence(exchange, found, through.ends_connection)
}

/// A sidecar does not close where the client did not ask for it, and says so where it closes. A client of HTTP/1.0 may be
/// closed at any time (RFC 9112 section 9.3), and so may one that still owes a body.
fn persistence(exchange: &Exchange, found: &Message, ends: bool) -> Result<(), Fault> {
    let request = &exchange.request;
    let may_differ = request.version == Version::Http10 || (request.is_last() && !request.closes);
    if may_differ || ends == request.closes {
        return Ok(());
    }
    Err(format!("the client {}, and the answer says {:?}", closing(request.closes), found.tokens("connection")))
}

fn closing(closes: bool) -> &'static str {
    if closes { "asked for the end of the connection" } else { "did not ask for the end of the connection" }
}

/// What is meant for the other end: names with their case, values, and order. How long the content is, is compared by itself.
fn end_to_end(message: &Message) -> Vec<Line> {
    let named = message.tokens("connection");
    let is_of_hop = |line: &Line| {
        line.is("content-length")
            || HOP_BY_HOP.iter().any(|name| line.is(name))
            || named.iter().any(|name| line.is(name))
    };
    let mut lines: Vec<Line> = message.fields.iter().filter(|line| !is_of_hop(line)).cloned().collect();
    for line in lines.iter_mut().filter(|line| line.is(ID)) {
        // Another one in each run.
        line.value = Text::default();
    }
    lines
}

fn allowed_trailers(message: &Message) -> Vec<Line> {
    let is_allowed = |line: &&Line| !NEVER_TRAILERS.iter().any(|name| line.is(name));
    message.trailers.iter().filter(is_allowed).cloned().collect()
}

fn origin_form(target: &Text) -> Text {
    let path = target.0.strip_prefix(b"http://").and_then(|rest| {
        let slash = rest.iter().position(|byte| *byte == b'/')?;
        Some(rest[slash..].to_vec())
    });
    Text(path.unwrap_or_else(|| target.0.clone()))
}
