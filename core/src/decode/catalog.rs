//! Services, endpoints and peers as they come over the wire.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use laneway_proto::contract::SHARD_ENDPOINTS_MAX;
use laneway_proto::discovery::{self, AppProtocol, endpoint::State};

use crate::condition::Refusal;
use crate::name;
use crate::snapshot::{Endpoint, EndpointAddr, EndpointState, Peer, Protocol};
use crate::table::{Port, Table};
use crate::tag::Tag;

/// A service without its endpoints.
pub(super) struct ServicePart {
    hosts: Vec<String>,
    addresses: Vec<IpAddr>,
    ports: Vec<Port>,
}

/// Some of the endpoints of one tag of a service.
pub(super) struct Shard {
    pub(super) service: String,
    endpoints: Vec<(Endpoint, Arc<str>)>,
}

impl ServicePart {
    pub(super) fn compile(from: &discovery::Service, refusals: &mut Vec<Refusal>) -> Option<ServicePart> {
        let before = refusals.len();
        let mut addresses = Vec::with_capacity(from.addresses.len());
        for (index, bytes) in from.addresses.iter().enumerate() {
            addresses.extend(address(bytes, &format!("addresses[{index}]"), refusals));
        }
        let mut ports: Vec<Port> = Vec::with_capacity(from.ports.len());
        for (index, port) in from.ports.iter().enumerate() {
            let field = format!("ports[{index}]");
            let number = u16::try_from(port.port).unwrap_or_else(|_| {
                let message = format!("a port is at most 65535, not {}", port.port);
                refusals.push(Refusal::new(&format!("{field}.port"), "OUT_OF_RANGE", message));
                0
            });
            if ports.iter().any(|other| *other.name == port.name) {
                let message = format!("a second port is named {:?}", port.name);
                refusals.push(Refusal::new(&format!("{field}.name"), "DUPLICATE_NAME", message));
            }
            let protocol = protocol(port.app_protocol).unwrap_or_else(|| {
                let message = format!("unknown protocol {}", port.app_protocol);
                refusals.push(Refusal::new(&format!("{field}.app_protocol"), "UNKNOWN_ENUM", message));
                Protocol::Opaque
            });
            ports.push(Port { number, name: port.name.as_str().into(), protocol });
        }
        let hosts = from.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        (refusals.len() == before).then_some(ServicePart { hosts, addresses, ports })
    }

    pub(super) fn table<'a>(&self, name: &str, shards: impl Iterator<Item = &'a Shard>) -> Table {
        let endpoints: Vec<_> = shards.flat_map(|shard| shard.endpoints.iter().cloned()).collect();
        Table {
            name: name.into(),
            id: name::id_of(name).into(),
            hosts: self.hosts.clone(),
            addresses: self.addresses.clone(),
            ports: self.ports.clone(),
            pools: Table::pools(endpoints),
        }
    }
}

impl Shard {
    pub(super) fn compile(from: &discovery::Endpoints, refusals: &mut Vec<Refusal>) -> Option<Shard> {
        let before = refusals.len();
        if from.service.is_empty() {
            refusals.push(Refusal::new("service", "MISSING_FIELD", "endpoints name their service"));
        }
        if from.endpoints.len() > SHARD_ENDPOINTS_MAX {
            let message = format!("at most {SHARD_ENDPOINTS_MAX} endpoints, not {}", from.endpoints.len());
            refusals.push(Refusal::new("endpoints", "TOO_LARGE", message));
        }
        let tag = optional_tag(&from.tag, "tag", refusals);
        let mut endpoints: Vec<(Endpoint, Arc<str>)> = Vec::with_capacity(from.endpoints.len());
        for (index, endpoint) in from.endpoints.iter().enumerate() {
            // Most have the port name of the one before.
            let port_name = match endpoints.last() {
                Some((_, last)) if **last == *endpoint.port_name => last.clone(),
                _ => endpoint.port_name.as_str().into(),
            };
            let field = format!("endpoints[{index}]");
            if let Some(endpoint) = compile_endpoint(endpoint, tag, &field, refusals) {
                endpoints.push((endpoint, port_name));
            }
        }
        (refusals.len() == before).then(|| Shard { service: from.service.clone(), endpoints })
    }
}

fn compile_endpoint(
    from: &discovery::Endpoint,
    tag: Option<Tag>,
    field: &str,
    refusals: &mut Vec<Refusal>,
) -> Option<Endpoint> {
    let mut refuse = |name: &str, reason, message: String| {
        refusals.push(Refusal::new(&format!("{field}.{name}"), reason, message));
    };
    let state = match State::try_from(from.state) {
        Ok(State::Ready) => Some(EndpointState::Ready),
        Ok(State::Warming) => Some(EndpointState::Warming),
        Ok(State::Draining) => Some(EndpointState::Draining),
        Ok(State::Unhealthy) => Some(EndpointState::Unhealthy),
        Ok(State::Unspecified) | Err(_) => {
            refuse("state", "UNKNOWN_ENUM", format!("unknown state {}", from.state));
            None
        }
    };
    if !(1..=10_000).contains(&from.weight) {
        refuse("weight", "OUT_OF_RANGE", format!("a weight is 1 to 10000, not {}", from.weight));
    }
    let port = u16::try_from(from.port).ok();
    if port.is_none() {
        refuse("port", "OUT_OF_RANGE", format!("a port is at most 65535, not {}", from.port));
    }
    let address = address(&from.address, &format!("{field}.address"), refusals)?;
    Some(Endpoint {
        address: EndpointAddr(SocketAddr::new(address, port?)),
        tag,
        weight: from.weight,
        state: state?,
        is_secondary: from.secondary,
        is_meshed: from.meshed,
    })
}

pub(super) fn compile_peer(name: &str, from: discovery::Peer, refusals: &mut Vec<Refusal>) -> Option<(IpAddr, Peer)> {
    let address = name.strip_prefix("ip/").and_then(|text| text.parse::<IpAddr>().ok());
    if address.is_none() {
        refusals.push(Refusal::new("", "INVALID_NAME", format!("{name:?} is not ip/ and an address")));
    }
    let before = refusals.len();
    let tag = optional_tag(&from.tag, "tag", refusals);
    (refusals.len() == before).then_some(())?;
    Some((address?.to_canonical(), Peer { service: from.service, tag }))
}

fn optional_tag(text: &str, field: &str, refusals: &mut Vec<Refusal>) -> Option<Tag> {
    if text.is_empty() {
        return None;
    }
    Tag::parse(text.as_bytes())
        .map_err(|error| refusals.push(Refusal::new(field, "INVALID_TAG", error.to_string())))
        .ok()
}

fn address(bytes: &[u8], field: &str, refusals: &mut Vec<Refusal>) -> Option<IpAddr> {
    let address = match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from).filter(|address| *address == address.to_canonical()),
        _ => None,
    };
    if address.is_none() {
        refusals.push(Refusal::new(field, "OUT_OF_RANGE", "an address has 4 or 16 bytes, IPv4 never mapped"));
    }
    address
}

fn protocol(value: i32) -> Option<Protocol> {
    match AppProtocol::try_from(value).ok()? {
        AppProtocol::Unspecified => None,
        AppProtocol::Detect => Some(Protocol::Detect),
        // Dubbo and RocketMQ are not read yet.
        AppProtocol::Tcp | AppProtocol::Tls | AppProtocol::Dubbo | AppProtocol::Rocketmq => Some(Protocol::Opaque),
        AppProtocol::Http1 => Some(Protocol::Http1),
        AppProtocol::Http2 | AppProtocol::Grpc => Some(Protocol::Http2),
    }
}
