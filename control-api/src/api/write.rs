//! Apply, Create, Update, Delete.

use std::collections::BTreeMap;
use std::time::Instant;

use laneway_core::compile::Objects;
use laneway_proto::admin::{
    ApplyBundleRequest, ApplyBundleResponse, CreateLaneGroupRequest, CreateLaneRequest, CreateServicePolicyRequest,
    DeleteLaneGroupRequest, DeleteLaneRequest, DeleteServicePolicyRequest, Diagnostic, Lane, LaneGroup, ServicePolicy,
    UpdateLaneGroupRequest, UpdateLaneRequest, UpdateServicePolicyRequest, diagnostic, lane, resource_change,
};
use laneway_proto::contract::GROUP_DEFAULT;
use prost::Message;
use tonic::Status;

use super::mask::Mask;
use super::{Api, discovery, errors, verdicts};
use crate::edit::Edit;
use crate::reconcile::{MakeEdit, Outcome, Request, State, WriteError};
use crate::{catalog, name};

/// Grammar of ids, for people.
const ID: &str = "holds a-z, 0-9 and '-', at most 63, and is not `baseline`";
const SERVICE_ID: &str = "holds letters, digits and ._:@-, any other byte percent-encoded, at most 253 of them";

pub(super) async fn apply(
    api: Api,
    mut common: Request,
    request: ApplyBundleRequest,
) -> Result<ApplyBundleResponse, Status> {
    common.expected_revision = request.expected_revision;
    let bundle = request.bundle.ok_or_else(|| errors::bad_field("bundle", "is required"))?;
    let parent = request.prune_parent;
    let is_parent =
        parent.is_empty() || name::parse_namespace(&parent).is_some() || name::parse_group(&parent).is_some();
    if !is_parent {
        let shape = "is namespaces/{namespace} or namespaces/{namespace}/laneGroups/{lane_group}, or empty";
        return Err(errors::bad_field("prune_parent", shape));
    }
    let mut places = BTreeMap::new();
    for (position, group) in bundle.lane_groups.iter().enumerate() {
        places.insert(group.name.clone(), format!("bundle.laneGroups[{position}]"));
    }
    for (position, lane) in bundle.lanes.iter().enumerate() {
        places.insert(lane.name.clone(), format!("bundle.lanes[{position}]"));
    }
    for (position, policy) in bundle.service_policies.iter().enumerate() {
        places.insert(policy.name.clone(), format!("bundle.servicePolicies[{position}]"));
    }
    let edit = Edit {
        groups: bundle.lane_groups,
        lanes: bundle.lanes,
        policies: bundle.service_policies,
        prune_parent: (!parent.is_empty()).then_some(parent),
        ..Edit::default()
    };
    let lanes: Vec<String> = edit.lanes.iter().map(|lane| lane.name.clone()).collect();
    let before = api.reconciler.state();
    let outcome = api.reconciler.write(common, Box::new(move |_| Ok(edit.clone()))).await;
    let place = |resource: &str| places.get(resource).cloned().unwrap_or_else(|| resource.to_owned());
    let mut outcome = outcome.map_err(|error| errors::write(error, &place))?;
    outcome.diagnostics.extend(orphans(&before, &outcome));
    outcome.diagnostics.extend(still_off(&lanes, &outcome));
    outcome.diagnostics.extend(discovery::findings(&api.discovery, Instant::now()));
    outcome.diagnostics.extend(discovery::mistagged(&api.fleet.connected(), &api.tag_of));
    Ok(ApplyBundleResponse { revision: outcome.revision, changes: outcome.changes, diagnostics: outcome.diagnostics })
}

/// Warnings for lanes that were pruned while instances with their tag run.
pub(super) fn orphans(before: &State, outcome: &Outcome) -> Vec<Diagnostic> {
    let deleted = outcome.changes.iter().filter(|change| change.kind() == resource_change::Kind::Deleted);
    let running = deleted.filter_map(|change| {
        running_instances(before, &change.name).map(|instances| Diagnostic {
            severity: diagnostic::Severity::Warning.into(),
            code: "LANE0805".to_owned(),
            resource: change.name.clone(),
            field: String::new(),
            message: format!("{instances} instances with its tag run; a tag without a lane is routed all the same"),
            help: "To keep it dark, apply the lane with enabled: false".to_owned(),
        })
    });
    running.collect()
}

/// Warnings for lanes whose time is over, or that their guards switched off: applying them again does not bring them back.
fn still_off(lanes: &[String], outcome: &Outcome) -> Vec<Diagnostic> {
    let lanes = lanes.iter().filter_map(|name| outcome.objects.lanes.get(name));
    let tripped = lanes.clone().filter_map(verdicts::tripped);
    let expired = lanes.filter(|lane| lane.state() == lane::State::Expired).map(|lane| Diagnostic {
        severity: diagnostic::Severity::Warning.into(),
        code: "LANE0807".to_owned(),
        resource: lane.name.clone(),
        field: "enabled".to_owned(),
        message: "the lane has expired and stays disabled".to_owned(),
        help: format!("To bring it back: lanectl lane enable {} --ttl 48h", name::id(&lane.name)),
    });
    expired.chain(tripped).collect()
}

fn running_instances(state: &State, lane: &str) -> Option<u32> {
    let instances = catalog::coverage(&state.objects, &state.catalog, lane).iter().map(|own| own.total_endpoints).sum();
    (instances > 0).then_some(instances)
}

pub(super) async fn create_group(
    api: Api,
    common: Request,
    request: CreateLaneGroupRequest,
) -> Result<LaneGroup, Status> {
    let mut group = request.lane_group.ok_or_else(|| errors::bad_field("lane_group", "is required"))?;
    group.name = format!("{}/laneGroups/{}", request.parent, request.lane_group_id);
    let is_parent = name::parse_namespace(&request.parent).is_some();
    named(is_parent, "namespaces/{namespace}", name::parse_group(&group.name).is_some(), "lane_group_id", ID)?;
    put_group(&api, common, group, Way::Create).await
}

pub(super) async fn update_group(
    api: Api,
    common: Request,
    request: UpdateLaneGroupRequest,
) -> Result<LaneGroup, Status> {
    let mask = Mask::parse(request.update_mask.as_ref(), "LaneGroup")?;
    let group = request.lane_group.ok_or_else(|| errors::bad_field("lane_group", "is required"))?;
    put_group(&api, common, group, Way::Update { mask, allow_missing: request.allow_missing }).await
}

pub(super) async fn create_lane(api: Api, common: Request, request: CreateLaneRequest) -> Result<Lane, Status> {
    let mut lane = request.lane.ok_or_else(|| errors::bad_field("lane", "is required"))?;
    lane.name = format!("{}/lanes/{}", request.parent, request.lane_id);
    let is_parent = name::parse_group(&request.parent).is_some();
    let shape = "namespaces/{namespace}/laneGroups/{lane_group}";
    named(is_parent, shape, name::parse_lane(&lane.name).is_some(), "lane_id", ID)?;
    put_lane(&api, common, lane, Way::Create).await
}

pub(super) async fn update_lane(api: Api, common: Request, request: UpdateLaneRequest) -> Result<Lane, Status> {
    let mask = Mask::parse(request.update_mask.as_ref(), "Lane")?;
    let lane = request.lane.ok_or_else(|| errors::bad_field("lane", "is required"))?;
    put_lane(&api, common, lane, Way::Update { mask, allow_missing: request.allow_missing }).await
}

pub(super) async fn create_policy(
    api: Api,
    common: Request,
    request: CreateServicePolicyRequest,
) -> Result<ServicePolicy, Status> {
    let mut policy = request.service_policy.ok_or_else(|| errors::bad_field("service_policy", "is required"))?;
    policy.name = format!("{}/servicePolicies/{}", request.parent, request.service_policy_id);
    let is_parent = name::parse_namespace(&request.parent).is_some();
    let is_name = name::parse_policy(&policy.name).is_some();
    named(is_parent, "namespaces/{namespace}", is_name, "service_policy_id", SERVICE_ID)?;
    put_policy(&api, common, policy, Way::Create).await
}

pub(super) async fn update_policy(
    api: Api,
    common: Request,
    request: UpdateServicePolicyRequest,
) -> Result<ServicePolicy, Status> {
    let mask = Mask::parse(request.update_mask.as_ref(), "ServicePolicy")?;
    let policy = request.service_policy.ok_or_else(|| errors::bad_field("service_policy", "is required"))?;
    put_policy(&api, common, policy, Way::Update { mask, allow_missing: request.allow_missing }).await
}

/// What is wrong with the name that a new object would have, in the fields that it was put together from.
fn named(is_parent: bool, parent: &str, is_name: bool, id: &str, grammar: &str) -> Result<(), Status> {
    if !is_parent {
        return Err(errors::bad_field("parent", format!("is {parent}")));
    }
    if is_name { Ok(()) } else { Err(errors::bad_field(id, grammar)) }
}

/// How an object that is given becomes one that is stored.
enum Way {
    Create,
    Update { mask: Mask, allow_missing: bool },
}

impl Way {
    fn object<T>(&self, name: &str, current: Option<&T>, given: &T, kind: &str) -> Result<T, WriteError>
    where
        T: Message + Default + Clone,
    {
        match (self, current) {
            (Way::Create, Some(_)) => Err(WriteError::Exists { name: name.to_owned() }),
            (Way::Update { allow_missing: false, .. }, None) => Err(WriteError::Missing { name: name.to_owned() }),
            (Way::Update { mask, .. }, Some(current)) => Ok(mask.applied(current, given, kind)),
            (Way::Create | Way::Update { .. }, None) => Ok(given.clone()),
        }
    }
}

async fn put_group(api: &Api, request: Request, group: LaneGroup, way: Way) -> Result<LaneGroup, Status> {
    let name = group.name.clone();
    let make: MakeEdit = Box::new(move |state| {
        let group = way.object(&group.name, state.objects.groups.get(&group.name), &group, "LaneGroup")?;
        Ok(Edit { groups: vec![group], ..Edit::default() })
    });
    let outcome = write(api, request, make, &name, "lane_group").await?;
    outcome.objects.groups.get(&name).cloned().ok_or_else(|| errors::missing(&name))
}

async fn put_lane(api: &Api, request: Request, lane: Lane, way: Way) -> Result<Lane, Status> {
    let name = lane.name.clone();
    let make: MakeEdit = Box::new(move |state| {
        let lane = way.object(&lane.name, state.objects.lanes.get(&lane.name), &lane, "Lane")?;
        Ok(Edit { lanes: vec![lane], ..Edit::default() })
    });
    let outcome = write(api, request, make, &name, "lane").await?;
    shown_lane(api, &outcome, &name)
}

async fn put_policy(api: &Api, request: Request, policy: ServicePolicy, way: Way) -> Result<ServicePolicy, Status> {
    let name = policy.name.clone();
    let make: MakeEdit = Box::new(move |state| {
        let current = state.objects.policies.get(&policy.name);
        let policy = way.object(&policy.name, current, &policy, "ServicePolicy")?;
        Ok(Edit { policies: vec![policy], ..Edit::default() })
    });
    let outcome = write(api, request, make, &name, "service_policy").await?;
    outcome.objects.policies.get(&name).cloned().ok_or_else(|| errors::missing(&name))
}

/// Writes, and with `validate_only` fails as the write would.
pub(super) async fn write(
    api: &Api,
    request: Request,
    make: MakeEdit,
    name: &str,
    field: &str,
) -> Result<Outcome, Status> {
    let place = |resource: &str| if resource == name { field.to_owned() } else { resource.to_owned() };
    let outcome = api.reconciler.write(request, make).await.map_err(|error| errors::write(error, &place))?;
    if outcome.diagnostics.iter().any(crate::reconcile::is_error) {
        return Err(errors::write(WriteError::Refused(outcome.diagnostics), &place));
    }
    Ok(outcome)
}

/// A lane as it came out of a write, with what only the server knows.
pub(super) fn shown_lane(api: &Api, outcome: &Outcome, name: &str) -> Result<Lane, Status> {
    let lane = outcome.objects.lanes.get(name).ok_or_else(|| errors::missing(name))?;
    let state = State {
        revision: outcome.revision,
        objects: std::sync::Arc::clone(&outcome.objects),
        catalog: api.reconciler.state().catalog,
    };
    Ok(super::read::shown(&state, lane, &outcome.diagnostics))
}

pub(super) async fn delete_group(api: Api, common: Request, request: DeleteLaneGroupRequest) -> Result<(), Status> {
    let name = request.name.clone();
    let make: MakeEdit = Box::new(move |state| {
        let etag = state.objects.groups.get(&request.name).map(|group| group.etag.as_str());
        if !deletable(&request.name, etag, &request.etag, request.allow_missing)? {
            return Ok(Edit::default());
        }
        let own = state.objects.lanes.keys().filter(|lane| name::is_under(lane, &request.name));
        let mut deletes: Vec<String> = own.cloned().collect();
        // The default group is there without its object; its lanes stay.
        let is_default = name::id(&request.name) == GROUP_DEFAULT;
        if is_default && !request.force {
            deletes.clear();
        }
        if !deletes.is_empty() && !request.force {
            let count = deletes.len();
            let message =
                format!("{} has {count} lanes; delete these first, or give force to delete them too", request.name);
            return Err(WriteError::Precondition { kind: "HAS_LANES", subject: request.name.clone(), message });
        }
        deletes.push(request.name.clone());
        Ok(Edit { deletes, ..Edit::default() })
    });
    write(&api, common, make, &name, "name").await.map(drop)
}

pub(super) async fn delete_lane(api: Api, common: Request, request: DeleteLaneRequest) -> Result<(), Status> {
    let name = request.name.clone();
    let make: MakeEdit = Box::new(move |state| {
        let etag = state.objects.lanes.get(&request.name).map(|lane| lane.etag.as_str());
        if !deletable(&request.name, etag, &request.etag, request.allow_missing)? {
            return Ok(Edit::default());
        }
        if let Some(instances) = running_instances(state, &request.name).filter(|_| !request.force) {
            let message = format!(
                "{instances} instances with the tag of {} run; without the lane their tag is routed all the same. \
                 Disable the lane to keep it dark, or give force to delete it",
                request.name
            );
            return Err(WriteError::Precondition { kind: "HAS_INSTANCES", subject: request.name.clone(), message });
        }
        Ok(Edit { deletes: vec![request.name.clone()], ..Edit::default() })
    });
    write(&api, common, make, &name, "name").await.map(drop)
}

pub(super) async fn delete_policy(
    api: Api,
    common: Request,
    request: DeleteServicePolicyRequest,
) -> Result<(), Status> {
    let name = request.name.clone();
    let make: MakeEdit = Box::new(move |state| {
        let etag = state.objects.policies.get(&request.name).map(|policy| policy.etag.as_str());
        if !deletable(&request.name, etag, &request.etag, request.allow_missing)? {
            return Ok(Edit::default());
        }
        Ok(Edit { deletes: vec![request.name.clone()], ..Edit::default() })
    });
    write(&api, common, make, &name, "name").await.map(drop)
}

/// False: it is not there, and that is fine.
fn deletable(name: &str, etag: Option<&str>, etag_given: &str, allow_missing: bool) -> Result<bool, WriteError> {
    match etag {
        None if allow_missing => Ok(false),
        None => Err(WriteError::Missing { name: name.to_owned() }),
        Some(current) if !etag_given.is_empty() && current != etag_given => {
            Err(WriteError::Stale { name: name.to_owned() })
        }
        Some(_) => Ok(true),
    }
}

/// True when the group of a lane may be used: it is there, or it is the default one.
pub(super) fn has_group(objects: &Objects, lane: &str) -> bool {
    name::parse_lane(lane).is_some_and(|(namespace, group, _)| {
        group == GROUP_DEFAULT || objects.groups.contains_key(&laneway_core::name::group(namespace, group))
    })
}
