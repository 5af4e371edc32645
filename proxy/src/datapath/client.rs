//! One client connection after it was accepted: what its first bytes say, and its service as HTTP.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::activity::Connection;
use super::detect::{Detected, detect};
use super::opaque::{self, Passage, Spoke};
use super::route::Route;
use super::wire::Wire;
use super::worker::Worker;
use super::{Direction, Listener, serve1, serve2};
use crate::timer::Timer;

/// First bytes that are looked at. A request line longer than this is still told by its first 26 bytes.
const DETECT_BYTES: usize = 4096;

/// An accepted connection.
pub(crate) struct Accepted {
    pub(crate) wire: Wire,
    pub(crate) peer: SocketAddr,
    /// Where it was going; `None` on listeners without a redirect.
    pub(crate) original: Option<SocketAddr>,
    pub(crate) listener: Rc<Listener>,
}

/// A connection that is to be served as HTTP.
pub(crate) struct Opened {
    pub(crate) wire: Wire,
    pub(crate) is_http2: bool,
    pub(crate) route: Rc<dyn Route>,
}

/// What a connection turned out to be.
pub(crate) enum Opening {
    Http1(Wire),
    Http2(Wire),
    Opaque(Wire),
    /// It has ended, or was served to its end.
    Over,
}

/// Finds out what a connection speaks. A client that is silent is connected along `passage`, and whoever speaks first decides; without
/// one it is reset.
pub(crate) async fn opening(worker: &Rc<Worker>, mut wire: Wire, passage: impl FnOnce() -> Option<Passage>) -> Opening {
    let timeouts = &worker.config.timeouts;
    let mut detected = first_bytes(&worker.timer, &mut wire, timeouts.detect, timeouts.header_read).await;
    if matches!(detected, Ok(Detected::Opaque)) && wire.unread().is_empty() {
        let Some(passage) = passage() else {
            wire.reset();
            return Opening::Over;
        };
        match Box::pin(opaque::wait_for_speaker(worker, wire, passage)).await {
            Spoke::Server => return Opening::Over,
            Spoke::Client(back) => wire = back,
        }
        detected = first_bytes(&worker.timer, &mut wire, timeouts.header_read, timeouts.header_read).await;
    }
    match detected {
        Ok(Detected::Http1) => Opening::Http1(wire),
        Ok(Detected::Http2) => Opening::Http2(wire),
        Ok(Detected::Opaque | Detected::NeedMore) => Opening::Opaque(wire),
        Err(error) => {
            tracing::debug!(%error, "client gone before its first byte");
            Opening::Over
        }
    }
}

/// Reads until the protocol is clear; what was read stays unread in the wire. A client that is silent for `silence` is opaque,
/// without a byte.
pub(crate) async fn first_bytes(
    timer: &Timer,
    wire: &mut Wire,
    silence: Duration,
    patience: Duration,
) -> io::Result<Detected> {
    // Most clients have spoken when they are accepted: no timer for them.
    if let Some(detected) = poll_fn(|cx| Poll::Ready(poll_detect(wire, cx))).await {
        return detected;
    }
    let first = timer.timeout(silence, poll_fn(|cx| wire.poll_read_more(cx))).await;
    match first {
        Err(_) | Ok(Ok(0)) => return Ok(Detected::Opaque),
        Ok(Err(error)) => return Err(error),
        Ok(Ok(_)) => {}
    }
    let whole = poll_fn(|cx| match detected(wire) {
        Some(detected) => Poll::Ready(Ok(detected)),
        None => poll_detect(wire, cx).map_or(Poll::Pending, Poll::Ready),
    });
    timer.timeout(patience, whole).await.unwrap_or(Ok(Detected::Opaque))
}

/// Reads what is there. `None`: nothing more for now, and it is not clear yet.
fn poll_detect(wire: &mut Wire, cx: &mut std::task::Context<'_>) -> Option<io::Result<Detected>> {
    loop {
        match wire.poll_read_more(cx) {
            Poll::Pending => return None,
            Poll::Ready(Ok(0)) => return Some(Ok(Detected::Opaque)),
            Poll::Ready(Err(error)) => return Some(Err(error)),
            Poll::Ready(Ok(_)) => {}
        }
        if let Some(detected) = detected(wire) {
            return Some(Ok(detected));
        }
    }
}

fn detected(wire: &Wire) -> Option<Detected> {
    match detect(wire.unread()) {
        Detected::NeedMore if wire.unread().len() < DETECT_BYTES => None,
        Detected::NeedMore => Some(Detected::Opaque),
        known => Some(known),
    }
}

/// Serves one HTTP connection with the worker's sweeper and drain around it.
pub(crate) async fn serve_http(worker: Rc<Worker>, direction: Direction, opened: Opened) {
    let Opened { wire, is_http2, route } = opened;
    let connection = Rc::new(Connection::new(direction, is_http2, &worker.clock, wire.stream().as_raw_fd()));
    let _registered = worker.register(Rc::clone(&connection));
    if is_http2 {
        Box::pin(serve2::serve(worker, wire, connection, route)).await;
    } else {
        serve1::serve(worker, wire, connection, route).await;
    }
}

#[cfg(test)]
mod tests;
