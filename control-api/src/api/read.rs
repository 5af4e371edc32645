//! Get and List.

use std::sync::Arc;

use laneway_core::check::check;
use laneway_proto::admin::{
    Diagnostic, GetLaneGroupRequest, GetLaneRequest, GetServicePolicyRequest, Lane, LaneGroup, ListLaneGroupsRequest,
    ListLaneGroupsResponse, ListLanesRequest, ListLanesResponse, ListServicePoliciesRequest,
    ListServicePoliciesResponse, ServicePolicy, lane,
};
use tonic::Status;

use super::page::Query;
use super::{Api, errors, verdicts};
use crate::reconcile::State;
use crate::{catalog, name};

/// What the requests of the lists have in common.
macro_rules! query {
    ($request:ident) => {
        Query {
            parent: &$request.parent,
            page_size: $request.page_size,
            page_token: &$request.page_token,
            filter: &$request.filter,
            order_by: &$request.order_by,
        }
    };
}

pub(super) async fn get_group(api: &Api, request: GetLaneGroupRequest) -> Result<LaneGroup, Status> {
    if name::parse_group(&request.name).is_none() {
        return Err(errors::bad_field("name", "is namespaces/{namespace}/laneGroups/{lane_group}"));
    }
    api.reconciler.state().objects.groups.get(&request.name).cloned().ok_or_else(|| errors::missing(&request.name))
}

pub(super) async fn list_groups(api: &Api, request: ListLaneGroupsRequest) -> Result<ListLaneGroupsResponse, Status> {
    if !is_namespace(&request.parent) {
        return Err(errors::bad_field("parent", "is namespaces/{namespace}, or namespaces/- for all"));
    }
    let state = api.reconciler.state();
    let all = under(state.objects.groups.iter(), &request.parent);
    let query = query!(request);
    let page = query.page(all, "laneway.admin.v1.LaneGroup", |group| &group.name, api.reconciler.now())?;
    Ok(ListLaneGroupsResponse {
        lane_groups: page.items,
        next_page_token: page.next_token,
        total_size: page.total,
        revision: state.revision,
    })
}

pub(super) async fn get_lane(api: &Api, request: GetLaneRequest) -> Result<Lane, Status> {
    if name::parse_lane(&request.name).is_none() {
        return Err(errors::bad_field("name", "is namespaces/{namespace}/laneGroups/{lane_group}/lanes/{lane}"));
    }
    let state = api.reconciler.state();
    let findings = findings(&state).await?;
    let lane = state.objects.lanes.get(&request.name).ok_or_else(|| errors::missing(&request.name))?;
    let mut lane = shown(&state, lane, &findings);
    lane.warnings.extend(verdicts::worse(api, &lane).await);
    Ok(lane)
}

pub(super) async fn list_lanes(api: &Api, request: ListLanesRequest) -> Result<ListLanesResponse, Status> {
    let is_group = match request.parent.split('/').collect::<Vec<_>>().as_slice() {
        ["namespaces", namespace, "laneGroups", group] => !namespace.is_empty() && !group.is_empty(),
        _ => false,
    };
    if !is_group {
        let shape = "is namespaces/{namespace}/laneGroups/{lane_group}; `-` in either place means all";
        return Err(errors::bad_field("parent", shape));
    }
    let state = api.reconciler.state();
    let findings = findings(&state).await?;
    // All of them as they are shown only where that is asked about: it takes a look at everything that runs.
    let is_asked = [&request.filter, &request.order_by]
        .iter()
        .any(|text| ["coverage", "warnings"].iter().any(|field| text.contains(field)));
    let all = under(state.objects.lanes.iter(), &request.parent).into_iter().map(|mut lane| {
        lane.set_state(current_state(&lane));
        if is_asked { shown(&state, &lane, &findings) } else { lane }
    });
    let query = query!(request);
    let page = query.page(all.collect(), "laneway.admin.v1.Lane", |lane| &lane.name, api.reconciler.now())?;
    Ok(ListLanesResponse {
        lanes: page.items.iter().map(|lane| shown(&state, lane, &findings)).collect(),
        next_page_token: page.next_token,
        total_size: page.total,
        revision: state.revision,
    })
}

pub(super) async fn get_policy(api: &Api, request: GetServicePolicyRequest) -> Result<ServicePolicy, Status> {
    if name::parse_policy(&request.name).is_none() {
        return Err(errors::bad_field("name", "is namespaces/{namespace}/servicePolicies/{service_policy}"));
    }
    api.reconciler.state().objects.policies.get(&request.name).cloned().ok_or_else(|| errors::missing(&request.name))
}

pub(super) async fn list_policies(
    api: &Api,
    request: ListServicePoliciesRequest,
) -> Result<ListServicePoliciesResponse, Status> {
    if !is_namespace(&request.parent) {
        return Err(errors::bad_field("parent", "is namespaces/{namespace}, or namespaces/- for all"));
    }
    let state = api.reconciler.state();
    let all = under(state.objects.policies.iter(), &request.parent);
    let query = query!(request);
    let page = query.page(all, "laneway.admin.v1.ServicePolicy", |policy| &policy.name, api.reconciler.now())?;
    Ok(ListServicePoliciesResponse {
        service_policies: page.items,
        next_page_token: page.next_token,
        total_size: page.total,
        revision: state.revision,
    })
}

/// A lane with what only the server knows.
pub(super) fn shown(state: &State, lane: &Lane, findings: &[Diagnostic]) -> Lane {
    let mut lane = lane.clone();
    lane.set_state(current_state(&lane));
    lane.coverage = catalog::coverage(&state.objects, &state.catalog, &lane.name);
    lane.warnings = findings.iter().filter(|finding| finding.resource == lane.name).cloned().collect();
    lane.warnings.extend(verdicts::tripped(&lane));
    lane
}

/// The state of a lane that is stored.
pub(super) fn current_state(lane: &Lane) -> lane::State {
    match (lane.enabled, lane.dry_run) {
        (Some(false), _) if lane.state() == lane::State::Expired => lane::State::Expired,
        (Some(false), _) if lane.state() == lane::State::Tripped => lane::State::Tripped,
        (Some(false), _) => lane::State::Disabled,
        (_, true) => lane::State::DryRun,
        _ => lane::State::Enabled,
    }
}

/// What the checker says of the whole as it is. Compiles every expression: not on a thread that serves others.
async fn findings(state: &State) -> Result<Vec<Diagnostic>, Status> {
    let (objects, catalog) = (Arc::clone(&state.objects), Arc::clone(&state.catalog));
    let work = tokio::task::spawn_blocking(move || check(&objects, &catalog));
    work.await.map_err(|_| Status::internal("the check of the configuration failed"))
}

/// In order of names.
fn under<'a, T: Clone + 'a>(all: impl Iterator<Item = (&'a String, &'a T)>, parent: &str) -> Vec<T> {
    all.filter(|(name, _)| name::is_child(name, parent)).map(|(_, object)| object.clone()).collect()
}

fn is_namespace(parent: &str) -> bool {
    parent == format!("namespaces/{}", name::ANY) || name::parse_namespace(parent).is_some()
}
