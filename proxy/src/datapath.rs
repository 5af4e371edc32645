//! The data path: takes connections, decides for each request, brings answers back. Never blocks on the control plane; it
//! reads the last snapshot and no more.
//!
//! ```text
//!  accept -> sockopt(original destination) -> client(detect) -+-> serve1 | serve2 -> route: inbound | outbound -> decide
//!                                                             |      |-> attempts: retry, budget, deadline, limit
//!                                                             |      \-> exchange: upstream(pool | connect), translate, pipe
//!                                                             \-> opaque -> connect, relay
//! ```
//! An answer that does not come goes back once: `attempts` asks `route` for another instance. Whom a choice passes over is known by
//! the pool: `ejection` (failed too often), `newcomers` and what comes back (part of a share), `recovery` (tags that were sick),
//! `limit` (connections that do not come to stand).
//! One worker is one thread with its own listeners, pools and view of the snapshot. `app` binds and runs it.

mod accept;
mod account;
mod activity;
mod attempts;
mod attribution;
mod bell;
mod budget;
mod buffers;
mod client;
mod connect;
mod deadline;
mod detect;
mod ejection;
mod evidence;
mod exchange;
mod failure;
mod gate;
mod glitches;
mod head_reader;
mod headers;
mod inbound;
mod leaving;
mod limit;
mod link;
mod newcomers;
mod opaque;
mod outbound;
mod path;
mod pipe;
mod pool;
mod propagate;
mod recovery;
mod refusal;
mod relay;
mod retry;
mod route;
mod serve1;
mod serve2;
mod sockopt;
mod translate;
mod upstream;
mod warm;
mod websocket;
mod wire;
mod worker;

use std::collections::VecDeque;
use std::io::{Error, Result};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::sync::watch;

use crate::current::{Demand, Reader};
use crate::drain::Watch;
use crate::habits::Habits;
use crate::journal::Journal;
use crate::pressure::Pressure;
use crate::telemetry;
pub use crate::telemetry::Direction;
use crate::timer::Timer;
#[cfg(fuzzing)]
pub use gate::hostile as hostile_gate;

/// Connections that the kernel holds for us while we are busy.
const BACKLOG: i32 = 4096;

/// What the data path is told at start; it never changes.
#[derive(Clone, Debug)]
pub struct Config {
    pub listeners: Vec<Listener>,
    /// Threads, each with listeners of its own. At least 1.
    pub workers: usize,
    /// Of this pod: with one of `own_ports` a destination that is this proxy itself.
    pub own_addresses: Vec<IpAddr>,
    pub own_ports: Vec<u16>,
    pub timeouts: Timeouts,
    pub limits: Limits,
    /// Destination ports that are never read.
    pub opaque_ports: Vec<u16>,
    /// Longest wait for the control plane to tell of an unknown destination.
    pub on_demand_timeout: Duration,
}

/// One address to listen on.
#[derive(Clone, Debug)]
pub struct Listener {
    pub address: SocketAddr,
    pub direction: Direction,
    /// Connections come by the redirect, and say where they were going. One that does not is refused.
    pub redirected: bool,
    /// Outbound, not redirected: the service (resource name) of requests whose authority names none.
    pub default_service: Option<String>,
    /// Inbound, not redirected: where the application listens.
    pub forward_to: Option<SocketAddr>,
}

#[derive(Clone, Debug)]
pub struct Timeouts {
    /// Until a connection to an instance stands, where no ServicePolicy says otherwise.
    pub connect: Duration,
    /// From the first byte of a head to its last.
    pub header_read: Duration,
    /// A body of HTTP/1.1 that waits for its client, to send or to read, without a byte.
    pub body: Duration,
    /// A client connection without a request.
    pub idle: Duration,
    /// Until a client that says nothing is taken for a server-first protocol.
    pub detect: Duration,
    /// A pooled connection to an instance without a request.
    pub pool_idle: Duration,
}

#[derive(Clone, Debug)]
pub struct Limits {
    /// Client connections of all workers together.
    pub connections: usize,
}

/// Listeners that are bound and not served yet.
pub struct Bound {
    config: Arc<Config>,
    shared: worker::Shared,
    sockets: VecDeque<Vec<(Listener, TcpListener)>>,
    addresses: Vec<(Direction, SocketAddr)>,
}

/// One worker's share of [`Bound`].
pub struct BoundWorker {
    config: Arc<Config>,
    shared: worker::Shared,
    sockets: Vec<(Listener, TcpListener)>,
}

/// What a worker is given by the rest of the process.
pub struct Given {
    pub reader: Reader,
    pub demand: Demand,
    pub counters: telemetry::Worker,
    pub drain: Watch,
    /// True when connections may be taken.
    pub opened: watch::Receiver<bool>,
    pub timer: Timer,
    pub journal: Journal,
    /// What was called by the process before, and is by this worker.
    pub habits: Habits,
    /// Which worker this is, from 0.
    pub index: usize,
    pub pressure: Pressure,
}

/// Binds every listener once for each worker, but where `inherited` has sockets that listen there already: those are shared out, every
/// one, for each may have somebody in its queue. The error names the address.
pub fn bind(config: Config, mut inherited: impl FnMut(SocketAddr) -> Vec<TcpListener>) -> Result<Bound> {
    let mut config = config;
    let workers = config.workers.max(1);
    let mut sockets: VecDeque<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
    let mut addresses = Vec::new();
    for listener in &mut config.listeners {
        let mut shares = shares(inherited(listener.address), workers)?;
        for share in &mut shares {
            if share.is_empty() {
                let socket = listen(listener.address, workers > 1)
                    .map_err(|error| Error::new(error.kind(), format!("listen on {}: {error}", listener.address)))?;
                share.push(socket);
            }
            // Port 0 was a wish: the other workers share what the first one got.
            listener.address = share[0].local_addr()?;
        }
        addresses.push((listener.direction, listener.address));
        for (own, share) in sockets.iter_mut().zip(shares) {
            own.extend(share.into_iter().map(|socket| (listener.clone(), socket)));
        }
    }
    for listener in &config.listeners {
        config.own_ports.push(listener.address.port());
    }
    Ok(Bound { config: Arc::new(config), shared: worker::Shared::new(), sockets, addresses })
}

/// Every worker has a share of the sockets, if there are any: more workers than sockets serve some of them together.
fn shares(inherited: Vec<TcpListener>, workers: usize) -> Result<Vec<Vec<TcpListener>>> {
    let mut shares: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    for (share, shared) in shares.iter_mut().zip(inherited.iter().cycle()).skip(inherited.len()) {
        share.push(shared.try_clone()?);
    }
    for (index, socket) in inherited.into_iter().enumerate() {
        socket.set_nonblocking(true)?;
        shares[index % workers].push(socket);
    }
    Ok(shares)
}

impl Bound {
    /// Where it listens, ports filled in.
    pub fn addresses(&self) -> &[(Direction, SocketAddr)] {
        &self.addresses
    }

    /// Every socket, once more: for a successor.
    pub fn sockets(&self) -> Result<Vec<OwnedFd>> {
        self.sockets.iter().flatten().map(|(_, socket)| socket.try_clone().map(OwnedFd::from)).collect()
    }

    /// One share for each worker; each is to be run on a thread of its own.
    pub fn into_workers(self) -> Vec<BoundWorker> {
        let Bound { config, shared, sockets, .. } = self;
        sockets
            .into_iter()
            .map(|sockets| BoundWorker { config: Arc::clone(&config), shared: shared.clone(), sockets })
            .collect()
    }
}

impl BoundWorker {
    /// Serves until the drain has ended. On a `current_thread` runtime for local tasks, with I/O and without a clock.
    pub async fn run(self, given: Given) -> Result<()> {
        accept::run(self.config, self.shared, self.sockets, given).await
    }
}

fn listen(address: SocketAddr, is_shared: bool) -> Result<TcpListener> {
    let socket = match Socket::new(Domain::for_address(address), Type::STREAM, None) {
        // No IPv6 in this kernel: any address is any IPv4 address.
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) && address.ip().is_unspecified() => {
            return listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()), is_shared);
        }
        other => other?,
    };
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    if is_shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests;
