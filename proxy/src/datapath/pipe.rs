//! Moves one body from one side to the other, part by part and no faster than it is taken: HTTP/1.1 and HTTP/2 on either side.
//!
//! Between two HTTP/1.1 connections bytes go from the worker's read buffer straight to the other socket. Nothing is read while
//! something waits to be written.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::buffers::{self, READ_BYTES};
use super::propagate::Names;
use super::translate::Framing;
use super::wire::Wire;
use crate::h1::Reason;
use crate::h1::body::{Decoder, Piece, for_each_trailer, is_forbidden_in_trailers};

/// A chunk size in hexadecimal with its CRLF, at most.
const SIZE_LINE_BYTES: usize = 18;
/// Data of a first write that are copied behind the head: cheaper than the kernel's gathering of two parts.
const JOINED_BYTES_MAX: usize = 2 << 10;
/// Of a body that comes over HTTP/2, what is kept to be said again: a small request that its instance did not begin.
const REPEATED_BYTES_MAX: usize = 16 << 10;
/// What may wait to be written with the first data of a body.
const UNSENT_HEAD_BYTES: usize = 4 << 10;

pub(crate) enum Source {
    /// The connection is handed to every call.
    Wire(Decoder),
    Stream(Box<Incoming>),
}

/// A body that comes over HTTP/2.
pub(crate) struct Incoming {
    body: RecvStream,
    /// Received, and not taken by the other side yet.
    held: Bytes,
    /// Of the flow-control window, what the other side has taken: the sender may send that much more.
    owed: usize,
    /// The first part, while it is all that was taken: it can be said again.
    first: Option<Bytes>,
    /// More was taken than the first part.
    is_lost: bool,
    /// Of `held`, what is said again: it was taken from the window already.
    repeated: usize,
}

pub(crate) enum Sink {
    Wire(Framing),
    Stream(SendStream<Bytes>),
    /// It has ended, or there is none.
    Ended,
}

pub(crate) struct Pipe {
    pub(crate) source: Source,
    pub(crate) sink: Sink,
    /// Of the body, without its framing.
    pub(crate) moved_bytes: u64,
    /// That trailers, or a head that is all there is, said.
    pub(crate) grpc_status: Option<u16>,
    /// Names that may not stand in trailers, where there can be any.
    names: Option<Rc<Names>>,
    /// From a connection to a stream: there is room, and nothing comes.
    pub(crate) is_starving: bool,
}

/// Why a body cannot be moved on.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The sender went away, or said what is no body.
    Source(Reason),
    /// The receiver went away.
    Sink,
    /// The same, before a byte of the head was given to it.
    Untaken,
}

impl Incoming {
    pub(crate) fn new(body: RecvStream) -> Incoming {
        Incoming { body, held: Bytes::new(), owed: 0, first: None, is_lost: false, repeated: 0 }
    }

    pub(crate) fn is_end(&self) -> bool {
        self.held.is_empty() && self.body.is_end_stream()
    }

    /// The next part of what is held, at most so many bytes.
    fn take_held(&mut self, room: usize) -> Bytes {
        let part = self.held.split_to(room.min(self.held.len()));
        let repeated = self.repeated.min(part.len());
        self.repeated -= repeated;
        self.owed += part.len() - repeated;
        part
    }

    /// A part has come.
    fn hold(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        match &self.first {
            None if data.len() <= REPEATED_BYTES_MAX && !self.is_lost => self.first = Some(data.clone()),
            _ => self.is_lost = true,
        }
        self.held = data;
    }

    /// Begins anew. All that was taken is here.
    fn rewind(&mut self) {
        debug_assert!(!self.is_lost, "who begins anew has asked");
        if let Some(first) = &self.first {
            self.repeated += first.len() - self.held.len();
            self.held = first.clone();
        }
    }

    /// Lets the sender send what was taken. Not for every frame: window updates are frames too.
    fn release(&mut self, is_all: bool) {
        if self.owed > 0 && (is_all || self.owed >= super::upstream::STREAM_WINDOW_BYTES as usize / 4) {
            // It fails only if the stream has ended, and then nobody waits for room.
            let _ = self.body.flow_control().release_capacity(std::mem::take(&mut self.owed));
        }
    }
}

impl Pipe {
    pub(crate) fn new(source: Source, sink: Sink, names: &Rc<Names>) -> Pipe {
        let has_trailers = matches!(source, Source::Wire(Decoder::Chunked(_)) | Source::Stream(_));
        let names = has_trailers.then(|| Rc::clone(names));
        Pipe { source, sink, moved_bytes: 0, grpc_status: None, names, is_starving: false }
    }

    /// Nothing of the body is lost: nothing was moved, or all of it is kept.
    pub(crate) fn is_at_hand(&self) -> bool {
        match &self.source {
            Source::Wire(Decoder::Exact(_)) => self.moved_bytes == 0,
            Source::Wire(Decoder::Chunked(_) | Decoder::UntilClose) => false,
            Source::Stream(incoming) => !incoming.is_lost,
        }
    }

    /// The body from its beginning, where it is at hand.
    pub(crate) fn into_source(self) -> Source {
        let mut source = self.source;
        if let Source::Stream(incoming) = &mut source {
            incoming.rewind();
        }
        source
    }

    /// Everything was moved, or there was nothing to move.
    pub(crate) fn is_done(&self) -> bool {
        match (&self.source, &self.sink) {
            (_, Sink::Ended) => true,
            (Source::Wire(decoder), Sink::Wire(_)) => decoder.is_ended(),
            (Source::Wire(_) | Source::Stream(_), Sink::Stream(_)) | (Source::Stream(_), Sink::Wire(_)) => false,
        }
    }

    /// Says trailers of our own instead of what is left, if its receiver can be told any.
    pub(crate) fn end_with(&mut self, trailers: HeaderMap) -> bool {
        let Sink::Stream(to) = &mut self.sink else { return false };
        self.grpc_status = grpc_status(&trailers);
        let is_told = to.send_trailers(trailers).is_ok();
        self.sink = Sink::Ended;
        is_told
    }

    /// Moves bytes that were read from a connection, behind `prefix`, in one write if they can go as they are. Returns how many
    /// of them were of this body.
    pub(crate) fn push(&mut self, prefix: &[u8], bytes: &[u8], to: &mut Wire) -> Result<usize, Broken> {
        let (Source::Wire(decoder), Sink::Wire(framing)) = (&mut self.source, &self.sink) else {
            debug_assert!(false, "both sides are connections of HTTP/1.1");
            return Ok(0);
        };
        let framing = *framing;
        let mut prefix = prefix;
        // What goes on, as long as it lies in one piece: the usual case, and all of it.
        let (mut used, mut run) = (0, 0..0);
        loop {
            let (count, is_kept) = match decoder.next(&bytes[used..]).map_err(Broken::Source)? {
                Piece::Data(count) => {
                    self.moved_bytes += count as u64;
                    (count, true)
                }
                Piece::Frame(count) => (count, framing == Framing::Chunks),
                Piece::Skip(count) => (count, false),
                Piece::More | Piece::End => break,
            };
            if is_kept && run.end != used {
                send_run(to, std::mem::take(&mut prefix), &bytes[run], framing)?;
                run = used..used;
            }
            used += count;
            if is_kept {
                run.end = used;
            }
        }
        send_run(to, prefix, &bytes[run], framing)?;
        if decoder.is_ended() && !decoder.trailers().is_empty() && framing == Framing::Chunks {
            let mut lines = trailer_lines(decoder.trailers(), self.names.as_deref());
            lines.extend_from_slice(b"\r\n");
            to.send(&[&lines]).map_err(|_| Broken::Sink)?;
        }
        Ok(used)
    }

    /// Moves what can be moved, and waits for more. `from` and `to` are the connections of HTTP/1.1 on either side.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: Option<&mut Wire>,
        to: Option<&mut Wire>,
    ) -> Poll<Result<(), Broken>> {
        match (&self.source, &self.sink, from, to) {
            (_, Sink::Ended, _, None) => Poll::Ready(Ok(())),
            (_, Sink::Ended, _, Some(to)) => to.poll_flush(cx).map_err(|_| Broken::Sink),
            (Source::Wire(_), Sink::Wire(_), Some(from), Some(to)) => self.poll_wire_to_wire(cx, from, to),
            (Source::Wire(_), Sink::Stream(_), Some(from), _) => self.poll_wire_to_stream(cx, from),
            (Source::Stream(_), Sink::Wire(_), _, Some(to)) => self.poll_stream_to_wire(cx, to),
            (Source::Stream(_), Sink::Stream(_), _, _) => self.poll_stream_to_stream(cx),
            (Source::Wire(_) | Source::Stream(_), Sink::Wire(_) | Sink::Stream(_), _, _) => {
                debug_assert!(false, "who polls has the connections");
                Poll::Ready(Err(Broken::Sink))
            }
        }
    }

    fn poll_wire_to_wire(&mut self, cx: &mut Context<'_>, from: &mut Wire, to: &mut Wire) -> Poll<Result<(), Broken>> {
        loop {
            ready!(to.poll_flush(cx)).map_err(|_| Broken::Sink)?;
            if self.is_done() {
                return Poll::Ready(Ok(()));
            }
            let moved = ready!(from.poll_bytes(cx, |bytes| {
                if bytes.is_empty() {
                    return (0, None);
                }
                match self.push(&[], bytes, to) {
                    Ok(used) => (used, Some(Ok(()))),
                    Err(broken) => (bytes.len(), Some(Err(broken))),
                }
            }));
            match moved {
                Err(_) => return Poll::Ready(Err(Broken::Source(Reason::Truncated))),
                Ok(Some(moved)) => moved?,
                Ok(None) => self.end_at_close(to)?,
            }
        }
    }

    /// The sender has ended its connection: the end of a body that ends so, and a broken one of any other.
    fn end_at_close(&mut self, to: &mut Wire) -> Result<(), Broken> {
        let Source::Wire(decoder) = &mut self.source else { return Ok(()) };
        decoder.finish().map_err(Broken::Source)?;
        *decoder = Decoder::Exact(0);
        match self.sink {
            Sink::Wire(Framing::NewChunks) => to.send(&[b"0\r\n\r\n"]).map_err(|_| Broken::Sink),
            Sink::Wire(Framing::Plain | Framing::Chunks) | Sink::Stream(_) | Sink::Ended => Ok(()),
        }
    }

    fn poll_wire_to_stream(&mut self, cx: &mut Context<'_>, from: &mut Wire) -> Poll<Result<(), Broken>> {
        let Pipe { source: Source::Wire(decoder), sink, moved_bytes, names, is_starving, .. } = self else {
            return Poll::Ready(Ok(()));
        };
        loop {
            let Sink::Stream(to) = sink else { return Poll::Ready(Ok(())) };
            if decoder.is_ended() {
                let ended = if decoder.trailers().is_empty() {
                    to.send_data(Bytes::new(), true)
                } else {
                    to.send_trailers(trailer_map(decoder.trailers(), names.as_deref())?)
                };
                *sink = Sink::Ended;
                return Poll::Ready(ended.map_err(|_| Broken::Sink));
            }
            *is_starving = false;
            let room = ready!(poll_room(cx, to, READ_BYTES))?;
            let Poll::Ready(moved) = from.poll_bytes(cx, |bytes| decode(decoder, bytes, room)) else {
                *is_starving = true;
                return poll_given_up(cx, to);
            };
            match moved {
                Err(_) => return Poll::Ready(Err(Broken::Source(Reason::Truncated))),
                Ok(None) => {
                    decoder.finish().map_err(Broken::Source)?;
                    *decoder = Decoder::Exact(0);
                }
                Ok(Some(data)) => {
                    let data = data?;
                    *moved_bytes += data.len() as u64;
                    let is_end = decoder.is_ended() && decoder.trailers().is_empty();
                    if !data.is_empty() || is_end {
                        to.send_data(data, is_end).map_err(|_| Broken::Sink)?;
                    }
                    if is_end {
                        *sink = Sink::Ended;
                    }
                }
            }
        }
    }

    fn poll_stream_to_wire(&mut self, cx: &mut Context<'_>, to: &mut Wire) -> Poll<Result<(), Broken>> {
        let Pipe {
            source: Source::Stream(from), sink: Sink::Wire(framing), moved_bytes, grpc_status: said, names, ..
        } = self
        else {
            return Poll::Ready(Ok(()));
        };
        let framing = *framing;
        loop {
            // A head that waits goes out with the first data, if they are there.
            if to.unsent_bytes() > UNSENT_HEAD_BYTES {
                ready!(to.poll_flush(cx)).map_err(|_| Broken::Sink)?;
            }
            if !from.held.is_empty() {
                let data = from.take_held(usize::MAX);
                *moved_bytes += data.len() as u64;
                send_run(to, &[], &data, framing)?;
                ready!(to.poll_flush(cx)).map_err(|_| Broken::Sink)?;
            }
            let Poll::Ready(part) = from.body.poll_data(cx) else {
                ready!(to.poll_flush(cx)).map_err(|_| Broken::Sink)?;
                from.release(true);
                return Poll::Pending;
            };
            match part {
                Some(Err(_)) => return Poll::Ready(Err(Broken::Source(Reason::Truncated))),
                Some(Ok(data)) => {
                    from.hold(data);
                    let data = from.take_held(usize::MAX);
                    *moved_bytes += data.len() as u64;
                    send_run(to, &[], &data, framing)?;
                    ready!(to.poll_flush(cx)).map_err(|_| Broken::Sink)?;
                    from.release(false);
                }
                None => {
                    let trailers = ready!(from.body.poll_trailers(cx));
                    let trailers = trailers.map_err(|_| Broken::Source(Reason::Truncated))?;
                    from.is_lost |= trailers.is_some();
                    *said = trailers.as_ref().and_then(grpc_status);
                    if framing == Framing::NewChunks {
                        let mut end = b"0\r\n".to_vec();
                        for (name, value) in filtered(trailers.unwrap_or_default(), names.as_deref()).iter() {
                            end.extend_from_slice(name.as_str().as_bytes());
                            end.extend_from_slice(b": ");
                            end.extend_from_slice(value.as_bytes());
                            end.extend_from_slice(b"\r\n");
                        }
                        end.extend_from_slice(b"\r\n");
                        to.send(&[&end]).map_err(|_| Broken::Sink)?;
                    }
                    self.sink = Sink::Ended;
                    return to.poll_flush(cx).map_err(|_| Broken::Sink);
                }
            }
        }
    }

    fn poll_stream_to_stream(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let Pipe { source: Source::Stream(from), sink, moved_bytes, grpc_status: said, names, .. } = self else {
            return Poll::Ready(Ok(()));
        };
        loop {
            let Sink::Stream(to) = sink else { return Poll::Ready(Ok(())) };
            if !from.held.is_empty() {
                let room = ready!(poll_room(cx, to, from.held.len()))?;
                let part = from.take_held(room);
                *moved_bytes += part.len() as u64;
                let is_end = from.is_end();
                to.send_data(part, is_end).map_err(|_| Broken::Sink)?;
                from.release(false);
                if is_end {
                    *sink = Sink::Ended;
                }
                continue;
            }
            let Poll::Ready(part) = from.body.poll_data(cx) else {
                from.release(true);
                return poll_given_up(cx, to);
            };
            match part {
                Some(Err(_)) => return Poll::Ready(Err(Broken::Source(Reason::Truncated))),
                Some(Ok(data)) if data.is_empty() && from.body.is_end_stream() => {
                    to.send_data(data, true).map_err(|_| Broken::Sink)?;
                    *sink = Sink::Ended;
                }
                Some(Ok(data)) => from.hold(data),
                None => {
                    let trailers = ready!(from.body.poll_trailers(cx));
                    let trailers = trailers.map_err(|_| Broken::Source(Reason::Truncated))?;
                    from.is_lost |= trailers.is_some();
                    *said = trailers.as_ref().and_then(grpc_status);
                    let ended = match trailers {
                        Some(trailers) => to.send_trailers(filtered(trailers, names.as_deref())),
                        None => to.send_data(Bytes::new(), true),
                    };
                    *sink = Sink::Ended;
                    return Poll::Ready(ended.map_err(|_| Broken::Sink));
                }
            }
        }
    }
}

fn send_run(to: &mut Wire, prefix: &[u8], data: &[u8], framing: Framing) -> Result<(), Broken> {
    let sent = match (prefix.is_empty(), data.is_empty(), framing) {
        (true, true, _) => Ok(()),
        (false, true, _) => to.send(&[prefix]),
        (_, false, Framing::NewChunks) => {
            let mut line = [0; SIZE_LINE_BYTES];
            to.send(&[prefix, size_line(data.len(), &mut line), data, b"\r\n"])
        }
        (true, false, Framing::Plain | Framing::Chunks) => to.send(&[data]),
        (false, false, Framing::Plain | Framing::Chunks) if data.len() <= JOINED_BYTES_MAX => {
            let mut joined = buffers::take();
            joined.extend_from_slice(prefix);
            joined.extend_from_slice(data);
            let sent = to.send(&[&joined]);
            buffers::give(joined);
            sent
        }
        (false, false, Framing::Plain | Framing::Chunks) => to.send(&[prefix, data]),
    };
    sent.map_err(|_| if prefix.is_empty() { Broken::Sink } else { Broken::Untaken })
}

/// `1f40\r\n`, written from the end of `line`.
fn size_line(size: usize, line: &mut [u8; SIZE_LINE_BYTES]) -> &[u8] {
    let mut start = line.len() - 2;
    line[start..].copy_from_slice(b"\r\n");
    let mut rest = size;
    loop {
        start -= 1;
        line[start] = b"0123456789abcdef"[rest % 16];
        rest /= 16;
        if rest == 0 {
            return &line[start..];
        }
    }
}

/// The data in at most `room` of the bytes; `None`: the peer has ended.
fn decode(decoder: &mut Decoder, bytes: &[u8], room: usize) -> (usize, Option<Result<Bytes, Broken>>) {
    if bytes.is_empty() {
        return (0, None);
    }
    let bytes = &bytes[..bytes.len().min(room)];
    let (mut used, mut data) = (0, Vec::with_capacity(bytes.len()));
    loop {
        match decoder.next(&bytes[used..]) {
            Err(reason) => return (used, Some(Err(Broken::Source(reason)))),
            Ok(Piece::More | Piece::End) => return (used, Some(Ok(data.into()))),
            Ok(Piece::Data(count)) => {
                data.extend_from_slice(&bytes[used..used + count]);
                used += count;
            }
            Ok(Piece::Frame(count) | Piece::Skip(count)) => used += count,
        }
    }
}

/// How much may be sent now, at least 1, at most about `wanted`.
fn poll_room(cx: &mut Context<'_>, to: &mut SendStream<Bytes>, wanted: usize) -> Poll<Result<usize, Broken>> {
    to.reserve_capacity(wanted);
    while to.capacity() == 0 {
        match ready!(to.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Poll::Ready(Err(Broken::Sink)),
        }
    }
    Poll::Ready(Ok(to.capacity()))
}

/// Nothing has come to be sent; has the receiver gone meanwhile?
fn poll_given_up(cx: &mut Context<'_>, to: &mut SendStream<Bytes>) -> Poll<Result<(), Broken>> {
    to.poll_reset(cx).map(|_| Err(Broken::Sink))
}

/// The status of a gRPC call, by the headers that end it.
pub(crate) fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok().filter(|code| *code < 100)
}

fn is_forbidden(name: &str, names: Option<&Names>) -> bool {
    is_forbidden_in_trailers(name) || names.is_some_and(|names| names.role(name.as_bytes()).is_tag())
}

fn trailer_lines(lines: &[u8], names: Option<&Names>) -> Vec<u8> {
    let mut kept = Vec::with_capacity(lines.len() + 2);
    for_each_trailer(lines, |name, _, line| {
        if !is_forbidden(name, names) {
            kept.extend_from_slice(line);
        }
    });
    kept
}

fn trailer_map(lines: &[u8], names: Option<&Names>) -> Result<HeaderMap, Broken> {
    let mut map = HeaderMap::new();
    let mut is_whole = true;
    for_each_trailer(lines, |name, value, _| {
        if is_forbidden(name, names) {
            return;
        }
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
            (Ok(name), Ok(value)) => is_whole &= map.try_append(name, value).is_ok(),
            _ => is_whole = false,
        }
    });
    if is_whole { Ok(map) } else { Err(Broken::Source(Reason::Trailer)) }
}

fn filtered(mut trailers: HeaderMap, names: Option<&Names>) -> HeaderMap {
    let forbidden: Vec<HeaderName> =
        trailers.keys().filter(|name| is_forbidden(name.as_str(), names)).cloned().collect();
    for name in forbidden {
        trailers.remove(name);
    }
    trailers
}
