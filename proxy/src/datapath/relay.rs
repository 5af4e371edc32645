//! Copies bytes both ways until both sides have ended; an end in one direction is passed on (half-close), a reset too. One that is
//! stopped before says so to both sides, as far as they speak a protocol that has words for it.
//!
//! ```text
//!  run: a ── forth ──▶ b      end: WebSocket: up to a gap between two messages; "1001" to both; their answers; FIN
//!       a ◀── back ─── b           other bytes: FIN to both; what they still say is read over
//! ```

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::websocket::{Frames, going_away};
use super::wire::Wire;
use crate::timer::Timer;

/// So long a WebSocket has to finish the message that is passing; whoever is within a frame then is cut.
const GAP_WAIT: Duration = Duration::from_secs(1);
/// So long both sides have to take the end; then they are cut.
const FAREWELL_WAIT: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(crate) struct Relay {
    forth: Way,
    back: Way,
}

/// One direction.
#[derive(Default)]
struct Way {
    state: State,
    /// Of a WebSocket.
    frames: Option<Frames>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Running,
    /// The sender has ended; what is left is to say so.
    Ending,
    Ended,
}

impl Relay {
    pub(crate) fn of_websocket() -> Relay {
        let way = || Way { state: State::Running, frames: Some(Frames::default()) };
        Relay { forth: way(), back: way() }
    }

    /// What was read of either side before goes on first. `moved` is told how many bytes went from `a` to `b`, and back. `stop` is
    /// asked whenever nothing moves, and its answer returned; `None`: it has ended by itself.
    pub(crate) async fn run<S>(
        &mut self,
        a: &mut Wire,
        b: &mut Wire,
        moved: impl Fn(usize, usize),
        mut stop: impl FnMut(&mut Context<'_>) -> Poll<S>,
    ) -> Option<S> {
        let Relay { forth, back } = self;
        let ended = poll_fn(|cx| {
            let forth = forth.poll(cx, a, b, |bytes| moved(bytes, 0))?;
            let back = back.poll(cx, b, a, |bytes| moved(0, bytes))?;
            match forth.is_ready() && back.is_ready() {
                true => Poll::Ready(Ok::<_, io::Error>(None)),
                false => stop(cx).map(|stopped| Ok(Some(stopped))),
            }
        });
        ended.await.unwrap_or_else(|error| {
            tracing::debug!(%error, "relay broke off");
            a.reset();
            b.reset();
            None
        })
    }

    /// Ends it, while both sides would go on: `a` called `b`, and masks what it says with `mask`.
    pub(crate) async fn end(mut self, a: &mut Wire, b: &mut Wire, timer: &Timer, mask: [u8; 4]) {
        let Relay { forth, back } = &mut self;
        let gaps = poll_fn(|cx| {
            let (forth, back) = (forth.poll_gap(cx, a, b), back.poll_gap(cx, b, a));
            if forth.is_ready() && back.is_ready() { Poll::Ready(()) } else { Poll::Pending }
        });
        // Whoever comes to none is cut.
        let _ = timer.timeout(GAP_WAIT, gaps).await;
        let (b_hears, a_hears) = (forth.say_farewell(b, Some(mask)), back.say_farewell(a, None));
        let farewell = poll_fn(|cx| {
            // What `a` still says comes by the way to `b`.
            let of_a = !a_hears || forth.poll_farewell(cx, a).is_ready();
            let of_b = !b_hears || back.poll_farewell(cx, b).is_ready();
            if of_a && of_b { Poll::Ready(()) } else { Poll::Pending }
        });
        if timer.timeout(FAREWELL_WAIT, farewell).await.is_err() {
            a.reset();
            b.reset();
        }
    }
}

impl Way {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Wire,
        to: &mut Wire,
        moved: impl Fn(usize),
    ) -> Poll<io::Result<()>> {
        loop {
            match self.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Ending => {
                    ready!(to.poll_end(cx))?;
                    self.state = State::Ended;
                }
                State::Running => {
                    ready!(to.poll_flush(cx))?;
                    let is_end = ready!(from.poll_bytes(cx, |bytes| match bytes {
                        [] => (0, Ok(true)),
                        bytes => {
                            if let Some(frames) = &mut self.frames {
                                frames.pass(bytes);
                            }
                            moved(bytes.len());
                            (bytes.len(), to.send(&[bytes]).map(|()| false))
                        }
                    }))??;
                    if is_end {
                        self.state = State::Ending;
                    }
                }
            }
        }
    }

    /// Moves on to where a farewell can be said, or to where it is clear that none can. Whether a side has gone is found out later.
    fn poll_gap(&mut self, cx: &mut Context<'_>, from: &mut Wire, to: &mut Wire) -> Poll<()> {
        let Some(frames) = &mut self.frames else { return Poll::Ready(()) };
        while self.state == State::Running && !frames.is_over() && !frames.is_between_messages() {
            if ready!(to.poll_flush(cx)).is_err() {
                break;
            }
            let moved = ready!(from.poll_bytes(cx, |bytes| {
                let count = frames.pass_to_gap(bytes);
                (count, to.send(&[&bytes[..count]]).map(|()| count))
            }));
            match moved {
                Ok(Ok(count)) if count > 0 => {}
                _ => self.state = State::Ending,
            }
        }
        Poll::Ready(())
    }

    /// False: it stands within a frame, and can only be cut.
    fn say_farewell(&self, to: &mut Wire, mask: Option<[u8; 4]>) -> bool {
        let Some(frames) = &self.frames else { return true };
        // Behind an end, or a close frame of the sender's own, there is nothing to add.
        if self.state != State::Running || frames.is_closed() {
            return true;
        }
        if !frames.is_between_frames() {
            to.reset();
            return false;
        }
        to.queue(&going_away(mask));
        true
    }

    /// Brings what was said to the sender of this way, and its end; reads over what it still says, for bytes that nobody has read
    /// would make our end a reset, which takes our words from it.
    fn poll_farewell(&mut self, cx: &mut Context<'_>, sender: &mut Wire) -> Poll<()> {
        if ready!(sender.poll_flush(cx)).is_err() {
            return Poll::Ready(());
        }
        if self.frames.is_none() && ready!(sender.poll_end(cx)).is_err() {
            return Poll::Ready(());
        }
        while self.state == State::Running && !self.frames.as_ref().is_some_and(Frames::is_closed) {
            let read = ready!(sender.poll_bytes(cx, |bytes| {
                if let Some(frames) = &mut self.frames {
                    frames.pass(bytes);
                }
                (bytes.len(), bytes.len())
            }));
            if !matches!(read, Ok(count) if count > 0) {
                self.state = State::Ending;
            }
        }
        sender.poll_end(cx).map(drop)
    }
}

#[cfg(test)]
mod tests;
