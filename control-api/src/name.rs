//! Resource names (AIP-122), taken apart; `laneway_core::name` puts them together. Pure.
//!
//! A name that parses has the right shape and an id of the right grammar in every place.

use laneway_core::tag::Tag;

#[cfg(test)]
mod tests;

const NAMESPACES: &str = "namespaces";
const GROUPS: &str = "laneGroups";
const LANES: &str = "lanes";
const POLICIES: &str = "servicePolicies";
const SERVICES: &str = "services";
/// In the parent of a list: all (AIP-159).
pub const ANY: &str = "-";

/// Namespace of a `namespaces/{namespace}`.
pub fn parse_namespace(name: &str) -> Option<&str> {
    match segments(name).as_slice() {
        [NAMESPACES, namespace] if is_id(namespace) => Some(namespace),
        _ => None,
    }
}

/// Namespace and id.
pub fn parse_group(name: &str) -> Option<(&str, &str)> {
    match segments(name).as_slice() {
        [NAMESPACES, namespace, GROUPS, group] if is_id(namespace) && is_id(group) => Some((namespace, group)),
        _ => None,
    }
}

/// Namespace, group and id.
pub fn parse_lane(name: &str) -> Option<(&str, &str, &str)> {
    match segments(name).as_slice() {
        [NAMESPACES, namespace, GROUPS, group, LANES, lane] if [namespace, group, lane].iter().all(|id| is_id(id)) => {
            Some((namespace, group, lane))
        }
        _ => None,
    }
}

/// Namespace and id.
pub fn parse_policy(name: &str) -> Option<(&str, &str)> {
    match segments(name).as_slice() {
        [NAMESPACES, namespace, POLICIES, policy] if is_id(namespace) && is_service_id(policy) => {
            Some((namespace, policy))
        }
        _ => None,
    }
}

/// Namespace and id.
pub fn parse_service(name: &str) -> Option<(&str, &str)> {
    match segments(name).as_slice() {
        [NAMESPACES, namespace, SERVICES, service] if is_id(namespace) && is_service_id(service) => {
            Some((namespace, service))
        }
        _ => None,
    }
}

/// True when `name` is `parent` or lies under it.
pub fn is_under(name: &str, parent: &str) -> bool {
    name.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// True when `name` lies directly under `parent`, where `-` stands for any one id.
pub fn is_child(name: &str, parent: &str) -> bool {
    let (name, parent) = (segments(name), segments(parent));
    name.len() == parent.len() + 2
        && name
            .iter()
            .zip(&parent)
            .enumerate()
            .all(|(at, (own, wanted))| own == wanted || (at % 2 == 1 && *wanted == ANY))
}

/// The last segment.
pub fn id(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn segments(name: &str) -> Vec<&str> {
    name.split('/').collect()
}

/// Groups, lanes and namespaces have the grammar of a tag; `baseline` is a tag to nobody, but no lane may be called so.
fn is_id(id: &str) -> bool {
    Tag::parse(id.as_bytes()).is_ok()
}

/// Services and their policies are called as in their registry.
fn is_service_id(id: &str) -> bool {
    (1..=253 * 3).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:@-%".contains(&byte))
}
