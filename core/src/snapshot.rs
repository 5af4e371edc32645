//! Everything a sidecar knows at one moment: compiled, indexed, never changed, only replaced.

use std::net::SocketAddr;
use std::sync::Arc;

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
