//! From a listening socket to connections whose other end is known: accepts, shakes hands, counts.
//!
//! ```text
//!   accept --place free, and for that peer?--> handshake (a task each, HANDSHAKES_MAX at a time, HANDSHAKE_MAX long) --> Connections
//! ```
//! A slow or hostile handshake holds up nobody else. Connections beyond the port's bound wait in the system's queue; those beyond their
//! peer's are closed, since they would keep others waiting; those that bring nothing end. What the certificate of a client says is read
//! here, once; nobody later sees one that was not verified.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tracing::{debug, warn};

use self::peers::{Peers, Place};
use self::quiet::Quiet;
use crate::tls::{self, Tls};

mod peers;
mod quiet;

#[cfg(test)]
mod tests;

/// Longest handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Handshakes at a time: each may hold a few tens of KiB, and costs a millisecond of one core.
const HANDSHAKES_MAX: usize = 512;
/// Connections that wait to be served; the server takes them at once.
const READY_MAX: usize = 16;
/// Places of a port that one address never has: those of the kubelet's probes among them.
const RESERVED: usize = 64;
/// Of Linux: this kernel has no such family of addresses.
const EAFNOSUPPORT: i32 = 97;
/// Pause after a failure to accept, which is a lack of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    /// URI and DNS names of its certificate. Empty: it showed none.
    pub names: Arc<[String]>,
}

/// Where a port's TLS configuration is found. `None`: plain.
pub type PortTls = Option<(watch::Receiver<Arc<Tls>>, fn(&Tls) -> &Arc<ServerConfig>)>;

/// Connections as they come in.
pub type Connections = ReceiverStream<io::Result<Connection>>;

/// Connections of a port at a time, and of one address; no more than one counts its handshake.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub all_max: usize,
    pub peer_max: usize,
}

impl Bounds {
    /// One address may have nearly all of them: many come by one, through a proxy.
    pub const fn shared(all_max: usize) -> Bounds {
        Bounds { all_max, peer_max: all_max - RESERVED }
    }
}

/// One connection, counted while it lives.
pub struct Connection {
    io: Io,
    peer: Peer,
    quiet: Quiet,
    _place: (OwnedSemaphorePermit, Place),
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Listens. Where the machine has no IPv6, `[::]` is any address of the other family.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if has_no_family(address, &error) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

fn has_no_family(address: SocketAddr, error: &io::Error) -> bool {
    address.ip() == Ipv6Addr::UNSPECIFIED
        && (error.raw_os_error() == Some(EAFNOSUPPORT) || error.kind() == io::ErrorKind::AddrNotAvailable)
}

/// Accepts for as long as somebody takes what comes.
pub fn connections(listener: TcpListener, tls: PortTls, bounds: Bounds) -> Connections {
    let (ready, taken) = mpsc::channel(READY_MAX);
    tokio::spawn(accept(listener, tls, bounds, ready));
    ReceiverStream::new(taken)
}

async fn accept(listener: TcpListener, tls: PortTls, bounds: Bounds, ready: mpsc::Sender<io::Result<Connection>>) {
    let places = Arc::new(Semaphore::new(bounds.all_max));
    let peers = Peers::new(bounds.peer_max);
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        // Neither is ever closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok(handshake) = Arc::clone(&handshakes).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ready.closed() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(of_peer) = peers.take(address.ip()) else { continue };
        // As it is now: who connects after a change sees the change.
        let config = tls.as_ref().map(|(current, port)| Arc::clone(port(&current.borrow())));
        let ready = ready.clone();
        tokio::spawn(async move {
            let _handshake = handshake;
            match shake_hands(stream, address, config).await {
                // An error: the server goes away.
                Ok((io, peer)) => {
                    drop(ready.send(Ok(Connection { io, peer, quiet: Quiet::new(), _place: (place, of_peer) })).await)
                }
                Err(error) => debug!(remote = %address, %error, "no TLS connection"),
            }
        });
    }
}

async fn shake_hands(
    stream: TcpStream,
    address: SocketAddr,
    config: Option<Arc<ServerConfig>>,
) -> io::Result<(Io, Peer)> {
    stream.set_nodelay(true)?;
    let Some(config) = config else {
        return Ok((Io::Plain(stream), Peer { address, names: Arc::default() }));
    };
    let accepting = TlsAcceptor::from(config).accept(stream);
    let stream = tokio::time::timeout(HANDSHAKE_MAX, accepting).await??;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let names = certificate.map(tls::names).unwrap_or_default();
    Ok((Io::Tls(Box::new(stream)), Peer { address, names: names.into() }))
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl Connection {
    /// Something went out, or nothing does for too long.
    fn went<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(done) => {
                self.quiet.went();
                Poll::Ready(done)
            }
            Poll::Pending => self.quiet.poll_over(cx).map(Err),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        match polled {
            Poll::Ready(done) => {
                self.quiet.came();
                Poll::Ready(done)
            }
            Poll::Pending => self.quiet.poll_over(cx).map(Err),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        self.went(polled, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Io::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        self.went(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
