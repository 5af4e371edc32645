//! Who has which configuration.

use std::time::{Duration, Instant};

use laneway_proto::contract::TYPE_SERVICE_POLICY;
use laneway_proto::status::{
    GetProxyRequest, GetRolloutRequest, GetServerInfoRequest, ListProxiesRequest, ListProxiesResponse, Proxy,
    ProxyView, Rollout, ServerInfo,
};
use tonic::Status;

use super::{Api, errors, lanes, page, peers, rollout};
use crate::name;

pub(super) async fn list_proxies(api: &Api, request: ListProxiesRequest) -> Result<ListProxiesResponse, Status> {
    errors::not_supported("filter", !request.filter.is_empty())?;
    let own: Vec<Proxy> = api.fleet.report(false).into_values().collect();
    let (all, unreachable) = if request.local_only {
        (own, Vec::new())
    } else {
        let heard = api.peers.proxies().await;
        (peers::merged_proxies(own, heard.answers), heard.unreachable)
    };
    let page = page::cut(all, |proxy| &proxy.name, "proxies", request.page_size, &request.page_token)?;
    Ok(ListProxiesResponse {
        proxies: page.items,
        next_page_token: page.next_token,
        total_size: page.total,
        unreachable,
    })
}

pub(super) async fn get_proxy(api: &Api, request: GetProxyRequest) -> Result<Proxy, Status> {
    let Some(node) = request.name.strip_prefix("proxies/") else {
        return Err(errors::bad_field("name", "is proxies/{node_id}"));
    };
    let full = request.view() == ProxyView::Full;
    let mut found = api.fleet.report(full).remove(node);
    if !request.local_only {
        let heard = api.peers.proxy(&request).await;
        for other in heard.answers.into_iter().flatten() {
            found = Some(peers::latest(found, other));
        }
    }
    found.ok_or_else(|| errors::missing(&request.name))
}

pub(super) async fn get_rollout(api: &Api, request: GetRolloutRequest) -> Result<Rollout, Status> {
    if request.revision > 0 {
        // Another replica asks on behalf of whoever has switched something.
        let begun = Instant::now();
        let wait = lanes::wait(request.wait_timeout)?.unwrap_or_default();
        let followed = rollout::follow_here(api, &request.name, request.revision, begun, wait).await;
        return followed.ok_or_else(|| errors::bad_field("name", "is that of a lane group or a lane"));
    }
    let own = rollout_here(api, &request)?;
    if request.local_only {
        return Ok(own);
    }
    let heard = api.peers.rollouts(request, Duration::ZERO).await;
    Ok(peers::merged_rollout(own, heard))
}

fn rollout_here(api: &Api, request: &GetRolloutRequest) -> Result<Rollout, Status> {
    // An object that is gone can be followed too: who still has it.
    let mut found = if let Some((namespace, id)) = name::parse_policy(&request.name) {
        let state = api.reconciler.state();
        let service = state.objects.policies.get(&request.name).map_or(id, |policy| policy.service.as_str());
        rollout::now(api, TYPE_SERVICE_POLICY, &laneway_core::name::service(namespace, service))
    } else if let Some(type_url) = rollout::type_of(&request.name) {
        rollout::now(api, type_url, &request.name)
    } else {
        return Err(errors::bad_field("name", "is that of a lane group, a lane or a service policy"));
    };
    found.name.clone_from(&request.name);
    if !request.version.is_empty() && request.version != found.version {
        return Err(errors::bad_field("version", "only the current version can be followed yet; leave it empty"));
    }
    Ok(found)
}

pub(super) async fn get_server_info(api: &Api, _request: GetServerInfoRequest) -> Result<ServerInfo, Status> {
    Ok(ServerInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        replica: api.peers.own().to_owned(),
        leader: api.leader.leads(),
        revision: api.reconciler.state().revision,
        connected_proxies: u32::try_from(api.fleet.connected_count()).unwrap_or(u32::MAX),
        features: vec![api.reconciler.store_name().to_owned(), "discovery.file".to_owned()],
        start_time: Some(api.started.into()),
    })
}
