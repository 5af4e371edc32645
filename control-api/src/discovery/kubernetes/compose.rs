//! From instances and fronts to the document of a service: what is called at which port. Pure.
//!
//! An instance has one endpoint with port 0: called at the port that was dialled, whatever it declares. A port of a front that leads to
//! another number somewhere has a name, and one endpoint of that name for each instance; a port that leads to its own number
//! everywhere needs none. Addresses that are not an instance's alone (a node's, a machine's) have endpoints of names only, of headless
//! fronts too. Families never mix: a second address has a port name of its own, so who dials it is led to others of it. And so have
//! instances that the addresses of the service do not stand for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use laneway_core::document::{EndpointDocument, PortDocument, ServiceDocument};
use laneway_core::snapshot::EndpointState;
use laneway_core::tag::Tag;
use laneway_proto::discovery::AppProtocol;

use super::objects::FrontFact;

/// The port name of second addresses; no port of a Kubernetes Service has a dot.
const SECOND_FAMILY: &str = "second.family";
/// Those of instances beside what the service's addresses stand for: who dials one is led to others of them alone.
const BESIDE: &str = "aside.fronts";
const BESIDE_SECOND_FAMILY: &str = "aside.second.family";
/// And that of an instance which is dialled before it is ready, with its address.
const UNREADY: &str = "aside.unready.";
/// Of all names in a cluster, unless it was built with another.
const CLUSTER_DOMAIN: &str = "cluster.local";

#[derive(Clone)]
pub(super) struct Instance {
    pub(super) address: IpAddr,
    pub(super) second_address: Option<IpAddr>,
    /// All ports of its address are its own.
    pub(super) has_own_address: bool,
    /// It is not called by the service's addresses.
    pub(super) is_beside: bool,
    /// Whoever dials it means it, though it is not ready.
    pub(super) is_dialled_unready: bool,
    pub(super) tag: Option<Tag>,
    pub(super) state: EndpointState,
    pub(super) is_meshed: bool,
    /// For each number, where it listens.
    pub(super) targets: Vec<Option<u16>>,
}

/// A port of the fronts.
pub(super) struct Number<'a> {
    pub(super) number: u16,
    /// May be empty.
    pub(super) name: &'a str,
    pub(super) protocol: AppProtocol,
    /// A front with an address of its own has it; otherwise it is dialled at instances alone.
    pub(super) is_of_address: bool,
}

/// Nothing where nothing runs. `numbers` in order; a front is its name and what is known of it.
pub(super) fn compose(
    namespace: &str,
    id: &str,
    fronts: &[(&str, &FrontFact)],
    numbers: &[Number<'_>],
    instances: &[Instance],
) -> Option<ServiceDocument> {
    let mut service = ServiceDocument { namespace: namespace.into(), name: id.into(), ..ServiceDocument::default() };
    // A bare name means another service in each namespace.
    let hosts = fronts.iter().flat_map(|(name, _)| {
        let short = format!("{name}.{namespace}");
        [short.clone(), format!("{short}.svc"), format!("{short}.svc.{CLUSTER_DOMAIN}")]
    });
    service.hosts = hosts.map(|host| host.to_ascii_lowercase()).collect();
    let addresses: BTreeSet<IpAddr> = fronts.iter().flat_map(|(_, fact)| fact.addresses.iter().copied()).collect();
    service.addresses = addresses.into_iter().collect();
    if instances.iter().any(|instance| instance.has_own_address) {
        service.ports.push(PortDocument { port: 0, name: String::new(), protocol: AppProtocol::Detect });
    }
    let mut endpoints = Endpoints::default();
    for instance in instances.iter().filter(|instance| instance.has_own_address) {
        let addresses = [Some(instance.address), instance.second_address].into_iter().flatten();
        for (address, shared) in addresses.zip([["", BESIDE], [SECOND_FAMILY, BESIDE_SECOND_FAMILY]]) {
            if instance.is_dialled_unready {
                // Nobody else is called together with it, so it is never chosen, and nobody in its place.
                endpoints.add(
                    &Instance { state: EndpointState::Ready, ..instance.clone() },
                    address,
                    0,
                    &format!("{UNREADY}{address}"),
                );
            } else {
                endpoints.add(instance, address, 0, shared[usize::from(instance.is_beside)]);
            }
        }
    }
    for (at, number) in numbers.iter().enumerate() {
        let is_kept = |instance: &Instance| instance.has_own_address && instance.targets[at] == Some(number.number);
        if number.protocol == AppProtocol::Detect
            && instances.iter().filter(|instance| !instance.is_beside).all(is_kept)
        {
            continue;
        }
        if !number.is_of_address && instances.iter().all(|instance| instance.targets[at].is_none()) {
            continue;
        }
        let is_taken = number.name.is_empty() || service.ports.iter().any(|port| port.name == number.name);
        // With a dot, as no port of a Kubernetes Service is named.
        let name = if is_taken { format!("{}.tcp", number.number) } else { number.name.to_owned() };
        for instance in instances {
            if let Some(target) = instance.targets[at] {
                endpoints.add(instance, instance.address, target, &name);
            }
        }
        service.ports.push(PortDocument { port: number.number, name, protocol: number.protocol });
    }
    service.endpoints = endpoints.whole.into_values().chain(endpoints.named.into_values()).collect();
    (!service.endpoints.is_empty()).then_some(service)
}

/// An address that was given to a new pod while the old one still goes away is the new one's.
#[derive(Default)]
struct Endpoints {
    /// Called at whatever port is dialled: one for each address, whatever it is called together with.
    whole: BTreeMap<SocketAddr, EndpointDocument>,
    /// By port name and socket.
    named: BTreeMap<(String, SocketAddr), EndpointDocument>,
}

impl Endpoints {
    fn add(&mut self, instance: &Instance, address: IpAddr, port: u16, name: &str) {
        let address = SocketAddr::new(address, port);
        let endpoint = EndpointDocument {
            address,
            port_name: name.to_owned(),
            tag: instance.tag,
            weight: 1,
            state: instance.state,
            meshed: instance.is_meshed,
        };
        match port {
            0 => put(&mut self.whole, address, endpoint),
            _ => put(&mut self.named, (name.to_owned(), address), endpoint),
        }
    }
}

/// Of two the likelier one, of equals the first.
fn put<K: Ord>(endpoints: &mut BTreeMap<K, EndpointDocument>, key: K, endpoint: EndpointDocument) {
    if endpoints.get(&key).is_none_or(|other| other.state.likelihood() < endpoint.state.likelihood()) {
        endpoints.insert(key, endpoint);
    }
}
