//! `lanectl lane`: what people do to lanes, each verb in a file.

mod close;
mod compare;
mod create;
mod percentage;
mod promote;
mod switch;

use std::time::{Duration, SystemTime};

use laneway_proto::admin::Lane;
use tokio::time::Instant;

use super::arguments::{Do, Format, List, Wait};
use super::client::Client;
use super::look::Look;
use super::{Trouble, changes, objects, print, progress};
use crate::name;

pub(super) async fn lane(client: &mut Client, action: Do, look: Look, out: &mut String) -> Result<(), Trouble> {
    match action {
        Do::List(options) => list(client, options, look, out).await,
        Do::Create(options) => create::create(client, options, look, out).await,
        Do::Enable(options) => switch::enable(client, options, look, out).await,
        Do::Disable(options) => switch::disable(client, options, look, out).await,
        Do::SetPercentage(options) => percentage::set(client, options, look, out).await,
        Do::Promote(options) => promote::promote(client, options, look, out).await,
        Do::Close(options) => close::close(client, options, look, out).await,
        Do::Compare(options) => compare::compare(client, options, look, out).await,
    }
}

async fn list(client: &mut Client, options: List, look: Look, out: &mut String) -> Result<(), Trouble> {
    let namespace = if options.all_namespaces { name::ANY } else { &options.place.namespace };
    let group = options.place.group.as_deref().unwrap_or(name::ANY);
    let lanes = client.lanes(&laneway_core::name::group(namespace, group)).await?;
    match look.format {
        Format::Table | Format::Wide => {
            out.push_str(&objects::lanes_table(&lanes, SystemTime::now(), look).render(look));
        }
        Format::Json | Format::Yaml => {
            let values = lanes.iter().map(|lane| print::message(lane, "laneway.admin.v1.Lane")).collect();
            out.push_str(&print::values(values, false, look.format));
        }
        Format::Name => lanes.iter().for_each(|lane| out.push_str(&format!("{}\n", lane.name))),
    }
    Ok(())
}

/// A lane as a write left it: what was done to it, and its warnings. Then the wait, if one was asked for.
async fn written(
    client: &mut Client,
    lane: &Lane,
    done: &str,
    wait: Wait,
    look: Look,
    out: &mut String,
) -> Result<(), Trouble> {
    for finding in &lane.warnings {
        eprintln!("warning: {}", super::documents::line("", finding));
    }
    match look.format {
        Format::Table | Format::Wide => {
            out.push_str(&format!("{} {done}, revision {}\n", lane.name, lane.revision));
        }
        Format::Json | Format::Yaml => {
            let value = print::message(lane, "laneway.admin.v1.Lane");
            out.push_str(&print::values(vec![value], true, look.format));
        }
        Format::Name => out.push_str(&format!("{}\n", lane.name)),
    }
    let Some(longest) = wait.longest else { return Ok(()) };
    let begun = Instant::now();
    let mut rollout = progress::follow(client, &lane.name, lane.revision, begun + longest, look).await?;
    // Since it was asked for: what whoever waits has seen.
    rollout.elapsed = prost_types::Duration::try_from(begun.elapsed()).ok();
    if look.is_table() {
        out.push_str(&format!("{}\n", switch::progress(&rollout)));
    }
    switch::outcome(&rollout)
}

/// "20 %" is what documents call `20%`.
fn percent_of(percent: Option<laneway_proto::routing::Percent>) -> String {
    percent.map_or_else(|| "all".to_owned(), |percent| laneway_core::document::write_percent(percent.basis_points))
}

/// What a change of the whole document would look like.
fn difference(before: &Lane, after: &Lane, look: Look) -> String {
    super::keep_descriptors();
    let text = |lane: &Lane| print::yaml(&laneway_core::document::write_lane(lane));
    changes::difference(&text(before), &text(after), look)
}

fn wait_timeout(longest: Option<Duration>) -> Option<prost_types::Duration> {
    longest.map(|wait| prost_types::Duration::try_from(wait).unwrap_or_default())
}
