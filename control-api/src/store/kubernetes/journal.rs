//! Revisions as objects of the cluster: each commit claims its number by creating one, and says there what it writes.
//!
//! ```text
//!   create NUMBER, state writing --> the objects are written --> state done           AlreadyExists: another commit has the number
//!                  '--> a write fails: state undoing --> put back --> deleted
//! ```
//! The state is a label, so that heads and unfinished commits are found without reading what was changed. Whoever is at it says so each
//! second. Who finishes what another began takes the Revision over first, by its resourceVersion; so only one goes on.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::time::SystemTime;

use k8s_openapi::ByteString;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PartialObjectMeta, PostParams};
use kube::core::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::super::{Commit, HistoryBound, Kind, Record, Revision, StoreError};
use super::failure::{self, ask, call};
use crate::crd::REVISION;

/// Where a commit is.
const STATE: &str = "laneway.io/state";
/// What it counts for in [`HistoryBound::bytes`].
const BYTES: &str = "laneway.io/bytes";
/// When whoever is at it said so last.
const TOUCHED: &str = "laneway.io/touched";
/// Which attempt claimed it.
const CLAIM: &str = "laneway.io/claim";
/// Largest Revision: etcd takes 1.5 MiB, and the API server's own fields need room.
const REVISION_BYTES_MAX: usize = 1 << 20;
/// Revisions read at a time.
const PAGE_COUNT: u32 = 500;
/// Of one answer.
const ANSWER_BYTES_MAX: usize = 4 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Writing,
    Undoing,
    Done,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            State::Writing => "writing",
            State::Undoing => "undoing",
            State::Done => "done",
        }
    }

    /// What nobody of us writes is done: nothing is known that could be finished.
    fn of(meta: &ObjectMeta) -> State {
        match meta.labels.as_ref().and_then(|labels| labels.get(STATE)).map(String::as_str) {
            Some("writing") => State::Writing,
            Some("undoing") => State::Undoing,
            _ => State::Done,
        }
    }
}

/// What a commit writes to one object. Without a body it is deleted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Write {
    pub(super) kind: String,
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) body: Option<ByteString>,
}

/// `spec` of a Revision.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub(super) number: i64,
    time: String,
    #[serde(default)]
    principal: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    method: String,
    #[serde(default)]
    rollback_revision: i64,
    #[serde(default)]
    changes: String,
    #[serde(default)]
    pub(super) writes: Vec<Write>,
}

impl Entry {
    pub(super) fn of(commit: &Commit) -> Entry {
        let Revision { number, time, principal, reason, method, rollback_revision, changes } = commit.revision.clone();
        let puts = commit.puts.iter().map(|record| Write {
            kind: record.kind.as_str().to_owned(),
            name: record.name.clone(),
            body: Some(ByteString(record.body.clone())),
        });
        let deletes = commit.deletes.iter().map(|name| Write {
            kind: kind_of(name).as_str().to_owned(),
            name: name.clone(),
            body: None,
        });
        let time = prost_types::Timestamp::from(time).to_string();
        let writes = puts.chain(deletes).collect();
        Entry { number, time, principal, reason, method, rollback_revision, changes, writes }
    }

    /// As who follows is told it.
    pub(super) fn puts_and_deletes(&self) -> (Vec<Record>, Vec<String>) {
        let (mut puts, mut deletes) = (Vec::new(), Vec::new());
        for write in &self.writes {
            match (&write.body, Kind::parse(&write.kind)) {
                (Some(body), Some(kind)) => puts.push(Record { name: write.name.clone(), kind, body: body.0.clone() }),
                _ => deletes.push(write.name.clone()),
            }
        }
        (puts, deletes)
    }

    /// Does it say what people did, rather than do it?
    pub(super) fn is_noted(&self) -> bool {
        self.method == super::BY_KUBECTL
    }

    /// Names that were not written after all, and why.
    pub(super) fn leave_out(&mut self, refused: &[(String, String)]) {
        let is_written = |name: &str| refused.iter().all(|(own, _)| own != name);
        self.writes.retain(|write| is_written(&write.name));
        // A list of objects with names, where the reconciler wrote it.
        if let Ok(mut changes) = serde_json::from_str::<Vec<serde_json::Value>>(&self.changes) {
            changes.retain(|change| change["name"].as_str().is_none_or(is_written));
            self.changes = serde_json::Value::from(changes).to_string();
        }
        for (name, why) in refused {
            let gap = if self.reason.is_empty() { "" } else { "; " };
            self.reason.push_str(&format!("{gap}{name} was left as it was: {why}"));
        }
    }

    pub(super) fn as_value(&self) -> Result<serde_json::Value, StoreError> {
        serde_json::to_value(self).map_err(|error| StoreError::Unusable(error.to_string()))
    }

    fn into_revision(self) -> Result<Revision, StoreError> {
        let time = self.time.parse::<prost_types::Timestamp>().ok().and_then(|time| SystemTime::try_from(time).ok());
        let time = time.ok_or_else(|| StoreError::Unusable(format!("the time of Revision {} is none", self.number)))?;
        let Entry { number, principal, reason, method, rollback_revision, changes, .. } = self;
        Ok(Revision { number, time, principal, reason, method, rollback_revision, changes })
    }
}

/// The kind that a resource name is of.
pub(super) fn kind_of(name: &str) -> Kind {
    if name.contains("/lanes/") {
        return Kind::Lane;
    }
    if name.contains("/servicePolicies/") { Kind::ServicePolicy } else { Kind::LaneGroup }
}

/// What is there, by number.
pub(super) type Heads = BTreeMap<i64, Head>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) state: State,
    version: Option<String>,
    bytes: usize,
}

impl Head {
    pub(super) fn of(meta: &ObjectMeta) -> Head {
        let bytes = meta.annotations.as_ref().and_then(|own| own.get(BYTES)?.parse().ok()).unwrap_or(0);
        Head { state: State::of(meta), version: meta.resource_version.clone(), bytes }
    }

    /// Is the Revision as it was then?
    pub(super) fn is_of(&self, meta: &ObjectMeta) -> bool {
        self.version == meta.resource_version
    }
}

/// The highest number that is done.
pub(super) fn newest(heads: &Heads) -> i64 {
    heads.iter().rev().find(|(_, head)| head.state == State::Done).map_or(0, |(number, _)| *number)
}

/// The one that is not.
pub(super) fn unfinished(heads: &Heads) -> Option<(i64, &Head)> {
    heads.iter().rev().find(|(_, head)| head.state != State::Done).map(|(number, head)| (*number, head))
}

/// Numbers that are held, newest first.
fn held(heads: &Heads, bound: HistoryBound) -> Vec<i64> {
    let mut bytes = 0;
    let done = heads.iter().rev().filter(|(_, head)| head.state == State::Done);
    let within = done.enumerate().take_while(|(at, (_, head))| {
        bytes += head.bytes;
        *at == 0 || (*at < bound.revisions && bytes <= bound.bytes)
    });
    within.map(|(_, (number, _))| *number).collect()
}

/// The number of a Revision.
pub(super) fn number_of(meta: &ObjectMeta) -> Option<i64> {
    meta.name.as_ref()?.parse().ok()
}

pub(super) fn name_of(number: i64) -> String {
    format!("{number:012}")
}

/// The Revisions of one control plane.
#[derive(Clone)]
pub(super) struct Journal {
    pub(super) api: Api<DynamicObject>,
    pub(super) namespace: String,
    pub(super) bound: HistoryBound,
}

impl Journal {
    pub(super) async fn heads(&self) -> Result<Heads, StoreError> {
        let mut heads = Heads::new();
        let mut page = ListParams::default().limit(PAGE_COUNT);
        loop {
            let some = ask("list the Revisions", || self.api.list_metadata(&page)).await?;
            for PartialObjectMeta { metadata, .. } in some.items {
                if let Some(number) = number_of(&metadata) {
                    heads.insert(number, Head::of(&metadata));
                }
            }
            match some.metadata.continue_ {
                Some(token) if !token.is_empty() => page = page.continue_token(&token),
                _ => return Ok(heads),
            }
        }
    }

    /// Is that number the one after the last? Otherwise [`StoreError::Moved`].
    pub(super) async fn expect_next(&self, number: i64) -> Result<(), StoreError> {
        if number > 1 {
            let name = name_of(number - 1);
            let before = ask("read a Revision", || self.api.get_metadata_opt(&name)).await?;
            if before.is_some_and(|before| State::of(&before.metadata) == State::Done) {
                return Ok(());
            }
        }
        // Without any the count goes on where whoever commits has it.
        let Some(last) = self.heads().await?.keys().last().copied() else { return Ok(()) };
        // One that is being written counts: it is waited for.
        Err(moved(last, number))
    }

    /// Takes the number, if nobody else has.
    pub(super) async fn claim(&self, entry: &Entry, bytes: usize) -> Result<DynamicObject, StoreError> {
        let mut object = self.object(entry, bytes)?;
        let id = format!("{:016x}", nonce());
        object.metadata.annotations.get_or_insert_default().insert(CLAIM.to_owned(), id.clone());
        let parameters = post(false);
        match ask("claim a revision", || self.api.create(&parameters, &object)).await {
            Err(StoreError::Away(why)) => Err(StoreError::Doubtful(why)),
            Err(StoreError::Failed { source, .. }) if failure::is_conflict(&*source) => {
                let found =
                    self.read(entry.number).await.map_err(|failure| StoreError::Doubtful(failure.to_string()))?;
                match found.map(|(object, _)| object).filter(|own| note(&own.metadata, CLAIM) == Some(id.as_str())) {
                    None => Err(moved(entry.number, entry.number)),
                    // An answer that was lost on its way is asked for twice.
                    Some(ours) if note(&ours.metadata, TOUCHED).is_none() => Ok(ours),
                    Some(_) => {
                        Err(StoreError::Doubtful(format!("another replica took revision {} over", entry.number)))
                    }
                }
            }
            done => done,
        }
    }

    fn object(&self, entry: &Entry, bytes: usize) -> Result<DynamicObject, StoreError> {
        let spec = entry.as_value()?;
        let size = spec.to_string().len();
        if size > REVISION_BYTES_MAX {
            return Err(StoreError::TooLarge(format!(
                "the change has {size} bytes with what was there before, more than the {REVISION_BYTES_MAX} that one object of \
                 the cluster takes; apply it in parts"
            )));
        }
        let mut object = DynamicObject::new(&name_of(entry.number), &super::resource(REVISION)).within(&self.namespace);
        object.metadata.labels = Some(BTreeMap::from([(STATE.to_owned(), State::Writing.as_str().to_owned())]));
        object.metadata.annotations = Some(BTreeMap::from([(BYTES.to_owned(), bytes.to_string())]));
        object.data = serde_json::json!({ "spec": spec });
        Ok(object)
    }

    /// Refuses what is too large before anything is done.
    pub(super) fn check(&self, entry: &Entry) -> Result<(), StoreError> {
        self.object(entry, 0).map(drop)
    }

    /// To another state, if it is as it was read. Nothing: somebody else goes on with it.
    pub(super) async fn advance(
        &self,
        mut claimed: DynamicObject,
        state: State,
    ) -> Result<Option<DynamicObject>, StoreError> {
        let name = claimed.metadata.name.clone().unwrap_or_default();
        let labels = claimed.metadata.labels.get_or_insert_default();
        labels.insert(STATE.to_owned(), state.as_str().to_owned());
        // What changes nothing has no new resourceVersion, and would be taken over twice.
        let annotations = claimed.metadata.annotations.get_or_insert_default();
        let word = format!("{:?} {:016x}", SystemTime::now(), nonce());
        annotations.insert(TOUCHED.to_owned(), word.clone());
        let parameters = post(false);
        match ask("mark a Revision", || self.api.replace(&name, &parameters, &claimed)).await {
            Ok(object) => Ok(Some(object)),
            Err(StoreError::Failed { source, .. }) if failure::is_conflict(&*source) => {
                // Perhaps by this very call, whose answer was lost on its way.
                let found = ask("read a Revision", || self.api.get_opt(&name)).await?;
                Ok(found.filter(|found| note(&found.metadata, TOUCHED) == Some(word.as_str())))
            }
            Err(StoreError::Failed { source, .. }) if failure::is_missing(&*source) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Where that number is; nothing: nobody has committed it, nor is about to.
    pub(super) async fn head(&self, number: i64) -> Result<Option<Head>, StoreError> {
        let name = name_of(number);
        let found = ask("read a Revision", || self.api.get_metadata_opt(&name)).await?;
        Ok(found.map(|found| Head::of(&found.metadata)))
    }

    pub(super) async fn read(&self, number: i64) -> Result<Option<(DynamicObject, Entry)>, StoreError> {
        let name = name_of(number);
        let found = ask("read a Revision", || self.api.get_opt(&name)).await?;
        let Some(object) = found else { return Ok(None) };
        let spec = object.data.get("spec").cloned().unwrap_or_default();
        let entry: Entry = serde_json::from_value(spec)
            .map_err(|error| StoreError::Unusable(format!("Revision {number} cannot be read: {error}")))?;
        Ok(Some((object, entry)))
    }

    pub(super) async fn revisions(&self, before: i64, count_max: usize) -> Result<Vec<Revision>, StoreError> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        let numbers = held(&self.heads().await?, self.bound);
        for number in numbers.into_iter().filter(|number| *number < before).take(count_max) {
            // Let go meanwhile, as all before it.
            let Some((_, entry)) = self.read(number).await? else { break };
            let revision = entry.into_revision()?;
            bytes += revision.bytes();
            if !found.is_empty() && bytes > ANSWER_BYTES_MAX {
                break;
            }
            found.push(revision);
        }
        Ok(found)
    }

    /// Lets go of what is no longer held.
    pub(super) async fn sweep(&self) -> Result<(), StoreError> {
        let heads = self.heads().await?;
        let oldest = held(&heads, self.bound).last().copied().unwrap_or(0);
        for number in heads.keys().filter(|number| **number < oldest) {
            match call("remove a Revision", self.api.delete(&name_of(*number), &DeleteParams::default())).await {
                // By another replica.
                Err(StoreError::Failed { source, .. }) if failure::is_missing(&*source) => {}
                done => done.map(drop)?,
            }
        }
        Ok(())
    }
}

fn note<'m>(meta: &'m ObjectMeta, key: &str) -> Option<&'m str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Unlike that of any other process or call.
fn nonce() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

pub(super) fn moved(found: i64, number: i64) -> StoreError {
    StoreError::Moved { found, expected: number - 1 }
}

pub(super) fn post(dry_run: bool) -> PostParams {
    PostParams { dry_run, field_manager: Some(crate::kubernetes::FIELD_MANAGER.to_owned()) }
}
