//! The one HTTP/2 connection to an instance that its streams share, and what it tells of a stream that got no answer: was the
//! request begun (RFC 9113 section 8.7)?

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::failure::Failure;
use super::retry::Reach;
use crate::h1::Reason;

/// What the streams of a connection share.
#[derive(Default)]
pub(crate) struct Link {
    /// Counts writes to the socket that took something; it may wrap.
    writes: Cell<u32>,
    /// An answer came over it before.
    has_answered: Cell<bool>,
    /// It takes no more streams: it has ended, or the instance says that it will (GOAWAY).
    is_ending: Cell<bool>,
}

/// The connection as the library that drives it sees it.
pub(crate) struct Watched {
    stream: TcpStream,
    link: Rc<Link>,
}

/// Where requests are given to a connection. Clones share it.
#[derive(Clone)]
pub(crate) struct Sender {
    send: SendRequest<Bytes>,
    link: Rc<Link>,
}

/// One request that was given to a connection, until its answer.
pub(crate) struct Answer {
    future: ResponseFuture,
    link: Rc<Link>,
    /// Writes of the connection before this request could be in any of them.
    writes_before: u32,
}

impl Link {
    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.get()
    }

    pub(crate) fn end(&self) {
        self.is_ending.set(true);
    }
}

impl Watched {
    pub(crate) fn new(stream: TcpStream, link: Rc<Link>) -> Watched {
        Watched { stream, link }
    }
}

impl Sender {
    pub(crate) fn new(send: SendRequest<Bytes>, link: Rc<Link>) -> Sender {
        Sender { send, link }
    }

    pub(crate) fn link(&self) -> &Rc<Link> {
        &self.link
    }

    /// Ready: it takes a request, unless it is an error. Then it takes none any more.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let ready = self.send.poll_ready(cx);
        if matches!(ready, Poll::Ready(Err(_))) {
            self.link.end();
        }
        ready
    }

    /// An error: nothing of the request is written, and no other will be.
    pub(crate) fn send(
        mut self,
        request: http::Request<()>,
        is_end: bool,
    ) -> Result<(Box<Answer>, SendStream<Bytes>), h2::Error> {
        let writes_before = self.link.writes.get();
        match self.send.send_request(request, is_end) {
            Ok((future, stream)) => Ok((Box::new(Answer { future, link: self.link, writes_before }), stream)),
            Err(error) => {
                self.link.end();
                Err(error)
            }
        }
    }
}

impl Answer {
    pub(crate) fn poll_informational(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http::Response<()>, h2::Error>>> {
        self.future.poll_informational(cx)
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<http::Response<RecvStream>, h2::Error>> {
        let answer = Pin::new(&mut self.future).poll(cx);
        if matches!(answer, Poll::Ready(Ok(_))) {
            self.link.has_answered.set(true);
        }
        answer
    }

    /// There is no answer: why, and how far the request came. A connection that is over, or refuses, is given no other request.
    pub(crate) fn lost(&self, error: &h2::Error) -> (Failure, Reach) {
        let is_refused = error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        if !error.is_reset() || is_refused {
            self.link.end();
        }
        let failure = match error.is_library() && !error.is_io() {
            true => Failure::UpstreamProtocol(Reason::Frames),
            false => Failure::UpstreamClosed,
        };
        // The library names an end by GOAWAY to those streams alone that it says were not looked at.
        let is_disowned = is_refused || (error.is_remote() && error.is_go_away());
        let is_unwritten = self.link.writes.get() == self.writes_before;
        let reach = match (error.is_io(), self.link.has_answered.get()) {
            _ if is_disowned || is_unwritten => Reach::Unprocessed,
            (true, true) => Reach::Unanswered,
            (true, false) => Reach::Dropped,
            (false, _) => Reach::Unknown,
        };
        (failure, reach)
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, room)
    }
}

impl Watched {
    fn note(&self, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(count)) if *count > 0) {
            self.link.writes.set(self.link.writes.get().wrapping_add(1));
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note(&written);
        written
    }
}
