//! What a revision changed, as the journal keeps it. Pure.

use laneway_proto::admin::resource_change::Kind;
use laneway_proto::admin::{ResourceChange, Revision};
use serde::{Deserialize, Serialize};

use crate::store::{self, StoreError};

/// A change as JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    name: String,
    kind: String,
    changed_paths: Vec<String>,
    before: String,
    after: String,
}

/// Without what was there before and after: where a store has no room for that. Who changed what, and where, is kept.
pub(super) fn write_brief(changes: &[ResourceChange]) -> String {
    let brief = changes.iter().map(|change| match change.kind() {
        Kind::Updated | Kind::Deleted => {
            ResourceChange { before_json: String::new(), after_json: String::new(), ..change.clone() }
        }
        Kind::Created | Kind::Unspecified => change.clone(),
    });
    write(&brief.collect::<Vec<_>>())
}

/// Is it held without what was there before?
pub fn is_brief(change: &ResourceChange) -> bool {
    matches!(change.kind(), Kind::Updated | Kind::Deleted) && change.before_json.is_empty()
}

pub(super) fn write(changes: &[ResourceChange]) -> String {
    let all = changes.iter().map(|change| Change {
        name: change.name.clone(),
        kind: change.kind().as_str_name().to_owned(),
        changed_paths: change.changed_paths.clone(),
        before: change.before_json.clone(),
        after: change.after_json.clone(),
    });
    serde_json::to_string(&all.collect::<Vec<_>>()).expect("strings have a JSON form")
}

/// The whole revision, as people see it.
pub(super) fn read(stored: store::Revision) -> Result<Revision, StoreError> {
    let changes: Vec<Change> = serde_json::from_str(&stored.changes).map_err(|source| {
        StoreError::Unusable(format!("the history of revision {} cannot be read: {source}", stored.number))
    })?;
    let changes = changes.into_iter().map(|change| ResourceChange {
        kind: Kind::from_str_name(&change.kind).unwrap_or_default().into(),
        name: change.name,
        changed_paths: change.changed_paths,
        before_json: change.before,
        after_json: change.after,
    });
    Ok(Revision {
        name: format!("revisions/{}", stored.number),
        revision: stored.number,
        create_time: Some(stored.time.into()),
        principal: stored.principal,
        reason: stored.reason,
        method: stored.method,
        changes: changes.collect(),
        rollback_revision: stored.rollback_revision,
    })
}
