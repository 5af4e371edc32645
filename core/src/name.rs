//! Resource names (AIP-122): the one place where they are put together and taken apart.

use laneway_proto::contract::{GROUP_DEFAULT, NAMESPACE_DEFAULT};

/// `namespaces/{namespace}/services/{service}`
pub fn service(namespace: &str, id: &str) -> String {
    format!("namespaces/{namespace}/services/{id}")
}

/// `namespaces/{namespace}/laneGroups/{lane_group}`
pub fn group(namespace: &str, id: &str) -> String {
    format!("namespaces/{namespace}/laneGroups/{id}")
}

/// `namespaces/{namespace}/laneGroups/{lane_group}/lanes/{lane}`
pub fn lane(namespace: &str, group: &str, id: &str) -> String {
    format!("namespaces/{namespace}/laneGroups/{group}/lanes/{id}")
}

/// `namespaces/{namespace}/servicePolicies/{service_policy}`
pub fn policy(namespace: &str, id: &str) -> String {
    format!("namespaces/{namespace}/servicePolicies/{id}")
}

/// The segment after `namespaces/`; `default` where there is none.
pub fn namespace_of(name: &str) -> &str {
    name.strip_prefix("namespaces/").and_then(|rest| rest.split('/').next()).unwrap_or(NAMESPACE_DEFAULT)
}

/// The last segment.
pub fn id_of(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The group that a lane's name lies under.
pub fn group_of_lane(lane: &str) -> &str {
    lane.split_once("/lanes/").map_or(lane, |(group, _)| group)
}

/// Full resource name of a reference: an id in `namespace`, or a resource name already.
pub fn service_reference(namespace: &str, reference: &str) -> String {
    if reference.starts_with("namespaces/") { reference.to_owned() } else { service(namespace, reference) }
}

/// The group that is always there.
pub fn default_group(namespace: &str) -> String {
    group(namespace, GROUP_DEFAULT)
}
