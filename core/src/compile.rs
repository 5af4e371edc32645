//! From objects and catalogue to what sidecars are sent: one resource for one object, flat, with a version that is a hash.
//!
//! Pure and total: whatever the checker accepts compiles, and what it would refuse compiles to something harmless. Every
//! replica makes the same bytes.

mod catalog;
mod lanes;
mod rules;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use laneway_proto::contract::{
    GROUP_DEFAULT, TYPE_ENDPOINTS, TYPE_LANE, TYPE_LANE_GROUP, TYPE_PEER, TYPE_SERVICE, TYPE_SERVICE_POLICY,
};
use laneway_proto::{admin, discovery};
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

pub use self::lanes::CORRELATE_AUTO;
pub(crate) use self::lanes::{Membership, lane_tag, members, policy_service};
pub(crate) use self::rules::{entry_rules as wire_entry_rules, policy_rules as wire_policy_rules};
use crate::document::{self, Document, ProxyDocument, ServiceDocument};
use crate::name;
use crate::snapshot::Identity;

/// All that people wrote, by resource name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    pub groups: BTreeMap<String, admin::LaneGroup>,
    pub lanes: BTreeMap<String, admin::Lane>,
    pub policies: BTreeMap<String, admin::ServicePolicy>,
}

/// All that runs, by resource name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    pub services: BTreeMap<String, ServiceDocument>,
}

/// One resource, ready to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireResource {
    pub type_url: &'static str,
    pub name: String,
    /// Hash of the body, 16 hexadecimal digits.
    pub version: String,
    /// The encoded message.
    pub body: Vec<u8>,
}

impl WireResource {
    pub(crate) fn new(type_url: &'static str, name: &str, message: &impl Message) -> WireResource {
        let body = message.encode_to_vec();
        WireResource { type_url, name: name.to_owned(), version: format!("{:016x}", xxh3_64(&body)), body }
    }
}

/// A lane, and the services whose sidecars get its rules.
#[derive(Clone, Debug)]
struct LaneForms {
    whole: Arc<WireResource>,
    /// Without rules, under the same version. The whole where it has none.
    plain: Arc<WireResource>,
    entries: BTreeSet<String>,
}

/// A configuration as sidecars see it.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    catalog: Arc<catalog::Index>,
    membership: Membership,
    groups: BTreeMap<String, Arc<WireResource>>,
    /// By group, then by name.
    lanes: BTreeMap<String, BTreeMap<String, LaneForms>>,
    /// By the resource name of the service.
    policies: BTreeMap<String, Arc<WireResource>>,
}

/// Sorts documents into objects, catalogue and proxies; a second one of a name is an error.
pub fn sort(documents: Vec<Document>) -> Result<(Objects, Catalog, Vec<ProxyDocument>), Vec<admin::Diagnostic>> {
    let (mut objects, mut catalog, mut proxies) = (Objects::default(), Catalog::default(), Vec::new());
    let mut twice = Vec::new();
    for document in documents {
        let (kind, name) = (document.kind(), document.name());
        let before = match document {
            Document::LaneGroup(group) => objects.groups.insert(name.clone(), group).is_some(),
            Document::Lane(lane) => objects.lanes.insert(name.clone(), lane).is_some(),
            Document::ServicePolicy(policy) => objects.policies.insert(name.clone(), policy).is_some(),
            Document::Service(service) => catalog.services.insert(name.clone(), service).is_some(),
            Document::Proxy(proxy) => {
                proxies.push(proxy);
                false
            }
        };
        if before {
            twice.push(document::given_twice(kind, &name));
        }
    }
    if twice.is_empty() { Ok((objects, catalog, proxies)) } else { Err(twice) }
}

/// Compiles a whole configuration.
pub fn compile(objects: &Objects, catalog: &Catalog) -> Compiled {
    with_index(objects, Arc::new(catalog::index(catalog)))
}

fn with_index(objects: &Objects, catalog: Arc<catalog::Index>) -> Compiled {
    let membership = Membership::of(objects);
    let mut tested: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut policies = BTreeMap::new();
    for (name, policy) in &objects.policies {
        let service = policy_service(name, policy);
        let group = membership.group_of(&service);
        let baseline = objects.groups.get(&group).and_then(|g| g.baseline.as_ref()).map_or("", |b| b.tag.as_str());
        // Also of one that is switched off, so that the switch changes one resource and no other.
        rules::tested_headers(&policy.rules, tested.entry(group).or_default());
        let wire = WireResource::new(TYPE_SERVICE_POLICY, &service, &lanes::policy(name, policy, baseline));
        policies.insert(service, Arc::new(wire));
    }

    let mut groups = BTreeMap::new();
    let namespaces = catalog.services.keys().chain(objects.policies.keys()).chain(objects.lanes.keys());
    let defaults: BTreeSet<String> =
        namespaces.map(|name| name::group(name::namespace_of(name), GROUP_DEFAULT)).collect();
    let missing = defaults.iter().filter(|name| !objects.groups.contains_key(*name));
    let default = admin::LaneGroup::default();
    for (name, group) in objects.groups.iter().chain(missing.map(|name| (name, &default))) {
        let tested = tested.remove(name).unwrap_or_default();
        let wire = lanes::group(name, group, &membership, &tested);
        groups.insert(name.clone(), Arc::new(WireResource::new(TYPE_LANE_GROUP, name, &wire)));
    }

    let mut lanes: BTreeMap<String, BTreeMap<String, LaneForms>> = BTreeMap::new();
    for (name, lane) in &objects.lanes {
        let wire = lanes::lane(name, lane, objects.groups.get(name::parent_group(name).unwrap_or_default()));
        let of_group = lanes.entry(wire.lane_group.clone()).or_default();
        of_group.insert(name.clone(), lane_forms(name, wire));
    }
    Compiled { catalog, membership, groups, lanes, policies }
}

/// Bytes of a lane's resource while it is enabled: what a switch may make of it at any time.
pub(crate) fn lane_bytes(name: &str, lane: &admin::Lane, group: Option<&admin::LaneGroup>) -> usize {
    let enabled = admin::Lane { enabled: Some(true), ..lane.clone() };
    lanes::lane(name, &enabled, group).encoded_len()
}

/// The same of a policy.
pub(crate) fn policy_bytes(name: &str, policy: &admin::ServicePolicy) -> usize {
    let enabled = admin::ServicePolicy { enabled: Some(true), ..policy.clone() };
    lanes::policy(name, &enabled, "").encoded_len()
}

/// Bytes of a group's resource, but for the few headers that policies add to it.
pub(crate) fn group_bytes(name: &str, group: &admin::LaneGroup, membership: &Membership) -> usize {
    lanes::group(name, group, membership, &BTreeSet::new()).encoded_len()
}

/// Bytes of a service's own resource.
pub(crate) fn service_bytes(service: &ServiceDocument) -> usize {
    catalog::wire_service(service).encoded_len()
}

fn lane_forms(name: &str, mut lane: discovery::Lane) -> LaneForms {
    let whole = Arc::new(WireResource::new(TYPE_LANE, name, &lane));
    let entries = lane.entry.iter().flat_map(|e| e.services.iter().cloned()).collect();
    let plain = match &mut lane.entry {
        Some(entry) if !entry.rules.is_empty() => {
            entry.rules.clear();
            Arc::new(WireResource { body: lane.encode_to_vec(), ..(*whole).clone() })
        }
        _ => whole.clone(),
    };
    LaneForms { whole, plain, entries }
}

impl Compiled {
    /// The same catalogue under other objects: what a switch of a lane needs, whatever the number of endpoints.
    pub fn with_objects(&self, objects: &Objects) -> Compiled {
        with_index(objects, self.catalog.clone())
    }

    /// What `*` means in a type, for one sidecar.
    pub fn subscribed(&self, type_url: &str, node: &Identity) -> Vec<Arc<WireResource>> {
        let service = own_service(node);
        match type_url {
            TYPE_LANE_GROUP => vec![self.group(&self.group_of(node))],
            TYPE_LANE => {
                let lanes = self.lanes.get(&self.group_of(node)).into_iter().flatten();
                let form = |(_, lane): (&String, &LaneForms)| match &service {
                    Some(service) if lane.entries.contains(service) => lane.whole.clone(),
                    _ => lane.plain.clone(),
                };
                lanes.map(form).collect()
            }
            TYPE_SERVICE_POLICY => service.and_then(|s| self.policies.get(&s).cloned()).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// What a key stands for in a type, for one sidecar: the name of a service, `host/{authority}`, `ip/{address}`. Empty:
    /// nothing that its namespace may see.
    pub fn answer(&self, type_url: &str, key: &str, node: &Identity) -> Vec<Arc<WireResource>> {
        if type_url == TYPE_PEER {
            let address = key.strip_prefix("ip/").and_then(parse_address);
            return address.and_then(|a| self.catalog.peers.get(&a).cloned()).into_iter().collect();
        }
        let mut found = Vec::new();
        for service in self.services(key).into_iter().filter(|service| self.sees(node, service)) {
            self.of_service(type_url, service, &mut found);
        }
        found
    }

    /// Everything that concerns a sidecar which is told all at once, in the order in which it is pushed.
    pub fn everything(&self, node: &Identity) -> Vec<Arc<WireResource>> {
        let mut all = Vec::new();
        let services = || self.catalog.services.iter().filter(|(name, _)| self.sees(node, name)).map(|(_, s)| s);
        all.extend(services().flat_map(|s| s.endpoints.iter().cloned()));
        all.extend(services().map(|s| s.service.clone()));
        all.extend(self.policies.iter().filter(|(service, _)| self.sees(node, service)).map(|(_, p)| p.clone()));
        all.extend(self.subscribed(TYPE_LANE_GROUP, node));
        all.extend(self.subscribed(TYPE_LANE, node));
        all.extend(self.catalog.peers.values().cloned());
        all
    }

    /// The version of one resource of a type: of the types that carry objects, and of services. A policy has its service's
    /// name.
    pub fn version_of(&self, type_url: &str, name: &str) -> Option<&str> {
        let resource = match type_url {
            TYPE_LANE_GROUP => self.groups.get(name),
            TYPE_LANE => self.lanes.get(name::parent_group(name)?)?.get(name).map(|forms| &forms.whole),
            TYPE_SERVICE_POLICY => self.policies.get(name),
            TYPE_SERVICE => self.catalog.services.get(name).map(|s| &s.service),
            _ => None,
        };
        resource.map(|r| r.version.as_str())
    }

    /// The group in which a sidecar takes part, by resource name.
    pub fn group_of(&self, node: &Identity) -> String {
        match own_service(node) {
            Some(service) => self.membership.group_of(&service),
            None => name::group(&node.namespace, GROUP_DEFAULT),
        }
    }

    fn group(&self, name: &str) -> Arc<WireResource> {
        self.groups.get(name).cloned().unwrap_or_else(|| {
            // Nothing is known of its namespace: all defaults.
            let tested = BTreeSet::new();
            let wire = lanes::group(name, &admin::LaneGroup::default(), &self.membership, &tested);
            Arc::new(WireResource::new(TYPE_LANE_GROUP, name, &wire))
        })
    }

    /// May sidecars of this namespace know of the service? A service that does not run hides nothing.
    fn sees(&self, node: &Identity, service: &str) -> bool {
        name::namespace_of(service) == node.namespace
            || self.catalog.services.get(service).is_none_or(|s| s.is_visible_to(&node.namespace))
    }

    /// Names of the services that a key stands for.
    fn services<'c>(&'c self, key: &'c str) -> Vec<&'c str> {
        if let Some(address) = key.strip_prefix("ip/") {
            let services = parse_address(address).and_then(|a| self.catalog.addresses.get(&a));
            return services.into_iter().flatten().map(|s| &**s).collect();
        }
        if let Some(authority) = key.strip_prefix("host/") {
            let host = without_port(authority).to_ascii_lowercase();
            return self.catalog.hosts.get(&host).into_iter().flatten().map(|s| &**s).collect();
        }
        vec![key]
    }

    fn of_service(&self, type_url: &str, service: &str, found: &mut Vec<Arc<WireResource>>) {
        match type_url {
            TYPE_SERVICE => found.extend(self.catalog.services.get(service).map(|s| s.service.clone())),
            TYPE_SERVICE_POLICY => found.extend(self.policies.get(service).cloned()),
            TYPE_ENDPOINTS => {
                found.extend(self.catalog.services.get(service).into_iter().flat_map(|s| s.endpoints.iter().cloned()));
            }
            _ => {}
        }
    }
}

/// Always of its own namespace, whatever it calls itself.
fn own_service(node: &Identity) -> Option<String> {
    (!node.service.is_empty()).then(|| name::service(&node.namespace, &node.service))
}

fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|a| a.to_canonical())
}

/// The host of an authority; a port is not part of a service's hosts.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}
