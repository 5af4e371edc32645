//! The API for people and CI: `LaneAdmin` and `MeshStatus` over gRPC, and the same as JSON over HTTP.
//!
//! ```text
//!   gRPC ---------> services --call--> one function a method --> reconcile, fleet
//!   JSON --http-------^                  `--stream--> one task an answer that goes on
//! ```
//! Each method is a few lines: look at the request, ask `reconcile` or `fleet`, put the answer together. What this
//! version does not do answers UNIMPLEMENTED and says so.

mod admit;
mod audit;
mod change;
mod discovery;
mod errors;
mod explain;
mod export;
mod field;
mod filter;
mod history;
mod http;
mod lanes;
mod mask;
mod metrics;
mod order;
mod page;
mod peers;
mod read;
mod repeats;
mod roles;
mod rollback;
mod rollout;
mod stats;
mod status;
mod stream;
mod verdicts;
mod watch;
mod write;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use laneway_proto::admin::lane_admin_server::{LaneAdmin, LaneAdminServer};
use laneway_proto::admin::{
    ApplyBundleRequest, ApplyBundleResponse, Bundle, CreateLaneGroupRequest, CreateLaneRequest,
    CreateServicePolicyRequest, DeleteLaneGroupRequest, DeleteLaneRequest, DeleteServicePolicyRequest,
    DisableLaneRequest, DisableLaneResponse, EnableLaneRequest, EnableLaneResponse, ExplainRouteRequest,
    ExplainRouteResponse, ExportBundleRequest, GetLaneGroupRequest, GetLaneRequest, GetRevisionRequest,
    GetServicePolicyRequest, Lane, LaneGroup, ListAuditEventsRequest, ListAuditEventsResponse, ListLaneGroupsRequest,
    ListLaneGroupsResponse, ListLanesRequest, ListLanesResponse, ListRevisionsRequest, ListRevisionsResponse,
    ListServicePoliciesRequest, ListServicePoliciesResponse, Revision, RollbackRequest, RollbackResponse,
    ServicePolicy, UpdateLaneGroupRequest, UpdateLaneRequest, UpdateServicePolicyRequest, WatchEvent, WatchRequest,
};
use laneway_proto::status::mesh_status_server::{MeshStatus, MeshStatusServer};
use laneway_proto::status::{
    GetProxyRequest, GetRolloutRequest, GetServerInfoRequest, GetTopologyRequest, ListProxiesRequest,
    ListProxiesResponse, Proxy, QueryLaneStatsRequest, QueryLaneStatsResponse, Rollout, ServerInfo, Topology,
    WatchLaneStatsRequest, WatchProxiesRequest, WatchProxiesResponse, WatchRolloutRequest,
};
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use self::peers::Peers;
use self::repeats::Repeats;
use self::stream::{Events, Streams};
use crate::access::Door;
use crate::access::limit::Limit;
use crate::credentials::Credentials;
use crate::discovery::TagOf;
use crate::discovery::standing::Standing;
use crate::drain::Draining;
use crate::fleet::Fleet;
use crate::guard::Deeds;
use crate::leader::Leader;
use crate::listen::Connections;
use crate::reconcile::Reconciler;
use crate::replicas::Replicas;
use crate::stats::Stats;
use crate::{health, reflection, webhook};

/// What is served here, beside reflection.
const SERVICES: [&str; 3] = ["laneway.admin.v1.LaneAdmin", "laneway.status.v1.MeshStatus", "grpc.health.v1.Health"];
/// Largest request: a bundle of very many objects.
const REQUEST_BYTES_MAX: usize = 16 << 20;
/// Calls of one connection at a time.
const CALLS_MAX: u32 = 100;
/// A peer that is gone without a word is noticed after the sum of both.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_ANSWER: Duration = Duration::from_secs(5);
/// A connection takes no more calls after this, and ends with its last one: a watch may go on for days, one without a call has had its time.
const CONNECTION_AGE: Duration = Duration::from_secs(30 * 60);

/// What all methods work on.
#[derive(Clone)]
pub struct Api {
    reconciler: Reconciler,
    fleet: Fleet,
    leader: Leader,
    peers: Peers,
    stats: Stats,
    deeds: Deeds,
    doors: [Door; 2],
    webhook: webhook::Counts,
    discovery: Standing,
    tag_of: TagOf,
    started: SystemTime,
    draining: Draining,
    repeats: Repeats,
    streams: Streams,
    /// Of changes, by principal.
    writes: Arc<Limit>,
}

/// What the API is given by the parts.
pub struct Given {
    pub reconciler: Reconciler,
    pub fleet: Fleet,
    pub leader: Leader,
    pub replicas: Replicas,
    /// What the other replicas are shown.
    pub credentials: Credentials,
    pub stats: Stats,
    /// Of the guards of lanes.
    pub deeds: Deeds,
    /// Of both ports: who was not let in.
    pub doors: [Door; 2],
    /// Of the port that the API server of a cluster asks.
    pub webhook: webhook::Counts,
    /// How discovery hears what it follows.
    pub discovery: Standing,
    /// What discovery knows of the tags of pods.
    pub tag_of: TagOf,
    pub draining: Draining,
    /// Of one principal.
    pub writes_per_second: u32,
}

impl Api {
    pub fn new(given: Given) -> Api {
        let Given {
            reconciler,
            fleet,
            leader,
            replicas,
            credentials,
            stats,
            deeds,
            doors,
            webhook,
            discovery,
            tag_of,
            draining,
            writes_per_second,
        } = given;
        let (repeats, streams) = (Repeats::new(repeats::BOUND), Streams::default());
        let (peers, started) = (Peers::new(replicas, credentials), SystemTime::now());
        let writes = Arc::new(Limit::per_second(writes_per_second));
        Api {
            reconciler,
            fleet,
            leader,
            peers,
            stats,
            deeds,
            doors,
            webhook,
            discovery,
            tag_of,
            started,
            draining,
            repeats,
            streams,
            writes,
        }
    }

    /// How far an object has got with the sidecars of all replicas, for whoever reports it. Nothing: it is none that can be followed.
    pub async fn progress(&self, name: &str) -> Option<Rollout> {
        let request = GetRolloutRequest { name: name.to_owned(), ..GetRolloutRequest::default() };
        status::get_rollout(self, request).await.ok()
    }

    /// Serves until the drain; then what runs is finished.
    pub async fn serve(self, connections: Connections, door: Door) -> Result<(), tonic::transport::Error> {
        let mut draining = self.draining.clone();
        let (reflection, reflection_alpha) = reflection::services(&SERVICES);
        let measured = self.clone();
        let metrics = axum::routing::get(move || metrics::answer(measured.clone()));
        let admin = LaneAdminServer::new(self.clone()).max_decoding_message_size(REQUEST_BYTES_MAX);
        let calls = Routes::new(admin)
            .add_service(MeshStatusServer::new(self))
            .add_service(health::service(&SERVICES, draining.clone()))
            .add_service(reflection)
            .add_service(reflection_alpha)
            .prepare()
            .into_axum_router();
        // For probes, by HTTP/1.1 too. The ports are open only when everything is loaded: whoever answers is ready, until it leaves.
        let ending = draining.clone();
        let ready = axum::routing::get(async move || match ending.is_leaving() {
            true => (StatusCode::SERVICE_UNAVAILABLE, "leaving\n"),
            false => (StatusCode::OK, "ready\n"),
        });
        let live = axum::routing::get(async || "live\n");
        let plain = calls.clone().route("/ready", ready).route("/live", live).route("/metrics", metrics);
        let plain = plain.merge(http::routes(calls));
        let admitted = plain.layer(axum::middleware::from_fn_with_state(door, admit::admit));
        Server::builder()
            .accept_http1(true)
            .http2_keepalive_interval(Some(PING_EVERY))
            .http2_keepalive_timeout(Some(PING_ANSWER))
            .max_concurrent_streams(Some(CALLS_MAX))
            .max_connection_age(CONNECTION_AGE)
            .add_routes(Routes::from(admitted))
            .serve_with_incoming_shutdown(connections, async move {
                draining.started().await;
            })
            .await
    }
}

type Answer<T> = Result<Response<T>, Status>;

/// A call that only looks; for one that changes something there is `change`.
async fn answer<T>(work: impl Future<Output = Result<T, Status>>) -> Answer<T> {
    work.await.map(Response::new)
}

#[tonic::async_trait]
impl LaneAdmin for Api {
    type WatchStream = Events<WatchEvent>;

    async fn create_lane_group(&self, request: Request<CreateLaneGroupRequest>) -> Answer<LaneGroup> {
        self.change(request, write::create_group).await
    }

    async fn get_lane_group(&self, request: Request<GetLaneGroupRequest>) -> Answer<LaneGroup> {
        answer(read::get_group(self, request.into_inner())).await
    }

    async fn list_lane_groups(&self, request: Request<ListLaneGroupsRequest>) -> Answer<ListLaneGroupsResponse> {
        answer(read::list_groups(self, request.into_inner())).await
    }

    async fn update_lane_group(&self, request: Request<UpdateLaneGroupRequest>) -> Answer<LaneGroup> {
        self.change(request, write::update_group).await
    }

    async fn delete_lane_group(&self, request: Request<DeleteLaneGroupRequest>) -> Answer<()> {
        self.change(request, write::delete_group).await
    }

    async fn create_lane(&self, request: Request<CreateLaneRequest>) -> Answer<Lane> {
        self.change(request, write::create_lane).await
    }

    async fn get_lane(&self, request: Request<GetLaneRequest>) -> Answer<Lane> {
        answer(read::get_lane(self, request.into_inner())).await
    }

    async fn list_lanes(&self, request: Request<ListLanesRequest>) -> Answer<ListLanesResponse> {
        answer(read::list_lanes(self, request.into_inner())).await
    }

    async fn update_lane(&self, request: Request<UpdateLaneRequest>) -> Answer<Lane> {
        self.change(request, write::update_lane).await
    }

    async fn delete_lane(&self, request: Request<DeleteLaneRequest>) -> Answer<()> {
        self.change(request, write::delete_lane).await
    }

    async fn enable_lane(&self, request: Request<EnableLaneRequest>) -> Answer<EnableLaneResponse> {
        self.change(request, lanes::enable).await
    }

    async fn disable_lane(&self, request: Request<DisableLaneRequest>) -> Answer<DisableLaneResponse> {
        self.change(request, lanes::disable).await
    }

    async fn create_service_policy(&self, request: Request<CreateServicePolicyRequest>) -> Answer<ServicePolicy> {
        self.change(request, write::create_policy).await
    }

    async fn get_service_policy(&self, request: Request<GetServicePolicyRequest>) -> Answer<ServicePolicy> {
        answer(read::get_policy(self, request.into_inner())).await
    }

    async fn list_service_policies(
        &self,
        request: Request<ListServicePoliciesRequest>,
    ) -> Answer<ListServicePoliciesResponse> {
        answer(read::list_policies(self, request.into_inner())).await
    }

    async fn update_service_policy(&self, request: Request<UpdateServicePolicyRequest>) -> Answer<ServicePolicy> {
        self.change(request, write::update_policy).await
    }

    async fn delete_service_policy(&self, request: Request<DeleteServicePolicyRequest>) -> Answer<()> {
        self.change(request, write::delete_policy).await
    }

    async fn apply_bundle(&self, request: Request<ApplyBundleRequest>) -> Answer<ApplyBundleResponse> {
        self.change(request, write::apply).await
    }

    async fn export_bundle(&self, request: Request<ExportBundleRequest>) -> Answer<Bundle> {
        answer(export::export(self, request.into_inner())).await
    }

    async fn explain_route(&self, request: Request<ExplainRouteRequest>) -> Answer<ExplainRouteResponse> {
        answer(explain::explain(self, request.into_inner())).await
    }

    async fn list_revisions(&self, request: Request<ListRevisionsRequest>) -> Answer<ListRevisionsResponse> {
        answer(history::list(self, request.into_inner())).await
    }

    async fn get_revision(&self, request: Request<GetRevisionRequest>) -> Answer<Revision> {
        answer(history::get(self, request.into_inner())).await
    }

    async fn rollback(&self, request: Request<RollbackRequest>) -> Answer<RollbackResponse> {
        self.change(request, rollback::rollback).await
    }

    async fn list_audit_events(&self, request: Request<ListAuditEventsRequest>) -> Answer<ListAuditEventsResponse> {
        answer(audit::list(self, request.into_inner())).await
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Answer<Self::WatchStream> {
        watch::watch(self, request.into_inner()).await
    }
}

#[tonic::async_trait]
impl MeshStatus for Api {
    type WatchProxiesStream = Events<WatchProxiesResponse>;
    type WatchRolloutStream = Events<Rollout>;
    type WatchLaneStatsStream = Events<QueryLaneStatsResponse>;

    async fn list_proxies(&self, request: Request<ListProxiesRequest>) -> Answer<ListProxiesResponse> {
        answer(status::list_proxies(self, request.into_inner())).await
    }

    async fn get_proxy(&self, request: Request<GetProxyRequest>) -> Answer<Proxy> {
        answer(status::get_proxy(self, request.into_inner())).await
    }

    async fn watch_proxies(&self, request: Request<WatchProxiesRequest>) -> Answer<Self::WatchProxiesStream> {
        status::watch_proxies(self, request.get_ref())
    }

    async fn get_rollout(&self, request: Request<GetRolloutRequest>) -> Answer<Rollout> {
        answer(status::get_rollout(self, request.into_inner())).await
    }

    async fn watch_rollout(&self, request: Request<WatchRolloutRequest>) -> Answer<Self::WatchRolloutStream> {
        status::watch_rollout(self, request.get_ref())
    }

    async fn query_lane_stats(&self, request: Request<QueryLaneStatsRequest>) -> Answer<QueryLaneStatsResponse> {
        answer(stats::query(self, request.into_inner())).await
    }

    async fn watch_lane_stats(&self, request: Request<WatchLaneStatsRequest>) -> Answer<Self::WatchLaneStatsStream> {
        stats::watch(self, request.into_inner())
    }

    async fn get_topology(&self, request: Request<GetTopologyRequest>) -> Answer<Topology> {
        answer(stats::topology(self, request.into_inner())).await
    }

    async fn get_server_info(&self, request: Request<GetServerInfoRequest>) -> Answer<ServerInfo> {
        answer(status::get_server_info(self, request.into_inner())).await
    }
}
