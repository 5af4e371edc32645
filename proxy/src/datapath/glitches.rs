//! What a client of HTTP/2 may make us do for nothing. Its library bears each known flood, but bears it for as long as it lasts; here
//! it ends: frames that bring nothing are paid from a credit, which work and time give back, and whoever has spent it is told
//! ENHANCE_YOUR_CALM (RFC 9113 section 7).
//!
//! ```text
//!  client ──▶ Watched { counts frame headers } ──▶ h2        credit spent: no byte more is read, serve2 ends the connection
//! ```

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::{CoarseClock, Connection};
use super::wire::Wire;

#[cfg(test)]
mod tests;

/// Frames that bring nothing, ahead of those that do. A flood sends as many in a blink.
const CREDIT_MAX: u32 = 10_000;
/// What time gives back: a client that pings or cancels this often, and never does more, stays.
const CREDIT_A_SECOND: u32 = 1_000;
/// An answer's body is acknowledged by window updates, of its stream and of the connection, and small windows are often opened.
const CREDIT_A_DATA_FRAME: u32 = 2;
const BYTES_A_CREDIT: u32 = 2 << 10;

/// RFC 9113 section 3.4.
const PREFACE_BYTES: usize = 24;
/// RFC 9113 section 4.1.
const HEADER_BYTES: usize = 9;

/// Frame types of RFC 9113 section 6, and flags.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What is left to one connection.
pub(crate) struct Credit {
    left: Cell<u32>,
    second: Cell<u32>,
    clock: CoarseClock,
}

impl Credit {
    pub(crate) fn new(clock: &CoarseClock) -> Credit {
        Credit { left: Cell::new(CREDIT_MAX), second: Cell::new(clock.seconds()), clock: clock.clone() }
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.left.get() == 0
    }

    fn spend(&self) {
        let now = self.clock.seconds();
        let passed = now.saturating_sub(self.second.replace(now));
        if passed > 0 {
            self.give(passed.saturating_mul(CREDIT_A_SECOND));
        }
        self.left.set(self.left.get().saturating_sub(1));
    }

    /// Nothing comes back to whom it was spent.
    fn give(&self, count: u32) {
        if !self.is_spent() {
            self.left.set(self.left.get().saturating_add(count).min(CREDIT_MAX));
        }
    }

    fn received(&self, frame: Frame) {
        match frame.kind {
            DATA if frame.bytes > 0 => self.give(1),
            DATA if frame.flags & END_STREAM != 0 => {}
            SETTINGS | PING if frame.flags & ACK != 0 => {}
            // A request is paid for in other ways: streams at a time, bytes of a head.
            HEADERS | GOAWAY => {}
            // RST_STREAM, PRIORITY, WINDOW_UPDATE, CONTINUATION, what nobody knows, and the above without a use.
            _ => self.spend(),
        }
    }

    fn sent(&self, frame: Frame) {
        match frame.kind {
            DATA => self.give(CREDIT_A_DATA_FRAME + frame.bytes / BYTES_A_CREDIT),
            // A stream that got an answer may be cancelled.
            HEADERS => self.give(1),
            _ => {}
        }
    }
}

/// As its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    kind: u8,
    flags: u8,
    /// Of the payload.
    bytes: u32,
}

/// Finds the frame headers in a stream of bytes, however it is cut, and keeps nothing else.
struct Frames {
    header: [u8; HEADER_BYTES],
    known: usize,
    /// Bytes before the next header.
    skip: usize,
    /// The last header was of a part of a request's head.
    is_head: bool,
    /// That part is not the last.
    goes_on: bool,
}

impl Frames {
    fn after(skip: usize) -> Frames {
        Frames { header: [0; HEADER_BYTES], known: 0, skip, is_head: false, goes_on: false }
    }

    /// Has a head, or a frame's own, begun to come that is not here whole?
    fn is_inside_head(&self) -> bool {
        self.known > 0 || self.goes_on || (self.is_head && self.skip > 0)
    }

    fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let count = (HEADER_BYTES - self.known).min(bytes.len());
            if count == 0 {
                return;
            }
            self.header[self.known..self.known + count].copy_from_slice(&bytes[..count]);
            self.known += count;
            bytes = &bytes[count..];
            if self.known == HEADER_BYTES {
                let [a, b, c, kind, flags, ..] = self.header;
                let length = u32::from_be_bytes([0, a, b, c]);
                each(Frame { kind, flags, bytes: length });
                self.is_head = matches!(kind, HEADERS | CONTINUATION);
                self.goes_on = self.is_head && flags & END_HEADERS == 0;
                self.known = 0;
                self.skip = length as usize;
            }
        }
    }
}

/// A client connection whose frames are counted both ways, and which tells when it waits for its client: for the rest of a head, or
/// to take what is written. Whoever speaks HTTP/2 reads at all times, whatever its windows say of its streams.
pub(crate) struct Watched {
    wire: Wire,
    inbound: Frames,
    outbound: Frames,
    credit: Rc<Credit>,
    connection: Rc<Connection>,
    written_bytes: u64,
}

impl Watched {
    /// From the preface on.
    pub(crate) fn new(wire: Wire, credit: Rc<Credit>, connection: Rc<Connection>) -> Watched {
        let (inbound, outbound) = (Frames::after(PREFACE_BYTES), Frames::after(0));
        Watched { wire, inbound, outbound, credit, connection, written_bytes: 0 }
    }

    fn note(&mut self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Pending => self.connection.waits_for_client(self.written_bytes),
            Poll::Ready(Ok(count)) => {
                self.written_bytes += *count as u64;
                self.connection.waits_for_nobody();
            }
            Poll::Ready(Err(_)) => {}
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.credit.is_spent() {
            // As if the client had ended: what is still to be written goes out.
            return Poll::Ready(Ok(()));
        }
        let before = room.filled().len();
        ready!(Pin::new(&mut self.wire).poll_read(cx, room))?;
        let Watched { inbound, credit, connection, .. } = &mut *self;
        inbound.feed(&room.filled()[before..], |frame| credit.received(frame));
        match inbound.is_inside_head() {
            true => connection.head_began(),
            false => connection.head_ended(),
        }
        if credit.is_spent() {
            // What has come is dropped, and who serves the connection is to see why before its library sees an end.
            room.set_filled(before);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.wire).poll_write(cx, bytes);
        self.note(&written);
        let written = ready!(written)?;
        let Watched { outbound, credit, .. } = &mut *self;
        outbound.feed(&bytes[..written], |frame| credit.sent(frame));
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.wire), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.wire).poll_write_vectored(cx, slices);
        self.note(&written);
        let written = ready!(written)?;
        let Watched { outbound, credit, .. } = &mut *self;
        let mut left = written;
        for slice in slices {
            let count = left.min(slice.len());
            outbound.feed(&slice[..count], |frame| credit.sent(frame));
            left -= count;
        }
        Poll::Ready(Ok(written))
    }
}
