//! What people write with kubectl beside the API: taken up as changes like any other, and reported on in the status of each object.
//!
//! ```text
//!   object is not what was accepted --> write (plan, check, commit: a revision with method kubectl) --> accepted: the annotation says so
//!                                          '-- refused: what was accepted stays in force, Accepted=False says why
//!   object is gone -----------------------> write (it is deleted: nobody can refuse that any more)
//! ```
//! Every replica looks; the one that leads acts at once, the others only where it did not for a while (`patience`). Two that act do no harm:
//! of two commits of one number one is done, and the other has nothing left to do. The leader alone reports. Started by `app`.

mod conditions;
mod count;
mod patience;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use laneway_proto::admin::{Diagnostic, diagnostic};
use laneway_proto::status::Rollout;
use prost::Message;
use tracing::{info, warn};

use self::count::Counts;
use self::patience::{LEAVE_IT, Patience};
use crate::causes;
use crate::edit::{Cause, Edit};
use crate::leader::Leader;
use crate::reconcile::audit::Call;
use crate::reconcile::{MakeEdit, Reconciler, Request, State, WriteError};
use crate::store::kubernetes::object::{Place, Proposal, Standing, places};
use crate::store::kubernetes::watch::{Key, Seen, Watch};
use crate::store::kubernetes::{BY_KUBECTL, Kubernetes};
use crate::store::{Kind, Record, StoreError};

#[cfg(test)]
mod tests;

/// Between two looks where nothing happens; also the shortest time between two reports on one object.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What was refused is judged anew when something was committed, and after so long: services may have come.
const JUDGE_AGAIN: Duration = Duration::from_secs(10);
/// How long an object is let be that the API server does not let us read or write, while the rest goes on.
const LEAVE_FOR: Duration = Duration::from_secs(10);
/// So many failures in one look, and nobody answers: it ends.
const FAILURES_MAX: usize = 3;

/// Who is named in the history where the API server does not say.
const SOMEBODY: &str = "unknown";
/// Two objects of the cluster that are one of ours.
const CODE_TWICE: &str = "LANE0802";
/// One that has another name than we look for.
const CODE_MISPLACED: &str = "LANE0813";

/// How far an object has got on all replicas.
pub type Progress = Box<dyn Fn(String) -> Pin<Box<dyn Future<Output = Option<Rollout>> + Send>> + Send + Sync>;

/// The task, before it runs.
pub struct Kubectl {
    reconciler: Reconciler,
    store: Kubernetes,
    leader: Leader,
    watch: Watch,
    judged: BTreeMap<Key, Judged>,
    counts: Counts,
    /// By resource name: what is let be, and until when.
    left: BTreeMap<String, Instant>,
    /// When an object was reported on a while ago.
    reported: BTreeMap<Key, Instant>,
    /// With those of whom this replica leads, and with itself where it does not.
    patience: Patience,
    /// By resource name: what is not in the cluster any more, and when that was seen.
    gone: BTreeMap<String, Instant>,
    /// Of several objects of the cluster that are one of ours all but the one that counts, and which one does.
    twins: BTreeMap<Key, Place>,
}

/// Why a proposal is not in force.
struct Judged {
    fingerprint: u64,
    /// Of the state that it did not fit to.
    revision: i64,
    at: Instant,
    findings: Vec<Diagnostic>,
}

/// What failed in one look.
#[derive(Default)]
struct Failures {
    first: Option<StoreError>,
    count: usize,
}

impl Failures {
    /// Err: nobody answers.
    fn add(&mut self, failure: StoreError) -> Result<(), StoreError> {
        self.count += 1;
        let first = self.first.get_or_insert(failure);
        if self.count < FAILURES_MAX {
            return Ok(());
        }
        Err(std::mem::replace(first, StoreError::Closed))
    }

    fn end(self) -> Result<(), StoreError> {
        self.first.map_or(Ok(()), Err)
    }
}

impl Kubectl {
    pub fn new(reconciler: Reconciler, store: Kubernetes, leader: Leader, progress: Progress) -> Kubectl {
        let watch = store.watch();
        let counts = Counts::new(progress);
        let (judged, left, reported, gone, twins) = Default::default();
        let patience = Patience::new(Instant::now());
        Kubectl { reconciler, store, leader, watch, judged, counts, left, reported, patience, gone, twins }
    }

    /// Looks for as long as the process runs.
    pub async fn run(mut self) {
        let mut is_away = false;
        loop {
            let changed = tokio::select! {
                changed = self.watch.changed() => changed,
                () = tokio::time::sleep(LOOK_EVERY) => Ok(()),
                () = self.leader.changed() => Ok(()),
            };
            let done = match changed {
                Ok(()) if self.watch.is_synced() => self.look().await,
                other => other,
            };
            match done {
                Ok(()) => is_away = false,
                Err(failure) => {
                    if !std::mem::replace(&mut is_away, true) {
                        let error = &failure as &(dyn std::error::Error + 'static);
                        warn!(error, "what is written with kubectl waits");
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        }
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        let (state, now) = (self.reconciler.state(), Instant::now());
        let mut failures = Failures::default();
        self.patience.saw(state.revision, now);
        let all = self.watch.all();
        self.twins = twins(all);
        let mut judged = std::mem::take(&mut self.judged);
        // Whoever else took it up has judged it anew.
        judged.retain(|key, own| {
            let seen = all.get(key).filter(|seen| seen.read.fingerprint == own.fingerprint);
            seen.is_some_and(|seen| self.is_proposed(&state, key, seen))
        });
        self.judged = judged;
        self.left.retain(|_, until| *until > now);
        // Groups before policies before lanes: so that what comes together is taken up together.
        let mut due: Vec<Key> =
            all.iter().filter(|(key, seen)| self.is_due(&state, key, seen)).map(|(key, _)| key.clone()).collect();
        due.sort_by_key(|(kind, _)| match kind {
            Kind::LaneGroup => 0,
            Kind::ServicePolicy => 1,
            Kind::Lane => 2,
        });
        for key in due {
            if !self.is_ours(self.watch.all().get(&key).map(|seen| seen.since)) {
                continue;
            }
            if let Err(failure) = self.take_up(&key).await {
                let name = self.watch.all().get(&key).map(|seen| seen.read.name.clone());
                self.leave(name.unwrap_or_default(), failure, &mut failures)?;
            }
        }
        self.take_away(&mut failures).await?;
        if self.leader.leads() {
            self.report(&mut failures).await?;
        }
        failures.end()
    }

    /// The rest goes on; this is tried again in a while.
    fn leave(&mut self, name: String, failure: StoreError, failures: &mut Failures) -> Result<(), StoreError> {
        let is_answered = !failure.is_passing();
        if is_answered {
            warn!(object = name, error = causes::in_words(&failure), "the API server refuses what is to become of it");
        }
        self.left.insert(name, Instant::now() + LEAVE_FOR);
        if is_answered { Ok(()) } else { failures.add(failure) }
    }

    /// Does it say something that is not in force? A copy of what was accepted once does, of before it was changed, or deleted, or of
    /// elsewhere; and one of two that are the same.
    fn is_proposed(&self, state: &State, key: &Key, seen: &Seen) -> bool {
        match &seen.read.standing {
            Standing::Proposed(_) => true,
            Standing::Accepted(said) => {
                let is_heard = seen.read.revision <= state.revision || seen.since.elapsed() >= LEAVE_IT;
                let name = &seen.read.name;
                let is_other = || {
                    seen.read.revision != revision_of(state, key.0, name)
                        || record_of(state, key.0, name).is_none_or(|own| own != *said)
                };
                (is_heard && is_other()) || self.twins.contains_key(key)
            }
        }
    }

    /// Is it for this replica to act on what has been so since then?
    fn is_ours(&self, since: Option<Instant>) -> bool {
        let now = Instant::now();
        self.leader.leads() || since.is_some_and(|since| self.patience.is_over(since, now))
    }

    fn is_due(&self, state: &State, key: &Key, seen: &Seen) -> bool {
        let is_judged =
            self.judged.get(key).is_some_and(|own| own.revision == state.revision && own.at.elapsed() < JUDGE_AGAIN);
        self.is_ours(Some(seen.since))
            && !is_judged
            && !self.left.contains_key(&seen.read.name)
            && self.is_proposed(state, key, seen)
    }

    /// Takes up what somebody wrote.
    async fn take_up(&mut self, key: &Key) -> Result<(), StoreError> {
        let Some(seen) = self.watch.all().get(key) else { return Ok(()) };
        let (name, author, fingerprint) = (seen.read.name.clone(), seen.author.clone(), seen.read.fingerprint);
        let state = self.reconciler.state();
        let revision = state.revision;
        let refused = match self.misplaced(key, &name) {
            Some(finding) => Some(vec![finding]),
            None => {
                let edit = match &seen.read.standing {
                    Standing::Proposed(proposal) => edit_of(proposal),
                    Standing::Accepted(_) => {
                        let in_force = record_of(&state, key.0, &name);
                        match self.store.copied(key, in_force.as_ref(), revision).await {
                            Ok(Some(proposal)) => edit_of(&proposal),
                            // Of a commit the watch has not told yet.
                            Ok(None) => return Ok(()),
                            Err(failure) if failure.is_passing() => return Err(failure),
                            Err(failure) => Err(vec![finding(&name, causes::in_words(&failure))]),
                        }
                    }
                };
                match edit {
                    Err(findings) => Some(findings),
                    Ok(edit) => self.propose(key.0, &name, author, edit).await?,
                }
            }
        };
        let Some(findings) = refused else {
            self.judged.remove(key);
            return Ok(());
        };
        if self.judged.get(key).is_none_or(|old| old.findings != findings) {
            let found: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
            info!(object = name, ?found, "what was written with kubectl is not accepted");
        }
        self.judged.insert(key.clone(), Judged { fingerprint, revision, at: Instant::now(), findings });
        Ok(())
    }

    /// The finding where an object of the cluster cannot be the one of its name: another is, or nobody would look for it there.
    fn misplaced(&self, (kind, place): &Key, name: &str) -> Option<Diagnostic> {
        let field = "metadata.name".to_owned();
        if let Some(first) = self.twins.get(&(*kind, place.clone())) {
            return Some(Diagnostic {
                code: CODE_TWICE.to_owned(),
                field,
                help: "Delete one of the two".to_owned(),
                ..finding(name, format!("{} of this namespace is the same {} already", first.name, kind.as_str()))
            });
        }
        let places = places(*kind, name);
        let wanted = places.first().filter(|_| !places.contains(place))?;
        Some(Diagnostic {
            code: CODE_MISPLACED.to_owned(),
            field,
            help: format!("Name it {}", wanted.name),
            ..finding(name, format!("a {} of that name in a cluster is not what it says to be", kind.as_str()))
        })
    }

    /// What is wrong with it; nothing where it is in force now.
    async fn propose(
        &mut self,
        kind: Kind,
        name: &str,
        author: Option<String>,
        edit: Edit,
    ) -> Result<Option<Vec<Diagnostic>>, StoreError> {
        // Once: whoever else commits meanwhile, or writes the same object, is looked at before this is said again.
        let mut only = Some(edit);
        let make: MakeEdit = Box::new(move |_| only.take().ok_or(WriteError::Outrun(1)));
        match self.reconciler.write(request(author, name), make).await {
            Ok(outcome) if outcome.changes.is_empty() => {
                // It says what is in force, in other words or without our note.
                let state = self.reconciler.state();
                let Some(record) = record_of(&state, kind, name) else { return Ok(None) };
                match self.store.reaffirm(&record, revision_of(&state, kind, name)).await {
                    // Others are at it: with the next look.
                    Ok(()) | Err(StoreError::Moved { .. }) => Ok(None),
                    Err(failure) if failure.is_passing() => Err(failure),
                    Err(failure) => Ok(Some(vec![finding(name, causes::in_words(&failure))])),
                }
            }
            Ok(_) => Ok(None),
            Err(WriteError::Refused(findings)) => {
                Ok(Some(findings.into_iter().filter(crate::reconcile::is_error).collect()))
            }
            Err(WriteError::Store(failure)) if failure.is_passing() => Err(failure),
            // Planned anew with the next look.
            Err(WriteError::Outrun(_) | WriteError::Moved { .. }) => Ok(None),
            Err(other) => Ok(Some(vec![finding(name, causes::in_words(&other))])),
        }
    }

    /// Takes up that objects are gone.
    async fn take_away(&mut self, failures: &mut Failures) -> Result<(), StoreError> {
        let objects = self.reconciler.state().objects;
        let lanes = objects.lanes.keys().map(|name| (Kind::Lane, name));
        let policies = objects.policies.keys().map(|name| (Kind::ServicePolicy, name));
        let groups = objects.groups.keys().map(|name| (Kind::LaneGroup, name));
        let gone: Vec<(Kind, &String)> = {
            let there: BTreeSet<&str> = self.watch.all().values().map(|seen| seen.read.name.as_str()).collect();
            lanes.chain(policies).chain(groups).filter(|(_, name)| !there.contains(name.as_str())).collect()
        };
        let now = Instant::now();
        let since = std::mem::take(&mut self.gone);
        let since = |name: &String| (name.clone(), since.get(name).copied().unwrap_or(now));
        self.gone = gone.iter().map(|(_, name)| since(name)).collect();
        for (kind, name) in gone {
            // Whoever leads may not know that it was there: it came up without it.
            if self.left.contains_key(name) || !self.is_ours(self.gone.get(name).copied()) {
                continue;
            }
            if let Err(failure) = self.take_one_away(kind, name).await {
                self.leave(name.clone(), failure, failures)?;
            }
        }
        Ok(())
    }

    async fn take_one_away(&mut self, kind: Kind, name: &str) -> Result<(), StoreError> {
        // It may have come a moment ago, and the watch not told of it yet.
        if !self.store.is_gone(kind, name).await? {
            return Ok(());
        }
        // Once: one that is there again by then is looked at anew.
        let mut only = Some(name.to_owned());
        let make: MakeEdit = Box::new(move |state: &State| {
            let own = only.take().ok_or(WriteError::Outrun(1))?;
            let is_there = revision_of(state, kind, &own) > 0;
            let deletes = if is_there { vec![own] } else { Vec::new() };
            Ok(Edit { deletes, cause: Cause::Gone, ..Edit::default() })
        });
        match self.reconciler.write(Request { is_urgent: true, ..request(None, name) }, make).await {
            Ok(_) | Err(WriteError::Outrun(_)) => Ok(()),
            Err(WriteError::Store(failure)) => Err(failure),
            Err(other) => {
                warn!(object = name, error = causes::in_words(&other), "that it is gone is not taken up");
                self.left.insert(name.to_owned(), Instant::now() + LEAVE_FOR);
                Ok(())
            }
        }
    }
}

/// Of several that are one of ours all but the first of its places.
fn twins(all: &BTreeMap<Key, Seen>) -> BTreeMap<Key, Place> {
    let mut named: BTreeMap<(Kind, &str), Vec<&Place>> = BTreeMap::new();
    for ((kind, place), seen) in all {
        named.entry((*kind, seen.read.name.as_str())).or_default().push(place);
    }
    let mut twins = BTreeMap::new();
    for ((kind, name), found) in named.into_iter().filter(|(_, found)| found.len() > 1) {
        let places = places(kind, name);
        let rank = |place: &&Place| places.iter().position(|own| own == *place).unwrap_or(usize::MAX);
        let Some(first) = found.iter().copied().min_by_key(rank) else { continue };
        let others = found.into_iter().filter(|place| *place != first);
        twins.extend(others.map(|place| ((kind, place.clone()), first.clone())));
    }
    twins
}

/// That the API server does not take it.
fn finding(name: &str, message: String) -> Diagnostic {
    Diagnostic {
        severity: diagnostic::Severity::Error.into(),
        resource: name.to_owned(),
        message,
        ..Diagnostic::default()
    }
}

fn request(author: Option<String>, name: &str) -> Request {
    let principal = format!("kubernetes:{}", author.as_deref().unwrap_or(SOMEBODY));
    let call = Call { principal, resource: name.to_owned(), method: BY_KUBECTL, ..Call::default() };
    Request { call, ..Request::default() }
}

fn edit_of(proposal: &Proposal) -> Result<Edit, Vec<Diagnostic>> {
    Ok(match proposal {
        Proposal::LaneGroup(group) => Edit { groups: vec![group.clone()], ..Edit::default() },
        Proposal::Lane(lane) => Edit { lanes: vec![lane.clone()], ..Edit::default() },
        Proposal::ServicePolicy(policy) => Edit { policies: vec![policy.clone()], ..Edit::default() },
        Proposal::Unreadable(findings) => return Err(findings.clone()),
    })
}

/// With which revision what is in force came. 0: nothing is.
fn revision_of(state: &State, kind: Kind, name: &str) -> i64 {
    let objects = &state.objects;
    match kind {
        Kind::LaneGroup => objects.groups.get(name).map(|own| own.revision),
        Kind::Lane => objects.lanes.get(name).map(|own| own.revision),
        Kind::ServicePolicy => objects.policies.get(name).map(|own| own.revision),
    }
    .unwrap_or(0)
}

/// An object that is in force.
fn record_of(state: &State, kind: Kind, name: &str) -> Option<Record> {
    let objects = &state.objects;
    let body = match kind {
        Kind::LaneGroup => objects.groups.get(name).map(Message::encode_to_vec),
        Kind::Lane => objects.lanes.get(name).map(Message::encode_to_vec),
        Kind::ServicePolicy => objects.policies.get(name).map(Message::encode_to_vec),
    }?;
    Some(Record { name: name.to_owned(), kind, body })
}
