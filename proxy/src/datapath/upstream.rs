//! Connections to instances when a request needs one: a pooled one, or a new one. Decides nothing.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use laneway_core::conduct;
use laneway_core::snapshot::Protocol;
use tokio::net::TcpStream;

use super::bell::{Bell, Listener};
use super::budget::Traffics;
use super::connect::{self, From, Held, OwnSockets};
use super::failure::Failure;
use super::limit::Place;
use super::link::{Link, Sender, Watched};
use super::pool::{Conn, Ending, Host, Key, Pool};
use super::route::Target;
use super::sockopt::Fate;
use super::wire::Wire;
use crate::timer::Timer;

/// What a peer may send ahead on one stream (RFC 9113 section 6.9): a slow reader makes us keep no more of each body.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 48 << 10;
/// The same of all streams of a connection: so much that no one client, with all its streams held, stops the others that share the
/// connection to an instance.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Bytes of a header list after decompression (RFC 9113 section 6.5.2). A field of HTTP/2 costs its sender a byte and us 32 and more, so
/// it is less than what a head of HTTP/1.1 may have.
pub(crate) const HEADER_LIST_BYTES_MAX: u32 = 32 << 10;
/// What waits in the library for one stream to be written.
pub(crate) const STREAM_SEND_BYTES_MAX: usize = 64 << 10;
/// How long, and how often, a connection that broke is asked whether its peer took what was sent: a reset comes within a round trip.
const FATE_PAUSE: Duration = Duration::from_millis(5);
const FATE_LOOKS: u32 = 20;

/// Connections and what opening them needs; one a worker.
pub(crate) struct Upstream {
    pub(crate) pool: Pool,
    pub(crate) traffics: Traffics,
    pub(crate) own_sockets: OwnSockets,
    pub(crate) timer: Timer,
    /// Rung when what runs on an instance is to end.
    pub(crate) bell: Bell,
}

/// One request's claim on an instance: it counts as outstanding while this lives.
pub(crate) struct Claim {
    pub(crate) host: Rc<Host>,
    pub(crate) target: Target,
    /// Where the service limits what is sent to an instance.
    limit: Option<Limit>,
}

struct Limit {
    count: usize,
    queued_max: u32,
    place: Option<Place>,
}

impl Claim {
    /// It takes one of the places that the service allows, of which each worker has its part.
    pub(crate) fn limit(&mut self, limits: conduct::Limits, workers: usize) {
        let conduct::Limits { connections_max, requests_max, queued_max } = limits;
        // Over HTTP/1 each request that runs has a connection to itself, and none is opened while one is idle.
        let connections = if self.target.protocol == Protocol::Http2 { 0 } else { connections_max };
        let count = [requests_max, connections].into_iter().filter(|limit| *limit > 0).min();
        self.limit = count.map(|count| {
            let count = (count as usize).div_ceil(workers.max(1));
            Limit { count, queued_max, place: self.host.places.take(count) }
        });
    }

    /// It may be sent now.
    pub(crate) fn has_place(&self) -> bool {
        self.limit.as_ref().is_none_or(|limit| limit.place.is_some())
    }

    /// Waits for its place; an error: too many do.
    pub(crate) async fn await_place(&mut self) -> Result<(), Failure> {
        if let Some(limit) = &mut self.limit
            && limit.place.is_none()
        {
            limit.place = Some(self.host.places.wait(limit.count, limit.queued_max).await?);
        }
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.host.end();
    }
}

/// One connection that is passed through to an instance of a service: it runs there while this lives.
pub(crate) struct Passing {
    host: Rc<Host>,
    listener: Listener,
}

impl Passing {
    /// Ready when it is to end.
    pub(crate) fn poll_over(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.listener.listen(cx);
        if self.host.ending() == Ending::Over { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.host.end_passing();
    }
}

impl Upstream {
    pub(crate) fn claim(&self, target: Target) -> Claim {
        let host = self.pool.host(Key { address: target.address, from: target.from });
        host.begin();
        Claim { host, target, limit: None }
    }

    /// `service`: resource name.
    pub(crate) fn pass(&self, to: SocketAddr, from: From, service: &Arc<str>) -> Passing {
        let host = self.pool.host(Key { address: to, from });
        host.is_of(service);
        host.begin_passing();
        Passing { host, listener: self.bell.listener() }
    }

    /// A new connection. The guard lives as long as it.
    pub(crate) async fn connect(
        &self,
        to: SocketAddr,
        from: From,
        timeout: Duration,
    ) -> Result<(TcpStream, Held), Failure> {
        match self.timer.timeout(timeout, connect::open(to, from, &self.own_sockets)).await {
            Ok(opened) => opened,
            Err(_) => Err(Failure::ConnectTimeout),
        }
    }

    /// The same for a request, which does not wait where none came to stand of late.
    async fn dial(&self, claim: &Claim) -> Result<(TcpStream, Held), Failure> {
        let Claim { host, target, .. } = claim;
        let dial = host.dials.begin()?;
        let opened = self.connect(target.address, target.from, target.connect_timeout).await;
        dial.ended(opened.as_ref().err().copied());
        opened
    }

    /// A new HTTP/1.1 connection.
    pub(crate) async fn open_http1(&self, claim: &Claim) -> Result<Box<Conn>, Failure> {
        let (stream, held) = self.dial(claim).await?;
        Ok(claim.host.own(Wire::new(stream), held))
    }

    /// The HTTP/2 connection to the instance, if it can take a stream now.
    pub(crate) fn ready_http2(&self, cx: &mut Context<'_>, claim: &Claim) -> Option<Sender> {
        let mut sender = claim.host.http2()?;
        matches!(sender.poll_ready(cx), Poll::Ready(Ok(()))).then_some(sender)
    }

    /// The HTTP/2 connection to the instance, ready for a stream. One connection serves all streams: who comes while it is being
    /// opened waits for it.
    pub(crate) async fn http2(&self, claim: &Claim) -> Result<Sender, Failure> {
        let host = &*claim.host;
        if let Some(sender) = shared(host).await {
            return Ok(sender);
        }
        if host.dials.is_shut() {
            return Err(Failure::Unreachable);
        }
        let ended = host.dials.ended();
        let _turn = host.opening.lock().await;
        if let Some(sender) = shared(host).await {
            return Ok(sender);
        }
        if let Some(failure) = host.dials.failed_since(ended) {
            return Err(failure);
        }
        let (stream, held) = self.dial(claim).await?;
        let link = Rc::<Link>::default();
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(HEADER_LIST_BYTES_MAX)
            .max_send_buffer_size(STREAM_SEND_BYTES_MAX)
            .enable_push(false)
            .handshake(Watched::new(stream, Rc::clone(&link)))
            .await
            .map_err(|_| Failure::UpstreamClosed)?;
        let mut sender = Sender::new(send, Rc::clone(&link));
        host.share_http2(sender.clone());
        tokio::task::spawn_local(async move {
            let _held = held;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to instance ended");
            }
            link.end();
        });
        poll_fn(|cx| sender.poll_ready(cx)).await.map_err(|_| Failure::UpstreamClosed)?;
        Ok(sender)
    }

    /// A connection broke under a message of so many bytes. Is it certain that no application has seen a byte of it?
    pub(crate) async fn was_untaken(&self, wire: &Wire, bytes: usize) -> bool {
        for _ in 0..FATE_LOOKS {
            match wire.fate(bytes) {
                Fate::Untaken => return true,
                Fate::Taken => return false,
                Fate::Open => self.timer.sleep(FATE_PAUSE).await,
            }
        }
        false
    }
}

/// The connection that is there, when it takes a stream.
async fn shared(host: &Host) -> Option<Sender> {
    let mut sender = host.http2()?;
    poll_fn(|cx| sender.poll_ready(cx)).await.ok()?;
    Some(sender)
}
