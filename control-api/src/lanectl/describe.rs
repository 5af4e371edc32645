//! `lanectl describe`: all about one object, for people: what it says, where it has instances, how far it has got, what
//! was done to it, and what is odd about it.

use std::time::SystemTime;

use laneway_core::document;
use laneway_proto::admin::{Diagnostic, Lane, ListRevisionsRequest};
use laneway_proto::status::Rollout;
use serde_json::{Value, json};

use super::arguments::{Describe, Format, Kind};
use super::client::Client;
use super::find::{self, full};
use super::look::Look;
use super::print::{self, Table, dash};
use super::{Trouble, documents, history, objects};
use crate::name;

/// Newest changes that are shown.
const CHANGES_MAX: usize = 5;

/// What every kind has.
struct About {
    name: String,
    owner: String,
    description: String,
    revision: i64,
    created: Option<prost_types::Timestamp>,
    updated: Option<prost_types::Timestamp>,
    document: Value,
    lane: Option<Lane>,
}

pub(super) async fn describe(
    client: &mut Client,
    options: Describe,
    look: Look,
    out: &mut String,
) -> Result<(), Trouble> {
    super::keep_descriptors();
    let about = about(client, &options).await?;
    let rollout = client.rollout(&about.name).await?;
    let filter = format!("changes.name = \"{}\"", about.name);
    let request = ListRevisionsRequest { filter, ..ListRevisionsRequest::default() };
    let (revisions, _) = client.revisions(request, CHANGES_MAX).await?;
    match look.format {
        Format::Name => out.push_str(&format!("{}\n", about.name)),
        Format::Json | Format::Yaml => {
            let lane = about.lane.as_ref();
            let value = json!({
                "document": about.document,
                "object": lane.map(|lane| print::message(lane, "laneway.admin.v1.Lane")),
                "rollout": print::message(&rollout, "laneway.status.v1.Rollout"),
            });
            out.push_str(&print::values(vec![value], true, look.format));
        }
        Format::Table | Format::Wide => {
            let now = SystemTime::now();
            head(&about, &rollout, now, look, out);
            out.push_str(&format!("\ndocument\n{}", indented(&print::yaml(&about.document))));
            if let Some(lane) = &about.lane {
                out.push_str(&format!("\ninstances\n{}", indented(&coverage(lane).render(look))));
                findings(&lane.warnings, out);
            }
            out.push_str(&format!("\nchanges\n{}", indented(&history::table(&revisions, now).render(look))));
        }
    }
    Ok(())
}

async fn about(client: &mut Client, options: &Describe) -> Result<About, Trouble> {
    let Describe { kind, name: id, place } = options;
    Ok(match kind {
        Kind::Lanegroup => {
            let group = client.group(full(id, laneway_core::name::group(&place.namespace, id))).await?;
            About {
                document: document::write_group(&group),
                name: group.name,
                owner: group.owner,
                description: group.description,
                revision: group.revision,
                created: group.create_time,
                updated: group.update_time,
                lane: None,
            }
        }
        Kind::Policy => {
            let policy = client.policy(full(id, laneway_core::name::policy(&place.namespace, id))).await?;
            About {
                document: document::write_policy(&policy),
                name: policy.name,
                owner: policy.owner,
                description: policy.description,
                revision: policy.revision,
                created: policy.create_time,
                updated: policy.update_time,
                lane: None,
            }
        }
        Kind::Lane => {
            let lane = find::lane(client, id, place).await?;
            About {
                document: document::write_lane(&lane),
                name: lane.name.clone(),
                owner: lane.owner.clone(),
                description: lane.description.clone(),
                revision: lane.revision,
                created: lane.create_time,
                updated: lane.update_time,
                lane: Some(lane),
            }
        }
    })
}

fn head(about: &About, rollout: &Rollout, now: SystemTime, look: Look, out: &mut String) {
    let mut table = Table::new(&[find::short(&about.name).as_str(), &about.name]);
    let mut row = |key: &str, value: String| table.row(vec![key.to_owned(), value]);
    if let Some(lane) = &about.lane {
        row("tag", lane.tag.clone());
        row("state", objects::state(lane).to_owned());
        row("ends", objects::ends(lane, now));
    }
    row("owner", dash(&about.owner));
    if !about.description.is_empty() {
        row("about", about.description.clone());
    }
    row("created", print::ago(about.created, now));
    row("changed", format!("{}, revision {}", print::ago(about.updated, now), about.revision));
    row("sidecars", sidecars(rollout));
    out.push_str(&table.render(look));
}

/// "3 of 3 have it", and who does not.
fn sidecars(rollout: &Rollout) -> String {
    let mut text = format!("{} of {} have it", rollout.acked_count, rollout.target_count);
    for (what, proxies) in [("refused by", &rollout.nacked_proxies), ("waiting for", &rollout.pending_proxies)] {
        if !proxies.is_empty() {
            let ids: Vec<&str> = proxies.iter().map(|proxy| name::id(proxy)).collect();
            text.push_str(&format!(", {what} {}", ids.join(", ")));
        }
    }
    text
}

fn coverage(lane: &Lane) -> Table {
    let mut table = Table::new(&["SERVICE", "LANE", "BASELINE", "A REQUEST OF THE LANE"]);
    for service in &lane.coverage {
        let (ready, total) = (service.ready_endpoints, service.total_endpoints);
        let goes = match (ready, service.baseline_ready_endpoints) {
            (0, 0) => "has nowhere to go",
            (0, _) => "falls back",
            _ => "stays",
        };
        table.row(vec![
            name::id(&service.service).to_owned(),
            format!("{ready}/{total} ready"),
            format!("{} ready", service.baseline_ready_endpoints),
            goes.to_owned(),
        ]);
    }
    table
}

fn findings(warnings: &[Diagnostic], out: &mut String) {
    if warnings.is_empty() {
        return;
    }
    out.push_str("\nwarnings\n");
    for finding in warnings {
        // All are of this object.
        let own = Diagnostic { resource: String::new(), ..finding.clone() };
        out.push_str(&format!("  {}\n", documents::line("", &own)));
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
