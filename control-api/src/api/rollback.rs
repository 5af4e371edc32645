//! Rollback: a new revision whose content, within a scope, is that of an old one.
//!
//! ```text
//!   journal after the old revision --what each object was before--> Past --edit--> the one writer, as any other change
//! ```

use std::collections::BTreeMap;

use laneway_proto::admin::{ResourceChange, Revision, RollbackRequest, RollbackResponse};
use tonic::Status;

use super::write::orphans;
use super::{Api, errors, history};
use crate::edit::rollback::{self, Past};
use crate::name;
use crate::reconcile::history::is_brief;
use crate::reconcile::{Outcome, Request, WriteError};

#[cfg(test)]
mod tests;

/// How often it is worked out anew because somebody else commits meanwhile.
const ATTEMPTS_MAX: u32 = 5;

pub(super) async fn rollback(
    api: Api,
    mut common: Request,
    request: RollbackRequest,
) -> Result<RollbackResponse, Status> {
    let number = history::number(&request.name)?;
    let scope = request.scope;
    let is_scope = scope.is_empty()
        || name::parse_namespace(&scope).is_some()
        || name::parse_group(&scope).is_some()
        || name::parse_lane(&scope).is_some()
        || name::parse_policy(&scope).is_some();
    if !is_scope {
        return Err(errors::bad_field("scope", "is the name of a namespace, group, lane or policy, or empty"));
    }
    history::held(&api, number).await?;
    common.rollback_revision = number;
    let mut attempt = 1;
    loop {
        let before = api.reconciler.state();
        // What is worked out here holds for this very revision.
        common.expected_revision =
            if request.expected_revision > 0 { request.expected_revision } else { before.revision };
        let objects = past(&api, number, before.revision, &scope).await?;
        let past = Past { objects, with_state: request.with_state };
        let (edit, notes) = rollback::edit(&before.objects, &past, api.reconciler.now()).map_err(Status::internal)?;
        let mut outcome = match api.reconciler.write(common.clone(), Box::new(move |_| Ok(edit.clone()))).await {
            Ok(outcome) => outcome,
            Err(WriteError::Moved { .. }) if request.expected_revision == 0 && attempt < ATTEMPTS_MAX => {
                attempt += 1;
                continue;
            }
            Err(error) => return Err(errors::write(error, &str::to_owned)),
        };
        outcome.diagnostics.extend(orphans(&before, &outcome));
        outcome.diagnostics.extend(notes);
        let diagnostics = std::mem::take(&mut outcome.diagnostics);
        return Ok(RollbackResponse { revision: revision(common, outcome), diagnostics });
    }
}

/// What was in the scope after revision `number`, of all that `last` and those between have touched.
pub(super) async fn past(api: &Api, number: i64, last: i64, scope: &str) -> Result<BTreeMap<String, String>, Status> {
    let mut past: BTreeMap<String, ResourceChange> = BTreeMap::new();
    let mut before = last.saturating_add(1);
    while before > number + 1 {
        let read = history::read(api, before).await?;
        let Some(oldest) = read.last() else { return Err(history::no_longer_held(number)) };
        before = oldest.revision;
        // The older change overwrites: what it found is nearer to what is asked for.
        let changes = read.into_iter().filter(|revision| revision.revision > number).flat_map(|own| own.changes);
        let within = changes.filter(|change| scope.is_empty() || name::is_under(&change.name, scope));
        past.extend(within.map(|change| (change.name.clone(), change)));
    }
    texts(past)
}

/// What each was; a refusal where the history had no room for that.
fn texts(past: BTreeMap<String, ResourceChange>) -> Result<BTreeMap<String, String>, Status> {
    if let Some(change) = past.values().find(|change| is_brief(change)) {
        return Err(errors::no_longer_held(format!(
            "{} as it was then is not held: it was too large for the history. Apply it as you want it, or restore a part without it (scope)",
            change.name
        )));
    }
    Ok(past.into_iter().map(|(name, change)| (name, change.before_json)).collect())
}

/// The revision that was made, or would be. None: there was nothing to do.
fn revision(request: Request, outcome: Outcome) -> Option<Revision> {
    if outcome.changes.is_empty() {
        return None;
    }
    let revision = Revision {
        principal: request.call.principal,
        reason: request.call.reason,
        method: request.call.method.to_owned(),
        changes: outcome.changes,
        rollback_revision: request.rollback_revision,
        ..Revision::default()
    };
    if request.validate_only {
        return Some(Revision { revision: outcome.revision + 1, ..revision });
    }
    Some(Revision {
        name: format!("revisions/{}", outcome.revision),
        revision: outcome.revision,
        create_time: Some(outcome.time.into()),
        ..revision
    })
}
