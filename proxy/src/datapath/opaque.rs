//! Connections whose bytes we do not read: decided once, then relayed both ways until both sides have ended.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::client::reset;
use super::connect::{self, From, Held};
use super::upstream::relay;
use super::worker::Worker;

/// Who spoke first on a connection on which nobody had spoken.
pub(crate) enum Spoke {
    Client(TcpStream),
    /// Or one of them has gone: relayed to its end.
    Server,
}

/// Connects, passes on what was read already, and relays. A failure resets the client, as the instance would have.
pub(crate) async fn pass(worker: &Rc<Worker>, stream: TcpStream, before: Bytes, to: SocketAddr, from: From) {
    let Some((mut upstream, _held)) = open(worker, &stream, to, from).await else { return };
    if !before.is_empty()
        && let Err(error) = upstream.write_all(&before).await
    {
        tracing::debug!(%error, "instance closed before the first bytes were sent");
        return reset(&stream);
    }
    drop(before);
    relay(stream, upstream).await;
}

/// A silent client: connects, and waits for whoever speaks first. If that is the server, relays to the end; if it is the
/// client, gives the connection back to be read, for it may be a pooled HTTP connection that was opened early.
pub(crate) async fn wait_for_speaker(worker: &Rc<Worker>, stream: TcpStream, to: SocketAddr, from: From) -> Spoke {
    let Some((upstream, _held)) = open(worker, &stream, to, from).await else { return Spoke::Server };
    let (mut client_byte, mut server_byte) = ([0], [0]);
    let client_spoke = tokio::select! {
        biased;
        read = upstream.peek(&mut server_byte) => { let _ = read; false }
        read = stream.peek(&mut client_byte) => matches!(read, Ok(length) if length > 0),
    };
    if client_spoke {
        return Spoke::Client(stream);
    }
    relay(stream, upstream).await;
    Spoke::Server
}

async fn open(worker: &Rc<Worker>, stream: &TcpStream, to: SocketAddr, from: From) -> Option<(TcpStream, Held)> {
    let timeout = worker.config.timeouts.connect;
    match connect::connect(to, from, timeout, &worker.upstream.own_sockets).await {
        Ok(opened) => Some(opened),
        Err(failure) => {
            worker.counters.failure(failure.label());
            tracing::debug!(%to, reason = failure.label(), "no connection for bytes that are passed through");
            reset(stream);
            None
        }
    }
}
