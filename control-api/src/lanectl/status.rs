//! `lanectl status`.

use std::time::SystemTime;

use laneway_proto::status::{ConfigState, Proxy, ServerInfo};

use super::Trouble;
use super::arguments::{Format, Status};
use super::client::Client;
use super::print::{self, Table, dash};
use crate::{json, name};

pub(super) async fn status(
    client: &mut Client,
    options: Status,
    format: Format,
    out: &mut String,
) -> Result<(), Trouble> {
    let single = options.node.is_some();
    let proxies = match &options.node {
        Some(node) => vec![client.proxy(node.strip_prefix("proxies/").unwrap_or(node)).await?],
        None => client.proxies().await?,
    };
    match format {
        Format::Json | Format::Yaml => {
            let values = proxies.iter().map(|proxy| json::of(proxy, "laneway.status.v1.Proxy")).collect();
            out.push_str(&print::values(values, single, format));
        }
        Format::Name => proxies.iter().for_each(|proxy| out.push_str(&format!("{}\n", proxy.name))),
        Format::Table if single => proxies.iter().for_each(|proxy| one(proxy, out)),
        Format::Table => {
            let server = client.server().await?;
            all(&proxies, &server, SystemTime::now(), out);
        }
    }
    Ok(())
}

fn all(proxies: &[Proxy], server: &ServerInfo, now: SystemTime, out: &mut String) {
    let mut table = Table::new(&["SIDECAR", "SERVICE", "TAG", "STATE", "ACKED", "SENT", "LAST ACK", "VERSION"]);
    for proxy in proxies {
        let node = proxy.node.clone().unwrap_or_default();
        let acked = proxy.types.iter().map(|status| status.acked_revision).max().unwrap_or(0);
        let sent = proxy.types.iter().map(|status| status.sent_revision).max().unwrap_or(0);
        let last = proxy.types.iter().filter_map(|status| status.last_ack_time);
        let last = last.filter_map(|time| SystemTime::try_from(time).ok()).max();
        table.row(vec![
            name_of(proxy).to_owned(),
            dash(&node.service),
            dash(&node.tag),
            state(proxy.state()).to_owned(),
            acked.to_string(),
            sent.to_string(),
            last.map_or_else(
                || "-".to_owned(),
                |last| format!("{} ago", print::about(now.duration_since(last).unwrap_or_default())),
            ),
            dash(&node.proxy_version),
        ]);
    }
    out.push_str(&table.render());
    for proxy in proxies {
        for error in proxy.types.iter().flat_map(|status| &status.errors) {
            out.push_str(&format!(
                "{} refused {} {}: {} {}\n",
                name_of(proxy),
                error.name,
                error.field,
                error.reason,
                error.message
            ));
        }
    }
    out.push_str(&format!(
        "\ncontrol plane {} {}, revision {}, {} sidecars connected\n",
        server.replica, server.version, server.revision, server.connected_proxies
    ));
}

fn one(proxy: &Proxy, out: &mut String) {
    let mut table = Table::new(&["TYPE", "STATE", "RESOURCE", "SENT", "ACKED"]);
    for status in &proxy.types {
        let kind = status.type_url.rsplit('.').next().unwrap_or_default();
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
    out.push_str(&table.render());
}

fn name_of(proxy: &Proxy) -> &str {
    proxy.name.strip_prefix("proxies/").unwrap_or_else(|| name::id(&proxy.name))
}

fn state(state: ConfigState) -> &'static str {
    match state {
        ConfigState::Synced => "synced",
        ConfigState::NotSent => "not sent",
        ConfigState::Stale => "stale",
        ConfigState::Error => "error",
        ConfigState::Disconnected => "disconnected",
        ConfigState::Unspecified => "-",
    }
}
