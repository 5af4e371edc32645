//! What no sidecar could receive: a resource is sent whole, and a message has a limit. Found here, where somebody can do
//! something about it, and not at every sidecar.

use std::collections::BTreeSet;

use laneway_proto::contract::{GROUP_DEFAULT, RESOURCE_BYTES_MAX, SHARD_ENDPOINTS_MAX};
use laneway_proto::{admin, routing};
use prost::Message;

use super::{Report, code};
use crate::compile::{Catalog, Membership, Objects, group_bytes, lane_bytes, policy_bytes, service_bytes};
use crate::document::ServiceDocument;
use crate::name;

/// No object grows to more than this many times its own bytes when it is compiled (a service of one letter becomes a resource
/// name, at most 87 bytes for 3), so that only those that may be too large are compiled to find out.
const GROWTH_MAX: usize = 64;

/// One part of an object, and its bytes.
struct Part {
    field: String,
    bytes: usize,
}

/// Everything that is too large, by its largest part.
pub(super) fn too_large(objects: &Objects, catalog: &Catalog, membership: &Membership) -> Vec<admin::Diagnostic> {
    let mut found = Vec::new();
    let mut judge = |name: &str, bytes: usize, largest: Part, help: &str| {
        if bytes > RESOURCE_BYTES_MAX {
            found.push(finding(name, bytes, largest, help));
        }
    };
    for (name, lane) in objects.lanes.iter().filter(|(_, lane)| may_be_too_large(lane.encoded_len())) {
        let group = objects.groups.get(name::parent_group(name).unwrap_or_default());
        judge(
            name,
            lane_bytes(name, lane, group),
            largest_of_lane(lane),
            "spread its rules over several lanes, or match less exactly",
        );
    }
    for (name, policy) in objects.policies.iter().filter(|(_, policy)| may_be_too_large(policy.encoded_len())) {
        let largest = largest_rule("rules", &policy.rules, Message::encoded_len);
        judge(name, policy_bytes(name, policy), largest, "fewer rules, or rules that match less exactly");
    }
    // A group lists what others have taken out of its `*`, so one may be too large by what others say.
    if may_be_too_large(objects.groups.values().map(Message::encoded_len).sum()) {
        let namespaces = objects.groups.keys().map(|name| name::namespace_of(name));
        let defaults = namespaces.map(|namespace| name::group(namespace, GROUP_DEFAULT));
        let names: BTreeSet<String> = defaults.chain(objects.groups.keys().cloned()).collect();
        let unwritten = admin::LaneGroup::default();
        for name in names {
            let group = objects.groups.get(&name).unwrap_or(&unwritten);
            let bytes = group_bytes(&name, group, membership);
            let largest = Part { field: "services".to_owned(), bytes };
            judge(&name, bytes, largest, "fewer services in it, and in the groups that take theirs out of its `*`");
        }
    }
    for (name, service) in &catalog.services {
        found.extend(service_too_large(name, service));
    }
    found
}

/// The same of one service, of which neither its own resource nor a shard of its endpoints may be too large.
pub fn service_too_large(name: &str, service: &ServiceDocument) -> Option<admin::Diagnostic> {
    let bytes = if may_be_too_large(service_floor(service)) { service_bytes(service) } else { 0 };
    if bytes > RESOURCE_BYTES_MAX {
        let of_hosts = service.hosts.iter().map(String::len).sum();
        let largest = Part { field: "hosts".to_owned(), bytes: of_hosts };
        return Some(finding(name, bytes, largest, "fewer hosts, addresses and ports"));
    }
    let names = service.endpoints.iter().map(|endpoint| endpoint.port_name.len()).enumerate();
    let (at, longest) = names.max_by_key(|(_, bytes)| *bytes)?;
    let bytes = longest * SHARD_ENDPOINTS_MAX;
    let largest = Part { field: format!("endpoints[{at}].portName"), bytes: longest };
    (bytes > RESOURCE_BYTES_MAX).then(|| finding(name, bytes, largest, "a port's name of at most 63 bytes"))
}

fn may_be_too_large(written_bytes: usize) -> bool {
    written_bytes > RESOURCE_BYTES_MAX / GROWTH_MAX
}

/// Less than what a service has on the wire, and more than a part in [`GROWTH_MAX`] of it.
fn service_floor(service: &ServiceDocument) -> usize {
    let hosts: usize = service.hosts.iter().map(String::len).sum();
    let ports: usize = service.ports.iter().map(|port| port.name.len()).sum();
    hosts + ports + service.hosts.len() + 4 * (service.addresses.len() + service.ports.len())
}

fn largest_of_lane(lane: &admin::Lane) -> Part {
    let Some(entry) = &lane.entry else {
        return Part { field: "serviceOverrides".to_owned(), bytes: lane.encoded_len() };
    };
    let rules = largest_rule("entry.rules", &entry.rules, routing::EntryRule::encoded_len);
    let services = entry.services.iter().map(String::len).sum();
    if rules.bytes >= services { rules } else { Part { field: "entry.services".to_owned(), bytes: services } }
}

fn largest_rule<R>(field: &str, rules: &[R], bytes_of: impl Fn(&R) -> usize) -> Part {
    let sizes = rules.iter().map(bytes_of).enumerate();
    let largest = sizes.max_by_key(|(_, bytes)| *bytes);
    largest.map_or(Part { field: field.to_owned(), bytes: 0 }, |(at, bytes)| Part {
        field: format!("{field}[{at}]"),
        bytes,
    })
}

fn finding(name: &str, bytes: usize, largest: Part, help: &str) -> admin::Diagnostic {
    let mut report = Report::new(name);
    let Part { field, bytes: of_part } = largest;
    let message = format!(
        "as sidecars are sent it, it has {bytes} bytes, more than the {RESOURCE_BYTES_MAX} that one receives; its largest part \
         is `{field}` with {of_part}"
    );
    report.error(code::SIZE, &field, message, help);
    report.diagnostics.remove(0)
}
