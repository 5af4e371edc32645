//! `lanectl diff`: what apply would change. Nothing is changed.

use laneway_proto::admin::ApplyBundleRequest;

use super::apply::{errors, parent};
use super::arguments::{Diff, Format};
use super::client::Client;
use super::documents::{self, Documents};
use super::look::Look;
use super::{Trouble, changes, print};

pub(super) async fn diff(client: &mut Client, options: Diff, look: Look, out: &mut String) -> Result<(), Trouble> {
    let documents = Documents::read(&options.files).map_err(Trouble::Said)?;
    let request = ApplyBundleRequest {
        bundle: Some(documents.bundle.clone()),
        prune_parent: options.prune.as_deref().map(|text| parent("--prune", text)).transpose()?.unwrap_or_default(),
        validate_only: true,
        ..ApplyBundleRequest::default()
    };
    let response = client.apply(request).await?;
    for finding in response.diagnostics.iter().filter(|finding| !documents::is_error(finding)) {
        eprintln!("warning: {}", documents.locate(finding));
    }
    let lines = errors(&documents, &response.diagnostics);
    if !lines.is_empty() {
        return Err(Trouble::Said(lines));
    }
    match look.format {
        Format::Json | Format::Yaml => {
            let all = response.changes.iter().map(|change| print::message(change, "laneway.admin.v1.ResourceChange"));
            out.push_str(&print::values(all.collect(), false, look.format));
        }
        Format::Name => response.changes.iter().for_each(|change| out.push_str(&format!("{}\n", change.name))),
        Format::Table | Format::Wide => {
            let all: Vec<String> = response.changes.iter().map(|change| changes::shown(change, look)).collect();
            out.push_str(&all.join("\n"));
        }
    }
    if response.changes.is_empty() { Ok(()) } else { Err(Trouble::Differs) }
}
