//! Connections whose bytes we do not read: decided once, then relayed both ways until both sides have ended.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use laneway_core::why::{TagSource, Why};

use super::connect::{From, Held};
use super::relay::Relay;
use super::upstream::Passing;
use super::wire::Wire;
use super::worker::Worker;
use crate::telemetry::{Direction, Handle};

/// Where such a connection goes, and what it counts in.
pub(crate) struct Passage {
    pub(crate) to: SocketAddr,
    pub(crate) from: From,
    /// Resource name; `None`: an own application, or nobody that we know.
    pub(crate) service: Option<Arc<str>>,
    pub(crate) tally: Tally,
}

/// What is counted of it once it is clear that it is not read.
pub(crate) struct Tally {
    pub(crate) flow: Option<Handle>,
    pub(crate) direction: Direction,
    pub(crate) why: Why,
    pub(crate) source: TagSource,
}

impl Passage {
    /// It runs on its instance from here on.
    fn begin(&self, worker: &Worker) -> Option<Passing> {
        self.service.as_ref().map(|service| worker.upstream.pass(self.to, self.from, service))
    }
}

/// One that is counted; dropping it counts its end.
struct Counted(Tally);

impl Tally {
    fn begin(self) -> Counted {
        if let Some(flow) = &self.flow {
            flow.opaque_opened(self.why, self.source);
        }
        Counted(self)
    }
}

impl Counted {
    /// So many bytes went from the client, and so many to it.
    fn moved(&self, forth: usize, back: usize) {
        let Some(flow) = &self.0.flow else { return };
        let (received, sent) = match self.0.direction {
            Direction::Inbound => (forth, back),
            Direction::Outbound => (back, forth),
        };
        flow.opaque_moved(received, sent);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(flow) = &self.0.flow {
            flow.opaque_closed();
        }
    }
}

/// Who spoke first on a connection on which nobody had spoken.
pub(crate) enum Spoke {
    Client(Wire),
    /// Or one of them has gone: relayed to its end.
    Server,
}

/// Connects, passes on what was read already, and relays. A failure resets the client, as the instance would have.
pub(crate) async fn pass(worker: &Rc<Worker>, mut client: Wire, passage: Passage) {
    let passing = passage.begin(worker);
    let Passage { to, from, tally, .. } = passage;
    let counted = tally.begin();
    let Some((mut upstream, _held)) = Box::pin(open(worker, &client, to, from)).await else { return };
    relay(worker, &mut client, &mut upstream, &counted, passing).await;
}

/// A silent client: connects, and waits for whoever speaks first. If that is the server, relays to the end; if it is the
/// client, gives the connection back to be read, for it may be a pooled HTTP connection that was opened early.
pub(crate) async fn wait_for_speaker(worker: &Rc<Worker>, mut client: Wire, passage: Passage) -> Spoke {
    let passing = passage.begin(worker);
    let Passage { to, from, tally, .. } = passage;
    let Some((mut upstream, _held)) = open(worker, &client, to, from).await else { return Spoke::Server };
    let (mut client_byte, mut server_byte) = ([0], [0]);
    let client_spoke = tokio::select! {
        biased;
        read = upstream.stream().peek(&mut server_byte) => { let _ = read; false }
        read = client.stream().peek(&mut client_byte) => matches!(read, Ok(length) if length > 0),
    };
    if client_spoke {
        return Spoke::Client(client);
    }
    let counted = tally.begin();
    relay(worker, &mut client, &mut upstream, &counted, passing).await;
    Spoke::Server
}

/// Until both sides have ended, or the instance has gone away and its service wants that to be the end.
async fn relay(
    worker: &Rc<Worker>,
    client: &mut Wire,
    upstream: &mut Wire,
    counted: &Counted,
    mut passing: Option<Passing>,
) {
    let mut relay = Relay::default();
    let is_over = |cx: &mut std::task::Context<'_>| match &mut passing {
        Some(passing) => passing.poll_over(cx),
        None => Poll::Pending,
    };
    let moved = |forth, back| counted.moved(forth, back);
    if relay.run(client, upstream, moved, is_over).await.is_some() {
        worker.counters.stream_ended("opaque");
        Box::pin(relay.end(client, upstream, &worker.timer, [0; 4])).await;
    }
}

async fn open(worker: &Rc<Worker>, client: &Wire, to: SocketAddr, from: From) -> Option<(Wire, Held)> {
    let timeout = worker.config.timeouts.connect;
    match worker.upstream.connect(to, from, timeout).await {
        Ok((stream, held)) => Some((Wire::new(stream), held)),
        Err(failure) => {
            worker.counters.failure(failure.label());
            tracing::debug!(%to, reason = failure.label(), "no connection for bytes that are passed through");
            client.reset();
            None
        }
    }
}
