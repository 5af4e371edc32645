//! Copies bytes both ways until both sides have ended; an end in one direction is passed on (half-close), a reset too.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use super::wire::Wire;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Running,
    /// The sender has ended; what is left is to say so.
    Ending,
    Ended,
}

/// What was read of either side before goes on first. `moved` is told how many bytes went from `a` to `b`, and back.
pub(crate) async fn relay(a: &mut Wire, b: &mut Wire, moved: impl Fn(usize, usize)) {
    let (mut forth, mut back) = (Direction::Running, Direction::Running);
    let ended = poll_fn(|cx| {
        let forth = forth.poll(cx, a, b, |bytes| moved(bytes, 0))?;
        let back = back.poll(cx, b, a, |bytes| moved(0, bytes))?;
        if forth.is_ready() && back.is_ready() { Poll::Ready(Ok::<(), io::Error>(())) } else { Poll::Pending }
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "relay broke off");
        a.reset();
        b.reset();
    }
}

impl Direction {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Wire,
        to: &mut Wire,
        moved: impl Fn(usize),
    ) -> Poll<io::Result<()>> {
        loop {
            match self {
                Direction::Ended => return Poll::Ready(Ok(())),
                Direction::Ending => {
                    ready!(to.poll_end(cx))?;
                    *self = Direction::Ended;
                }
                Direction::Running => {
                    ready!(to.poll_flush(cx))?;
                    let is_end = ready!(from.poll_bytes(cx, |bytes| match bytes {
                        [] => (0, Ok(true)),
                        bytes => {
                            moved(bytes.len());
                            (bytes.len(), to.send(&[bytes]).map(|()| false))
                        }
                    }))??;
                    if is_end {
                        *self = Direction::Ending;
                    }
                }
            }
        }
    }
}
