//! `lanectl history`: what was changed, by whom and why; and of one revision, what exactly.

use std::time::SystemTime;

use clap::ValueEnum;
use laneway_proto::admin::{ListRevisionsRequest, Revision, RevisionView};

use super::arguments::{Format, History, Kind, Place};
use super::client::Client;
use super::objects::{Found, full, lanes_named};
use super::print::{self, Table, dash};
use super::{Trouble, changes};
use crate::{json, name};

pub(super) async fn history(
    client: &mut Client,
    options: History,
    format: Format,
    out: &mut String,
) -> Result<(), Trouble> {
    if let Some(number) = options.revision {
        let revision = client.revision(number).await?;
        match format {
            Format::Table => one(&revision, SystemTime::now(), out),
            Format::Json | Format::Yaml | Format::Name => several(&[revision], true, format, out),
        }
        return Ok(());
    }
    let place = Place { namespace: options.namespace, group: options.group };
    let filter = match options.about.as_slice() {
        [kind, id] => format!("changes.name = \"{}\"", about(client, kind, id, &place).await?),
        _ => String::new(),
    };
    let is_table = format == Format::Table;
    let view = if is_table { RevisionView::Basic } else { RevisionView::Full };
    let request = ListRevisionsRequest { filter, view: view.into(), ..ListRevisionsRequest::default() };
    let (revisions, has_more) = client.revisions(request, options.limit as usize).await?;
    if !is_table {
        several(&revisions, false, format, out);
        return Ok(());
    }
    out.push_str(&table(&revisions, SystemTime::now()).render());
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
        Kind::Lane => match lanes_named(client, id, place).await? {
            Found::Name(name) => name,
            Found::None => laneway_core::name::lane(namespace, "*", id),
        },
    })
}

fn several(revisions: &[Revision], single: bool, format: Format, out: &mut String) {
    if format == Format::Name {
        revisions.iter().for_each(|revision| out.push_str(&format!("{}\n", revision.name)));
        return;
    }
    let values = revisions.iter().map(|revision| json::of(revision, "laneway.admin.v1.Revision")).collect();
    out.push_str(&print::values(values, single, format));
}

fn table(revisions: &[Revision], now: SystemTime) -> Table {
    let mut table = Table::new(&["REVISION", "WHEN", "WHO", "CALL", "CHANGED", "REASON"]);
    for revision in revisions {
        table.row(vec![
            revision.revision.to_string(),
            ago(revision, now),
            dash(&revision.principal),
            call(revision),
            changes::summary(&revision.changes),
            dash(&revision.reason),
        ]);
    }
    table
}

fn one(revision: &Revision, now: SystemTime, out: &mut String) {
    let at = revision.create_time.map(|time| time.to_string()).unwrap_or_default();
    out.push_str(&format!(
        "revision {} of {at} ({}) by {}: {}\n",
        revision.revision,
        ago(revision, now),
        dash(&revision.principal),
        call(revision)
    ));
    if !revision.reason.is_empty() {
        out.push_str(&format!("reason: {}\n", revision.reason));
    }
    for change in &revision.changes {
        out.push_str(&format!("\n{}", changes::shown(change)));
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

fn ago(revision: &Revision, now: SystemTime) -> String {
    let time = revision.create_time.and_then(|time| SystemTime::try_from(time).ok());
    let since = time.map(|time| now.duration_since(time).unwrap_or_default());
    since.map_or_else(|| "-".to_owned(), |since| format!("{} ago", print::about(since)))
}
