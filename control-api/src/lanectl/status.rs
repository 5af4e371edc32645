//! `lanectl status`.

use std::time::SystemTime;

use laneway_proto::admin::{Lane, lane};
use laneway_proto::status::{ConfigState, Proxy, ServerInfo};

use super::Trouble;
use super::arguments::{Format, Status};
use super::client::{Cause, Client};
use super::look::Look;
use super::print::{self, Table, dash};
use crate::name;

pub(super) async fn status(client: &mut Client, options: Status, look: Look, out: &mut String) -> Result<(), Trouble> {
    let single = options.node.is_some();
    let proxies = match &options.node {
        Some(node) => vec![one(client, node).await?],
        None => client.proxies().await?,
    };
    match look.format {
        Format::Json | Format::Yaml => {
            let values = proxies.iter().map(|proxy| print::message(proxy, "laneway.status.v1.Proxy")).collect();
            out.push_str(&print::values(values, single, look.format));
        }
        Format::Name => proxies.iter().for_each(|proxy| out.push_str(&format!("{}\n", proxy.name))),
        Format::Table | Format::Wide if single => {
            proxies.iter().for_each(|proxy| out.push_str(&resources(proxy, &[], look)));
        }
        Format::Table | Format::Wide => {
            let server = client.server().await?;
            let lanes = client.lanes(&laneway_core::name::group(name::ANY, name::ANY)).await?;
            all(&proxies, &server, SystemTime::now(), look, out);
            out.push_str(&tripped(&lanes));
        }
    }
    Ok(())
}

/// One sidecar with all it has, as the control plane knows it.
pub(super) async fn one(client: &mut Client, node: &str) -> Result<Proxy, Trouble> {
    let node = node.strip_prefix("proxies/").unwrap_or(node);
    client.proxy(node).await.map_err(|failure| match failure.cause {
        Cause::Missing => {
            Trouble::Said(format!("lanectl: the control plane knows no sidecar {node:?}; lanectl status lists them"))
        }
        _ => failure.into(),
    })
}

fn all(proxies: &[Proxy], server: &ServerInfo, now: SystemTime, look: Look, out: &mut String) {
    let mut head = vec!["SIDECAR", "SERVICE", "TAG", "STATE", "ACKED", "SENT", "LAST ACK", "VERSION"];
    if look.is_wide() {
        head.extend(["NAMESPACE", "POD", "ADDRESS", "CONTROL PLANE", "CONNECTED"]);
    }
    let mut table = Table::new(&head);
    for proxy in proxies {
        let node = proxy.node.clone().unwrap_or_default();
        let acked = proxy.types.iter().map(|status| status.acked_revision).max().unwrap_or(0);
        let sent = proxy.types.iter().map(|status| status.sent_revision).max().unwrap_or(0);
        let last = proxy.types.iter().filter_map(|status| status.last_ack_time);
        let last = last.max_by_key(|time| (time.seconds, time.nanos));
        let mut row = vec![
            node_id(proxy).to_owned(),
            dash(&node.service),
            dash(&node.tag),
            state(proxy.state()).to_owned(),
            acked.to_string(),
            sent.to_string(),
            print::ago(last, now),
            dash(&node.proxy_version),
        ];
        if look.is_wide() {
            row.extend([
                dash(&node.namespace),
                dash(&node.pod_name),
                dash(&proxy.remote_address),
                dash(&proxy.control_plane),
                print::ago(proxy.connect_time, now),
            ]);
        }
        table.row(row);
    }
    out.push_str(&table.render(look));
    for proxy in proxies {
        refusals(proxy).for_each(|refusal| out.push_str(&format!("{refusal}\n")));
    }
    out.push_str(&format!(
        "\ncontrol plane {} {}, revision {}, {} connected\n",
        server.replica,
        server.version,
        server.revision,
        print::count(server.connected_proxies as usize, "sidecar")
    ));
}

/// Lanes that a guard switched off, a line each: whoever looks whether all is well wants to know.
fn tripped(lanes: &[Lane]) -> String {
    let off = lanes.iter().filter(|lane| lane.state() == lane::State::Tripped);
    off.map(|lane| format!("lane {} was switched off by its guard: {}\n", name::id(&lane.name), lane.tripped_reason))
        .collect()
}

/// What a sidecar refused: resource, field, reason.
pub(super) fn refusals(proxy: &Proxy) -> impl Iterator<Item = String> {
    proxy.types.iter().flat_map(|status| &status.errors).map(|error| {
        let node = node_id(proxy);
        format!("{node} refused {} {}: {} {}", error.name, error.field, error.reason, error.message)
    })
}

/// The resources of some types, all where none is named.
pub(super) fn resources(proxy: &Proxy, kinds: &[&str], look: Look) -> String {
    let mut table = Table::new(&["TYPE", "STATE", "RESOURCE", "SENT", "ACKED"]);
    for status in &proxy.types {
        let kind = status.type_url.rsplit('.').next().unwrap_or_default();
        if !kinds.is_empty() && !kinds.contains(&kind) {
            continue;
        }
        if status.resources.is_empty() {
            let none = vec![kind.to_owned(), state(status.state()).to_owned(), "-".to_owned()];
            table.row(none);
        }
        for resource in &status.resources {
            table.row(vec![
                kind.to_owned(),
                state(status.state()).to_owned(),
                resource.name.clone(),
                dash(&resource.sent_version),
                dash(&resource.acked_version),
            ]);
        }
    }
    table.render(look)
}

pub(super) fn node_id(proxy: &Proxy) -> &str {
    proxy.name.strip_prefix("proxies/").unwrap_or_else(|| name::id(&proxy.name))
}

pub(super) fn state(state: ConfigState) -> &'static str {
    match state {
        ConfigState::Synced => "synced",
        ConfigState::NotSent => "not sent",
        ConfigState::Stale => "stale",
        ConfigState::Error => "error",
        ConfigState::Disconnected => "disconnected",
        ConfigState::Unspecified => "-",
    }
}
