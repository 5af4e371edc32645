//! What only the other replicas know: the sidecars that are connected there, and what these report.
//!
//! ```text
//!   caller --> this replica --local_only--> each of the others      all at once; who does not answer is named
//!                  '------- merge <---------'
//! ```
//! Between replicas the ordinary calls are used, with `local_only`, so that nobody asks further. Alone there is nobody to ask.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use laneway_proto::status::mesh_status_client::MeshStatusClient;
use laneway_proto::status::{
    ConfigState, GetProxyRequest, GetRolloutRequest, ListProxiesRequest, Proxy, QueryLaneStatsRequest,
    QueryLaneStatsResponse, Rollout,
};
use tokio::task::JoinSet;
use tonic::Status;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tracing::debug;

use crate::credentials::{Bearer, Credentials};
use crate::replicas::{Replica, Replicas};

#[cfg(test)]
mod tests;

/// Others that are asked; nobody runs more replicas than this.
const PEERS_MAX: usize = 32;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest wait for an answer, beside what the caller wants to be waited.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Largest page of one replica, and how many of these are read.
const PAGE_SIZE: i32 = 1000;
const PAGES_MAX: usize = 50;
/// Names of sidecars in one answer, and reasons of one of them.
pub(super) const NAMES_MAX: usize = 20;
/// A page of sidecars.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A connection that shows who calls.
type Known = InterceptedService<Channel, Bearer>;

/// Calls to the others.
#[derive(Clone)]
pub(super) struct Peers {
    replicas: Replicas,
    /// What they are shown.
    credentials: Credentials,
    /// By URL; those of replicas that are gone are dropped.
    channels: Arc<Mutex<BTreeMap<String, Known>>>,
}

/// What the others said, and who said nothing.
#[derive(Debug)]
pub(super) struct Heard<T> {
    pub(super) answers: Vec<T>,
    pub(super) unreachable: Vec<String>,
}

impl Peers {
    pub(super) fn new(replicas: Replicas, credentials: Credentials) -> Peers {
        Peers { replicas, credentials, channels: Arc::default() }
    }

    /// Name of this replica.
    pub(super) fn own(&self) -> &str {
        self.replicas.own()
    }

    /// Names of the others.
    pub(super) fn others(&self) -> Vec<String> {
        self.replicas.others().into_iter().map(|other| other.name).collect()
    }

    /// Their sidecars, all of them.
    pub(super) async fn proxies(&self) -> Heard<Vec<Proxy>> {
        self.ask(ANSWER_TIMEOUT, |mut client| async move {
            let mut all = Vec::new();
            let mut request =
                ListProxiesRequest { local_only: true, page_size: PAGE_SIZE, ..ListProxiesRequest::default() };
            for _ in 0..PAGES_MAX {
                let page = client.list_proxies(request.clone()).await?.into_inner();
                all.extend(page.proxies);
                if page.next_page_token.is_empty() {
                    return Ok(all);
                }
                request.page_token = page.next_page_token;
            }
            Ok(all)
        })
        .await
    }

    /// One sidecar, as those have it that know it.
    pub(super) async fn proxy(&self, request: &GetProxyRequest) -> Heard<Option<Proxy>> {
        let request = GetProxyRequest { local_only: true, ..request.clone() };
        self.ask(ANSWER_TIMEOUT, move |mut client| {
            let request = request.clone();
            async move {
                match client.get_proxy(request).await {
                    Ok(found) => Ok(Some(found.into_inner())),
                    Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
                    Err(status) => Err(status),
                }
            }
        })
        .await
    }

    /// How far a version has got with their sidecars; each answers when it is done there, or after `wait`.
    pub(super) async fn rollouts(&self, request: GetRolloutRequest, wait: Duration) -> Heard<Rollout> {
        let wait_timeout = prost_types::Duration::try_from(wait).ok();
        let request = GetRolloutRequest { local_only: true, wait_timeout, ..request };
        self.ask(wait + ANSWER_TIMEOUT, move |mut client| {
            let request = request.clone();
            async move { client.get_rollout(request).await.map(tonic::Response::into_inner) }
        })
        .await
    }

    /// What their sidecars reported.
    pub(super) async fn stats(&self, request: QueryLaneStatsRequest) -> Heard<QueryLaneStatsResponse> {
        let request = QueryLaneStatsRequest { local_only: true, ..request };
        self.ask(ANSWER_TIMEOUT, move |mut client| {
            let request = request.clone();
            async move { client.query_lane_stats(request).await.map(tonic::Response::into_inner) }
        })
        .await
    }

    async fn ask<T, F>(&self, wait: Duration, call: impl Fn(MeshStatusClient<Known>) -> F) -> Heard<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Status>> + Send + 'static,
    {
        let others = self.replicas.others();
        self.channels().retain(|url, _| others.iter().any(|other| other.api == *url));
        let mut calls = JoinSet::new();
        let mut unreachable: Vec<String> = others.iter().skip(PEERS_MAX).map(|other| other.name.clone()).collect();
        for other in others.into_iter().take(PEERS_MAX) {
            match self.client(&other) {
                Ok(client) => {
                    let answer = tokio::time::timeout(wait, call(client));
                    calls.spawn(async move { (other, answer.await) });
                }
                Err(why) => {
                    debug!(replica = %other.name, %why, "a replica cannot be asked");
                    unreachable.push(other.name);
                }
            }
        }
        let mut answers = Vec::new();
        while let Some(done) = calls.join_next().await {
            match done {
                Ok((_, Ok(Ok(answer)))) => answers.push(answer),
                Ok((Replica { name, api }, failure)) => {
                    // Made anew for the next call, by the authorities and the token of that moment.
                    self.channels().remove(&api);
                    let why = failure.map_or_else(
                        |_| "no answer in time".to_owned(),
                        |answer| answer.err().map_or_else(String::new, |status| status.to_string()),
                    );
                    debug!(replica = %name, %why, "a replica did not answer");
                    unreachable.push(name);
                }
                Err(failure) => debug!(%failure, "a call to a replica was given up"),
            }
        }
        unreachable.sort();
        Heard { answers, unreachable }
    }

    fn client(&self, other: &Replica) -> Result<MeshStatusClient<Known>, String> {
        let known = self.channels().get(&other.api).cloned();
        let known = match known {
            Some(known) => known,
            None => {
                let endpoint = Endpoint::from_shared(other.api.clone()).map_err(|error| error.to_string())?;
                let bearer = self.credentials.bearer(endpoint.uri())?;
                let endpoint = self.credentials.secured(endpoint)?.connect_timeout(CONNECT_TIMEOUT);
                let known = InterceptedService::new(endpoint.tcp_nodelay(true).connect_lazy(), bearer);
                self.channels().insert(other.api.clone(), known.clone());
                known
            }
        };
        Ok(MeshStatusClient::new(known).max_decoding_message_size(ANSWER_BYTES_MAX))
    }

    fn channels(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Known>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of all replicas, in order of names. A sidecar that moved is shown where it is now.
pub(super) fn merged_proxies(own: Vec<Proxy>, others: Vec<Vec<Proxy>>) -> Vec<Proxy> {
    let mut all = BTreeMap::<String, Proxy>::new();
    for proxy in own.into_iter().chain(others.into_iter().flatten()) {
        let known = all.remove(&proxy.name);
        let latest = latest(known, proxy);
        all.insert(latest.name.clone(), latest);
    }
    all.into_values().collect()
}

/// Of two views of one sidecar: connected before gone, then the later connection.
pub(super) fn latest(known: Option<Proxy>, other: Proxy) -> Proxy {
    let Some(known) = known else { return other };
    let since = |proxy: &Proxy| {
        let time = proxy.connect_time.unwrap_or_default();
        (proxy.state() != ConfigState::Disconnected, time.seconds, time.nanos)
    };
    if since(&other) > since(&known) { other } else { known }
}

/// Counted over all replicas.
pub(super) fn merged_rollout(own: Rollout, heard: Heard<Rollout>) -> Rollout {
    let mut all = own;
    for other in heard.answers {
        all.target_count += other.target_count;
        all.acked_count += other.acked_count;
        all.nacked_count += other.nacked_count;
        all.pending_count += other.pending_count;
        all.disconnected_count += other.disconnected_count;
        all.nacked_proxies.extend(other.nacked_proxies);
        all.pending_proxies.extend(other.pending_proxies);
        all.refusals.extend(other.refusals);
        all.done &= other.done;
    }
    // Not in the order in which they answered, which is another each time.
    all.nacked_proxies.sort();
    all.pending_proxies.sort();
    all.nacked_proxies.truncate(NAMES_MAX);
    all.pending_proxies.truncate(NAMES_MAX);
    all.refusals.truncate(NAMES_MAX);
    all.unreachable = heard.unreachable;
    all
}
