//! What runs, on the wire: services, endpoints in shards, peers, and the keys under which a sidecar asks for them.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use laneway_proto::contract::{SHARD_ENDPOINTS_MAX, TYPE_ENDPOINTS, TYPE_PEER, TYPE_SERVICE};
use laneway_proto::discovery::{self, endpoint::State};
use prost_types::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

use super::{Catalog, WireResource};
use crate::document::{EndpointDocument, ServiceDocument};
use crate::snapshot::EndpointState;
use crate::tag::Tag;

/// One service, and all shards of all its tags.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) service: Arc<WireResource>,
    pub(super) endpoints: Vec<Arc<WireResource>>,
    /// Namespaces beside its own; none given: all.
    visible_to: Vec<String>,
}

impl Entry {
    pub(super) fn is_visible_to(&self, namespace: &str) -> bool {
        self.visible_to.is_empty() || self.visible_to.iter().any(|visible| visible == namespace)
    }
}

/// The part of a compiled configuration that only the catalogue makes; shared while only objects change.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By resource name.
    pub(super) services: BTreeMap<String, Entry>,
    /// Services that a host means.
    pub(super) hosts: HashMap<String, Vec<Arc<str>>>,
    /// Services of which this is a virtual IP or the address of an instance.
    pub(super) addresses: HashMap<IpAddr, Vec<Arc<str>>>,
    pub(super) peers: BTreeMap<IpAddr, Arc<WireResource>>,
}

pub(super) fn index(catalog: &Catalog) -> Index {
    let mut index = Index::default();
    let owners = Owners::of(catalog);
    let mut peers: BTreeMap<IpAddr, discovery::Peer> = BTreeMap::new();
    for (name, service) in &catalog.services {
        let shared: Arc<str> = name.as_str().into();
        for host in &service.hosts {
            add(index.hosts.entry(host.to_ascii_lowercase()).or_default(), &shared);
        }
        let instances = service.endpoints.iter().map(|e| e.address.ip());
        for address in service.addresses.iter().copied().chain(instances) {
            add(index.addresses.entry(address.to_canonical()).or_default(), &shared);
        }
        // One that is going away is not who calls from the address that somebody new has.
        let has_address =
            |e: &&EndpointDocument| owners.owner(e).is_none_or(|(likelihood, _)| likelihood <= e.state.likelihood());
        let meshed = service.endpoints.iter().filter(|e| e.meshed && !service.secondary);
        for endpoint in meshed.filter(has_address) {
            let tag = endpoint.tag.map(|t| t.as_str().to_owned()).unwrap_or_default();
            let peer = discovery::Peer { service: name.clone(), tag };
            peers.entry(endpoint.address.ip().to_canonical()).and_modify(|p| common(p, &peer)).or_insert(peer);
        }
        let mut tags: BTreeMap<Option<Tag>, Vec<&EndpointDocument>> = BTreeMap::new();
        for endpoint in &service.endpoints {
            tags.entry(endpoint.tag).or_default().push(endpoint);
        }
        let mut endpoints = Vec::new();
        for (tag, of_tag) in tags {
            let is_secondary = |e: &EndpointDocument| {
                service.secondary || owners.owner(e).is_none_or(|(_, owner)| owner != name.as_str())
            };
            shards(name, tag.as_ref().map_or("", Tag::as_str), of_tag, &is_secondary, &mut endpoints);
        }
        let visible_to = service.visible_to.clone();
        let service = Arc::new(WireResource::new(TYPE_SERVICE, name, &wire_service(service)));
        index.services.insert(name.clone(), Entry { service, endpoints, visible_to });
    }
    for (address, peer) in peers {
        index.peers.insert(address, Arc::new(WireResource::new(TYPE_PEER, &format!("ip/{address}"), &peer)));
    }
    index
}

/// Whose an address is, of the services that claim it: who most likely has it, then the first by name. To others it is secondary.
#[derive(Default)]
struct Owners<'c> {
    /// Instances at whatever port is dialled own their address, with each port of it, whoever else names one.
    whole: HashMap<IpAddr, (u8, &'c str)>,
    sockets: HashMap<SocketAddr, (u8, &'c str)>,
}

impl<'c> Owners<'c> {
    fn of(catalog: &'c Catalog) -> Owners<'c> {
        let mut owners = Owners::default();
        for (name, service) in catalog.services.iter().filter(|(_, service)| !service.secondary) {
            for endpoint in &service.endpoints {
                let claim = (endpoint.state.likelihood(), name.as_str());
                let owner = match endpoint.address.port() {
                    0 => owners.whole.entry(endpoint.address.ip()).or_insert(claim),
                    _ => owners.sockets.entry(endpoint.address).or_insert(claim),
                };
                if owner.0 < claim.0 {
                    *owner = claim;
                }
            }
        }
        owners
    }

    /// Of the address of an endpoint. None: only secondary services have it.
    fn owner(&self, endpoint: &EndpointDocument) -> Option<(u8, &'c str)> {
        self.whole.get(&endpoint.address.ip()).or_else(|| self.sockets.get(&endpoint.address)).copied()
    }
}

fn add(services: &mut Vec<Arc<str>>, service: &Arc<str>) {
    // Services come one after another: a repeat is the last.
    if services.last() != Some(service) {
        services.push(service.clone());
    }
}

/// Several instances at one address are one peer, of which only what they have in common is said.
fn common(peer: &mut discovery::Peer, other: &discovery::Peer) {
    if peer.service != other.service {
        peer.service.clear();
        peer.tag.clear();
    } else if peer.tag != other.tag {
        peer.tag.clear();
    }
}

pub(super) fn wire_service(service: &ServiceDocument) -> discovery::Service {
    let mut hosts: Vec<String> = service.hosts.iter().map(|h| h.to_ascii_lowercase()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let mut addresses: Vec<Vec<u8>> = service.addresses.iter().map(|a| octets(*a)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let ports = service.ports.iter().map(|p| discovery::ServicePort {
        port: p.port.into(),
        name: p.name.clone(),
        app_protocol: p.protocol.into(),
    });
    discovery::Service { hosts, addresses, ports: ports.collect() }
}

/// 4 or 16 bytes in network order, IPv4 never mapped.
fn octets(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn shards(
    service: &str,
    tag: &str,
    documents: Vec<&EndpointDocument>,
    is_secondary: &dyn Fn(&EndpointDocument) -> bool,
    out: &mut Vec<Arc<WireResource>>,
) {
    let mut all: Vec<(u64, discovery::Endpoint)> =
        documents.into_iter().map(|e| wire_endpoint(e, is_secondary(e))).collect();
    // By address and port, then its name (two ports of a service may lead to one socket); the shorter family first.
    all.sort_by(|(_, a), (_, b)| {
        let family = a.address.len().cmp(&b.address.len());
        family.then_with(|| (&a.address, a.port, &a.port_name).cmp(&(&b.address, b.port, &b.port_name)))
    });
    let count = shard_count(&all);
    let mut shards: Vec<Vec<discovery::Endpoint>> = vec![Vec::new(); count];
    for (hash, endpoint) in all {
        shards[(hash % count as u64) as usize].push(endpoint);
    }
    let label = if tag.is_empty() { "-" } else { tag };
    for (at, endpoints) in shards.into_iter().enumerate() {
        let name = format!("{service}/tags/{label}/shards/{at}");
        let shard =
            discovery::Endpoints { service: service.to_owned(), tag: tag.to_owned(), endpoints, ..Default::default() };
        out.push(Arc::new(WireResource::new(TYPE_ENDPOINTS, &name, &shard)));
    }
}

/// A power of two, so that an instance more moves no others while the count stays, and half of them when it doubles.
fn shard_count(all: &[(u64, discovery::Endpoint)]) -> usize {
    let mut count = 1;
    loop {
        let mut sizes = vec![0; count];
        for (hash, _) in all {
            sizes[(hash % count as u64) as usize] += 1;
        }
        // Equal hashes cannot be parted; four times the number of endpoints is enough for any that can.
        if sizes.iter().all(|size| *size <= SHARD_ENDPOINTS_MAX) || count > all.len() * 4 {
            return count;
        }
        count *= 2;
    }
}

/// The endpoint and the hash of its address and port.
fn wire_endpoint(document: &EndpointDocument, secondary: bool) -> (u64, discovery::Endpoint) {
    let address = octets(document.address.ip());
    let mut key = address.clone();
    key.extend(document.address.port().to_be_bytes());
    let endpoint = discovery::Endpoint {
        address,
        port: document.address.port().into(),
        port_name: document.port_name.clone(),
        weight: document.weight,
        state: match document.state {
            EndpointState::Ready => State::Ready,
            EndpointState::Warming => State::Warming,
            EndpointState::Draining => State::Draining,
            EndpointState::Unhealthy => State::Unhealthy,
        }
        .into(),
        // A file does not say when it became ready: long ago.
        start_time: (document.state == EndpointState::Warming).then(Timestamp::default),
        interface_set: 0,
        secondary,
        meshed: document.meshed,
    };
    (xxh3_64(&key), endpoint)
}
