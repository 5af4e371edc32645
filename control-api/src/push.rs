//! The discovery service: each sidecar's delta stream, served from what `reconcile` published.
//!
//! A thin shell: bytes in and out, time, and the end of a stream. What to send and when is [`session::Session`]'s.
//! One task a stream; it ends with the stream, with a newer stream of the same node, when it is old enough, or when the
//! process drains.

mod age;
mod door;
pub mod node;
mod opening;
mod reconnect;
mod reports;
pub mod session;

use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use laneway_core::compile::WireResource;
use laneway_core::snapshot::Identity;
use laneway_proto::contract::{DISCOVERY_REQUEST_BYTES_MAX, TYPE_RECONNECT};
use laneway_proto::status::{ConfigState, Proxy};
use laneway_proto::telemetry::lane_stats_server::LaneStatsServer;
use laneway_proto::xds::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use laneway_proto::xds::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Node as WireNode,
};
use tokio::sync::{Notify, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument, debug, info, info_span, warn};

use self::age::Age;
use self::door::{Answer, Asking, Visitor};
use self::node::Node;
use self::reconnect::{Offer, Told};
use self::reports::{REPORT_BYTES_MAX, Reports};
use self::session::{Heard, Now, Session, View};
use crate::access::Door;
use crate::drain::Draining;
use crate::fleet::{Fleet, Holding, Member, Taken};
use crate::listen::Connections;
use crate::reconcile::Published;
use crate::replicas::Replicas;
use crate::stats::Stats;
use crate::{health, reflection};

/// What is served here, beside reflection.
const SERVICES: [&str; 3] = [
    "envoy.service.discovery.v3.AggregatedDiscoveryService",
    "laneway.telemetry.v1.LaneStats",
    "grpc.health.v1.Health",
];
/// Responses between a stream's task and its connection: one in flight for each type, and a last word. So it is never full, and
/// a sidecar that does not read holds up nothing, its own end included.
const RESPONSES_QUEUED_MAX: usize = session::TYPES_MAX + 1;
/// Streams of one connection: a sidecar has one of each kind.
const STREAMS_MAX: u32 = 16;
/// A sidecar that is gone without a word is noticed after the sum of both.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_ANSWER: Duration = Duration::from_secs(5);

/// A connection takes no new stream after this, and ends with the last one that it has: these end by their own age. A certificate is
/// looked at when a connection is made, so it lets nobody in for longer. Sidecars come with a new connection for each stream.
const CONNECTION_AGE: Duration = age::LONGEST.saturating_add(Duration::from_secs(60));

/// What serves the streams.
pub struct Push {
    published: watch::Receiver<Arc<Published>>,
    fleet: Fleet,
    draining: Draining,
    replicas: Replicas,
    stats: Stats,
    reconnect: Told,
}

impl Push {
    pub fn new(
        published: watch::Receiver<Arc<Published>>,
        fleet: Fleet,
        draining: Draining,
        replicas: Replicas,
        stats: Stats,
    ) -> Push {
        Push { published, fleet, draining, replicas, stats, reconnect: reconnect::channel() }
    }

    /// Serves until the drain; then every stream is closed.
    pub async fn serve(
        self,
        connections: Connections,
        door: Door,
        mut draining: Draining,
    ) -> Result<(), tonic::transport::Error> {
        let (reflection, reflection_alpha) = reflection::services(&SERVICES);
        let health = health::service(&SERVICES, draining.clone());
        let Push { stats, fleet, draining: ending, .. } = &self;
        let reports = Reports { stats: stats.clone(), fleet: fleet.clone(), draining: ending.clone() };
        let counting = reconnect::count(fleet.clone(), self.replicas.clone(), self.reconnect.clone());
        let reports = LaneStatsServer::new(reports).max_decoding_message_size(REPORT_BYTES_MAX);
        let service =
            AggregatedDiscoveryServiceServer::new(self).max_decoding_message_size(DISCOVERY_REQUEST_BYTES_MAX);
        let calls = Routes::new(service)
            .add_service(reports)
            .add_service(health)
            .add_service(reflection)
            .add_service(reflection_alpha)
            .prepare()
            .into_axum_router();
        let guarded = calls.layer(axum::middleware::from_fn_with_state(door, door::admit));
        let serving = Server::builder()
            .http2_keepalive_interval(Some(PING_EVERY))
            .http2_keepalive_timeout(Some(PING_ANSWER))
            .max_concurrent_streams(Some(STREAMS_MAX))
            .max_connection_age(CONNECTION_AGE)
            .add_routes(Routes::from(guarded))
            .serve_with_incoming_shutdown(connections, async move {
                draining.started().await;
            });
        tokio::select! {
            served = serving => served,
            never = counting => match never {},
        }
    }
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Push {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("StreamAggregatedResources is not supported; use DeltaAggregatedResources"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        // Put there at the door; without it nobody knows who calls.
        let visitor = request.extensions().get::<Visitor>().cloned();
        let visitor =
            visitor.ok_or_else(|| Status::unauthenticated("the call did not come through the port's door"))?;
        let (responses, stream) = mpsc::channel(RESPONSES_QUEUED_MAX);
        let conversation = Conversation {
            requests: request.into_inner(),
            responses,
            published: self.published.clone(),
            fleet: self.fleet.clone(),
            draining: self.draining.clone(),
            replica: self.replicas.own().to_owned(),
            reconnect: self.reconnect.subscribe(),
            remote: visitor.peer.address.to_string(),
            visitor,
            asking: None,
            age: Age::begin(Instant::now(), std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0_u8)),
        };
        // Ends when the connection does: then reading fails.
        tokio::spawn(conversation.run());
        Ok(Response::new(Box::pin(ReceiverStream::new(stream).map(|response| *response))))
    }
}

/// One stream, before it is known who speaks.
struct Conversation {
    requests: Streaming<DeltaDiscoveryRequest>,
    /// Boxed: a channel has room for 32 from the start.
    responses: mpsc::Sender<Box<Result<DeltaDiscoveryResponse, Status>>>,
    published: watch::Receiver<Arc<Published>>,
    fleet: Fleet,
    draining: Draining,
    replica: String,
    reconnect: watch::Receiver<Arc<WireResource>>,
    remote: String,
    visitor: Visitor,
    age: Age,
    /// Whether it would be let in now: it is old.
    asking: Option<Asking>,
}

/// A stream as the fleet sees it.
struct Line {
    node: Node,
    /// The uid of its pod, where a cluster vouches for it.
    pod: Option<String>,
    remote: String,
    replica: String,
    since: SystemTime,
    session: Mutex<Session>,
    seen_revision: AtomicI64,
    replaced: Notify,
}

impl Conversation {
    async fn run(mut self) {
        let first = match opening::first(&mut self.requests).await {
            Ok(Some(first)) => first,
            Ok(None) => return,
            Err(status) => {
                debug!(remote = %self.remote, %status, "stream refused");
                let _ = self.responses.send(Box::new(Err(status))).await;
                return;
            }
        };
        let node = match Node::read(first.node.as_ref().unwrap_or(&WireNode::default())) {
            Ok(node) => node,
            Err(reason) => {
                warn!(remote = %self.remote, %reason, "stream refused");
                let _ = self.responses.send(Box::new(Err(Status::invalid_argument(reason.to_string())))).await;
                return;
            }
        };
        if let Err(status) = self.visitor.may_be(&node.said()) {
            warn!(remote = %self.remote, node = %node.id, reason = status.message(), "stream refused");
            let _ = self.responses.send(Box::new(Err(status))).await;
            return;
        }
        let span = info_span!("stream", node = %node.id);
        self.talk(node, first).instrument(span).await;
    }

    async fn talk(mut self, node: Node, first: DeltaDiscoveryRequest) {
        info!(service = %node.identity.service, tag = %node.metadata.tag, remote = %self.remote, "sidecar connected");
        let line = Arc::new(Line {
            session: Mutex::new(Session::new(node.identity.clone())),
            node,
            pod: self.visitor.pod_uid().map(str::to_owned),
            remote: std::mem::take(&mut self.remote),
            replica: std::mem::take(&mut self.replica),
            since: SystemTime::now(),
            seen_revision: AtomicI64::new(-1),
            replaced: Notify::new(),
        });
        let _seat = match self.fleet.join(line.node.id.clone(), Arc::clone(&line) as Arc<dyn Member>) {
            Ok(seat) => seat,
            Err(Taken(Identity { namespace, service, .. })) => {
                warn!(%namespace, %service, "stream refused: its node id is that of a node of another service");
                let words = format!("the node id {} is held by {namespace}/{service}", line.node.id);
                let _ = self.responses.send(Box::new(Err(Status::permission_denied(words)))).await;
                return;
            }
        };
        let mut end = self.hear(&line, first);
        while end.is_none() {
            if self.send_due(&line).await.is_err() {
                break;
            }
            end = self.wait(&line).await;
        }
        match end {
            Some(End::Gone) | None => info!("sidecar disconnected"),
            // The channel closes, which is the end without an error: the sidecar opens another stream at once.
            Some(End::Aged) => info!("stream ended: it is old enough, perhaps another replica takes the next one"),
            Some(End::Refuse(status)) => {
                info!(reason = %status.message(), "stream ended");
                let _ = self.responses.send(Box::new(Err(status))).await;
            }
        }
    }

    /// Waits for one thing to happen, and takes it.
    async fn wait(&mut self, line: &Arc<Line>) -> Option<End> {
        let (held_until, is_answered) = {
            let session = line.session();
            (session.deadline(), session.is_answered())
        };
        let held = async {
            match held_until {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let old_enough = tokio::time::sleep_until(self.age.ends(is_answered).into());
        tokio::select! {
            request = self.requests.next() => match request {
                Some(Ok(request)) => self.hear(line, request),
                Some(Err(status)) if status.code() == tonic::Code::OutOfRange
                    || status.code() == tonic::Code::ResourceExhausted => Some(End::Refuse(status)),
                Some(Err(_)) | None => Some(End::Gone),
            },
            changed = self.published.changed() => match changed {
                Ok(()) => None,
                Err(_) => Some(End::Refuse(Status::unavailable("the control plane is going away"))),
            },
            changed = self.reconnect.changed() => match changed {
                Ok(()) => {
                    line.session().look_again(TYPE_RECONNECT);
                    None
                }
                Err(_) => Some(End::Refuse(Status::unavailable("the control plane is going away"))),
            },
            () = held => None,
            () = old_enough, if self.asking.is_none() => {
                self.asking = Some(self.visitor.ask());
                None
            }
            answer = door::answer(&mut self.asking) => {
                self.asking = None;
                self.ends_old(answer)
            }
            () = line.replaced.notified() => {
                Some(End::Refuse(Status::aborted("a newer stream of the same node took over")))
            }
            () = self.visitor.rules_changed() => self.visitor.look_again(&line.node.said()).err().map(End::Refuse),
            () = self.draining.started() => {
                Some(End::Refuse(Status::unavailable("the control plane is going away")))
            }
        }
    }

    /// How a stream that is old ends, if it does.
    fn ends_old(&mut self, answer: Answer) -> Option<End> {
        match answer {
            // Whoever may not come in any more is told so when it comes again.
            Ok(()) => Some(End::Aged),
            Err(_) if self.age.stay(tokio::time::Instant::now().into_std()) => {
                info!("the stream is old and stays: nobody can say who it is, so it could not come back");
                None
            }
            Err(status) => Some(End::Refuse(status)),
        }
    }

    fn hear(&self, line: &Line, request: DeltaDiscoveryRequest) -> Option<End> {
        let type_url = request.type_url.clone();
        let heard = line.session().request(request, now());
        match heard {
            Ok(Heard::Request) => None,
            Ok(Heard::Ack) => {
                self.fleet.tell();
                None
            }
            Ok(Heard::Nack(reason)) => {
                warn!(%type_url, %reason, "sidecar refused resources");
                self.fleet.tell();
                None
            }
            Err(violation @ session::Violation::NoType) => {
                Some(End::Refuse(Status::invalid_argument(violation.to_string())))
            }
            Err(violation) => Some(End::Refuse(Status::resource_exhausted(violation.to_string()))),
        }
    }

    /// Sends what is due. An error: the sidecar is gone.
    async fn send_due(&mut self, line: &Line) -> Result<(), ()> {
        let responses = {
            let published = self.published.borrow_and_update().clone();
            let offer = Offer { compiled: &published.compiled, reconnect: self.reconnect.borrow().clone() };
            let view = View { source: &offer, edition: published.edition, revision: published.revision };
            let responses = line.session().poll(view, now());
            line.seen_revision.store(published.revision, Ordering::Release);
            responses
        };
        for response in responses {
            debug!(
                type_url = %response.type_url,
                resources = response.resources.len(),
                removed = response.removed_resources.len(),
                revision = %response.system_version_info,
                "push"
            );
            self.responses.send(Box::new(Ok(response))).await.map_err(drop)?;
        }
        Ok(())
    }
}

/// How a stream ends.
enum End {
    Gone,
    Aged,
    Refuse(Status),
}

impl Line {
    fn session(&self) -> MutexGuard<'_, Session> {
        // A panic inside ended that stream's task; status may still look.
        self.session.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Member for Line {
    fn identity(&self) -> Identity {
        self.node.identity.clone()
    }

    fn pod(&self) -> Option<&str> {
        self.pod.as_deref()
    }

    fn seen_revision(&self) -> i64 {
        self.seen_revision.load(Ordering::Acquire)
    }

    fn holding(&self, type_url: &str, name: &str) -> Holding {
        self.session().holding(type_url, name)
    }

    fn report(&self, full: bool) -> Proxy {
        let types = self.session().report(full);
        let worst = types.iter().map(|status| status.state).max().unwrap_or(ConfigState::NotSent.into());
        Proxy {
            name: format!("proxies/{}", self.node.id),
            node: Some(self.node.metadata.clone()),
            remote_address: self.remote.clone(),
            control_plane: self.replica.clone(),
            connect_time: Some(self.since.into()),
            state: worst,
            types,
            last_report_time: None,
        }
    }

    fn replaced(&self) {
        self.replaced.notify_one();
    }
}

fn now() -> Now {
    Now { steady: Instant::now(), wall: SystemTime::now() }
}
