//! The objects of our kinds as they are in the cluster, and whoever changes them: for those who take up what people write with kubectl.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::time::{Duration, Instant};

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::{Value, json};
use tokio_stream::{Stream, StreamExt};

use super::super::{Kind, Record, StoreError};
use super::failure::{ask, call, is_conflict, is_missing};
use super::object::{self, Place, Proposal, Read, Standing};
use super::rewrite::{Purpose, Step, Theirs};
use super::{KINDS, Kubernetes, in_force};

/// What comes in a burst is looked at once.
const QUIET: Duration = Duration::from_millis(20);
const BURST_MAX: Duration = Duration::from_millis(200);

/// The API server ends a watch after so long, and it is begun anew; one that tells nothing for 5 s more is given up. Well below what the
/// client would take by itself: 295 s.
const WATCHED_FOR_S: u32 = 60;

/// Objects, or what is asked of them, as they are and as they change.
pub(super) fn watched<K>(api: Api<K>) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    watcher(api, watcher::Config::default().timeout(WATCHED_FOR_S))
}

type Events = Pin<Box<dyn Stream<Item = (Kind, watcher::Result<Event<DynamicObject>>)> + Send>>;

/// Which object of the cluster.
pub type Key = (Kind, Place);

/// One object of the cluster, as it was last seen.
pub struct Seen {
    pub read: Read,
    /// Goes up with the spec.
    pub generation: i64,
    pub status: Value,
    /// Who wrote it last beside us.
    pub author: Option<String>,
    /// Since when it is as it is.
    pub since: Instant,
}

/// All of them.
pub struct Watch {
    events: Events,
    seen: BTreeMap<Key, Seen>,
    /// What a list that is being read has named yet.
    listed: BTreeMap<Kind, BTreeSet<Key>>,
    synced: BTreeSet<Kind>,
}

impl Kubernetes {
    pub fn watch(&self) -> Watch {
        let of = |kind: Kind| -> Events { Box::pin(watched(self.all_of(kind)).map(move |event| (kind, event))) };
        let [groups, policies, lanes] = KINDS.map(of);
        let events = Box::pin(groups.merge(policies).merge(lanes));
        Watch { events, seen: BTreeMap::new(), listed: BTreeMap::new(), synced: BTreeSet::new() }
    }

    /// Is there no object of that name any more?
    pub async fn is_gone(&self, kind: Kind, name: &str) -> Result<bool, StoreError> {
        Ok(self.find(kind, name).await?.1.is_none_or(|found| object::is_going(&found)))
    }

    /// What an object proposes that says to be accepted, and is not: a copy of what once was, of a revision that is not the one in force, and
    /// either before `known` or nobody's; or something else of the very revision, by somebody who wrote our note too. Nothing: it is gone,
    /// or it is in force after all, or about to be.
    pub async fn copied(
        &self,
        (kind, place): &Key,
        in_force: Option<&Record>,
        known: i64,
    ) -> Result<Option<Proposal>, StoreError> {
        let api = self.api(*kind, &place.namespace);
        let found = ask("read an object", || api.get_opt(&place.name)).await?;
        let Some(found) = found.filter(|found| !object::is_going(found)) else { return Ok(None) };
        let Read { revision, standing, .. } = object::read(*kind, &found);
        let is_copy = match in_force {
            Some(own) if in_force::revision_of(own) == revision => {
                matches!(standing, Standing::Accepted(record) if record != *own)
            }
            _ => revision <= known || self.shared.journal.head(revision).await?.is_none(),
        };
        Ok(if is_copy { object::as_proposal(*kind, &found) } else { None })
    }

    /// Says on an object that it is what was accepted with that revision: nothing of what it says has changed.
    pub async fn reaffirm(&self, record: &Record, revision: i64) -> Result<(), StoreError> {
        let purpose = Purpose { number: revision, theirs: Theirs::Awaited, is_noted: true };
        let rewrite = self.plan(Step::Put(record), purpose).await?;
        self.apply(&rewrite, false).await.map(drop)
    }

    /// Reports what the control plane makes of an object. One that is gone is left alone.
    pub async fn report(&self, (kind, place): &Key, status: &Value) -> Result<(), StoreError> {
        let parameters =
            PatchParams { field_manager: Some(crate::kubernetes::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({ "status": status }));
        let api = self.api(*kind, &place.namespace);
        match call("write a status", api.patch_status(&place.name, &parameters, &patch)).await {
            Err(StoreError::Failed { source, .. }) if is_missing(&*source) || is_conflict(&*source) => Ok(()),
            done => done.map(drop),
        }
    }
}

impl Watch {
    /// Waits for a change, and takes in what comes with it.
    pub async fn changed(&mut self) -> Result<(), StoreError> {
        let Some((kind, event)) = self.events.next().await else { return std::future::pending().await };
        self.take(kind, event)?;
        let end = Instant::now() + BURST_MAX;
        while Instant::now() < end {
            let Ok(Some((kind, event))) = tokio::time::timeout(QUIET, self.events.next()).await else { break };
            self.take(kind, event)?;
        }
        Ok(())
    }

    /// Is all known that there is?
    pub fn is_synced(&self) -> bool {
        self.synced.len() == KINDS.len()
    }

    pub fn all(&self) -> &BTreeMap<Key, Seen> {
        &self.seen
    }

    fn take(&mut self, kind: Kind, event: watcher::Result<Event<DynamicObject>>) -> Result<(), StoreError> {
        match event {
            Ok(Event::Init) => {
                self.listed.insert(kind, BTreeSet::new());
            }
            Ok(Event::InitApply(object)) => {
                let key = self.see(kind, object);
                self.listed.entry(kind).or_default().extend(key);
            }
            Ok(Event::InitDone) => {
                // What the list does not name is gone, whether or not anybody told.
                let listed = self.listed.remove(&kind).unwrap_or_default();
                self.seen.retain(|key, _| key.0 != kind || listed.contains(key));
                self.synced.insert(kind);
            }
            Ok(Event::Apply(object)) => {
                self.see(kind, object);
            }
            Ok(Event::Delete(object)) => {
                if let Some(key) = key_of(kind, &object) {
                    self.seen.remove(&key);
                }
            }
            Err(failure) => return Err(StoreError::Away(format!("watch the objects: {failure}"))),
        }
        Ok(())
    }

    fn see(&mut self, kind: Kind, object: DynamicObject) -> Option<Key> {
        let key = key_of(kind, &object)?;
        if object::is_going(&object) {
            self.seen.remove(&key);
            return None;
        }
        let read = object::read(kind, &object);
        let old = self.seen.get(&key).filter(|old| old.read.fingerprint == read.fingerprint);
        let seen = Seen {
            since: old.map_or_else(Instant::now, |old| old.since),
            generation: object.metadata.generation.unwrap_or(0),
            status: object.data.get("status").cloned().unwrap_or_default(),
            author: object::author(&object),
            read,
        };
        self.seen.insert(key.clone(), seen);
        Some(key)
    }
}

fn key_of(kind: Kind, object: &DynamicObject) -> Option<Key> {
    let (namespace, name) = (object.metadata.namespace.clone()?, object.metadata.name.clone()?);
    Some((kind, Place { namespace, name }))
}
