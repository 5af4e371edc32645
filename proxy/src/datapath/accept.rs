//! Takes connections, finds out where they were going and what they speak, and hands them on.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use super::client::{Accepted, first_bytes, reset};
use super::detect::Detected;
use super::failure::Failure;
use super::http::{Command, Connection};
use super::worker::{Shared, Worker};
use super::{Config, Direction, Listener, inbound, outbound, sockopt};
use crate::current::{Demand, Reader};
use crate::drain::Watch;
use crate::telemetry;

/// Pause after the process or the machine has run out of descriptors or memory: a loop without one would spin.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// Pause before room for another connection is looked for.
const FULL_PAUSE: Duration = Duration::from_millis(10);
pub(crate) async fn run(
    config: Arc<Config>,
    shared: Shared,
    sockets: Vec<(Listener, StdListener)>,
    reader: Reader,
    demand: Demand,
    counters: telemetry::Worker,
    drain: Watch,
) -> io::Result<()> {
    let mut stop = drain.clone();
    let worker = Rc::new(Worker::new(config, shared, reader, demand, counters, drain));
    let sweeper = spawn_local(Rc::clone(&worker).sweep());
    let follower = spawn_local(Rc::clone(&worker).follow());
    let mut loops = Vec::new();
    for (listener, socket) in sockets {
        let socket = TcpListener::from_std(socket)?;
        loops.push(spawn_local(accept_loop(Rc::clone(&worker), Rc::new(listener), socket)));
    }
    // The drain: at first every answer says `Connection: close` while we go on accepting (http.rs asks `is_draining`); then
    // nothing new is taken, and what runs may finish; the process ends when all is done or the time is over.
    stop.started().await;
    worker.tell_http2(Command::Finish);
    stop.closing().await;
    for accepting in &loops {
        accepting.abort();
    }
    worker.tell_all(Command::Finish);
    worker.all_closed().await;
    sweeper.abort();
    follower.abort();
    Ok(())
}

async fn accept_loop(worker: Rc<Worker>, listener: Rc<Listener>, socket: TcpListener) {
    loop {
        while !worker.has_room() {
            worker.counters.failure("connection-limit");
            tokio::time::sleep(FULL_PAUSE).await;
        }
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                match error.raw_os_error() {
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                        worker.counters.failure(Failure::Exhausted.label());
                        tracing::warn!(%error, "no connection taken for {EXHAUSTED_PAUSE:?}: raise the limit of open files");
                        tokio::time::sleep(EXHAUSTED_PAUSE).await;
                    }
                    // The peer went away before it was taken.
                    _ => tracing::debug!(%error, "accept"),
                }
                continue;
            }
        };
        let admitted = worker.admit(listener.direction);
        let (worker, listener) = (Rc::clone(&worker), Rc::clone(&listener));
        spawn_local(async move {
            let _admitted = admitted;
            serve(worker, listener, stream, sockopt::canonical(peer)).await;
        });
    }
}

/// One connection, from its first byte to its last.
async fn serve(worker: Rc<Worker>, listener: Rc<Listener>, stream: TcpStream, peer: SocketAddr) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "connection gone before it was served");
        return;
    }
    let Ok(local) = stream.local_addr() else { return };
    let original = if listener.redirected {
        let original = sockopt::original_dst(&stream, local).map(sockopt::canonical);
        match original {
            // Dialled directly, or redirected from our own port: forwarding it would be a loop.
            Some(original) if !worker.is_self(original) && original != sockopt::canonical(local) => Some(original),
            _ => return refuse_loop(&worker, stream).await,
        }
    } else {
        None
    };
    let destination = original.unwrap_or(sockopt::canonical(local));
    if listener.direction == Direction::Outbound && worker.own_sockets().contains(peer, destination) {
        return refuse_loop(&worker, stream).await;
    }
    let accepted = Accepted { stream, peer, original, listener };
    match accepted.listener.direction {
        // Boxed: else every outbound connection would have room for the larger inbound one.
        Direction::Inbound => Box::pin(inbound::serve(worker, accepted)).await,
        Direction::Outbound => Box::pin(outbound::serve(worker, accepted)).await,
    }
}

/// HTTP gets a 508; anything else a reset, so that nobody waits.
async fn refuse_loop(worker: &Rc<Worker>, mut stream: TcpStream) {
    worker.counters.failure(Failure::Loop.label());
    tracing::warn!(peer = ?stream.peer_addr().ok(), "refused a connection that leads back to this proxy");
    let first = first_bytes(&mut stream, worker.config.timeouts.detect, worker.config.timeouts.header_read).await;
    match first {
        Ok((before, detected @ (Detected::Http1 | Detected::Http2))) => {
            let connection = Rc::new(Connection::new(detected == Detected::Http2, &worker.clock));
            let io = super::io::Io::new(stream, before);
            let answer = |request: super::http::Request| {
                let is_grpc = super::http::is_grpc(request.headers());
                std::future::ready(super::http::refusal(Failure::Loop, "", is_grpc))
            };
            let _ = super::http::serve(io, connection, worker.clock.clone(), || true, answer).await;
        }
        _ => reset(&stream),
    }
}
