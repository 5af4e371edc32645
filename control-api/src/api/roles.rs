//! Which role each method takes. A method that is not here nobody may call; a test holds the table against the contract. Pure.

use crate::access::{Caller, Role};

#[cfg(test)]
mod tests;

/// By service and method.
const NEEDED: [(&str, &[(&str, Role)]); 2] = [
    (
        "laneway.admin.v1.LaneAdmin",
        &[
            ("CreateLaneGroup", Role::Admin),
            ("GetLaneGroup", Role::Viewer),
            ("ListLaneGroups", Role::Viewer),
            ("UpdateLaneGroup", Role::Admin),
            ("DeleteLaneGroup", Role::Admin),
            ("CreateLane", Role::Admin),
            ("GetLane", Role::Viewer),
            ("ListLanes", Role::Viewer),
            ("UpdateLane", Role::Admin),
            ("DeleteLane", Role::Admin),
            ("EnableLane", Role::Operator),
            ("DisableLane", Role::Operator),
            ("CreateServicePolicy", Role::Admin),
            ("GetServicePolicy", Role::Viewer),
            ("ListServicePolicies", Role::Viewer),
            ("UpdateServicePolicy", Role::Admin),
            ("DeleteServicePolicy", Role::Admin),
            ("ApplyBundle", Role::Admin),
            ("ExportBundle", Role::Viewer),
            ("ExplainRoute", Role::Viewer),
            ("ListRevisions", Role::Viewer),
            ("GetRevision", Role::Viewer),
            ("Rollback", Role::Admin),
            ("ListAuditEvents", Role::Viewer),
            ("Watch", Role::Viewer),
        ],
    ),
    (
        "laneway.status.v1.MeshStatus",
        &[
            ("ListProxies", Role::Viewer),
            ("GetProxy", Role::Viewer),
            ("WatchProxies", Role::Viewer),
            ("GetRollout", Role::Viewer),
            ("WatchRollout", Role::Viewer),
            ("QueryLaneStats", Role::Viewer),
            ("WatchLaneStats", Role::Viewer),
            ("GetTopology", Role::Viewer),
            ("GetServerInfo", Role::Viewer),
        ],
    ),
];

/// What `laneway.admin.v1.LaneAdmin/EnableLane` takes. Nothing: nobody may call it.
pub(super) fn needed(method: &str) -> Option<Role> {
    let (service, method) = method.split_once('/')?;
    let (_, methods) = NEEDED.iter().find(|(own, _)| *own == service)?;
    methods.iter().find(|(own, _)| *own == method).map(|(_, role)| *role)
}

/// Why somebody may not.
pub(super) fn words(caller: &Caller, method: &str, needed: Role) -> String {
    let (who, is, needed) = (&caller.principal, caller.role.as_str(), needed.as_str());
    let method = method.rsplit('/').next().unwrap_or(method);
    format!("{who} is {is}; {method} takes the role {needed}")
}
