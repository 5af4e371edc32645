//! How long a connection was quiet, so that one that brings nothing ends. HTTP/2 is pinged many times as often, and whoever is there
//! answers; what is quiet beyond that is HTTP/1.1 that nobody uses, or holds a place for nothing.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Longest wait for the first byte after the handshake.
const FIRST_MAX: Duration = Duration::from_secs(10);
/// Longest silence after that, of both ends.
const SILENCE_MAX: Duration = Duration::from_secs(5 * 60);

/// Of one connection. The clock is asked as bytes come and go; the timer is set anew only when it is over.
pub(super) struct Quiet {
    last: Instant,
    longest: Duration,
    over: Pin<Box<Sleep>>,
}

impl Quiet {
    pub(super) fn new() -> Quiet {
        let now = Instant::now();
        Quiet { last: now, longest: FIRST_MAX, over: Box::pin(sleep_until(now + FIRST_MAX)) }
    }

    pub(super) fn came(&mut self) {
        self.last = Instant::now();
        self.longest = SILENCE_MAX;
    }

    pub(super) fn went(&mut self) {
        self.last = Instant::now();
    }

    /// Ready when it is quiet for too long; wakes then.
    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        while self.over.as_mut().poll(cx).is_ready() {
            let end = self.last + self.longest;
            if end <= Instant::now() {
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "nothing came or went for too long"));
            }
            self.over.as_mut().reset(end);
        }
        Poll::Pending
    }
}
