//! One object's part of a commit: worked out from what is there, rehearsed, done, and put back.

use std::time::Duration;

use kube::api::{DeleteParams, DynamicObject, Preconditions};
use tracing::warn;

use super::super::{Kind, Record, StoreError};
use super::failure::{call, is_conflict, is_missing};
use super::journal::{State, kind_of, post};
use super::object::{self, NotMerged, Place};
use super::{Kubernetes, moved};

/// How often an object is looked at again because somebody else wrote it meanwhile.
const ATTEMPTS_MAX: u32 = 5;
/// Before a change is planned anew that somebody else contests; they are judged meanwhile.
const CONTESTED_WAIT: Duration = Duration::from_millis(100);

/// What becomes of one object of the cluster.
pub(super) struct Rewrite {
    kind: Kind,
    place: Place,
    number: i64,
    /// As it is there.
    live: Option<DynamicObject>,
    /// Nothing: it goes.
    becomes: Option<Becomes>,
    name: String,
}

struct Becomes {
    record: Record,
    object: DynamicObject,
}

impl Rewrite {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Kubernetes {
    /// In the order in which they are done: groups, policies, lanes; what goes the other way round.
    pub(super) async fn rewrites(
        &self,
        puts: &[Record],
        deletes: &[String],
        number: i64,
    ) -> Result<Vec<Rewrite>, StoreError> {
        let rank = |kind: Kind| match kind {
            Kind::LaneGroup => 0,
            Kind::ServicePolicy => 1,
            Kind::Lane => 2,
        };
        let mut puts: Vec<&Record> = puts.iter().collect();
        puts.sort_by_key(|record| rank(record.kind));
        let mut deletes: Vec<&String> = deletes.iter().collect();
        deletes.sort_by_key(|name| std::cmp::Reverse(rank(kind_of(name))));
        let mut all = Vec::new();
        for record in puts {
            all.push(self.put(record, number).await?);
        }
        for name in deletes {
            let kind = kind_of(name);
            let (place, live) = self.find(kind, name).await?;
            all.push(Rewrite { kind, place, number, live, becomes: None, name: name.clone() });
        }
        Ok(all)
    }

    pub(super) async fn put(&self, record: &Record, number: i64) -> Result<Rewrite, StoreError> {
        let (place, live) = self.find(record.kind, &record.name).await?;
        let old = self.known().records.get(&record.name).cloned();
        let merged = object::merged(&place, live.as_ref(), old.as_ref(), record, number);
        let object = match merged {
            Ok(object) => object,
            Err(NotMerged::Contested) => {
                // It is planned anew, on top of what they have written, once that is accepted or refused.
                tokio::time::sleep(CONTESTED_WAIT).await;
                return Err(moved(number, number));
            }
            Err(NotMerged::Unreadable(source)) => {
                return Err(StoreError::Failed { doing: "write an object for the cluster", source: Box::new(source) });
            }
        };
        let becomes = Some(Becomes { record: record.clone(), object });
        Ok(Rewrite { kind: record.kind, place, number, live, becomes, name: record.name.clone() })
    }

    /// The object of a resource name: it may have been put at another place than ours.
    pub(super) async fn find(&self, kind: Kind, name: &str) -> Result<(Place, Option<DynamicObject>), StoreError> {
        let places = object::places(kind, name);
        for place in &places {
            let found = call("read an object", self.api(kind, &place.namespace).get_opt(&place.name)).await?;
            // One of that name may be another lane: of another group.
            if let Some(found) = found.filter(|found| object::read(kind, found).name == name) {
                return Ok((place.clone(), Some(found)));
            }
        }
        let first = places.into_iter().next();
        let place = first.ok_or_else(|| StoreError::Unusable(format!("{name} is no name of an object")))?;
        Ok((place, None))
    }

    /// Does it, or with `dry_run` asks the API server whether it would. The object as it is then.
    pub(super) async fn apply(&self, rewrite: &Rewrite, dry_run: bool) -> Result<Option<DynamicObject>, StoreError> {
        let Some(Becomes { record, object }) = &rewrite.becomes else {
            return self.remove(rewrite, dry_run).await.map(|()| None);
        };
        match self.replace(rewrite.kind, &rewrite.place, object, dry_run).await {
            // Somebody else wrote it, a status perhaps: the same on top of that.
            Err(StoreError::Failed { source, .. }) if is_conflict(&*source) || is_missing(&*source) => {}
            done => return done.map(Some),
        }
        for _ in 0..ATTEMPTS_MAX {
            let again = self.put(record, rewrite.number).await?;
            // Whoever was slow was taken over, and others have committed since: theirs is not written over.
            let found = again.live.as_ref().map_or(0, |live| object::read(again.kind, live).revision);
            if found > rewrite.number {
                return Err(moved(found, rewrite.number));
            }
            let Some(Becomes { object, .. }) = &again.becomes else { break };
            match self.replace(again.kind, &again.place, object, dry_run).await {
                Err(StoreError::Failed { source, .. }) if is_conflict(&*source) => {}
                done => return done.map(Some),
            }
        }
        Err(moved(rewrite.number, rewrite.number))
    }

    async fn replace(
        &self,
        kind: Kind,
        place: &Place,
        object: &DynamicObject,
        dry_run: bool,
    ) -> Result<DynamicObject, StoreError> {
        let api = self.api(kind, &place.namespace);
        if object.metadata.resource_version.is_some() {
            return call("write an object", api.replace(&place.name, &post(dry_run), object)).await;
        }
        call("create an object", api.create(&post(dry_run), object)).await
    }

    async fn remove(&self, rewrite: &Rewrite, dry_run: bool) -> Result<(), StoreError> {
        let Some(live) = &rewrite.live else { return Ok(()) };
        let preconditions = Preconditions { uid: live.metadata.uid.clone(), resource_version: None };
        let parameters = DeleteParams { dry_run, preconditions: Some(preconditions), ..DeleteParams::default() };
        let api = self.api(rewrite.kind, &rewrite.place.namespace);
        match call("delete an object", api.delete(&rewrite.place.name, &parameters)).await {
            // Gone already, or another one of that name.
            Err(StoreError::Failed { source, .. }) if is_missing(&*source) || is_conflict(&*source) => Ok(()),
            done => done.map(drop),
        }
    }

    /// Everything as it was, and the number free again. [`StoreError::Doubtful`]: another replica carries it on.
    pub(super) async fn put_back(
        &self,
        claimed: DynamicObject,
        number: i64,
        done: Vec<(&Rewrite, Option<DynamicObject>)>,
    ) -> Result<(), StoreError> {
        let doubtful = |why: String| StoreError::Doubtful(format!("revision {number} is half done: {why}"));
        let taken = self.shared.journal.advance(claimed, State::Undoing).await;
        if taken.map_err(|failure| doubtful(failure.to_string()))?.is_none() {
            return Err(doubtful("another replica took it over".to_owned()));
        }
        for (rewrite, written) in done.into_iter().rev() {
            if let Err(failure) = self.undo(rewrite, written).await {
                let error = &failure as &(dyn std::error::Error + 'static);
                warn!(error, revision = number, object = rewrite.name(), "could not be put back");
                return Err(doubtful(failure.to_string()));
            }
        }
        self.shared.journal.give_back(number).await.map_err(|failure| doubtful(failure.to_string()))
    }

    async fn undo(&self, rewrite: &Rewrite, written: Option<DynamicObject>) -> Result<(), StoreError> {
        let api = self.api(rewrite.kind, &rewrite.place.namespace);
        match (&rewrite.live, written) {
            (Some(live), Some(written)) => {
                let mut object = live.clone();
                object.metadata.resource_version = written.metadata.resource_version;
                // One that somebody else has written since is theirs.
                match call("put an object back", api.replace(&rewrite.place.name, &post(false), &object)).await {
                    Err(StoreError::Failed { source, .. }) if is_conflict(&*source) => Ok(()),
                    done => done.map(drop),
                }
            }
            (Some(live), None) => {
                let mut object = live.clone();
                (object.metadata.resource_version, object.metadata.uid) = (None, None);
                call("put an object back", api.create(&post(false), &object)).await.map(drop)
            }
            (None, Some(written)) => {
                let meta = written.metadata;
                let preconditions = Preconditions { uid: meta.uid, resource_version: meta.resource_version };
                let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                match call("take an object back", api.delete(&rewrite.place.name, &parameters)).await {
                    Err(StoreError::Failed { source, .. }) if is_missing(&*source) || is_conflict(&*source) => Ok(()),
                    done => done.map(drop),
                }
            }
            (None, None) => Ok(()),
        }
    }
}
