//! Opens a connection to an instance, or to the pod's own application from the marker source address.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use laneway_core::snapshot::EndpointAddr;
use laneway_proto::contract;
use tokio::net::{TcpSocket, TcpStream};

use super::failure::Failure;
use super::sockopt;

/// From which address a connection is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum From {
    /// The kernel's choice.
    Any,
    /// 127.0.0.6 or ::6, which the redirect lets through to the application.
    Marker,
}

/// The connections that this process opened, by local address and by what was dialled. One of them as the peer of an accepted
/// connection that was going there is a loop: our own traffic was redirected to us. The local address alone says nothing: the
/// kernel gives one port to connections to several destinations, ours and the application's.
#[derive(Clone, Default)]
pub(crate) struct OwnSockets(Arc<Mutex<HashSet<(SocketAddr, SocketAddr)>>>);

impl OwnSockets {
    pub(crate) fn contains(&self, peer: SocketAddr, destination: SocketAddr) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&(peer, destination))
    }

    fn hold(&self, local: SocketAddr, dialled: SocketAddr) -> Held {
        let own = (local, dialled);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(own);
        Held { sockets: self.clone(), own }
    }
}

/// Takes the connection out again when the connection ends.
pub(crate) struct Held {
    sockets: OwnSockets,
    own: (SocketAddr, SocketAddr),
}

impl Held {
    /// Our own address.
    pub(crate) fn local(&self) -> SocketAddr {
        self.own.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.sockets.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.own);
    }
}

/// Connects, however long it takes; the guard lives as long as the connection.
pub(crate) async fn open(to: SocketAddr, from: From, own: &OwnSockets) -> Result<(TcpStream, Held), Failure> {
    let stream = dial(to, from).await.map_err(|error| classify(&error))?;
    let local = stream.local_addr().map_err(|error| classify(&error))?;
    Ok((stream, own.hold(sockopt::canonical(local), sockopt::canonical(to))))
}

async fn dial(to: SocketAddr, from: From) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if from == From::Marker {
        let source: IpAddr = match to {
            SocketAddr::V4(_) => contract::INBOUND_SOURCE_V4.into(),
            SocketAddr::V6(_) => contract::INBOUND_SOURCE_V6.into(),
        };
        sockopt::bind_address_no_port(&socket)?;
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn classify(error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EADDRNOTAVAIL) => Failure::Exhausted,
        _ => Failure::Connect,
    }
}

/// An instance that listens on any port is called on the one that was dialled.
pub(crate) fn with_port(endpoint: EndpointAddr, dialled: u16) -> SocketAddr {
    let mut address = endpoint.0;
    if address.port() == 0 {
        address.set_port(dialled);
    }
    address
}

#[cfg(test)]
mod tests;
