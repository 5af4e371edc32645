//! `lanectl apply`.

use std::time::Duration;

use laneway_proto::admin::{ApplyBundleRequest, ApplyBundleResponse, Diagnostic, ResourceChange};
use tokio::time::Instant;

use super::arguments::{Apply, Format};
use super::client::{Cause, Client};
use super::documents::{Documents, is_error};
use super::look::Look;
use super::{Trouble, changes, print, progress};
use crate::name;

pub(super) async fn apply(client: &mut Client, options: Apply, look: Look, out: &mut String) -> Result<(), Trouble> {
    let documents = Documents::read(&options.files).map_err(Trouble::Said)?;
    let prune_parent = options.prune.as_deref().map(|text| parent("--prune", text)).transpose()?.unwrap_or_default();
    let request = ApplyBundleRequest {
        bundle: Some(documents.bundle.clone()),
        prune_parent,
        expected_revision: options.expected_revision,
        validate_only: options.dry_run,
        reason: options.reason.text,
        ..ApplyBundleRequest::default()
    };
    let response = match client.apply(request.clone()).await {
        Ok(response) => response,
        Err(failure) if failure.cause == Cause::Invalid => {
            // A trial run says all of it, and of which object; an error says what fits into it.
            let trial = ApplyBundleRequest { validate_only: true, ..request };
            let findings = client.apply(trial).await.map(|response| response.diagnostics).unwrap_or_default();
            let lines = errors(&documents, &findings);
            return Err(if lines.is_empty() { failure.into() } else { Trouble::Said(lines) });
        }
        Err(failure) => return Err(failure.into()),
    };
    for finding in response.diagnostics.iter().filter(|finding| !is_error(finding)) {
        eprintln!("warning: {}", documents.locate(finding));
    }
    // Only of a trial run.
    let lines = errors(&documents, &response.diagnostics);
    if !lines.is_empty() {
        return Err(Trouble::Said(lines));
    }
    report(&response, options.dry_run, look, out);
    match options.wait.longest {
        Some(wait) if !options.dry_run => follow(client, &response.changes, response.revision, wait, look, out).await,
        _ => Ok(()),
    }
}

fn report(response: &ApplyBundleResponse, dry_run: bool, look: Look, out: &mut String) {
    match look.format {
        Format::Json | Format::Yaml => {
            let value = print::message(response, "laneway.admin.v1.ApplyBundleResponse");
            out.push_str(&print::values(vec![value], true, look.format));
        }
        Format::Name => response.changes.iter().for_each(|change| out.push_str(&format!("{}\n", change.name))),
        Format::Table | Format::Wide => lines(&response.changes, response.revision, dry_run, out),
    }
}

/// A line for each change, and the revision that they became.
pub(super) fn lines(all: &[ResourceChange], revision: i64, dry_run: bool, out: &mut String) {
    let suffix = if dry_run { " (dry run)" } else { "" };
    all.iter().for_each(|change| out.push_str(&format!("{}{suffix}\n", changes::line(change))));
    if all.is_empty() {
        out.push_str(&format!("nothing to do, revision {revision}{suffix}\n"));
    } else if !dry_run {
        out.push_str(&format!("revision {revision}\n"));
    }
}

/// Waits until every sidecar concerned has acknowledged every change.
pub(super) async fn follow(
    client: &mut Client,
    changes: &[ResourceChange],
    revision: i64,
    wait: Duration,
    look: Look,
    out: &mut String,
) -> Result<(), Trouble> {
    let begun = Instant::now();
    let mut refused = Vec::new();
    for change in changes {
        let rollout = progress::follow(client, &change.name, revision, begun + wait, look).await?;
        if !rollout.done || rollout.revision < revision {
            return Err(Trouble::Said(format!(
                "{}: acknowledged by {}/{} sidecars in {} ms; waiting for {}. It is committed and goes on by itself: \
                 lanectl describe shows how far it is",
                change.name,
                rollout.acked_count,
                rollout.target_count,
                begun.elapsed().as_millis(),
                rollout.pending_proxies.join(", ")
            )));
        }
        if rollout.nacked_count > 0 {
            refused.push(format!(
                "{} was refused by {}; lanectl status says why",
                change.name,
                rollout.nacked_proxies.join(", ")
            ));
        }
    }
    if !refused.is_empty() {
        return Err(Trouble::Said(refused.join("\n")));
    }
    if look.is_table() && !changes.is_empty() {
        out.push_str(&format!("acknowledged by every sidecar in {} ms\n", begun.elapsed().as_millis()));
    }
    Ok(())
}

pub(super) fn errors(documents: &Documents, findings: &[Diagnostic]) -> String {
    let lines = findings.iter().filter(|finding| is_error(finding)).map(|finding| documents.locate(finding));
    lines.collect::<Vec<_>>().join("\n")
}

/// `shop`, `shop/web`, or a whole resource name, as the value of a flag.
pub(super) fn parent(flag: &str, text: &str) -> Result<String, Trouble> {
    let name = match text.split('/').collect::<Vec<_>>().as_slice() {
        [namespace] => format!("namespaces/{namespace}"),
        ["namespaces", _] => text.to_owned(),
        [namespace, group] => laneway_core::name::group(namespace, group),
        _ => text.to_owned(),
    };
    if name::parse_namespace(&name).is_some() || name::parse_group(&name).is_some() {
        return Ok(name);
    }
    Err(Trouble::Said(format!("{flag} {text:?} is no NAMESPACE, NAMESPACE/GROUP or resource name of either")))
}
