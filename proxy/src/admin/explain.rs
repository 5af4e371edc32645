//! /explain: what this sidecar would do with a request, by its own decision on the snapshot that is in force. Nothing is
//! sent, no worker is asked: no request counts as in flight and no instance as ejected.

use std::net::IpAddr;

use laneway_core::decide::{InFlight, Scratch};
use laneway_core::explain::{
    BadCall, Call, Idle, explain_inbound, explain_outbound, passed_through, query_pairs, to_json,
};
use laneway_core::facts::Source;
use laneway_core::name;
use laneway_core::snapshot::{Destination, Snapshot};
use laneway_proto::admin;
use laneway_proto::admin::call::Pair;

const PARAMETERS: &str =
    "direction (inbound, outbound), to, port, from, method, path, host, header (`name: value`, repeatable)";
/// Shares without a key are drawn anew for each request; equal questions shall have equal answers.
const SEED: u64 = 0;

/// What was asked, not yet looked at.
#[derive(Default)]
struct Asked {
    direction: Option<String>,
    to: Option<String>,
    port: Option<String>,
    from: Option<String>,
    call: admin::Call,
}

/// ProtoJSON of ExplainRouteResponse; `Err` says what is wrong and what is allowed.
pub(super) fn answer(snapshot: &Snapshot, query: &str) -> Result<serde_json::Value, String> {
    let asked = read(query)?;
    let is_outbound = match asked.direction.as_deref() {
        None => asked.to.is_some(),
        Some("outbound") => true,
        Some("inbound") => false,
        Some(other) => return Err(format!("direction {other:?} is none; it is inbound or outbound")),
    };
    let response = if is_outbound { outbound(snapshot, &asked)? } else { inbound(snapshot, &asked)? };
    Ok(to_json(&response))
}

fn read(query: &str) -> Result<Asked, String> {
    let mut asked = Asked::default();
    for (name, value) in query_pairs(query) {
        let once = match name.as_str() {
            "direction" => &mut asked.direction,
            "to" => &mut asked.to,
            "port" => &mut asked.port,
            "from" => &mut asked.from,
            "header" => {
                let (name, value) = value.split_once(':').ok_or_else(|| format!("header {value:?} has no `:`"))?;
                let line = Pair { name: name.trim().to_owned(), value: value.trim().to_owned() };
                asked.call.headers.push(line);
                continue;
            }
            "method" | "path" | "host" => {
                let field = match name.as_str() {
                    "method" => &mut asked.call.method,
                    "path" => &mut asked.call.path,
                    _ => &mut asked.call.host,
                };
                if !field.is_empty() {
                    return Err(format!("{name} stands twice"));
                }
                *field = value;
                continue;
            }
            _ => return Err(format!("unknown parameter {name:?}; there are {PARAMETERS}")),
        };
        if once.replace(value).is_some() {
            return Err(format!("{name} stands twice"));
        }
    }
    Ok(asked)
}

/// A call of the pod's application.
fn outbound(snapshot: &Snapshot, asked: &Asked) -> Result<admin::ExplainRouteResponse, String> {
    let Some(to) = asked.to.as_deref().filter(|to| !to.is_empty()) else {
        return Err("outbound needs `to`: a service, a host, or an address with its port".to_owned());
    };
    if asked.from.is_some() {
        return Err("`from` goes with inbound alone: the caller is this pod".to_owned());
    }
    let source =
        Source { service: snapshot.own_service_name(), tag: snapshot.identity.tag, address: None, is_meshed: true };
    let named = name::service_reference(&snapshot.identity.namespace, to);
    let call = Call::read(&asked.call, name::id_of(&named)).map_err(|bad| bad.to_string())?;
    let destination = match snapshot.destination_named(&named, asked.port.as_deref()) {
        Destination::Unknown if asked.port.is_none() => snapshot.destination(to.parse().ok(), Some(to), None),
        Destination::Unknown if snapshot.service(&named).is_some() => {
            return Err(format!("{to} has no port {:?}", asked.port.as_deref().unwrap_or_default()));
        }
        known => known,
    };
    let nothing = InFlight::default();
    let mut scratch = Scratch::new(SEED);
    let explained = explain_outbound(snapshot, &destination, &call.facts(source), &nothing, &Idle, &mut scratch);
    Ok(explained.map_or_else(|| passed_through(to), |(_, response)| response))
}

/// A request to the pod.
fn inbound(snapshot: &Snapshot, asked: &Asked) -> Result<admin::ExplainRouteResponse, String> {
    if asked.to.is_some() {
        return Err("`to` goes with outbound alone: the request comes to this pod".to_owned());
    }
    let port = match &asked.port {
        None => snapshot.own_port(None),
        Some(port) => port.parse().map_err(|_| format!("port {port:?} is no number from 1 to 65535"))?,
    };
    let address: Option<IpAddr> = match &asked.from {
        None => None,
        Some(from) => Some(from.parse().map_err(|_| format!("from {from:?} is no address"))?),
    };
    let peer = address.and_then(|address| snapshot.peer(address));
    let source = Source {
        service: peer.map_or("", |peer| &peer.service),
        tag: peer.and_then(|peer| peer.tag),
        address,
        is_meshed: peer.is_some(),
    };
    let call = Call::read(&asked.call, &snapshot.identity.service).map_err(|bad: BadCall| bad.to_string())?;
    let mut scratch = Scratch::new(SEED);
    Ok(explain_inbound(snapshot, &call.facts(source), port, None, &Idle, &mut scratch).1)
}

#[cfg(test)]
mod tests;
