//! `lanectl watch`: every change as it happens, a line each. First what is there, then `synced`, then what changes.

use std::collections::BTreeMap;

use laneway_proto::admin::{WatchEvent, WatchRequest, watch_event};
use laneway_proto::status::{ConfigState, Proxy};
use serde_json::Value;

use super::arguments::{Format, Watch, Watched};
use super::client::Client;
use super::look::Look;
use super::status::{node_id, state};
use super::{Trouble, apply, objects, print};
use crate::json;

#[cfg(test)]
mod tests;

/// Objects as they were last seen, by name, to tell what changed. As many as the control plane stores.
type Seen = BTreeMap<String, Value>;

pub(super) async fn watch(client: &mut Client, options: Watch, look: Look, out: &mut String) -> Result<(), Trouble> {
    let left = options.count.unwrap_or(u32::MAX);
    match options.what {
        Watched::Objects => watch_objects(client, &options, left, look, out).await,
        Watched::Sidecars => watch_sidecars(client, left, look, out).await,
    }
}

async fn watch_objects(
    client: &mut Client,
    options: &Watch,
    mut left: u32,
    look: Look,
    out: &mut String,
) -> Result<(), Trouble> {
    super::keep_descriptors();
    let parent = options.under.as_deref().map(|text| apply::parent("--under", text)).transpose()?.unwrap_or_default();
    let mut events = client.watch(WatchRequest { parent, resume_revision: options.after }).await?;
    let (mut seen, mut revision) = (Seen::new(), options.after);
    while left > 0 {
        let ended = match events.next().await {
            Ok(Some(event)) => {
                revision = event.revision.max(revision);
                if event.kind() == watch_event::Kind::Heartbeat {
                    continue;
                }
                event_line(&event, &mut seen, look, out);
                print::flush(out);
                left -= 1;
                continue;
            }
            Ok(None) => "the control plane ended the stream".to_owned(),
            Err(failure) => failure.to_string(),
        };
        return Err(Trouble::Said(format!("lanectl: {ended}\nto go on: lanectl watch --after {revision}")));
    }
    Ok(())
}

fn event_line(event: &WatchEvent, seen: &mut Seen, look: Look, out: &mut String) {
    use watch_event::{Kind, Resource};
    // The revision is the object's: that of the event says where to go on.
    let (resource, revision, value, detail) = match &event.resource {
        Some(Resource::LaneGroup(group)) => {
            (group.name.clone(), group.revision, json::of_input(group, "LaneGroup"), String::new())
        }
        Some(Resource::Lane(lane)) => {
            let detail = format!(" ({})", objects::state(lane));
            (lane.name.clone(), lane.revision, json::of_input(lane, "Lane"), detail)
        }
        Some(Resource::ServicePolicy(policy)) => {
            (policy.name.clone(), policy.revision, json::of_input(policy, "ServicePolicy"), String::new())
        }
        None => (String::new(), event.revision, Value::Null, String::new()),
    };
    match look.format {
        Format::Json | Format::Yaml => {
            out.push_str(&print::streamed(&print::message(event, "laneway.admin.v1.WatchEvent"), look.format));
            return;
        }
        Format::Name if resource.is_empty() => return,
        Format::Name => {
            out.push_str(&format!("{resource}\n"));
            return;
        }
        Format::Table | Format::Wide => {}
    }
    let before = match event.kind() {
        Kind::Deleted => seen.remove(&resource),
        _ => seen.insert(resource.clone(), value.clone()),
    };
    let line = match event.kind() {
        Kind::Snapshot => format!("there      {resource}{detail}"),
        Kind::Synced => format!("synced     revision {revision}"),
        Kind::Changed => match before {
            // Created, or not seen before.
            None => format!("changed    {resource}{detail}, revision {revision}"),
            Some(before) => {
                let paths = json::differences(&before, &value).join(", ");
                format!("changed    {resource}{detail}, revision {revision}: {paths}")
            }
        },
        Kind::Deleted => format!("deleted    {resource}"),
        Kind::Heartbeat | Kind::Unspecified => return,
    };
    out.push_str(&line);
    out.push('\n');
}

async fn watch_sidecars(client: &mut Client, mut left: u32, look: Look, out: &mut String) -> Result<(), Trouble> {
    let mut events = client.watch_proxies().await?;
    while left > 0 {
        let Some(event) = events.next().await? else {
            return Err(Trouble::Said("lanectl: the control plane ended the stream".to_owned()));
        };
        let Some(proxy) = event.proxy else { continue };
        match look.format {
            Format::Json | Format::Yaml => {
                out.push_str(&print::streamed(&print::message(&proxy, "laneway.status.v1.Proxy"), look.format));
            }
            Format::Name => out.push_str(&format!("{}\n", proxy.name)),
            Format::Table | Format::Wide => out.push_str(&sidecar_line(&proxy)),
        }
        print::flush(out);
        left -= 1;
    }
    Ok(())
}

/// `synced         a-1 of a (gray): acknowledged revision 3`
fn sidecar_line(proxy: &Proxy) -> String {
    let node = proxy.node.clone().unwrap_or_default();
    let tag = if node.tag.is_empty() { String::new() } else { format!(" ({})", node.tag) };
    let acked = proxy.types.iter().map(|status| status.acked_revision).max().unwrap_or(0);
    let who = format!("{} of {}{tag}", node_id(proxy), print::dash(&node.service));
    let detail = match proxy.state() {
        ConfigState::Disconnected => String::new(),
        _ => format!(": acknowledged revision {acked}"),
    };
    format!("{:<14} {who}{detail}\n", state(proxy.state()))
}
