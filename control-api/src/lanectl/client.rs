//! The calls: the one file of lanectl that speaks gRPC. Everything it gives back is plain messages.

use std::fmt;
use std::time::Duration;

use laneway_proto::admin::lane_admin_client::LaneAdminClient;
use laneway_proto::admin::{
    ApplyBundleRequest, ApplyBundleResponse, CreateLaneRequest, DeleteLaneGroupRequest, DeleteLaneRequest,
    DeleteServicePolicyRequest, DisableLaneRequest, DisableLaneResponse, EnableLaneRequest, EnableLaneResponse,
    ExplainRouteRequest, ExplainRouteResponse, GetLaneGroupRequest, GetLaneRequest, GetRevisionRequest,
    GetServicePolicyRequest, Lane, LaneGroup, ListLaneGroupsRequest, ListLanesRequest, ListRevisionsRequest,
    ListServicePoliciesRequest, Revision, RollbackRequest, RollbackResponse, ServicePolicy, UpdateLaneRequest,
    WatchEvent, WatchRequest,
};
use laneway_proto::status::mesh_status_client::MeshStatusClient;
use laneway_proto::status::{
    GetProxyRequest, GetRolloutRequest, GetServerInfoRequest, ListProxiesRequest, Proxy, ProxyView,
    QueryLaneStatsRequest, QueryLaneStatsResponse, Rollout, ServerInfo, WatchLaneStatsRequest, WatchProxiesRequest,
    WatchProxiesResponse, WatchRolloutRequest,
};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

use super::arguments::Shown;
use crate::credentials::{Bearer, Credentials};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than the longest wait that can be asked for.
const CALL_TIMEOUT: Duration = Duration::from_secs(90);
const ANSWER_BYTES_MAX: usize = 256 << 20;
const PAGE_SIZE: i32 = 1000;

/// A connection that shows who calls.
type Known = InterceptedService<Channel, Bearer>;

/// One control plane.
pub(super) struct Client {
    admin: LaneAdminClient<Known>,
    status: MeshStatusClient<Known>,
}

/// What the caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Missing,
    /// The request's content.
    Invalid,
    /// The state of what is there.
    Precondition,
    /// Who asked.
    Denied,
    /// The control plane is older than we are, or built without it.
    Unsupported,
    /// There is no control plane where we look.
    Unreachable,
    Other,
}

/// A call that was not done.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) cause: Cause,
    message: String,
    /// Field and description, where the control plane named fields.
    violations: Vec<(String, String)>,
}

/// What the control plane tells as it happens.
pub(super) struct Events<T>(Streaming<T>);

impl<T> Events<T> {
    /// Nothing: it ended.
    pub(super) async fn next(&mut self) -> Result<Option<T>, Failure> {
        Ok(self.0.message().await?)
    }
}

impl Client {
    /// Connects with the first call.
    pub(super) fn new(server: &str, shown: &Shown) -> Result<Client, Failure> {
        let endpoint = Endpoint::from_shared(server.to_owned())
            .map_err(|_| Failure::said(format!("--server {server:?} is no URL; it is like http://127.0.0.1:15411")))?;
        let credentials = credentials(shown, endpoint.uri().scheme_str() == Some("https")).map_err(Failure::said)?;
        let bearer = credentials.bearer(endpoint.uri()).map_err(Failure::said)?;
        let channel = credentials
            .secured(endpoint)
            .map_err(Failure::said)?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .tcp_nodelay(true)
            .http2_max_header_list_size(64 << 10)
            .connect_lazy();
        let known = InterceptedService::new(channel, bearer);
        Ok(Client {
            admin: LaneAdminClient::new(known.clone()).max_decoding_message_size(ANSWER_BYTES_MAX),
            status: MeshStatusClient::new(known).max_decoding_message_size(ANSWER_BYTES_MAX),
        })
    }

    pub(super) async fn apply(&mut self, request: ApplyBundleRequest) -> Result<ApplyBundleResponse, Failure> {
        Ok(self.admin.apply_bundle(request).await?.into_inner())
    }

    pub(super) async fn explain(&mut self, request: ExplainRouteRequest) -> Result<ExplainRouteResponse, Failure> {
        Ok(self.admin.explain_route(request).await?.into_inner())
    }

    /// Newest first, at most so many; true: there are older ones.
    pub(super) async fn revisions(
        &mut self,
        mut request: ListRevisionsRequest,
        count_max: usize,
    ) -> Result<(Vec<Revision>, bool), Failure> {
        let mut all = Vec::new();
        loop {
            request.page_size = i32::try_from(count_max - all.len()).unwrap_or(PAGE_SIZE).min(PAGE_SIZE);
            let page = self.admin.list_revisions(request.clone()).await?.into_inner();
            all.extend(page.revisions);
            let has_more = !page.next_page_token.is_empty();
            if !has_more || all.len() >= count_max {
                return Ok((all, has_more));
            }
            request.page_token = page.next_page_token;
        }
    }

    pub(super) async fn revision(&mut self, number: i64) -> Result<Revision, Failure> {
        let request = GetRevisionRequest { name: format!("revisions/{number}") };
        Ok(self.admin.get_revision(request).await?.into_inner())
    }

    pub(super) async fn rollback(&mut self, request: RollbackRequest) -> Result<RollbackResponse, Failure> {
        Ok(self.admin.rollback(request).await?.into_inner())
    }

    pub(super) async fn enable(&mut self, request: EnableLaneRequest) -> Result<EnableLaneResponse, Failure> {
        Ok(self.admin.enable_lane(request).await?.into_inner())
    }

    pub(super) async fn disable(&mut self, request: DisableLaneRequest) -> Result<DisableLaneResponse, Failure> {
        Ok(self.admin.disable_lane(request).await?.into_inner())
    }

    pub(super) async fn group(&mut self, name: String) -> Result<LaneGroup, Failure> {
        Ok(self.admin.get_lane_group(GetLaneGroupRequest { name }).await?.into_inner())
    }

    pub(super) async fn groups(&mut self, parent: &str) -> Result<Vec<LaneGroup>, Failure> {
        let mut all = Vec::new();
        let mut request =
            ListLaneGroupsRequest { parent: parent.to_owned(), page_size: PAGE_SIZE, ..Default::default() };
        loop {
            let page = self.admin.list_lane_groups(request.clone()).await?.into_inner();
            all.extend(page.lane_groups);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            request.page_token = page.next_page_token;
        }
    }

    pub(super) async fn lane(&mut self, name: String) -> Result<Lane, Failure> {
        Ok(self.admin.get_lane(GetLaneRequest { name }).await?.into_inner())
    }

    pub(super) async fn lanes(&mut self, parent: &str) -> Result<Vec<Lane>, Failure> {
        let mut all = Vec::new();
        let mut request = ListLanesRequest { parent: parent.to_owned(), page_size: PAGE_SIZE, ..Default::default() };
        loop {
            let page = self.admin.list_lanes(request.clone()).await?.into_inner();
            all.extend(page.lanes);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            request.page_token = page.next_page_token;
        }
    }

    pub(super) async fn policy(&mut self, name: String) -> Result<ServicePolicy, Failure> {
        Ok(self.admin.get_service_policy(GetServicePolicyRequest { name }).await?.into_inner())
    }

    pub(super) async fn policies(&mut self, parent: &str) -> Result<Vec<ServicePolicy>, Failure> {
        let mut all = Vec::new();
        let mut request =
            ListServicePoliciesRequest { parent: parent.to_owned(), page_size: PAGE_SIZE, ..Default::default() };
        loop {
            let page = self.admin.list_service_policies(request.clone()).await?.into_inner();
            all.extend(page.service_policies);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            request.page_token = page.next_page_token;
        }
    }

    pub(super) async fn create_lane(&mut self, request: CreateLaneRequest) -> Result<Lane, Failure> {
        Ok(self.admin.create_lane(request).await?.into_inner())
    }

    pub(super) async fn update_lane(&mut self, request: UpdateLaneRequest) -> Result<Lane, Failure> {
        Ok(self.admin.update_lane(request).await?.into_inner())
    }

    pub(super) async fn delete_group(&mut self, request: DeleteLaneGroupRequest) -> Result<(), Failure> {
        self.admin.delete_lane_group(request).await?;
        Ok(())
    }

    pub(super) async fn delete_lane(&mut self, request: DeleteLaneRequest) -> Result<(), Failure> {
        self.admin.delete_lane(request).await?;
        Ok(())
    }

    pub(super) async fn delete_policy(&mut self, request: DeleteServicePolicyRequest) -> Result<(), Failure> {
        self.admin.delete_service_policy(request).await?;
        Ok(())
    }

    pub(super) async fn proxies(&mut self) -> Result<Vec<Proxy>, Failure> {
        let mut all = Vec::new();
        let mut request = ListProxiesRequest { page_size: PAGE_SIZE, ..Default::default() };
        loop {
            let page = self.status.list_proxies(request.clone()).await?.into_inner();
            all.extend(page.proxies);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            request.page_token = page.next_page_token;
        }
    }

    pub(super) async fn proxy(&mut self, node: &str) -> Result<Proxy, Failure> {
        let request = GetProxyRequest {
            name: format!("proxies/{node}"),
            view: ProxyView::Full.into(),
            ..GetProxyRequest::default()
        };
        Ok(self.status.get_proxy(request).await?.into_inner())
    }

    pub(super) async fn rollout(&mut self, name: &str) -> Result<Rollout, Failure> {
        let request = GetRolloutRequest { name: name.to_owned(), ..GetRolloutRequest::default() };
        Ok(self.status.get_rollout(request).await?.into_inner())
    }

    pub(super) async fn watch_rollout(&mut self, name: &str) -> Result<Events<Rollout>, Failure> {
        let request = WatchRolloutRequest { name: name.to_owned(), version: String::new() };
        Ok(Events(self.status.watch_rollout(request).await?.into_inner()))
    }

    pub(super) async fn watch(&mut self, request: WatchRequest) -> Result<Events<WatchEvent>, Failure> {
        Ok(Events(self.admin.watch(request).await?.into_inner()))
    }

    pub(super) async fn watch_proxies(&mut self) -> Result<Events<WatchProxiesResponse>, Failure> {
        Ok(Events(self.status.watch_proxies(WatchProxiesRequest::default()).await?.into_inner()))
    }

    pub(super) async fn stats(&mut self, request: QueryLaneStatsRequest) -> Result<QueryLaneStatsResponse, Failure> {
        Ok(self.status.query_lane_stats(request).await?.into_inner())
    }

    pub(super) async fn watch_stats(
        &mut self,
        request: WatchLaneStatsRequest,
    ) -> Result<Events<QueryLaneStatsResponse>, Failure> {
        Ok(Events(self.status.watch_lane_stats(request).await?.into_inner()))
    }

    pub(super) async fn server(&mut self) -> Result<ServerInfo, Failure> {
        Ok(self.status.get_server_info(GetServerInfoRequest {}).await?.into_inner())
    }
}

/// What was typed, if it fits together.
fn credentials(shown: &Shown, is_tls: bool) -> Result<Credentials, String> {
    if is_tls != shown.ca.is_some() {
        return Err("--ca (LANECTL_CA) and https:// in --server go together".to_owned());
    }
    if shown.cert.is_some() != shown.key.is_some() {
        return Err("--cert and --key go together".to_owned());
    }
    Ok(Credentials {
        ca: shown.ca.clone(),
        identity: shown.cert.clone().zip(shown.key.clone()),
        server_name: shown.server_name.clone(),
        token_file: shown.token_file.clone(),
        token: shown.token.clone(),
        authorities: None,
    })
}

impl Failure {
    fn said(message: String) -> Failure {
        Failure { cause: Cause::Other, message, violations: Vec::new() }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        let cause = match status.code() {
            Code::NotFound => Cause::Missing,
            Code::InvalidArgument => Cause::Invalid,
            Code::FailedPrecondition => Cause::Precondition,
            Code::PermissionDenied | Code::Unauthenticated => Cause::Denied,
            Code::Unimplemented => Cause::Unsupported,
            Code::Unavailable => Cause::Unreachable,
            _ => Cause::Other,
        };
        let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
        let violations = violations.into_iter().map(|violation| (violation.field, violation.description)).collect();
        let message = match status.code() {
            Code::Unavailable => format!(
                "the control plane cannot be reached ({}); is it running, and is --server (LANECTL_SERVER) right?",
                innermost(&status)
            ),
            Code::Unauthenticated => format!(
                "the control plane does not know who calls: {}. Give --token-file (LANECTL_TOKEN), or --cert and --key",
                status.message()
            ),
            Code::DeadlineExceeded => "the control plane did not answer in time".to_owned(),
            Code::Unimplemented => {
                format!("{}; this control plane does not have it: lanectl check compares versions", status.message())
            }
            _ => status.message().to_owned(),
        };
        Failure { cause, message, violations }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.violations.is_empty() {
            return f.write_str(&self.message);
        }
        let lines = self.violations.iter().map(|(field, description)| format!("{field}: {description}"));
        f.write_str(&lines.collect::<Vec<_>>().join("\n"))
    }
}

/// What really happened: "connection refused" rather than "transport error".
fn innermost(status: &Status) -> String {
    let mut words = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        words = error.to_string();
        source = error.source();
    }
    words
}
