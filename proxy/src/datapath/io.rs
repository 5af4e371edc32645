//! A TCP connection as hyper reads it: what detection already read comes first, and what happens is noted for the sweeper.
//!
//! The notes are relaxed atomics that one thread writes and reads; hyper's upgrades want the type to be `Send`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::interim::Interim;

/// Seconds since the worker started, moved by its sweeper. Reading it costs no system call.
#[derive(Clone, Default)]
pub(crate) struct CoarseClock(Arc<AtomicU32>);

impl CoarseClock {
    /// Never 0: that means "not running" in [`Activity`].
    pub(crate) fn seconds(&self) -> u32 {
        self.0.load(Relaxed).max(1)
    }

    pub(crate) fn advance(&self, seconds: u32) {
        self.0.store(seconds, Relaxed);
    }
}

/// What one client connection is doing.
#[derive(Default)]
pub(crate) struct Activity {
    /// When the first byte of the head that is being read came; 0: none is.
    pub(crate) head_since: AtomicU32,
    /// When the last request ended, or the connection began.
    pub(crate) idle_since: AtomicU32,
    /// Requests or streams that run.
    pub(crate) streams: AtomicU32,
}

/// A connection with what was read of it before.
pub(crate) struct Io {
    stream: TcpStream,
    before: Bytes,
    activity: Option<(Arc<Activity>, CoarseClock)>,
    /// Server side only.
    interim: Option<Interim>,
    /// hyper has written all that it had, so an interim answer may go between.
    is_clean: bool,
}

impl Io {
    /// `before` was read from `stream` already.
    pub(crate) fn new(stream: TcpStream, before: Bytes) -> Io {
        Io { stream, before, activity: None, interim: None, is_clean: true }
    }

    /// Notes reads and writes for the sweeper.
    pub(crate) fn watched(
        stream: TcpStream,
        before: Bytes,
        activity: Arc<Activity>,
        clock: CoarseClock,
        interim: Option<Interim>,
    ) -> Io {
        if !before.is_empty() {
            activity.head_since.store(clock.seconds(), Relaxed);
        }
        Io { stream, before, activity: Some((activity, clock)), interim, is_clean: true }
    }

    /// Writes the interim answers that wait, where they may stand.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(interim) = &self.interim else { return Poll::Ready(Ok(())) };
        interim.listen(cx);
        let mut pending = interim.take();
        if !self.is_clean {
            return Poll::Ready(Ok(()));
        }
        while !pending.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &pending) {
                Poll::Ready(Ok(written)) => drop(pending.drain(..written)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    interim.put_back(pending);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn note_written(&mut self, wanted: usize, written: &Poll<io::Result<usize>>) {
        self.is_clean = matches!(written, Poll::Ready(Ok(length)) if *length == wanted);
    }

    fn note_read(&self) {
        if let Some((activity, clock)) = &self.activity
            && activity.streams.load(Relaxed) == 0
            && activity.head_since.load(Relaxed) == 0
        {
            activity.head_since.store(clock.seconds(), Relaxed);
        }
    }
}

impl hyper::rt::Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.before.is_empty() {
            let length = self.before.len().min(cursor.remaining());
            cursor.put_slice(&self.before[..length]);
            self.before.advance(length);
            if self.before.is_empty() {
                // The connection may rest for hours: let go of the buffer that detection read into.
                self.before = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        let filled = {
            // SAFETY: tokio's ReadBuf writes only initialised bytes into the slice and never uninitialises one.
            let mut buffer = ReadBuf::uninit(unsafe { cursor.as_mut() });
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            buffer.filled().len()
        };
        // SAFETY: tokio filled, and so initialised, that many bytes from the start of the unfilled part.
        unsafe { cursor.advance(filled) };
        if filled > 0 {
            self.note_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note_written(bytes.len(), &written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes when its own buffer is empty.
        self.is_clean = true;
        ready!(self.poll_interim(cx))?;
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
        ready!(self.poll_interim(cx))?;
        let wanted = slices.iter().map(|slice| slice.len()).sum();
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note_written(wanted, &written);
        written
    }
}

/// An upgraded connection of hyper's, as tokio reads and writes: for the relay after a 101.
pub(crate) struct Upgraded(pub(crate) hyper::upgrade::Upgraded);

impl AsyncRead for Upgraded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let filled = {
            let mut inner = hyper::rt::ReadBuf::new(buffer.initialize_unfilled());
            ready!(hyper::rt::Read::poll_read(Pin::new(&mut self.0), cx, inner.unfilled()))?;
            inner.filled().len()
        };
        buffer.advance(filled);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        hyper::rt::Write::poll_write(Pin::new(&mut self.0), cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        hyper::rt::Write::poll_flush(Pin::new(&mut self.0), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        hyper::rt::Write::poll_shutdown(Pin::new(&mut self.0), cx)
    }
}
