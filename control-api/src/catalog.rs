//! What runs, as the lanes see it: the services of all sources by resource name, and what of a lane is there.
//!
//! Pure. Called by `reconcile` and `api`.

use std::collections::{BTreeMap, BTreeSet};

use laneway_core::compile::{Catalog, Objects};
use laneway_core::document::{EndpointDocument, ServiceDocument};
use laneway_core::snapshot::EndpointState;
use laneway_proto::admin::ServiceCoverage;
use laneway_proto::contract::GROUP_DEFAULT;

use crate::name;

#[cfg(test)]
mod tests;

/// By resource name. Sources have refused doubles already; were there one, the last would hold.
pub fn catalog(services: &[ServiceDocument]) -> Catalog {
    Catalog { services: services.iter().map(|service| (service.resource_name(), service.clone())).collect() }
}

/// What a lane has of each service of its group.
pub fn coverage(objects: &Objects, catalog: &Catalog, lane: &str) -> Vec<ServiceCoverage> {
    let Some((namespace, group, _)) = name::parse_lane(lane) else { return Vec::new() };
    let Some(lane) = objects.lanes.get(lane) else { return Vec::new() };
    let group_name = laneway_core::name::group(namespace, group);
    let baseline = objects.groups.get(&group_name).and_then(|group| group.baseline.as_ref());
    let baseline_tag = baseline.map(|baseline| baseline.tag.as_str()).unwrap_or_default();
    let mut found = Vec::new();
    for service in members(objects, catalog, &group_name) {
        let mut coverage = ServiceCoverage { service: service.to_owned(), ..ServiceCoverage::default() };
        let endpoints = &catalog.services[service].endpoints;
        // An instance that is called at any port may have further endpoints for ports that are not called by their own number.
        let is_whole = |endpoint: &EndpointDocument| endpoint.address.port() == 0 && endpoint.port_name.is_empty();
        let has_whole = endpoints.iter().any(is_whole);
        for endpoint in endpoints.iter().filter(|endpoint| !has_whole || is_whole(endpoint)) {
            let is_ready = matches!(endpoint.state, EndpointState::Ready | EndpointState::Warming);
            let tag = endpoint.tag.as_ref().map_or("", |tag| tag.as_str());
            if tag == lane.tag {
                coverage.total_endpoints += 1;
                coverage.ready_endpoints += u32::from(is_ready);
            } else if tag.is_empty() || tag == baseline_tag {
                coverage.baseline_ready_endpoints += u32::from(is_ready);
            }
        }
        found.push(coverage);
    }
    found
}

/// Names of the services that run and take part in a group, in order.
fn members<'a>(objects: &Objects, catalog: &'a Catalog, group: &str) -> Vec<&'a str> {
    let owners = Owners::of(objects);
    let services = catalog.services.keys();
    services.map(String::as_str).filter(|service| owners.of_service(service).as_deref() == Some(group)).collect()
}

/// Which group a service is in: the one that names it, else the one of its namespace that takes all, else `default`.
struct Owners<'a> {
    named: BTreeMap<String, &'a str>,
    /// By namespace.
    all: BTreeMap<&'a str, &'a str>,
}

impl<'a> Owners<'a> {
    fn of(objects: &'a Objects) -> Owners<'a> {
        let mut owners = Owners { named: BTreeMap::new(), all: BTreeMap::new() };
        for group in objects.groups.keys() {
            let Some((namespace, _)) = name::parse_group(group) else { continue };
            let services: BTreeSet<&str> = objects.groups[group].services.iter().map(String::as_str).collect();
            if services.is_empty() || services.contains("*") {
                owners.all.insert(namespace, group);
            }
            for service in services.into_iter().filter(|service| *service != "*") {
                let full = if service.contains('/') {
                    service.to_owned()
                } else {
                    laneway_core::name::service(namespace, service)
                };
                owners.named.insert(full, group);
            }
        }
        owners
    }

    fn of_service(&self, service: &str) -> Option<String> {
        if let Some(group) = self.named.get(service) {
            return Some((*group).to_owned());
        }
        let (namespace, _) = name::parse_service(service)?;
        let group = self.all.get(namespace).map(|group| (*group).to_owned());
        Some(group.unwrap_or_else(|| laneway_core::name::group(namespace, GROUP_DEFAULT)))
    }
}
