//! One client connection after it was accepted: its first bytes, its end, and its service as HTTP under the worker's sweeper.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::Listener;
use super::detect::{Detected, detect};
use super::http::{self, Connection, Request, Response};
use super::io::Io;
use super::worker::Worker;

/// First bytes that are looked at. A request line longer than this is still told by its first 26 bytes.
const DETECT_BYTES: usize = 4096;

/// An accepted connection and what its first bytes say.
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    /// Where it was going; `None` on listeners without a redirect.
    pub(crate) original: Option<SocketAddr>,
    pub(crate) listener: Rc<Listener>,
}

/// Ends a connection so that the peer notices at once.
pub(crate) fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Reads until the protocol is clear. A client that is silent for `silence` waits for its server to speak first.
pub(crate) async fn first_bytes(
    stream: &mut TcpStream,
    silence: Duration,
    patience: Duration,
) -> io::Result<(Bytes, Detected)> {
    let mut read = BytesMut::with_capacity(DETECT_BYTES);
    let whole = async {
        match tokio::time::timeout(silence, stream.read_buf(&mut read)).await {
            Err(_) => return Ok(Detected::Opaque),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(0)) => return Ok(Detected::Opaque),
            Ok(Ok(_)) => {}
        }
        loop {
            match detect(&read) {
                Detected::NeedMore if read.len() < DETECT_BYTES => {
                    if stream.read_buf(&mut read).await? == 0 {
                        return Ok(Detected::Opaque);
                    }
                }
                Detected::NeedMore => return Ok(Detected::Opaque),
                known => return Ok(known),
            }
        }
    };
    let detected = match tokio::time::timeout(patience, whole).await {
        Ok(detected) => detected?,
        Err(_) => Detected::Opaque,
    };
    Ok((read.freeze(), detected))
}

/// Serves one HTTP connection with the worker's sweeper and drain around it.
pub(crate) async fn serve_http<A, F>(worker: Rc<Worker>, stream: TcpStream, before: Bytes, is_http2: bool, answer: A)
where
    A: Fn(Request) -> F,
    F: Future<Output = Response> + 'static,
{
    let connection = Rc::new(Connection::new(is_http2, &worker.clock));
    let io =
        Io::watched(stream, before, Arc::clone(&connection.activity), worker.clock.clone(), connection.interim.clone());
    let _registered = worker.register(Rc::clone(&connection));
    let draining = Rc::clone(&worker);
    let served = http::serve(io, connection, worker.clock.clone(), move || draining.drain.is_draining(), answer).await;
    if let Err(error) = served {
        tracing::debug!(%error, "client connection ended");
    }
}
