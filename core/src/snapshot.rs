//! Everything a sidecar knows at one moment: compiled, indexed, never changed, only replaced.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use laneway_proto::routing::{NewTrace, PathHeader, TagCarrier, TagTrust};

use crate::tag::Tag;

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

/// One configuration, whole.
pub struct Snapshot {
    pub identity: Identity,
    /// Counts the versions that this sidecar published.
    pub revision: u64,
    group: Group,
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
    /// Carried on to services of the group; lower case.
    pub pass_headers: Vec<String>,
    pub correlate_headers: Vec<String>,
    pub new_trace: NewTrace,
    pub path_header: PathHeader,
}

/// Who sits at an address; only those that have a sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Resource name; empty: a pod of no service.
    pub service: String,
    pub tag: Option<Tag>,
}

/// How long a call to a service waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    /// From the whole request to the whole answer.
    pub request: Option<Duration>,
    /// Without a byte in either direction.
    pub idle: Option<Duration>,
}

/// A service that can be called.
pub struct Service {
    /// `namespaces/{namespace}/services/{service}`
    pub name: Arc<str>,
    /// Its last segment.
    pub id: Arc<str>,
}

/// One socket of one instance.
pub struct Endpoint {
    pub address: EndpointAddr,
    /// `None` is baseline.
    pub tag: Option<Tag>,
    pub weight: u32,
    pub state: EndpointState,
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

impl Snapshot {
    /// What is known before any configuration came: the default group, no lane, no service.
    pub fn empty(identity: Identity) -> Snapshot {
        crate::decode::Resources::default().snapshot(&identity, 0)
    }

    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Who sits at `address`; `None`: nobody with a sidecar, or not known (yet).
    pub fn peer(&self, address: IpAddr) -> Option<&Peer> {
        let _ = address;
        None
    }

    /// Does the service belong to this sidecar's lane group? Pass headers go to no other.
    pub fn is_of_group(&self, service: &Service) -> bool {
        let _ = service;
        false
    }

    pub fn timeouts(&self, service: &Service) -> Timeouts {
        let _ = service;
        Timeouts { connect: Duration::from_secs(1), request: None, idle: None }
    }

    /// Is this the address of an instance of the service that this sidecar belongs to? (`x-laneway-hop` is believed only
    /// from one.)
    pub fn is_own_instance(&self, address: IpAddr) -> bool {
        let _ = address;
        false
    }

    /// Inbound: does the own service declare this port as one that is not read?
    pub fn is_opaque_port(&self, to: SocketAddr) -> bool {
        let _ = to;
        false
    }

    /// May a call still go to this address? False for an endpoint that is draining, unhealthy or of a disabled lane, and for
    /// an address that no endpoint has: idle connections to it are closed. An endpoint with port 0 stands for all its ports.
    pub fn may_be_called(&self, address: SocketAddr) -> bool {
        let _ = address;
        true
    }

    /// Resource name of the own service; empty without one.
    pub fn own_service_name(&self) -> &str {
        ""
    }

    /// The key (a service name) that must be subscribed for a hand-over (`redirect`): this pod's own service.
    pub fn own_service_wanted(&self) -> Option<&str> {
        None
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
        let _ = (original, authority, default_service);
        Destination::Unknown
    }
}

impl Snapshot {
    pub(crate) fn stub(identity: Identity, revision: u64) -> Snapshot {
        Snapshot {
            identity,
            revision,
            group: Group {
                name: String::new(),
                tag_header: laneway_proto::contract::TAG_HEADER.to_owned(),
                aliases: Vec::new(),
                carriers: vec![TagCarrier::Header, TagCarrier::Baggage, TagCarrier::Tracestate],
                trust: TagTrust::Any,
                pass_headers: Vec::new(),
                correlate_headers: Vec::new(),
                new_trace: NewTrace::Sampled,
                path_header: PathHeader::Never,
            },
        }
    }
}
