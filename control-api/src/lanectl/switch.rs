//! `lanectl lane enable` and `lanectl lane disable`.

use std::time::Duration;

use laneway_proto::admin::{DisableLaneRequest, EnableLaneRequest, Lane, enable_lane_request, lane};
use laneway_proto::contract::GROUP_DEFAULT;
use laneway_proto::status::Rollout;

use super::arguments::{Enable, Format, Switch};
use super::client::Client;
use super::objects::{Found, lanes_named};
use super::{Trouble, print};
use crate::{json, name};

pub(super) async fn enable(
    client: &mut Client,
    options: Enable,
    format: Format,
    out: &mut String,
) -> Result<(), Trouble> {
    let Enable { switch, ttl, expire_time, require_coverage } = options;
    let Found::Name(name) = lanes_named(client, &switch.name, &switch.place).await? else {
        let place = &switch.place.namespace;
        return Err(Trouble::Said(format!("no lane {:?} in namespace {place:?}", switch.name)));
    };
    let at = expire_time.map(enable_lane_request::Expiration::ExpireTime);
    let request = EnableLaneRequest {
        name,
        wait_timeout: wait_timeout(&switch),
        require_coverage,
        reason: switch.reason,
        expiration: ttl.map(enable_lane_request::Expiration::Ttl).or(at),
        ..EnableLaneRequest::default()
    };
    let response = client.enable(request).await?;
    let (lane, rollout) = (response.lane.unwrap_or_default(), response.rollout.unwrap_or_default());
    let done = match lane.expiration {
        Some(lane::Expiration::ExpireTime(end)) => format!("enabled until {end}"),
        _ => "enabled".to_owned(),
    };
    report(&lane, &done, &rollout, switch.wait, format, out);
    outcome(&rollout, switch.wait)
}

pub(super) async fn disable(
    client: &mut Client,
    options: Switch,
    format: Format,
    out: &mut String,
) -> Result<(), Trouble> {
    let name = match lanes_named(client, &options.name, &options.place).await? {
        Found::Name(name) => name,
        // A tag that runs without a lane: the lane is created, disabled, in the group where that is no question.
        Found::None => {
            let groups = client.groups(&format!("namespaces/{}", options.place.namespace)).await?;
            let group = match groups.as_slice() {
                [] => GROUP_DEFAULT,
                [only] => name::id(&only.name),
                several => {
                    let ids: Vec<&str> = several.iter().map(|group| name::id(&group.name)).collect();
                    return Err(Trouble::Said(format!(
                        "no lane {:?} yet; to switch off a tag without a lane say --group: {} or {GROUP_DEFAULT}",
                        options.name,
                        ids.join(", ")
                    )));
                }
            };
            laneway_core::name::lane(&options.place.namespace, group, &options.name)
        }
    };
    let request = DisableLaneRequest {
        name,
        wait_timeout: wait_timeout(&options),
        allow_missing: true,
        reason: options.reason,
        ..DisableLaneRequest::default()
    };
    let response = client.disable(request).await?;
    let (lane, rollout) = (response.lane.unwrap_or_default(), response.rollout.unwrap_or_default());
    report(&lane, "disabled", &rollout, options.wait, format, out);
    outcome(&rollout, options.wait)
}

fn wait_timeout(options: &Switch) -> Option<prost_types::Duration> {
    options.wait.map(|wait| prost_types::Duration::try_from(wait).unwrap_or_default())
}

fn report(lane: &Lane, done: &str, rollout: &Rollout, wait: Option<Duration>, format: Format, out: &mut String) {
    match format {
        Format::Json | Format::Yaml => {
            let value = json::of(rollout, "laneway.status.v1.Rollout");
            out.push_str(&print::values(vec![value], true, format));
        }
        Format::Name => out.push_str(&format!("{}\n", lane.name)),
        Format::Table => {
            out.push_str(&format!("{} {done}, revision {}\n", lane.name, rollout.revision));
            if wait.is_some() {
                out.push_str(&format!("{}\n", progress(rollout)));
            }
        }
    }
}

/// "acknowledged 6/6 sidecars in 12 ms"
fn progress(rollout: &Rollout) -> String {
    let elapsed = rollout.elapsed.and_then(|elapsed| Duration::try_from(elapsed).ok()).unwrap_or_default();
    let gone = match rollout.disconnected_count {
        0 => String::new(),
        count => format!(", {count} went away"),
    };
    let (acked, all) = (rollout.acked_count, rollout.target_count);
    format!("acknowledged {acked}/{all} sidecars in {} ms{gone}", elapsed.as_millis())
}

/// Whoever waits wants to know by the exit status.
fn outcome(rollout: &Rollout, wait: Option<Duration>) -> Result<(), Trouble> {
    if wait.is_none() {
        return Ok(());
    }
    let mut lines = Vec::new();
    if rollout.nacked_count > 0 {
        lines.push(format!("refused by {}; lanectl status says why", rollout.nacked_proxies.join(", ")));
    }
    if !rollout.done {
        lines.push(format!("no answer yet from {}", rollout.pending_proxies.join(", ")));
    }
    if lines.is_empty() { Ok(()) } else { Err(Trouble::Said(lines.join("\n"))) }
}
