//! Resource names (AIP-122): the one place where they are put together and taken apart.

use laneway_proto::contract::{GROUP_DEFAULT, NAMESPACE_DEFAULT};

use crate::tag::{Tag, TagError};

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

/// The parent group of a lane's name, if it is one.
pub fn parent_group(lane: &str) -> Option<&str> {
    lane.rsplit_once("/lanes/").map(|(group, _)| group)
}

/// What a service's id may be: 1 to 253 bytes of `A-Za-z0-9._:@-`, any other byte percent-encoded.
pub fn is_service_id(id: &str) -> bool {
    let bytes = id.as_bytes();
    if bytes.is_empty() || bytes.len() > 253 {
        return false;
    }
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b':' | b'@' | b'-' => at += 1,
            b'%' if bytes.get(at + 1..at + 3).is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit)) => at += 3,
            _ => return false,
        }
    }
    true
}

/// Ids of groups and lanes, names of rules and namespaces have the grammar of a tag.
pub fn is_id(id: &str) -> bool {
    matches!(Tag::parse(id.as_bytes()), Ok(_) | Err(TagError::Reserved))
}

/// Is this `namespaces/{id}/{collection}/{id}`, with further `/{collection}/{id}` as listed? A service may be `*`.
pub fn is_name(name: &str, collections: &[&str]) -> bool {
    let mut parts = name.split('/');
    let mut segment = |collection: &str| {
        parts.next() == Some(collection)
            && parts.next().is_some_and(|id| match collection {
                "services" => is_service_id(id) || id == "*",
                "servicePolicies" => is_service_id(id),
                _ => is_id(id),
            })
    };
    if !segment("namespaces") || !collections.iter().all(|c| segment(c)) {
        return false;
    }
    parts.next().is_none()
}
