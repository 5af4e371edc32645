//! `lanectl rollback`.

use clap::ValueEnum;
use laneway_proto::admin::RollbackRequest;

use super::apply::{follow, lines};
use super::arguments::{Format, Kind, Place, Rollback};
use super::client::Client;
use super::find::{self, Found, full};
use super::look::Look;
use super::{Trouble, documents, print};

pub(super) async fn rollback(
    client: &mut Client,
    options: Rollback,
    look: Look,
    out: &mut String,
) -> Result<(), Trouble> {
    let scope = match options.scope.as_slice() {
        [kind, id] => scope(client, kind, id, &options.place).await?,
        _ => String::new(),
    };
    let request = RollbackRequest {
        name: format!("revisions/{}", options.revision),
        scope,
        expected_revision: options.expected_revision,
        validate_only: options.dry_run,
        reason: options.reason.text,
        with_state: options.with_state,
        ..RollbackRequest::default()
    };
    let response = client.rollback(request).await?;
    let (errors, warnings): (Vec<_>, Vec<_>) =
        response.diagnostics.iter().partition(|finding| documents::is_error(finding));
    for finding in warnings {
        eprintln!("warning: {}", documents::line("", finding));
    }
    // Only of a trial run.
    if !errors.is_empty() {
        let told: Vec<String> = errors.into_iter().map(|finding| documents::line("", finding)).collect();
        return Err(Trouble::Said(told.join("\n")));
    }
    let revision = response.revision.as_ref();
    let changes = revision.map(|revision| revision.changes.as_slice()).unwrap_or_default();
    let number = revision.map_or(0, |revision| revision.revision);
    match look.format {
        Format::Json | Format::Yaml => {
            let value = print::message(&response, "laneway.admin.v1.RollbackResponse");
            out.push_str(&print::values(vec![value], true, look.format));
        }
        Format::Name => changes.iter().for_each(|change| out.push_str(&format!("{}\n", change.name))),
        Format::Table | Format::Wide if changes.is_empty() => {
            out.push_str(&format!("nothing to do, all of it is as after revision {}\n", options.revision));
        }
        Format::Table | Format::Wide => lines(changes, number, options.dry_run, out),
    }
    match options.wait.longest {
        Some(wait) if !options.dry_run => follow(client, changes, number, wait, look, out).await,
        _ => Ok(()),
    }
}

/// The resource name of what is to be restored, which need not be there now.
async fn scope(client: &mut Client, kind: &str, id: &str, place: &Place) -> Result<String, Trouble> {
    if kind == "namespace" {
        return Ok(full(id, format!("namespaces/{id}")));
    }
    let kind = Kind::from_str(kind, true).map_err(|_| {
        Trouble::Usage(format!("--scope {kind:?}: the kinds are namespace, lanegroup, lane and policy"))
    })?;
    match kind {
        Kind::Lanegroup => Ok(full(id, laneway_core::name::group(&place.namespace, id))),
        Kind::Policy => Ok(full(id, laneway_core::name::policy(&place.namespace, id))),
        Kind::Lane => match find::lane_name(client, id, place).await? {
            Found::Name(name) => Ok(name),
            Found::None => Err(Trouble::Said(format!(
                "no lane {id:?} in namespace {:?} now; for one that was deleted say its --group \
                 (lanectl history --for lane {id} tells)",
                place.namespace
            ))),
        },
    }
}
