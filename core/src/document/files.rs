//! The kinds of files alone: `Service` (static discovery) and `Proxy` (listeners of a proxy that runs by a file).

use std::net::{IpAddr, SocketAddr};

use laneway_proto::contract::NAMESPACE_DEFAULT;
use laneway_proto::descriptors;
use laneway_proto::discovery::AppProtocol;
use laneway_proto::discovery::endpoint::State;
use serde_json::{Map, Value};

use super::walk::{BAD_VALUE, Walk, join};
use super::{ID_HELP, NAME, underscore};
use crate::name;
use crate::snapshot::EndpointState;
use crate::tag::Tag;

/// A service and its instances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceDocument {
    pub namespace: String,
    /// Its id.
    pub name: String,
    /// Authorities that mean it, lower case, without a port.
    pub hosts: Vec<String>,
    /// Virtual IPs.
    pub addresses: Vec<IpAddr>,
    pub ports: Vec<PortDocument>,
    pub endpoints: Vec<EndpointDocument>,
    /// Namespaces whose sidecars may know of it, beside its own. Empty: all.
    pub visible_to: Vec<String>,
    /// Its instances are other services' own: whoever dials one of them means those. No file says it.
    pub secondary: bool,
}

impl ServiceDocument {
    pub fn resource_name(&self) -> String {
        name::service(&self.namespace, &self.name)
    }
}

/// A port of a virtual IP; 0 is any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortDocument {
    pub port: u16,
    pub name: String,
    pub protocol: AppProtocol,
}

/// One socket of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointDocument {
    /// Port 0 is any port.
    pub address: SocketAddr,
    pub port_name: String,
    /// `None` is baseline.
    pub tag: Option<Tag>,
    pub weight: u32,
    pub state: EndpointState,
    /// Has a sidecar.
    pub meshed: bool,
}

/// What one proxy is and where it listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyDocument {
    pub namespace: String,
    /// Id of the own service; may be empty.
    pub service: String,
    /// `None` is baseline.
    pub tag: Option<Tag>,
    pub listeners: Vec<ListenerDocument>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the application of this proxy.
    Inbound,
    /// From it.
    Outbound,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerDocument {
    pub address: SocketAddr,
    pub direction: Direction,
    /// Connections come by the redirect: the kernel knows where they were going.
    pub redirected: bool,
    /// Resource name of the service that is meant where a connection does not say.
    pub default_service: Option<String>,
    /// Inbound, not redirected: where the application listens.
    pub forward_to: Option<SocketAddr>,
}

impl Walk {
    /// Takes a string field; a value of another type is reported.
    pub(super) fn string(&mut self, fields: &mut Map<String, Value>, key: &str) -> Option<String> {
        self.string_at(fields, "", key)
    }

    fn string_at(&mut self, fields: &mut Map<String, Value>, path: &str, key: &str) -> Option<String> {
        match fields.remove(key)? {
            Value::String(value) => Some(value),
            other => {
                self.wrong_type(&join(path, key), &other, "a string");
                None
            }
        }
    }

    fn parsed<T: std::str::FromStr>(
        &mut self,
        fields: &mut Map<String, Value>,
        path: &str,
        key: &str,
        help: &str,
    ) -> Option<T> {
        let text = self.string_at(fields, path, key)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.report(BAD_VALUE, &join(path, key), format!("`{text}` does not belong here"), help);
        }
        parsed
    }

    fn flag(&mut self, fields: &mut Map<String, Value>, path: &str, key: &str) -> bool {
        match fields.remove(key) {
            None => false,
            Some(Value::Bool(flag)) => flag,
            Some(other) => {
                self.wrong_type(&join(path, key), &other, "true or false");
                false
            }
        }
    }

    fn number(&mut self, fields: &mut Map<String, Value>, path: &str, key: &str, range: (u32, u32)) -> Option<u32> {
        let value = fields.remove(key)?;
        let value = self.integer(value, &join(path, key), range.0.into(), range.1.into())?;
        value.as_u64().and_then(|n| u32::try_from(n).ok())
    }

    fn list(&mut self, fields: &mut Map<String, Value>, key: &str) -> Vec<(String, Value)> {
        match fields.remove(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                items.into_iter().enumerate().map(|(at, item)| (format!("{key}[{at}]"), item)).collect()
            }
            Some(other) => {
                self.wrong_type(key, &other, "a list");
                Vec::new()
            }
        }
    }

    fn map(&mut self, value: Value, path: &str) -> Option<Map<String, Value>> {
        match value {
            Value::Object(map) => Some(map),
            other => {
                self.wrong_type(path, &other, "a map");
                None
            }
        }
    }

    fn tag(&mut self, fields: &mut Map<String, Value>, path: &str) -> Option<Tag> {
        let tag = self.string_at(fields, path, "tag").filter(|t| !t.is_empty())?;
        match Tag::parse(tag.as_bytes()) {
            Ok(tag) => Some(tag),
            Err(error) => {
                let message = format!("`{tag}` is no tag: {error}{}", underscore(&tag));
                self.report(BAD_VALUE, &join(path, "tag"), message, format!("{ID_HELP}; \"\" is baseline"));
                None
            }
        }
    }

    fn rest(&mut self, fields: &Map<String, Value>, path: &str, allowed: &[&str]) {
        for key in fields.keys() {
            self.unknown_field(path, key, allowed);
        }
    }

    fn word<E: TryFrom<i32>>(
        &mut self,
        fields: &mut Map<String, Value>,
        path: &str,
        key: &str,
        name: &str,
    ) -> Option<E> {
        let desc = descriptors().get_enum_by_name(name).expect("an enum of the contract");
        let value = fields.remove(key)?;
        let word = self.enumeration(&desc, value, &join(path, key))?;
        let number = desc.get_value_by_name(word.as_str()?)?.number();
        E::try_from(number).ok().filter(|_| number != 0)
    }

    fn namespace(&mut self, fields: &mut Map<String, Value>) -> String {
        let namespace = self.string(fields, "namespace").unwrap_or_else(|| NAMESPACE_DEFAULT.to_owned());
        if !name::is_id(&namespace) {
            self.report(NAME, "namespace", format!("`{namespace}` cannot be a namespace"), ID_HELP);
        }
        namespace
    }
}

const SERVICE_ID: &str = "a service's id: A-Z a-z 0-9 . _ : @ -, at most 253 bytes";
const SOCKET: &str = "an address and a port: `10.1.0.12:8080`, `[fd00::12]:8080`";

pub(super) fn service(walk: &mut Walk, mut fields: Map<String, Value>) -> ServiceDocument {
    let mut service = ServiceDocument { namespace: walk.namespace(&mut fields), ..Default::default() };
    match walk.string(&mut fields, "name") {
        Some(name) if name::is_service_id(&name) => service.name = name,
        Some(name) => walk.report(NAME, "name", format!("`{name}` cannot be a service's id"), SERVICE_ID),
        None => walk.report(NAME, "name", "a Service needs a name".into(), SERVICE_ID),
    }
    for (path, item) in walk.list(&mut fields, "hosts") {
        match item {
            Value::String(host) => match host_error(&host) {
                None => service.hosts.push(host.to_ascii_lowercase()),
                Some(help) => walk.report(BAD_VALUE, &path, format!("`{host}` cannot be a host"), help),
            },
            other => drop(walk.wrong_type(&path, &other, "a string")),
        }
    }
    for (path, item) in walk.list(&mut fields, "addresses") {
        match item.as_str().map(str::parse::<IpAddr>) {
            Some(Ok(address)) => service.addresses.push(address.to_canonical()),
            _ => walk.report(BAD_VALUE, &path, format!("{item} is no IP address"), "`10.96.0.12` or `fd00::12`"),
        }
    }
    for (path, item) in walk.list(&mut fields, "visibleTo") {
        match item {
            Value::String(namespace) if name::is_id(&namespace) => service.visible_to.push(namespace),
            other => walk.report(NAME, &path, format!("{other} cannot be a namespace"), ID_HELP),
        }
    }
    for (path, item) in walk.list(&mut fields, "ports") {
        let Some(mut item) = walk.map(item, &path) else { continue };
        let port = match walk.number(&mut item, &path, "port", (0, 65_535)) {
            Some(port) => port as u16,
            None => 0,
        };
        let name = walk.string_at(&mut item, &path, "name").unwrap_or_default();
        let protocol = walk.word(&mut item, &path, "protocol", "laneway.discovery.v1.AppProtocol");
        walk.rest(&item, &path, &["port", "name", "protocol"]);
        if service.ports.iter().any(|p| p.name == name) {
            let message = format!("two ports are named {name:?}");
            walk.report(BAD_VALUE, &join(&path, "name"), message, "a name that no other port of the service has");
        }
        if service.ports.iter().any(|p| p.port == port) {
            let message = format!("port {port} is given twice");
            walk.report(BAD_VALUE, &join(&path, "port"), message, "each port once");
        }
        service.ports.push(PortDocument { port, name, protocol: protocol.unwrap_or(AppProtocol::Detect) });
    }
    let allowed_ports: Vec<String> = service.ports.iter().map(|p| p.name.clone()).collect();
    for (path, item) in walk.list(&mut fields, "endpoints") {
        let Some(mut item) = walk.map(item, &path) else { continue };
        let address = endpoint_address(walk, &mut item, &path);
        let mut port_name = walk.string_at(&mut item, &path, "portName").unwrap_or_default();
        if port_name.is_empty() && allowed_ports.len() == 1 {
            port_name.clone_from(&allowed_ports[0]);
        }
        if !allowed_ports.is_empty() && !allowed_ports.contains(&port_name) {
            let message = format!("the service has no port named {port_name:?}");
            walk.report(BAD_VALUE, &join(&path, "portName"), message, format!("one of: {}", allowed_ports.join(", ")));
        }
        let tag = walk.tag(&mut item, &path);
        let weight = walk.number(&mut item, &path, "weight", (1, 10_000)).unwrap_or(1);
        let state = walk.word(&mut item, &path, "state", "laneway.discovery.v1.Endpoint.State");
        let meshed = walk.flag(&mut item, &path, "meshed");
        walk.rest(&item, &path, &["address", "portName", "tag", "weight", "state", "meshed"]);
        let Some(address) = address else { continue };
        if service.endpoints.iter().any(|e| e.address == address) {
            let message = format!("{address} is given twice");
            walk.report(BAD_VALUE, &join(&path, "address"), message, "each socket once");
        }
        let state = match state {
            None | Some(State::Unspecified | State::Ready) => EndpointState::Ready,
            Some(State::Warming) => EndpointState::Warming,
            Some(State::Draining) => EndpointState::Draining,
            Some(State::Unhealthy) => EndpointState::Unhealthy,
        };
        service.endpoints.push(EndpointDocument { address, port_name, tag, weight, state, meshed });
    }
    walk.rest(&fields, "", &["kind", "namespace", "name", "hosts", "addresses", "ports", "endpoints", "visibleTo"]);
    service
}

/// A socket, or an address alone for any port.
fn endpoint_address(walk: &mut Walk, item: &mut Map<String, Value>, path: &str) -> Option<SocketAddr> {
    if !item.contains_key("address") {
        walk.report(BAD_VALUE, &join(path, "address"), "an endpoint needs an address".into(), SOCKET);
        return None;
    }
    if let Some(alone) = item.get("address").and_then(Value::as_str).and_then(|a| a.parse::<IpAddr>().ok()) {
        item.remove("address");
        return Some(SocketAddr::new(alone.to_canonical(), 0));
    }
    let address: SocketAddr = walk.parsed(item, path, "address", SOCKET)?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

fn host_error(host: &str) -> Option<&'static str> {
    let named = !host.is_empty() && host.len() <= 253;
    let legal = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    (!named || !legal).then_some("a host name without scheme, port and path: `b.shop.svc`")
}

pub(super) fn proxy(walk: &mut Walk, mut fields: Map<String, Value>) -> ProxyDocument {
    let mut proxy = ProxyDocument { namespace: walk.namespace(&mut fields), ..Default::default() };
    // A Kubernetes object has a name; nothing needs it here.
    walk.string(&mut fields, "name");
    proxy.service = walk.string(&mut fields, "service").unwrap_or_default();
    if !proxy.service.is_empty() && !name::is_service_id(&proxy.service) {
        walk.report(NAME, "service", format!("`{}` cannot be a service's id", proxy.service), SERVICE_ID);
    }
    proxy.tag = walk.tag(&mut fields, "");
    for (path, item) in walk.list(&mut fields, "listeners") {
        let Some(mut item) = walk.map(item, &path) else { continue };
        let missing = |key: &str| !item.contains_key(key);
        let (no_address, no_direction) = (missing("address"), missing("direction"));
        if no_address {
            walk.report(BAD_VALUE, &join(&path, "address"), "a listener needs an address".into(), SOCKET);
        }
        let address = walk.parsed(&mut item, &path, "address", SOCKET);
        let written = walk.string_at(&mut item, &path, "direction");
        let direction = match written.as_deref() {
            Some("inbound") => Some(Direction::Inbound),
            Some("outbound") => Some(Direction::Outbound),
            Some(other) => {
                let message = format!("unknown value `{other}`");
                walk.report(BAD_VALUE, &join(&path, "direction"), message, "one of: inbound, outbound");
                None
            }
            None => {
                if no_direction {
                    let message = "a listener needs a direction".to_owned();
                    walk.report(BAD_VALUE, &join(&path, "direction"), message, "one of: inbound, outbound");
                }
                None
            }
        };
        let redirected = walk.flag(&mut item, &path, "redirected");
        let default_service = walk.string_at(&mut item, &path, "defaultService").filter(|s| !s.is_empty());
        let default_service = default_service.map(|s| name::service_reference(&proxy.namespace, &s));
        if let Some(name) = default_service.as_ref().filter(|n| !name::is_name(n, &["services"]) || n.ends_with("/*")) {
            walk.report(NAME, &join(&path, "defaultService"), format!("`{name}` cannot be a service"), SERVICE_ID);
        }
        let forward_to = walk.parsed(&mut item, &path, "forwardTo", SOCKET);
        if forward_to.is_some() && direction == Some(Direction::Outbound) {
            let message = "an outbound listener forwards to services".to_owned();
            walk.report(BAD_VALUE, &join(&path, "forwardTo"), message, "only where `direction: inbound`");
        }
        let allowed = ["address", "direction", "redirected", "defaultService", "forwardTo"];
        walk.rest(&item, &path, &allowed);
        if let (Some(address), Some(direction)) = (address, direction) {
            proxy.listeners.push(ListenerDocument { address, direction, redirected, default_service, forward_to });
        }
    }
    walk.rest(&fields, "", &["kind", "namespace", "service", "tag", "listeners"]);
    proxy
}
