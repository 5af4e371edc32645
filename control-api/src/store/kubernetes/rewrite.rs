//! One object's part of a commit: worked out from what is there, rehearsed, done, and put back.

use std::time::{Duration, SystemTime};

use kube::api::{DeleteParams, DynamicObject, Preconditions};
use tracing::warn;

use super::super::{Kind, Record, StoreError};
use super::claim::Claim;
use super::failure::{ask, is_conflict, is_missing};
use super::journal::{State, kind_of, post};
pub(super) use super::object::Theirs;
use super::object::{self, CARRIED_ON, NotMerged, Place};
use super::written::{self, Undone};
use super::{Kubernetes, moved};

/// How often an object is looked at again because somebody else wrote it meanwhile.
const ATTEMPTS_MAX: u32 = 5;
/// Before a change is planned anew that somebody else contests; they are judged meanwhile.
const CONTESTED_WAIT: Duration = Duration::from_millis(100);

/// One object's part of a commit.
#[derive(Clone, Copy)]
pub(super) enum Step<'c> {
    Put(&'c Record),
    Delete(&'c str),
}

impl Step<'_> {
    pub(super) fn name(&self) -> &str {
        match self {
            Step::Put(record) => &record.name,
            Step::Delete(name) => name,
        }
    }
}

/// In the order in which they are done: groups, policies, lanes; what goes the other way round.
pub(super) fn steps<'c>(puts: &'c [Record], deletes: &'c [String]) -> Vec<Step<'c>> {
    let rank = |kind: Kind| match kind {
        Kind::LaneGroup => 0,
        Kind::ServicePolicy => 1,
        Kind::Lane => 2,
    };
    let mut puts: Vec<&Record> = puts.iter().collect();
    puts.sort_by_key(|record| rank(record.kind));
    let mut deletes: Vec<&String> = deletes.iter().collect();
    deletes.sort_by_key(|name| std::cmp::Reverse(rank(kind_of(name))));
    let puts = puts.into_iter().map(Step::Put);
    puts.chain(deletes.into_iter().map(|name| Step::Delete(name))).collect()
}

/// For what objects are written.
#[derive(Clone, Copy)]
pub(super) struct Purpose {
    pub(super) number: i64,
    pub(super) theirs: Theirs,
    /// It says what people did. What it deletes is gone already, and what it puts is there, word for word: otherwise they have done something
    /// else since.
    pub(super) is_noted: bool,
}

impl Purpose {
    /// Whoever planned this looks anew; who carries it on leaves it out.
    fn overtaken(&self, name: &str, what: &str) -> StoreError {
        match self.theirs {
            Theirs::Awaited => moved(self.number - 1, self.number),
            Theirs::Kept => StoreError::Unusable(format!("{name} {what}")),
        }
    }
}

/// What becomes of one object of the cluster.
pub(super) struct Rewrite {
    kind: Kind,
    place: Place,
    purpose: Purpose,
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
    fn applied(&self, is: Option<DynamicObject>) -> Applied {
        Applied { kind: self.kind, place: self.place.clone(), was: self.live.clone(), is }
    }
}

/// What was done to one object.
#[derive(Debug)]
pub(super) struct Applied {
    kind: Kind,
    place: Place,
    /// As it was when it was written, which need not be how it was planned over. Nothing: it was not there, or nothing was done.
    was: Option<DynamicObject>,
    /// Nothing: it is gone.
    is: Option<DynamicObject>,
}

impl Kubernetes {
    /// Works out what is to be done, from what is there now.
    pub(super) async fn plan(&self, step: Step<'_>, purpose: Purpose) -> Result<Rewrite, StoreError> {
        match step {
            Step::Put(record) => self.put(record, purpose).await,
            Step::Delete(name) => {
                let kind = kind_of(name);
                let (place, live) = self.find(kind, name).await?;
                Ok(Rewrite { kind, place, purpose, live, becomes: None, name: name.to_owned() })
            }
        }
    }

    async fn put(&self, record: &Record, purpose: Purpose) -> Result<Rewrite, StoreError> {
        let Purpose { number, theirs, .. } = purpose;
        let (place, live) = self.find(record.kind, &record.name).await?;
        self.fence(record.kind, live.as_ref(), number).await?;
        if live.as_ref().is_some_and(object::is_going) {
            return Err(StoreError::Unusable(format!(
                "{} is being deleted in the cluster, and something holds it there (metadata.finalizers)",
                record.name
            )));
        }
        if purpose.is_noted && live.is_none() {
            return Err(purpose.overtaken(&record.name, "is gone again"));
        }
        let mut object = match live.as_ref().filter(|_| purpose.is_noted) {
            Some(live) => object::noted(live, record, number)
                .ok_or_else(|| purpose.overtaken(&record.name, "says something else by now"))?,
            None => self.merged(&place, live.as_ref(), record, purpose).await?,
        };
        if theirs == Theirs::Kept {
            // What changes nothing has no new resourceVersion, and whoever was slow could still put the old one back.
            let now = prost_types::Timestamp::from(SystemTime::now()).to_string();
            object.metadata.annotations.get_or_insert_default().insert(CARRIED_ON.to_owned(), now);
        }
        let becomes = Some(Becomes { record: record.clone(), object });
        Ok(Rewrite { kind: record.kind, place, purpose, live, becomes, name: record.name.clone() })
    }

    /// What becomes of an object by a change that the API was asked for.
    async fn merged(
        &self,
        place: &Place,
        live: Option<&DynamicObject>,
        record: &Record,
        Purpose { number, theirs, .. }: Purpose,
    ) -> Result<DynamicObject, StoreError> {
        let old = self.known().records.get(&record.name).cloned();
        match object::merged(place, live, old.as_ref(), record, number, theirs) {
            Ok(object) => Ok(object),
            Err(NotMerged::Contested) => {
                // It is planned anew, on top of what they have written, once that is accepted or refused.
                tokio::time::sleep(CONTESTED_WAIT).await;
                Err(moved(number - 1, number))
            }
            Err(NotMerged::Unreadable(source)) => {
                Err(StoreError::Failed { doing: "write an object for the cluster", source: Box::new(source) })
            }
        }
    }

    /// Whoever was slow was taken over, and others have committed since: theirs is not written over.
    async fn fence(&self, kind: Kind, live: Option<&DynamicObject>, number: i64) -> Result<(), StoreError> {
        let found = live.map_or(0, |live| object::read(kind, live).revision);
        // A number that nobody has committed is a note that somebody else wrote.
        if found > number && self.shared.journal.head(found).await?.is_some() {
            return Err(moved(found, number));
        }
        Ok(())
    }

    /// The object of a resource name: it may have been put at another place than ours.
    pub(super) async fn find(&self, kind: Kind, name: &str) -> Result<(Place, Option<DynamicObject>), StoreError> {
        let places = object::places(kind, name);
        for place in &places {
            let api = self.api(kind, &place.namespace);
            let found = ask("read an object", || api.get_opt(&place.name)).await?;
            // One of that name may be another lane: of another group.
            if let Some(found) = found.filter(|found| object::read(kind, found).name == name) {
                return Ok((place.clone(), Some(found)));
            }
        }
        let first = places.into_iter().next();
        let place = first.ok_or_else(|| StoreError::Unusable(format!("{name} is no name of an object")))?;
        Ok((place, None))
    }

    /// Does it, or with `dry_run` asks the API server whether it would.
    pub(super) async fn apply(&self, rewrite: &Rewrite, dry_run: bool) -> Result<Applied, StoreError> {
        let Some(Becomes { record, object }) = &rewrite.becomes else { return self.remove(rewrite, dry_run).await };
        match self.replace(rewrite.kind, &rewrite.place, object, dry_run).await {
            // Somebody else wrote it, a status perhaps: the same on top of that.
            Err(StoreError::Failed { source, .. }) if is_conflict(&*source) || is_missing(&*source) => {}
            done => return Ok(rewrite.applied(Some(done?))),
        }
        for _ in 0..ATTEMPTS_MAX {
            let again = self.put(record, rewrite.purpose).await?;
            let Some(Becomes { object, .. }) = &again.becomes else { break };
            match self.replace(again.kind, &again.place, object, dry_run).await {
                Err(StoreError::Failed { source, .. }) if is_conflict(&*source) => {}
                done => return Ok(again.applied(Some(done?))),
            }
        }
        Err(moved(rewrite.purpose.number, rewrite.purpose.number))
    }

    async fn replace(
        &self,
        kind: Kind,
        place: &Place,
        object: &DynamicObject,
        dry_run: bool,
    ) -> Result<DynamicObject, StoreError> {
        let api = self.api(kind, &place.namespace);
        let parameters = post(dry_run);
        let answer = match object.metadata.resource_version {
            Some(_) => ask("write an object", || api.replace(&place.name, &parameters, object)).await?,
            None => ask("create an object", || api.create(&parameters, object)).await?,
        };
        if dry_run && !written::is_kept(object, &answer) {
            return Err(StoreError::Unusable(format!(
                "the cluster would not keep all of what is written to {1}: its definition of {0} is older than this control plane (apply \
                 deploy/kubernetes/crds.yaml; lanectl upgrade does), or an admission policy or webhook takes something away",
                kind.as_str(),
                place.name
            )));
        }
        Ok(answer)
    }

    async fn remove(&self, rewrite: &Rewrite, dry_run: bool) -> Result<Applied, StoreError> {
        let Rewrite { kind, name, purpose, .. } = rewrite;
        let nothing = || Applied { kind: *kind, place: rewrite.place.clone(), was: None, is: None };
        let mut found = rewrite.live.clone().map(|live| (rewrite.place.clone(), live));
        for _ in 0..ATTEMPTS_MAX {
            let Some((place, live)) = found.filter(|(_, live)| !object::is_going(live)) else { return Ok(nothing()) };
            if purpose.is_noted {
                return Err(purpose.overtaken(name, "is there again"));
            }
            self.fence(*kind, Some(&live), purpose.number).await?;
            let (uid, resource_version) = (live.metadata.uid.clone(), live.metadata.resource_version.clone());
            let preconditions = Some(Preconditions { uid, resource_version });
            let parameters = DeleteParams { dry_run, preconditions, ..DeleteParams::default() };
            let api = self.api(*kind, &place.namespace);
            match ask("delete an object", || api.delete(&place.name, &parameters)).await {
                Err(StoreError::Failed { source, .. }) if is_missing(&*source) => return Ok(nothing()),
                // Written since, or another one of that name.
                Err(StoreError::Failed { source, .. }) if is_conflict(&*source) => {}
                done => return done.map(|_| Applied { kind: *kind, place, was: Some(live), is: None }),
            }
            let (place, live) = self.find(*kind, name).await?;
            found = live.map(|live| (place, live));
        }
        Err(moved(purpose.number, purpose.number))
    }

    /// Everything as it was, and the number free again. [`StoreError::Doubtful`]: another replica carries it on.
    pub(super) async fn put_back(&self, mut claim: Claim, done: Vec<Applied>) -> Result<(), StoreError> {
        claim.become_state(State::Undoing).await?;
        for applied in done.into_iter().rev() {
            let object = format!("{}/{}", applied.place.namespace, applied.place.name);
            if let Err(failure) = claim.beside(self.undo(applied)).await {
                let (error, revision) = (&failure as &(dyn std::error::Error + 'static), claim.number);
                warn!(error, revision, object, "could not be put back");
                return Err(StoreError::Doubtful(format!("revision {revision} is half done: {failure}")));
            }
        }
        claim.give_back().await
    }

    pub(super) async fn undo(&self, applied: Applied) -> Result<(), StoreError> {
        let Applied { kind, place, was, is } = applied;
        let (api, own) = (self.api(kind, &place.namespace), post(false));
        let Some(is) = is else {
            let Some(mut was) = was else { return Ok(()) };
            (was.metadata.resource_version, was.metadata.uid) = (None, None);
            return match ask("put an object back", || api.create(&own, &was)).await {
                // Somebody has made another.
                Err(StoreError::Failed { source, .. }) if is_conflict(&*source) => Ok(()),
                done => done.map(drop),
            };
        };
        let mut live = is.clone();
        for _ in 0..ATTEMPTS_MAX {
            let done = match written::undone(kind, was.as_ref(), &is, &live) {
                Undone::Theirs => return Ok(()),
                Undone::Becomes(object) => {
                    ask("put an object back", || api.replace(&place.name, &own, &object)).await.map(drop)
                }
                Undone::Goes => {
                    let (uid, resource_version) = (live.metadata.uid, live.metadata.resource_version);
                    let preconditions = Some(Preconditions { uid, resource_version });
                    let parameters = DeleteParams { preconditions, ..DeleteParams::default() };
                    ask("take an object back", || api.delete(&place.name, &parameters)).await.map(drop)
                }
            };
            match done {
                Err(StoreError::Failed { source, .. }) if is_missing(&*source) => return Ok(()),
                // Somebody else wrote it, a status perhaps.
                Err(StoreError::Failed { source, .. }) if is_conflict(&*source) => {}
                done => return done,
            }
            let Some(found) = ask("read an object", || api.get_opt(&place.name)).await? else { return Ok(()) };
            live = found;
        }
        Err(StoreError::Away(format!("{} is written again and again by others", place.name)))
    }
}
