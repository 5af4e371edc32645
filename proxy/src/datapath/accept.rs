//! Takes connections, finds out where they were going and what they speak, and hands them on.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, spawn_local};

use super::client::{Accepted, Opened, first_bytes, serve_http};
use super::detect::Detected;
use super::failure::Failure;
use super::route::{Head, Route, Verdict};
use super::wire::Wire;
use super::worker::{Shared, Worker};
use super::{Config, Direction, Given, Listener, inbound, outbound, sockopt};
use crate::drain::Phase;
use crate::pressure::Level;

/// Pause after the process or the machine has run out of descriptors or memory: a loop without one would spin.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// While an end is announced.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(5);
/// Pause before room for another connection is looked for.
const FULL_PAUSE: Duration = Duration::from_millis(10);
pub(crate) async fn run(
    config: Arc<Config>,
    shared: Shared,
    sockets: Vec<(Listener, StdListener)>,
    given: Given,
) -> io::Result<()> {
    let (mut drain, mut opened) = (given.drain.clone(), given.opened.clone());
    let worker = Rc::new(Worker::new(config, shared, given));
    let sweeper = spawn_local(Rc::clone(&worker).sweep());
    let follower = spawn_local(Rc::clone(&worker).follow());
    let deadlines = spawn_local(worker.deadlines.clone().run(worker.timer.clone()));
    let mut accepting = Vec::new();
    tokio::select! {
        Ok(_) = opened.wait_for(|opened| *opened) => {
            for (listener, socket) in sockets {
                accepting.push(Accepting::start(&worker, listener, socket)?);
            }
        }
        // A successor that is told to end before it has begun: its sockets are still another's.
        _ = drain.reached(Phase::Draining) => drop(sockets),
    }
    // Where it is announced callers learn of it, while the application does what it has to do, with calls of its own.
    drain.reached(Phase::Announced).await;
    worker.announce(Direction::Inbound);
    // The drain: at first every answer is the last of its connection and says so, while we go on accepting; then nothing new is
    // taken, and what runs may finish; the process ends when all is done or the time is over.
    let first = loop {
        tokio::select! {
            first = drain.reached(Phase::Draining) => break first,
            // By HTTP/2 it is said once, and some have connected since.
            () = worker.timer.sleep(ANNOUNCE_EVERY) => worker.announce(Direction::Inbound),
        }
    };
    worker.announce(Direction::Inbound);
    worker.announce(Direction::Outbound);
    if first == Phase::Replaced {
        // Whoever is in the kernel's queue is the successor's: it has these sockets too.
        accepting.clear();
    }
    drain.reached(Phase::Closing).await;
    let (inbound, outbound): (Vec<_>, Vec<_>) =
        accepting.into_iter().partition(|accepting| accepting.listener.direction == Direction::Inbound);
    close(&worker, Direction::Inbound, inbound).await;
    // What the application still does for others may need a connection that it has not opened yet.
    worker.inbound_closed().await;
    close(&worker, Direction::Outbound, outbound).await;
    worker.all_closed().await;
    sweeper.abort();
    follower.abort();
    deadlines.abort();
    Ok(())
}

/// Takes no new connections of this direction; those that rest are closed, the others finish.
async fn close(worker: &Rc<Worker>, direction: Direction, accepting: Vec<Accepting>) {
    for accepting in accepting {
        accepting.end(worker).await;
    }
    worker.finish(direction);
}

/// A listening socket that is served. Dropping it closes our side of it at once.
struct Accepting {
    listener: Rc<Listener>,
    socket: Rc<TcpListener>,
    task: JoinHandle<()>,
}

impl Accepting {
    fn start(worker: &Rc<Worker>, listener: Listener, socket: StdListener) -> io::Result<Accepting> {
        let (listener, socket) = (Rc::new(listener), Rc::new(TcpListener::from_std(socket)?));
        let task = spawn_local(accept_loop(Rc::clone(worker), Rc::clone(&listener), Rc::clone(&socket)));
        Ok(Accepting { listener, socket, task })
    }

    /// Serves whom the kernel has let in already, for closing the socket would reset them; then closes it.
    async fn end(mut self, worker: &Rc<Worker>) {
        self.task.abort();
        // It holds the socket until it has ended.
        let _ = (&mut self.task).await;
        while worker.has_room() {
            match accept_now(&self.socket) {
                Ok((stream, peer)) => take(worker, &self.listener, stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return tracing::debug!(%error, "the last accept"),
            }
        }
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asks the kernel itself: the runtime may not know yet that somebody waits.
fn accept_now(socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, peer) = SockRef::from(socket).accept()?;
    stream.set_nonblocking(true)?;
    let peer = peer.as_socket().ok_or_else(|| io::Error::other("the peer has no address"))?;
    Ok((TcpStream::from_std(stream.into())?, peer))
}

async fn accept_loop(worker: Rc<Worker>, listener: Rc<Listener>, socket: Rc<TcpListener>) {
    loop {
        while !worker.has_room() {
            worker.counters.failure("connection-limit");
            worker.timer.sleep(FULL_PAUSE).await;
        }
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                match error.raw_os_error() {
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                        worker.counters.failure(Failure::Exhausted.label());
                        tracing::warn!(%error, "no connection taken for {EXHAUSTED_PAUSE:?}: raise the limit of open files");
                        worker.timer.sleep(EXHAUSTED_PAUSE).await;
                    }
                    // The peer went away before it was taken.
                    _ => tracing::debug!(%error, "accept"),
                }
                continue;
            }
        };
        take(&worker, &listener, stream, peer);
    }
}

fn take(worker: &Rc<Worker>, listener: &Rc<Listener>, stream: TcpStream, peer: SocketAddr) {
    let admitted = worker.admit(listener.direction);
    let (worker, listener) = (Rc::clone(worker), Rc::clone(listener));
    spawn_local(async move {
        let _admitted = admitted;
        serve(worker, listener, stream, sockopt::canonical(peer)).await;
    });
}

/// One connection, from its first byte to its last.
async fn serve(worker: Rc<Worker>, listener: Rc<Listener>, stream: TcpStream, peer: SocketAddr) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "connection gone before it was served");
        return;
    }
    if worker.pressure.level() == Level::Trim {
        worker.counters.failure(Failure::Memory.label());
        return Wire::new(stream).reset();
    }
    let Ok(local) = stream.local_addr() else { return };
    let original = if listener.redirected {
        let original = sockopt::original_dst(&stream, local).map(sockopt::canonical);
        match original {
            // Dialled directly, or redirected from our own port: forwarding it would be a loop.
            Some(original) if !worker.is_self(original) && original != sockopt::canonical(local) => Some(original),
            _ => return Box::pin(refuse_loop(worker, listener.direction, stream)).await,
        }
    } else {
        None
    };
    let destination = original.unwrap_or(sockopt::canonical(local));
    if listener.direction == Direction::Outbound && worker.own_sockets().contains(peer, destination) {
        return Box::pin(refuse_loop(worker, listener.direction, stream)).await;
    }
    let accepted = Accepted { wire: Wire::new(stream), peer, original, listener };
    // Boxed: what a connection needs to be opened it does not keep while it is served.
    let direction = accepted.listener.direction;
    let opened = match direction {
        Direction::Inbound => Box::pin(inbound::open(Rc::clone(&worker), accepted)).await,
        Direction::Outbound => Box::pin(outbound::open(Rc::clone(&worker), accepted)).await,
    };
    if let Some(opened) = opened {
        serve_http(worker, direction, opened).await;
    }
}

/// HTTP gets a 508; anything else a reset, so that nobody waits.
async fn refuse_loop(worker: Rc<Worker>, direction: Direction, stream: TcpStream) {
    worker.counters.failure(Failure::Loop.label());
    tracing::warn!(peer = ?stream.peer_addr().ok(), "refused a connection that leads back to this proxy");
    let mut wire = Wire::new(stream);
    let timeouts = &worker.config.timeouts;
    match first_bytes(&worker.timer, &mut wire, timeouts.detect, timeouts.header_read).await {
        Ok(detected @ (Detected::Http1 | Detected::Http2)) => {
            let opened = Opened { wire, is_http2: detected == Detected::Http2, route: Rc::new(Loop) };
            serve_http(worker, direction, opened).await;
        }
        _ => wire.reset(),
    }
}

/// Refuses every request.
struct Loop;

impl Route for Loop {
    fn route(&self, _head: &Head<'_>) -> Verdict {
        Verdict::Refuse(Failure::Loop, None)
    }

    fn learn(self: Rc<Self>, _authority: String) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(std::future::ready(()))
    }
}
