//! `lanectl lane close`: the end of a lane. Off first, and only when every sidecar has obeyed removed: so no request is
//! ever routed by a lane of which half the mesh knows nothing any more.

use std::time::Duration;

use laneway_proto::admin::DeleteLaneRequest;

use super::super::arguments::{Close, Format};
use super::super::client::{Cause, Client};
use super::super::find;
use super::super::look::Look;
use super::super::{Trouble, print};
use super::switch;
use crate::name;

/// Closing waits also where `--wait` is not given.
const WAIT: Duration = Duration::from_secs(5);

pub(super) async fn close(client: &mut Client, options: Close, look: Look, out: &mut String) -> Result<(), Trouble> {
    let Close { switch, force } = options;
    let lane = find::lane(client, &switch.name, &switch.place).await?;
    let (id, name) = (name::id(&lane.name).to_owned(), lane.name);
    let longest = Some(switch.wait.longest.unwrap_or(WAIT));
    // Machines are told of the end of it alone.
    let mut told = String::new();
    let off = switch::off(client, name.clone(), longest, switch.reason.text.clone(), false, look, &mut told).await;
    if look.is_table() {
        out.push_str(&told);
    }
    off.map_err(|trouble| match trouble {
        Trouble::Said(why) => Trouble::Said(format!("{why}\nnot removed: close it again when all have acknowledged")),
        other => other,
    })?;
    let request =
        DeleteLaneRequest { name: name.clone(), force, reason: switch.reason.text, ..DeleteLaneRequest::default() };
    match client.delete_lane(request).await {
        Ok(()) => {}
        Err(failure) if failure.cause == Cause::Precondition => {
            let pods: Vec<String> = lane
                .coverage
                .iter()
                .filter(|service| service.total_endpoints > 0)
                .map(|service| format!("{} of {}", service.total_endpoints, name::id(&service.service)))
                .collect();
            return Err(Trouble::Said(format!(
                "lanectl: {name} is switched off, and not removed: its pods run ({}). Stop them and close it again, or \
                 lanectl lane close {id} --force",
                pods.join(", ")
            )));
        }
        Err(failure) => return Err(failure.into()),
    }
    match look.format {
        Format::Table | Format::Wide => out.push_str(&format!("{name} removed\n")),
        Format::Json | Format::Yaml => {
            let value = serde_json::json!({"name": name, "removed": true});
            out.push_str(&print::values(vec![value], true, look.format));
        }
        Format::Name => out.push_str(&format!("{name}\n")),
    }
    Ok(())
}
