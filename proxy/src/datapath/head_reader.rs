//! Reads a head from a connection, in one piece or in many, without parsing the same bytes again with every part that comes.

use std::io;
use std::task::{Context, Poll, ready};

use super::wire::Wire;
use crate::h1;

/// How far the head that is being read was looked at; the bytes wait in the [`Wire`].
#[derive(Default)]
pub(crate) struct HeadReader {
    /// 0: nothing of it was tried yet.
    tried_bytes: usize,
}

/// What came over a connection where a head was expected.
pub(crate) enum Heard<T> {
    Head(T),
    /// The peer has ended between two messages.
    End,
    /// The peer has ended within a head.
    EndInside,
}

impl HeadReader {
    /// A part of a head is here.
    pub(crate) fn has_begun(&self) -> bool {
        self.tried_bytes > 0
    }

    /// Calls `attempt` with bytes that may hold a whole head; `None`: they do not. It says how many it used.
    pub(crate) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut Wire,
        mut attempt: impl FnMut(&[u8]) -> Option<(usize, T)>,
    ) -> Poll<io::Result<Heard<T>>> {
        if self.tried_bytes == 0 {
            let heard = ready!(wire.poll_bytes(cx, |bytes| {
                if bytes.is_empty() {
                    return (0, Some(Heard::End));
                }
                match attempt(bytes) {
                    Some((used, head)) => (used, Some(Heard::Head(head))),
                    None => (0, None),
                }
            }))?;
            if let Some(heard) = heard {
                return Poll::Ready(Ok(heard));
            }
            self.tried_bytes = wire.unread().len();
        }
        loop {
            if ready!(wire.poll_read_more(cx))? == 0 {
                return Poll::Ready(Ok(Heard::EndInside));
            }
            let bytes = wire.unread();
            let is_undecided = matches!(h1::find_end(bytes, self.tried_bytes), Ok(None));
            self.tried_bytes = bytes.len();
            if is_undecided && bytes.len() <= h1::HEAD_BYTES_MAX {
                continue;
            }
            // Whole, too large, or wrong: the parser says which.
            if let Some((used, head)) = attempt(bytes) {
                wire.use_up(used);
                self.tried_bytes = 0;
                return Poll::Ready(Ok(Heard::Head(head)));
            }
        }
    }
}
