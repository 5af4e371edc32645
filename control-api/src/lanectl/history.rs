//! `lanectl history`: what was changed, by whom and why; and of one revision, what exactly.

use std::time::SystemTime;

use clap::ValueEnum;
use laneway_proto::admin::{ListRevisionsRequest, Revision, RevisionView};

use super::arguments::{Format, History, Kind, Place};
use super::client::Client;
use super::find::{self, Found, full};
use super::look::Look;
use super::print::{self, Table, dash};
use super::{Trouble, changes};
use crate::name;

pub(super) async fn history(
    client: &mut Client,
    options: History,
    look: Look,
    out: &mut String,
) -> Result<(), Trouble> {
    if let Some(number) = options.revision {
        let revision = client.revision(number).await?;
        match look.format {
            Format::Table | Format::Wide => one(&revision, SystemTime::now(), look, out),
            Format::Json | Format::Yaml | Format::Name => several(&[revision], true, look, out),
        }
        return Ok(());
    }
    let place = Place { namespace: options.namespace, group: options.group };
    let filter = match options.about.as_slice() {
        [kind, id] => format!("changes.name = \"{}\"", about(client, kind, id, &place).await?),
        _ => String::new(),
    };
    let is_table = look.is_table();
    let view = if is_table { RevisionView::Basic } else { RevisionView::Full };
    let request = ListRevisionsRequest { filter, view: view.into(), ..ListRevisionsRequest::default() };
    let (revisions, has_more) = client.revisions(request, options.limit as usize).await?;
    if !is_table {
        several(&revisions, false, look, out);
        return Ok(());
    }
    out.push_str(&table(&revisions, SystemTime::now()).render(look));
    if has_more {
        out.push_str(&format!("there are older ones: -n {}\n", options.limit.saturating_mul(2)));
    }
    Ok(())
}

/// The name of what the history is asked of; `*` for the group of a lane that is not there any more.
async fn about(client: &mut Client, kind: &str, id: &str, place: &Place) -> Result<String, Trouble> {
    let kind = Kind::from_str(kind, true)
        .map_err(|_| Trouble::Usage(format!("--for {kind:?}: the kinds are lanegroup, lane and policy")))?;
    let namespace = &place.namespace;
    Ok(match kind {
        Kind::Lanegroup => full(id, laneway_core::name::group(namespace, id)),
        Kind::Policy => full(id, laneway_core::name::policy(namespace, id)),
        Kind::Lane => match find::lane_name(client, id, place).await? {
            Found::Name(name) => name,
            Found::None => laneway_core::name::lane(namespace, "*", id),
        },
    })
}

fn several(revisions: &[Revision], single: bool, look: Look, out: &mut String) {
    if look.format == Format::Name {
        revisions.iter().for_each(|revision| out.push_str(&format!("{}\n", revision.name)));
        return;
    }
    let values = revisions.iter().map(|revision| print::message(revision, "laneway.admin.v1.Revision")).collect();
    out.push_str(&print::values(values, single, look.format));
}

pub(super) fn table(revisions: &[Revision], now: SystemTime) -> Table {
    let mut table = Table::new(&["REVISION", "WHEN", "WHO", "CALL", "CHANGED", "REASON"]);
    for revision in revisions {
        table.row(vec![
            revision.revision.to_string(),
            print::ago(revision.create_time, now),
            dash(&revision.principal),
            call(revision),
            changes::summary(&revision.changes),
            dash(&revision.reason),
        ]);
    }
    table
}

fn one(revision: &Revision, now: SystemTime, look: Look, out: &mut String) {
    let at = revision.create_time.map(|time| time.to_string()).unwrap_or_default();
    out.push_str(&format!(
        "revision {} of {at} ({}) by {}: {}\n",
        revision.revision,
        print::ago(revision.create_time, now),
        dash(&revision.principal),
        call(revision)
    ));
    if !revision.reason.is_empty() {
        out.push_str(&format!("reason: {}\n", revision.reason));
    }
    for change in &revision.changes {
        out.push_str(&format!("\n{}", changes::shown(change, look)));
    }
}

/// "EnableLane", "Rollback to 7".
fn call(revision: &Revision) -> String {
    let method = name::id(&revision.method);
    match revision.rollback_revision {
        0 => dash(method),
        restored => format!("{method} to {restored}"),
    }
}
