//! ExportBundle: everything as a bundle that can be applied again, as it is or as it was.

use laneway_proto::admin::{Bundle, ExportBundleRequest, Lane, LaneGroup, ServicePolicy};
use tonic::Status;

use super::{Api, errors, history, rollback};
use crate::edit::rollback as past;
use crate::name;

pub(super) async fn export(api: &Api, request: ExportBundleRequest) -> Result<Bundle, Status> {
    let parent = request.parent;
    let is_parent =
        parent.is_empty() || name::parse_namespace(&parent).is_some() || name::parse_group(&parent).is_some();
    if !is_parent {
        let shape = "is namespaces/{namespace} or namespaces/{namespace}/laneGroups/{lane_group}, or empty for all";
        return Err(errors::bad_field("parent", shape));
    }
    if request.revision < 0 {
        return Err(errors::bad_field("revision", "must not be negative; 0 is now"));
    }
    let state = api.reconciler.state();
    let mut objects = state.objects.as_ref().clone();
    if request.revision > 0 {
        history::held(api, request.revision).await?;
        let was = rollback::past(api, request.revision, state.revision, &parent).await?;
        past::restore(&mut objects, &was).map_err(Status::internal)?;
    }
    let is_own = |name: &str| parent.is_empty() || name::is_under(name, &parent);
    let groups = objects.groups.into_values().filter(|group| is_own(&group.name));
    let lanes = objects.lanes.into_values().filter(|lane| is_own(&lane.name));
    let policies = objects.policies.into_values().filter(|policy| is_own(&policy.name));
    Ok(Bundle {
        lane_groups: groups.map(group).collect(),
        lanes: lanes.map(lane).collect(),
        service_policies: policies.map(policy).collect(),
    })
}

// Without what only the server writes, and without etags, which would refuse to be applied to what is there later.

fn group(group: LaneGroup) -> LaneGroup {
    LaneGroup { uid: String::new(), etag: String::new(), revision: 0, create_time: None, update_time: None, ..group }
}

fn lane(lane: Lane) -> Lane {
    Lane {
        uid: String::new(),
        etag: String::new(),
        revision: 0,
        create_time: None,
        update_time: None,
        state: 0,
        coverage: Vec::new(),
        warnings: Vec::new(),
        given_ttl: None,
        tripped_reason: String::new(),
        ..lane
    }
}

fn policy(policy: ServicePolicy) -> ServicePolicy {
    ServicePolicy {
        uid: String::new(),
        etag: String::new(),
        revision: 0,
        create_time: None,
        update_time: None,
        ..policy
    }
}
