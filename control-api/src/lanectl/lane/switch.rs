//! `lanectl lane enable` and `lanectl lane disable`.
//!
//! One call that waits by itself; where somebody looks at the terminal, the call and then the wait, which tells how far it is.

use std::time::Duration;

use laneway_core::duration;
use laneway_proto::admin::{DisableLaneRequest, EnableLaneRequest, Lane, enable_lane_request, lane};
use laneway_proto::contract::GROUP_DEFAULT;
use laneway_proto::status::Rollout;
use tokio::time::Instant;

use super::super::arguments::{Enable, Format, Switch};
use super::super::client::Client;
use super::super::find::{self, Found};
use super::super::look::Look;
use super::super::{Trouble, print, progress as waiting};
use super::wait_timeout;
use crate::name;

pub(super) async fn enable(client: &mut Client, options: Enable, look: Look, out: &mut String) -> Result<(), Trouble> {
    let Enable { switch, ttl, expire_time, require_coverage } = options;
    let Found::Name(name) = find::lane_name(client, &switch.name, &switch.place).await? else {
        return Err(find::missing(&switch.name, &switch.place));
    };
    let at = expire_time.map(enable_lane_request::Expiration::ExpireTime);
    let request = EnableLaneRequest {
        name,
        wait_timeout: own_wait(switch.wait.longest, look),
        require_coverage,
        reason: switch.reason.text,
        expiration: ttl.map(enable_lane_request::Expiration::Ttl).or(at),
        ..EnableLaneRequest::default()
    };
    let begun = Instant::now();
    let response = client.enable(request).await?;
    let lane = response.lane.unwrap_or_default();
    let rollout = response.rollout.unwrap_or_default();
    let rollout = settled(client, rollout, begun, switch.wait.longest, look).await?;
    let done = match lane.expiration {
        Some(lane::Expiration::ExpireTime(end)) => format!("enabled until {end}"),
        _ => "enabled".to_owned(),
    };
    report(&lane, &done, &rollout, switch.wait.longest, look, out);
    switch.wait.longest.map_or(Ok(()), |_| outcome(&rollout))
}

pub(super) async fn disable(client: &mut Client, options: Switch, look: Look, out: &mut String) -> Result<(), Trouble> {
    let name = match find::lane_name(client, &options.name, &options.place).await? {
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
    off(client, name, options.wait.longest, options.reason.text, true, look, out).await
}

/// Switches a lane off and says so.
pub(super) async fn off(
    client: &mut Client,
    name: String,
    longest: Option<Duration>,
    reason: String,
    allow_missing: bool,
    look: Look,
    out: &mut String,
) -> Result<(), Trouble> {
    let wait_timeout = own_wait(longest, look);
    let request = DisableLaneRequest { name, wait_timeout, allow_missing, reason, ..DisableLaneRequest::default() };
    let begun = Instant::now();
    let response = client.disable(request).await?;
    let lane = response.lane.unwrap_or_default();
    let rollout = settled(client, response.rollout.unwrap_or_default(), begun, longest, look).await?;
    report(&lane, "disabled", &rollout, longest, look, out);
    longest.map_or(Ok(()), |_| outcome(&rollout))
}

/// The wait that the call does by itself.
fn own_wait(longest: Option<Duration>, look: Look) -> Option<prost_types::Duration> {
    if look.has_progress { None } else { wait_timeout(longest) }
}

/// The rollout after the wait that the call did not do.
async fn settled(
    client: &mut Client,
    rollout: Rollout,
    begun: Instant,
    longest: Option<Duration>,
    look: Look,
) -> Result<Rollout, Trouble> {
    let Some(longest) = longest.filter(|_| look.has_progress && !rollout.done) else { return Ok(rollout) };
    let name = rollout.name.clone();
    let mut rollout = waiting::follow(client, &name, rollout.revision, begun + longest, look).await?;
    rollout.elapsed = prost_types::Duration::try_from(begun.elapsed()).ok();
    Ok(rollout)
}

fn report(lane: &Lane, done: &str, rollout: &Rollout, wait: Option<Duration>, look: Look, out: &mut String) {
    match look.format {
        Format::Json | Format::Yaml => {
            let value = print::message(rollout, "laneway.status.v1.Rollout");
            out.push_str(&print::values(vec![value], true, look.format));
        }
        Format::Name => out.push_str(&format!("{}\n", lane.name)),
        Format::Table | Format::Wide => {
            out.push_str(&format!("{} {done}, revision {}\n", lane.name, rollout.revision));
            if wait.is_some() {
                out.push_str(&format!("{}\n", progress(rollout)));
            }
        }
    }
}

/// "acknowledged 6/6 sidecars in 12 ms"
pub(super) fn progress(rollout: &Rollout) -> String {
    let elapsed = rollout.elapsed.and_then(duration::read).unwrap_or_default();
    let gone = match rollout.disconnected_count {
        0 => String::new(),
        count => format!(", {count} went away"),
    };
    let (acked, all) = (rollout.acked_count, rollout.target_count);
    format!("acknowledged {acked}/{all} sidecars in {} ms{gone}", elapsed.as_millis())
}

/// Whoever waits wants to know by the exit status.
pub(super) fn outcome(rollout: &Rollout) -> Result<(), Trouble> {
    let mut lines = Vec::new();
    if rollout.nacked_count > 0 {
        lines.push(format!("refused by {}; lanectl status says why", rollout.nacked_proxies.join(", ")));
    }
    if !rollout.done {
        let waiting = rollout.pending_proxies.join(", ");
        lines.push(format!("no answer yet from {waiting}; it is committed, lanectl describe lane shows how far it is"));
    }
    if lines.is_empty() { Ok(()) } else { Err(Trouble::Said(lines.join("\n"))) }
}
