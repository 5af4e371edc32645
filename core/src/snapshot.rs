//! Everything a sidecar knows at one moment: compiled, indexed, never changed, only replaced.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use laneway_proto::contract::TAG_HEADER;
use laneway_proto::routing::{Ambiguous, BaselineMode, Infer, NewTrace, PathHeader, StampPodTag, TagCarrier, TagTrust};

use crate::condition::split_authority;
use crate::conduct::Conduct;
use crate::facts::NameSet;
use crate::lane::{Fallback, Lane};
use crate::mark::Mark;
use crate::name;
use crate::policy::Policy;
use crate::table::{At, Table};
use crate::tag::Tag;
use crate::trace::IdHeaders;

/// Who this sidecar is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// LANEWAY_NAMESPACE.
    pub namespace: String,
    /// LANEWAY_SERVICE; empty: no entry, no stamping.
    pub service: String,
    /// LANEWAY_TAG; `None` is baseline.
    pub tag: Option<Tag>,
}

impl Identity {
    /// Resource name of the service; empty where the pod has none.
    pub fn service_name(&self) -> String {
        if self.service.is_empty() { String::new() } else { name::service(&self.namespace, &self.service) }
    }
}

/// One configuration, whole.
pub struct Snapshot {
    pub identity: Identity,
    /// Counts the versions that this sidecar published.
    pub revision: u64,
    pub(crate) group: Group,
    /// Of the group, larger priority first.
    pub(crate) lanes: Vec<Arc<Lane>>,
    lane_of_tag: FastMap<Tag, usize>,
    /// In the order of the index's tables.
    pub(crate) services: Vec<Service>,
    index: Arc<Index>,
    peers: Arc<FastMap<IpAddr, KnownPeer>>,
    pub(crate) own: Own,
}

pub(crate) type FastMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
pub(crate) type FastSet<K> = HashSet<K, foldhash::fast::RandomState>;

/// What follows from who this pod is.
pub(crate) struct Own {
    /// Resource name; empty: none.
    pub(crate) service: String,
    /// The pod's tag, unless it counts as baseline.
    pub(crate) tag: Option<Tag>,
    /// The tag that this pod stamps, where stamping applies.
    pub(crate) stamp: Option<Tag>,
    /// The service is an entry of a lane, one that is switched off included.
    pub(crate) is_entry: bool,
    /// The pod belongs to a lane that redirects at this service.
    pub(crate) hands_over: bool,
    /// An entry rule of this service looks at the caller's service, namespace or tag.
    rules_ask_who_calls: bool,
    /// Position in `services`.
    at: Option<u32>,
    /// Of those of the service's instances that have a sidecar. Without one it may be a node's, which is everybody's behind it.
    addresses: FastSet<IpAddr>,
}

/// What the datapath must know of the lane group: how a tag travels.
#[derive(Clone, Debug)]
pub struct Group {
    /// Resource name.
    pub name: String,
    /// Lower case.
    pub tag_header: String,
    /// Read like the tag header, never written.
    pub aliases: Vec<String>,
    /// In order of precedence.
    pub carriers: Vec<TagCarrier>,
    pub trust: TagTrust,
    /// Counts as baseline, on instances and on requests.
    pub baseline_tag: Option<Tag>,
    /// Carried on to services of the group; lower case.
    pub pass_headers: Vec<String>,
    /// Of trace and request ids.
    pub ids: IdHeaders,
    pub infer: Infer,
    pub ambiguous: Ambiguous,
    pub new_trace: NewTrace,
    pub path_header: PathHeader,
    pub(crate) stamp_pod_tag: StampPodTag,
    pub(crate) baseline_mode: BaselineMode,
    /// For tags without a lane.
    pub(crate) fallback: Fallback,
    pub(crate) services: FastSet<String>,
    pub(crate) excluded_services: FastSet<String>,
    pub(crate) carrier_names: NameSet,
    pub(crate) pass_names: NameSet,
}

impl Group {
    /// With what follows from the names it was given.
    pub(crate) fn finish(mut self) -> Group {
        let own = std::iter::once(&self.tag_header).chain(&self.aliases);
        self.carrier_names = own.map(String::as_str).chain(["baggage", "tracestate"]).collect();
        self.pass_names = self.pass_headers.iter().collect();
        self
    }

    /// The group that is always there.
    pub(crate) fn default_of(namespace: &str) -> Group {
        Group {
            name: name::default_group(namespace),
            tag_header: TAG_HEADER.to_owned(),
            aliases: Vec::new(),
            carriers: vec![TagCarrier::Header, TagCarrier::Baggage, TagCarrier::Tracestate],
            trust: TagTrust::Any,
            baseline_tag: None,
            pass_headers: Vec::new(),
            ids: IdHeaders::default(),
            infer: Infer::Never,
            ambiguous: Ambiguous::Baseline,
            new_trace: NewTrace::Sampled,
            path_header: PathHeader::Never,
            stamp_pod_tag: StampPodTag::Entry,
            baseline_mode: BaselineMode::Untagged,
            fallback: Fallback::to_baseline(),
            services: std::iter::once(name::service(namespace, "*")).collect(),
            excluded_services: FastSet::default(),
            carrier_names: NameSet::default(),
            pass_names: NameSet::default(),
        }
        .finish()
    }

    pub(crate) fn has(&self, service: &str) -> bool {
        if self.services.contains(service) {
            return true;
        }
        if self.excluded_services.contains(service) {
            return false;
        }
        self.services.contains(&name::service(name::namespace_of(service), "*"))
    }
}

/// Who sits at an address; only those that have a sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Resource name; empty: a pod of no service.
    pub service: String,
    pub tag: Option<Tag>,
}

/// A peer, and whether it called.
#[derive(Clone)]
pub(crate) struct KnownPeer {
    pub(crate) peer: Peer,
    used: Mark,
}

impl KnownPeer {
    pub(crate) fn new(peer: Peer) -> KnownPeer {
        KnownPeer { peer, used: Mark::default() }
    }
}

/// What the data path made use of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used<'s> {
    /// Resource name of a service that was called.
    Service(&'s str),
    /// Address of a peer that called.
    Peer(IpAddr),
}

/// A service that can be called.
pub struct Service {
    /// `namespaces/{namespace}/services/{service}`
    pub name: Arc<str>,
    /// Its last segment.
    pub id: Arc<str>,
    pub(crate) table: Arc<Table>,
    pub(crate) policy: Option<Arc<Policy>>,
    pub(crate) is_of_group: bool,
    /// Pools that count as baseline.
    pub(crate) baseline: Vec<u32>,
    /// Pools that `noBaseline: any` may take: not of a lane that is off.
    pub(crate) any: Vec<u32>,
    /// It was dialled.
    used: Mark,
}

/// One socket of one instance.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub address: EndpointAddr,
    /// `None` is baseline.
    pub tag: Option<Tag>,
    pub weight: u32,
    pub state: EndpointState,
    /// Another service is this socket's own; the index of addresses leads there.
    pub(crate) is_secondary: bool,
    /// It has a sidecar, which hears `x-laneway-hop`.
    pub(crate) is_meshed: bool,
}

/// Where an instance listens. Port 0: any; the port that was dialled is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointAddr(pub SocketAddr);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointState {
    Ready,
    Warming,
    Draining,
    Unhealthy,
}

impl EndpointState {
    /// Of two that are said to have one address: how likely it is this one. An address goes to somebody new while the one who had it is
    /// still going away.
    pub fn likelihood(self) -> u8 {
        match self {
            EndpointState::Ready | EndpointState::Warming => 2,
            EndpointState::Unhealthy => 1,
            EndpointState::Draining => 0,
        }
    }
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// By the first bytes.
    Detect,
    /// Not read (TCP, TLS, and what is not supported yet).
    Opaque,
    Http1,
    Http2,
}

/// Instances of one tag and port of a service.
pub struct Siblings<'s> {
    pub service: &'s Service,
    pub tag: Option<Tag>,
    /// Requests go elsewhere where none of these is usable.
    pub has_fallback: bool,
    /// Of those that are usable, as they are called.
    pub addresses: Vec<SocketAddr>,
}

/// Where a call goes, as the client said it.
pub enum Destination<'s> {
    /// No service of ours: passed through untouched.
    Unknown,
    Known {
        service: &'s Service,
        /// Port that was dialled; an endpoint with port 0 is called there.
        port: u16,
        /// Name of the service's port that was dialled; only endpoints of that name are chosen.
        port_name: &'s str,
        protocol: Protocol,
        /// The instance whose address was dialled.
        instance: Option<&'s Endpoint>,
    },
}

impl Destination<'_> {
    /// Is it a service of the caller's group?
    pub(crate) fn is_of_group(&self) -> bool {
        matches!(self, Destination::Known { service, .. } if service.is_of_group)
    }
}

/// A [`Destination`] without its borrow: good for the snapshot that it came from, and no other.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub revision: u64,
    service: u32,
    number: u16,
    port: PlacePort,
}

#[derive(Clone, Copy, Debug)]
enum PlacePort {
    /// By position among the ports of the service.
    Declared(u32),
    /// That of the instance whose address was dialled.
    OfInstance(At),
    Undeclared,
}

/// Addresses and names to tables. Built once for a set of services and shared by snapshots.
#[derive(Default)]
pub(crate) struct Index {
    pub(crate) tables: Vec<Arc<Table>>,
    pub(crate) of_name: FastMap<Arc<str>, u32>,
    of_host: FastMap<String, u32>,
    of_address: FastMap<IpAddr, u32>,
    of_instance: FastMap<SocketAddr, (u32, At)>,
    /// Of all instances.
    tags: FastSet<Tag>,
}

impl Index {
    /// Of two that claim one address or host the first by name has it.
    pub(crate) fn build(tables: Vec<Arc<Table>>) -> Index {
        let mut index = Index { tables, ..Index::default() };
        index.of_instance.reserve(index.tables.iter().map(|t| t.endpoints().count()).sum());
        for (at, table) in index.tables.iter().enumerate() {
            let at = at as u32;
            index.of_name.insert(table.name.clone(), at);
            index.tags.extend(table.pools.iter().filter_map(|pool| pool.tag));
            for host in &table.hosts {
                index.of_host.entry(host.clone()).or_insert(at);
            }
            for address in &table.addresses {
                index.of_address.entry(*address).or_insert(at);
            }
            for (position, endpoint) in table.endpoints().filter(|(_, endpoint)| !endpoint.is_secondary) {
                index.of_instance.entry(endpoint.address.0).or_insert((at, position));
            }
        }
        index
    }
}

/// What a snapshot is made of.
pub(crate) struct Parts {
    pub(crate) group: Group,
    pub(crate) lanes: Vec<Arc<Lane>>,
    pub(crate) policies: FastMap<String, Arc<Policy>>,
    pub(crate) index: Arc<Index>,
    pub(crate) peers: Arc<FastMap<IpAddr, KnownPeer>>,
}

impl Snapshot {
    pub(crate) fn build(identity: Identity, revision: u64, parts: Parts) -> Snapshot {
        let Parts { group, mut lanes, policies, index, peers } = parts;
        lanes.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.name.cmp(&b.name)));
        let mut lane_of_tag = FastMap::default();
        for (at, lane) in lanes.iter().enumerate() {
            lane_of_tag.entry(lane.tag).or_insert(at);
        }
        let lane_of = |tag: Tag| lane_of_tag.get(&tag).map(|at: &usize| &lanes[*at]);
        let services = index.tables.iter().map(|table| {
            let is_of_group = group.has(&table.name);
            let is_baseline = |tag: Option<Tag>| match tag {
                None => true,
                Some(_) if !is_of_group => false,
                Some(tag) if group.baseline_tag == Some(tag) => true,
                Some(tag) => {
                    group.baseline_mode == BaselineMode::NotInEnabledLanes
                        && lane_of(tag).is_none_or(|lane| lane.is_off())
                }
            };
            let is_off = |tag: Option<Tag>| tag.and_then(lane_of).is_some_and(|lane| lane.is_off());
            let pools_where = |keep: &dyn Fn(Option<Tag>) -> bool| {
                let kept = table.pools.iter().enumerate().filter(|(_, pool)| keep(pool.tag));
                kept.map(|(at, _)| at as u32).collect()
            };
            Service {
                name: table.name.clone(),
                id: table.id.clone(),
                policy: policies.get(&*table.name).cloned(),
                is_of_group,
                baseline: pools_where(&is_baseline),
                any: pools_where(&|tag| !is_off(tag)),
                table: table.clone(),
                used: Mark::default(),
            }
        });
        let services = services.collect();
        let own = Own::of(&identity, &group, &lanes, &index);
        Snapshot { identity, revision, group, lanes, lane_of_tag, services, index, peers, own }
    }

    /// What is known before any configuration came: the default group, no lane, no service.
    pub fn empty(identity: Identity) -> Snapshot {
        crate::decode::Resources::default().snapshot(&identity, 0)
    }

    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Who sits at `address`; `None`: nobody with a sidecar, or not known (yet).
    pub fn peer(&self, address: IpAddr) -> Option<&Peer> {
        let known = self.peers.get(&address.to_canonical())?;
        known.used.set();
        Some(&known.peer)
    }

    /// Tells what was of use since this was asked last, of this snapshot: services that a [`Destination`] led to, and peers
    /// that were looked up.
    pub fn take_used(&self, mut tell: impl FnMut(Used<'_>)) {
        for service in self.services.iter().filter(|service| service.used.take()) {
            tell(Used::Service(&service.name));
        }
        for (address, _) in self.peers.iter().filter(|(_, known)| known.used.take()) {
            tell(Used::Peer(*address));
        }
    }

    pub fn service(&self, name: &str) -> Option<&Service> {
        self.index.of_name.get(name).map(|at| &self.services[*at as usize])
    }

    /// Does the service belong to this sidecar's lane group? Pass headers go to no other.
    pub fn is_of_group(&self, service: &Service) -> bool {
        service.is_of_group
    }

    /// What the owner of a service asks of its callers; `None`: there is no policy.
    pub fn conduct<'s>(&'s self, service: &'s Service) -> Option<&'s Arc<Conduct>> {
        service.policy.as_ref().map(|policy| &policy.conduct)
    }

    /// The key (a service name) that must be subscribed for a hand-over (`redirect`): this pod's own service.
    pub fn own_service_wanted(&self) -> Option<&str> {
        let redirects = self.lanes.iter().any(|lane| lane.redirect && lane.is_entered_at(&self.own.service));
        (redirects && !self.own.service.is_empty()).then_some(self.own.service.as_str())
    }

    /// Does a decision about an inbound request depend on who calls? Then [`Snapshot::peer`] is to be known before.
    pub fn asks_who_calls(&self) -> bool {
        self.group.trust != TagTrust::Any || self.group.path_header == PathHeader::Mesh || self.own.rules_ask_who_calls
    }

    /// Is this the address of an instance of the service that this sidecar belongs to, which has a sidecar too? (`x-laneway-hop` is
    /// believed only from one.)
    pub fn is_own_instance(&self, address: IpAddr) -> bool {
        self.own.addresses.contains(&address.to_canonical())
    }

    /// Inbound: does the own service declare this port as one that is not read?
    pub fn is_opaque_port(&self, to: SocketAddr) -> bool {
        let Some(own) = self.own.at else { return false };
        let table = &self.services[own as usize].table;
        let name = match self.instance_at(to) {
            Some((at, position)) if at == own => Some(&*table.set(position).port_name),
            _ => table.port_name_of_instances(to.port()),
        };
        let port = name.and_then(|name| table.port_named(name));
        port.is_some_and(|port| port.protocol == Protocol::Opaque)
    }

    /// May a call still go to this address? False for an endpoint that is draining, unhealthy or of a disabled lane, and for
    /// an address that no endpoint has: idle connections to it are closed. An endpoint with port 0 stands for all its ports.
    pub fn may_be_called(&self, address: SocketAddr) -> bool {
        let Some((at, position)) = self.instance_at(address) else { return false };
        let service = &self.services[at as usize];
        let endpoint = service.table.endpoint(position);
        let is_off = endpoint.tag.and_then(|tag| self.lane(tag)).is_some_and(|lane| lane.is_off());
        endpoint.state.is_usable() && (!is_off || service.baseline.contains(&position.pool))
    }

    /// Does this instance of a service (resource name) go away? It is draining, or the service is known and nobody has the address any
    /// more. Not where the service itself is unknown: it may have been given up because nothing called it.
    pub fn is_leaving(&self, service: &str, address: SocketAddr) -> bool {
        match self.instance_at(address) {
            Some((at, position)) => {
                let endpoint = self.services[at as usize].table.endpoint(position);
                endpoint.state == EndpointState::Draining
            }
            None => self.index.of_name.contains_key(service),
        }
    }

    /// The instances that are chosen from together with the one at `address`.
    pub fn siblings(&self, address: SocketAddr) -> Option<Siblings<'_>> {
        let (at, position) = self.instance_at(address)?;
        let service = &self.services[at as usize];
        let pool = &service.table.pools[position.pool as usize];
        let has_fallback = !service.baseline.contains(&position.pool) && self.leads_on(service, position);
        let endpoints = &service.table.set(position).endpoints;
        let usable = endpoints.iter().filter(|endpoint| endpoint.state.is_usable());
        let addresses = usable.map(|endpoint| endpoint.address.with_port(address.port()).0).collect();
        Some(Siblings { service, tag: pool.tag, has_fallback, addresses })
    }

    /// Is anybody usable behind the instances of this one's tag, along its fallback? A tag that a policy chose falls back too.
    fn leads_on(&self, service: &Service, position: At) -> bool {
        let table = &service.table;
        let (tag, port_name) = (table.pools[position.pool as usize].tag, &table.set(position).port_name);
        let lane = tag.and_then(|tag| self.lane(tag));
        let fallback = lane.map_or(&self.group.fallback, |lane| lane.fallback(&service.name));
        let is_usable = |pool: &u32| *pool != position.pool && table.pools[*pool as usize].has_usable(port_name);
        fallback.chain.iter().any(|next| match next {
            Some(next) if self.lane(*next).is_some_and(|lane| lane.is_off()) => false,
            Some(next) => table.pool_of(Some(*next)).as_ref().is_some_and(is_usable),
            None => service.baseline.iter().any(is_usable) || (fallback.any_last && service.any.iter().any(is_usable)),
        })
    }

    /// Resource name of the own service; empty without one.
    pub fn own_service_name(&self) -> &str {
        &self.own.service
    }

    /// Is the tag that of a lane, or of an instance that this sidecar knows, its own pod among them? Otherwise its metric label is
    /// `other`.
    pub fn knows_tag(&self, tag: Tag) -> bool {
        self.identity.tag == Some(tag) || self.lane_of_tag.contains_key(&tag) || self.index.tags.contains(&tag)
    }

    /// Where an instance of the own service listens, one with the own tag if there is any; 0: it is not known, or any.
    pub fn own_port(&self, port_name: Option<&str>) -> u16 {
        let Some(service) = self.own_service() else { return 0 };
        let table = &service.table;
        let first = table.ports.first().map_or("", |port| &port.name);
        let wanted = port_name.unwrap_or(first);
        let of_port = || table.endpoints().filter(|(at, _)| &*table.set(*at).port_name == wanted);
        let found = of_port().find(|(_, endpoint)| endpoint.tag == self.identity.tag).or_else(|| of_port().next());
        found.map_or(0, |(_, endpoint)| endpoint.address.0.port())
    }

    pub(crate) fn lane(&self, tag: Tag) -> Option<&Arc<Lane>> {
        self.lane_of_tag.get(&tag).map(|at| &self.lanes[*at])
    }

    pub(crate) fn own_service(&self) -> Option<&Service> {
        self.own.at.map(|at| &self.services[at as usize])
    }

    /// Which service was dialled: `original` (virtual IP, then instance) where it is known to us; else, where the connection
    /// was not redirected or `original` is unknown, the authority (`host[:port]`); else `default_service` (resource name),
    /// for listeners of connections that are not redirected. The authority never overrides a known address.
    pub fn destination<'s>(
        &'s self,
        original: Option<SocketAddr>,
        authority: Option<&str>,
        default_service: Option<&str>,
    ) -> Destination<'s> {
        self.locate(original, authority, default_service).map_or(Destination::Unknown, |place| self.at(place))
    }

    /// [`Snapshot::destination`] without its borrow; `None`: unknown.
    pub fn locate(
        &self,
        original: Option<SocketAddr>,
        authority: Option<&str>,
        default_service: Option<&str>,
    ) -> Option<Place> {
        if let Some(original) = original {
            let original = SocketAddr::new(original.ip().to_canonical(), original.port());
            if let Some(place) = self.by_address(original) {
                return Some(place);
            }
        }
        if let Some((host, port)) = authority.map(split_authority)
            && let Some(place) = self.by_host(host, port, original.map(|original| original.port()))
        {
            return Some(place);
        }
        let at = self.index.of_name.get(default_service?)?;
        Some(self.by_name(*at, None, None))
    }

    /// A service by resource name, at the port of that name; without one, at its first.
    pub fn destination_named(&self, service: &str, port_name: Option<&str>) -> Destination<'_> {
        let Some(at) = self.index.of_name.get(service) else { return Destination::Unknown };
        let Some(wanted) = port_name else { return self.at(self.by_name(*at, None, None)) };
        let ports = &self.services[*at as usize].table.ports;
        match ports.iter().position(|port| &*port.name == wanted) {
            Some(index) => self.at(self.place(*at, ports[index].number, PlacePort::Declared(index as u32))),
            None => Destination::Unknown,
        }
    }

    /// What is at a place of this very snapshot.
    pub fn at(&self, place: Place) -> Destination<'_> {
        debug_assert_eq!(place.revision, self.revision, "a place is good for the snapshot that it came from");
        let service = &self.services[place.service as usize];
        service.used.set();
        let table = &service.table;
        let (port_name, protocol, instance) = match place.port {
            PlacePort::Declared(index) => {
                let port = &table.ports[index as usize];
                (&*port.name, port.protocol, None)
            }
            PlacePort::OfInstance(position) => {
                let name = &*table.set(position).port_name;
                let protocol = table.port_named(name).map_or(Protocol::Detect, |port| port.protocol);
                (name, protocol, Some(table.endpoint(position)))
            }
            PlacePort::Undeclared => ("", Protocol::Detect, None),
        };
        Destination::Known { service, port: place.number, port_name, protocol, instance }
    }

    fn place(&self, service: u32, number: u16, port: PlacePort) -> Place {
        Place { revision: self.revision, service, number, port }
    }

    fn by_address(&self, original: SocketAddr) -> Option<Place> {
        if let Some(at) = self.index.of_address.get(&original.ip()) {
            // A port that the service does not have is none of ours.
            let index = self.services[*at as usize].table.port_index(original.port())?;
            return Some(self.place(*at, original.port(), PlacePort::Declared(index)));
        }
        let (at, position) = self.instance_at(original)?;
        Some(self.place(at, original.port(), PlacePort::OfInstance(position)))
    }

    /// An exact port goes before port 0.
    fn instance_at(&self, address: SocketAddr) -> Option<(u32, At)> {
        let exact = SocketAddr::new(address.ip().to_canonical(), address.port());
        let any_port = SocketAddr::new(exact.ip(), 0);
        let instances = &self.index.of_instance;
        instances.get(&exact).or_else(|| instances.get(&any_port)).copied()
    }

    fn by_host(&self, host: &str, port: Option<u16>, dialled: Option<u16>) -> Option<Place> {
        /// Longest host name (RFC 1035), and the brackets of an address.
        const HOST_BYTES_MAX: usize = 255;
        let mut lower = [0; HOST_BYTES_MAX];
        let lower = lower.get_mut(..host.len())?;
        lower.copy_from_slice(host.as_bytes());
        lower.make_ascii_lowercase();
        let lower = std::str::from_utf8(lower).ok()?;
        if let Some(at) = self.index.of_host.get(lower.strip_suffix('.').unwrap_or(lower)) {
            return Some(self.by_name(*at, port, dialled));
        }
        // An address as authority of a connection that was not redirected: as if it had been dialled.
        let address: IpAddr = lower.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        self.by_address(SocketAddr::new(address, port.or(dialled).unwrap_or(80)))
    }

    /// By name nothing says for certain which port is meant: that of the authority, the one that was dialled, 80, else the
    /// first (a listener that is not redirected has a port of its own).
    fn by_name(&self, at: u32, port: Option<u16>, dialled: Option<u16>) -> Place {
        let ports = &self.services[at as usize].table.ports;
        let exact = |number: u16| ports.iter().position(|port| port.number == number && number != 0);
        if let Some(index) = [port, dialled, Some(80)].into_iter().flatten().find_map(exact) {
            return self.place(at, ports[index].number, PlacePort::Declared(index as u32));
        }
        let number = port.or(dialled).unwrap_or(80);
        let any = ports.iter().position(|port| port.number == 0).or((!ports.is_empty()).then_some(0));
        match any {
            Some(index) if ports[index].number == 0 => self.place(at, number, PlacePort::Declared(index as u32)),
            Some(index) => self.place(at, ports[index].number, PlacePort::Declared(index as u32)),
            None => self.place(at, number, PlacePort::Undeclared),
        }
    }
}

impl Own {
    fn of(identity: &Identity, group: &Group, lanes: &[Arc<Lane>], index: &Index) -> Own {
        let service = identity.service_name();
        let tag = identity.tag.filter(|tag| group.baseline_tag != Some(*tag));
        let lane = tag.and_then(|tag| lanes.iter().find(|lane| lane.tag == tag));
        let enters = |lane: &Arc<Lane>| !service.is_empty() && lane.is_entered_at(&service);
        let is_off = lane.is_some_and(|lane| lane.is_off());
        let hands_over = lane.is_some_and(|lane| lane.redirect && enters(lane)) && !is_off;
        let by_mode = match group.stamp_pod_tag {
            StampPodTag::Always => true,
            StampPodTag::Never | StampPodTag::Unspecified => false,
            StampPodTag::Entry => lane.is_none_or(|lane| lane.entry_services.is_empty() || enters(lane)),
        };
        let stamps = by_mode && !service.is_empty() && !is_off && !hands_over;
        let at = index.of_name.get(service.as_str()).copied();
        let table = at.map(|at| &index.tables[at as usize]);
        Own {
            stamp: tag.filter(|_| stamps),
            is_entry: lanes.iter().any(enters),
            hands_over,
            rules_ask_who_calls: lanes.iter().any(|lane| enters(lane) && !lane.is_off() && lane.asks_who_calls),
            at,
            addresses: table.map(|table| own_addresses(table)).unwrap_or_default(),
            service,
            tag,
        }
    }
}

/// Where nobody is said to have a sidecar, as files may leave it out, all are taken to: two that disagree would hand a request to and fro.
fn own_addresses(table: &Table) -> FastSet<IpAddr> {
    let is_told = table.endpoints().any(|(_, endpoint)| endpoint.is_meshed);
    let meshed = table.endpoints().filter(|(_, endpoint)| endpoint.is_meshed || !is_told);
    meshed.map(|(_, endpoint)| endpoint.address.0.ip()).collect()
}

#[cfg(test)]
mod tests;
