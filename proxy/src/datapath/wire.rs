//! One TCP connection with what was read of it and not used, and what is to be written and could not be yet. Both are empty, and
//! cost nothing, while the connection rests.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::buffers;
use super::sockopt::{self, Fate};

/// Parts of one message that are written together: size line, data, line end, and a head before them.
const PARTS_MAX: usize = 4;
/// What a client may say ahead while its request is answered; then it is not read any more.
const WATCHED_BYTES_MAX: usize = 64 << 10;

pub(crate) struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
    /// Of `unread`, what was used.
    used: usize,
    unsent: Vec<u8>,
    /// Of `unsent`, what was written.
    sent: usize,
    /// The peer has ended its direction, and that was read.
    is_ended: bool,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Wire {
        Wire { stream, unread: Vec::new(), used: 0, unsent: Vec::new(), sent: 0, is_ended: false }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Bytes that were read and not used.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.unread[self.used..]
    }

    /// Reads more behind what is unread: for who needs it in one piece. Returns the bytes that came; 0: the peer has ended.
    pub(crate) fn poll_read_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Wire { stream, unread, is_ended, .. } = self;
        buffers::with_read_buffer(|buffer| {
            let count = ready!(poll_read(stream, cx, buffer))?;
            *is_ended |= count == 0;
            if unread.capacity() == 0 {
                *unread = buffers::take();
            }
            unread.extend_from_slice(&buffer[..count]);
            Poll::Ready(Ok(count))
        })
    }

    /// Hands `each` the bytes that are there, unread ones or freshly read ones; it returns how many it used. No bytes: the peer
    /// has ended.
    pub(crate) fn poll_bytes<T>(
        &mut self,
        cx: &mut Context<'_>,
        each: impl FnOnce(&[u8]) -> (usize, T),
    ) -> Poll<io::Result<T>> {
        if !self.unread.is_empty() {
            let (used, result) = each(&self.unread[self.used..]);
            self.use_up(used);
            return Poll::Ready(Ok(result));
        }
        let Wire { stream, unread, is_ended, .. } = self;
        buffers::with_read_buffer(|buffer| {
            let count = ready!(poll_read(stream, cx, buffer))?;
            *is_ended |= count == 0;
            let (used, result) = each(&buffer[..count]);
            if used < count {
                *unread = buffers::take();
                unread.extend_from_slice(&buffer[used..count]);
            }
            Poll::Ready(Ok(result))
        })
    }

    /// So many of the unread bytes were used.
    pub(crate) fn use_up(&mut self, count: usize) {
        self.used += count;
        if self.used == self.unread.len() {
            buffers::give(std::mem::take(&mut self.unread));
            self.used = 0;
        }
    }

    /// Writes the parts one behind the other in one call, and keeps what the kernel does not take now. Never waits;
    /// [`Wire::poll_flush`] does.
    pub(crate) fn send(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let mut left = 0;
        if self.unsent.is_empty() {
            let mut slices = [IoSlice::new(&[]); PARTS_MAX];
            let count = parts.len().min(PARTS_MAX);
            for (slice, part) in slices.iter_mut().zip(parts) {
                *slice = IoSlice::new(part);
            }
            let written = match &parts[..count] {
                [one] => self.stream.try_write(one),
                _ => self.stream.try_write_vectored(&slices[..count]),
            };
            left = match written {
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
        }
        for part in parts {
            let skipped = left.min(part.len());
            left -= skipped;
            self.queue(&part[skipped..]);
        }
        Ok(())
    }

    /// Keeps bytes to be written with the next ones, or by a flush.
    pub(crate) fn queue(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.unsent.capacity() == 0 {
            self.unsent = buffers::take();
        }
        self.unsent.extend_from_slice(bytes);
    }

    /// Waits until everything is written.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.unsent.len() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.unsent[self.sent..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
        }
        if self.sent > 0 {
            buffers::give(std::mem::take(&mut self.unsent));
            self.sent = 0;
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn unsent_bytes(&self) -> usize {
        self.unsent.len() - self.sent
    }

    /// Ends our direction; the peer may go on.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// Nothing waits in either direction.
    pub(crate) fn is_empty(&self) -> bool {
        self.unread.is_empty() && self.unsent.is_empty()
    }

    /// Does the peer rest, as it should between two messages? Bytes or an end are neither. Costs a system call only if something
    /// has happened.
    pub(crate) fn is_quiet(&mut self) -> bool {
        if !self.is_empty() {
            return false;
        }
        matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Waits for the connection to break while something else is waited for. What the peer says meanwhile is kept for later, up to
    /// a limit; a mere end of its direction is not the end of the connection.
    pub(crate) fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        while !self.is_ended && self.unread.len() < WATCHED_BYTES_MAX {
            // Cheaper than a read that finds nothing, and nothing is what it nearly always finds.
            let _ = ready!(self.stream.poll_read_ready(cx));
            match ready!(self.poll_read_more(cx)) {
                Ok(_) => {}
                Err(error) => return Poll::Ready(error),
            }
        }
        Poll::Pending
    }

    /// What became of the last message that was sent, of so many bytes. A peer that ended its direction has acknowledged with that
    /// what it took; of one that reset the connection nothing is known, for acknowledgements may come late, and that of a reset is
    /// not looked at.
    pub(crate) fn fate(&self, bytes: usize) -> Fate {
        if !self.is_ended {
            return Fate::Taken;
        }
        let written = bytes.saturating_sub(self.unsent_bytes());
        // Where the kernel does not tell, nothing is proved.
        sockopt::fate(&self.stream, written).unwrap_or(Fate::Taken)
    }

    /// Makes the end one that nobody takes for a proper one: a reset.
    pub(crate) fn reset(&self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO));
    }
}

fn poll_read(stream: &mut TcpStream, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut room = ReadBuf::new(buffer);
    ready!(Pin::new(stream).poll_read(cx, &mut room))?;
    Poll::Ready(Ok(room.filled().len()))
}

/// For a library that drives the connection itself.
impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, room);
        }
        let count = room.remaining().min(self.unread().len());
        room.put_slice(&self.unread()[..count]);
        self.use_up(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
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
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
}

#[cfg(test)]
mod tests;
