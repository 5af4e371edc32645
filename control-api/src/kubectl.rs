//! What people write with kubectl beside the API: taken up as changes like any other, and reported on in the status of each object.
//!
//! ```text
//!   object is not what was accepted --> write (plan, check, commit: a revision with method kubectl) --> accepted: the annotation says so
//!                                          '-- refused: what was accepted stays in force, Accepted=False says why
//!   object is gone -----------------------> write (it is deleted: nobody can refuse that any more)
//! ```
//! Every replica looks; the one that leads acts at once, the others only where it did not for a while. Two that act do no harm: of two
//! commits of one number one is done, and the other has nothing left to do. The leader alone reports. Started by `app`.

mod conditions;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use laneway_proto::admin::{Diagnostic, diagnostic};
use laneway_proto::status::Rollout;
use prost::Message;
use tracing::{info, warn};

use self::conditions::Reported;
use crate::catalog;
use crate::edit::Edit;
use crate::leader::Leader;
use crate::reconcile::audit::Call;
use crate::reconcile::{MakeEdit, Reconciler, Request, State, WriteError};
use crate::store::kubernetes::Kubernetes;
use crate::store::kubernetes::in_force;
use crate::store::kubernetes::object::{Place, Proposal, Standing, places};
use crate::store::kubernetes::watch::{Key, Seen, Watch};
use crate::store::{Kind, Record, StoreError};

/// How long a replica that does not lead leaves a proposal to the one that does.
const LEAVE_IT: Duration = Duration::from_secs(3);
/// Between two looks where nothing happens; also the shortest time between two reports on one object.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What was refused is judged anew when something was committed, and after so long: services may have come.
const JUDGE_AGAIN: Duration = Duration::from_secs(10);
/// How often sidecars that have all acknowledged an object are counted again: some may have come.
const COUNT_AGAIN: Duration = Duration::from_secs(10);
/// How long a status that the API server refused is let be.
const REPORT_AGAIN: Duration = Duration::from_secs(30);
/// Objects whose sidecars are counted in one look: other replicas are asked for each.
const COUNTED_MAX: usize = 50;

const METHOD: &str = "kubectl";
/// Who is named in the history where the API server does not say.
const SOMEBODY: &str = "unknown";
/// Two objects of the cluster that are one of ours.
const CODE_TWICE: &str = "LANE0802";

/// How far an object has got on all replicas.
pub type Progress = Box<dyn Fn(String) -> Pin<Box<dyn Future<Output = Option<Rollout>> + Send>> + Send + Sync>;

/// The task, before it runs.
pub struct Kubectl {
    reconciler: Reconciler,
    store: Kubernetes,
    leader: Leader,
    progress: Progress,
    watch: Watch,
    judged: BTreeMap<Key, Judged>,
    counted: BTreeMap<Key, Counted>,
}

/// Why a proposal is not in force.
struct Judged {
    fingerprint: u64,
    /// Of the state that it did not fit to.
    revision: i64,
    at: Instant,
    findings: Vec<Diagnostic>,
}

/// What was last reported of an object.
struct Counted {
    revision: i64,
    rollout: Option<Rollout>,
    again: Instant,
    /// When it may be reported on again.
    not_before: Instant,
}

impl Kubectl {
    pub fn new(reconciler: Reconciler, store: Kubernetes, leader: Leader, progress: Progress) -> Kubectl {
        let watch = store.watch();
        let (judged, counted) = (BTreeMap::new(), BTreeMap::new());
        Kubectl { reconciler, store, leader, progress, watch, judged, counted }
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
        let all = self.watch.all();
        self.judged.retain(|key, own| all.get(key).is_some_and(|seen| seen.read.fingerprint == own.fingerprint));
        self.counted.retain(|key, _| all.contains_key(key));
        // Groups before policies before lanes: so that what comes together is taken up together.
        let mut due: Vec<Key> =
            all.iter().filter(|(key, seen)| self.is_due(key, seen)).map(|(key, _)| key.clone()).collect();
        due.sort_by_key(|(kind, _)| match kind {
            Kind::LaneGroup => 0,
            Kind::ServicePolicy => 1,
            Kind::Lane => 2,
        });
        for key in due {
            self.take_up(&key).await?;
        }
        self.take_away().await?;
        if self.leader.leads() { self.report().await } else { Ok(()) }
    }

    fn is_due(&self, key: &Key, seen: &Seen) -> bool {
        let is_ours = self.leader.leads() || seen.since.elapsed() >= LEAVE_IT;
        let state = self.reconciler.state();
        let is_judged =
            self.judged.get(key).is_some_and(|own| own.revision == state.revision && own.at.elapsed() < JUDGE_AGAIN);
        (matches!(seen.read.standing, Standing::Proposed(_)) || is_copy(&state, key, seen)) && is_ours && !is_judged
    }

    /// Takes up what somebody wrote.
    async fn take_up(&mut self, key: &Key) -> Result<(), StoreError> {
        let Some(seen) = self.watch.all().get(key) else { return Ok(()) };
        let (name, author, fingerprint) = (seen.read.name.clone(), seen.author.clone(), seen.read.fingerprint);
        let state = self.reconciler.state();
        let (revision, in_force) = (state.revision, revision_of(&state, key.0, &name));
        let edit = match &seen.read.standing {
            Standing::Proposed(proposal) => edit_of(proposal),
            Standing::Accepted(_) => match self.store.copied(key.0, &name, in_force).await {
                Ok(Some(proposal)) => edit_of(&proposal),
                // Of a commit the watch has not told yet.
                Ok(None) => return Ok(()),
                Err(failure) if failure.is_passing() => return Err(failure),
                Err(failure) => Err(vec![finding(&name, chain(&failure))]),
            },
        };
        let refused = match (self.twice(key, &name), edit) {
            (Some(finding), _) => Some(vec![finding]),
            (None, Err(findings)) => Some(findings),
            (None, Ok(edit)) => self.propose(key.0, &name, author, edit).await?,
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

    /// The finding where another object of the cluster is the same one of ours, and comes first.
    fn twice(&self, key: &Key, name: &str) -> Option<Diagnostic> {
        let (kind, place) = key;
        let is_it = |other: &&Place| {
            self.watch.all().get(&(*kind, (*other).clone())).is_some_and(|seen| seen.read.name == name)
        };
        let places = places(*kind, name);
        let first = places.iter().find(is_it).filter(|first| *first != place)?;
        Some(Diagnostic {
            severity: diagnostic::Severity::Error.into(),
            code: CODE_TWICE.to_owned(),
            resource: name.to_owned(),
            field: "metadata.name".to_owned(),
            message: format!("{} of this namespace is the same {} already", first.name, kind.as_str()),
            help: "Delete one of the two".to_owned(),
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
        let make: MakeEdit = Box::new(move |_| Ok(edit.clone()));
        match self.reconciler.write(request(author, name), make).await {
            Ok(outcome) if outcome.changes.is_empty() => {
                // It says what is in force, in other words or without our note.
                let state = self.reconciler.state();
                let Some(record) = record_of(&state, kind, name) else { return Ok(None) };
                match self.store.reaffirm(&record, revision_of(&state, kind, name)).await {
                    // Others are at it: with the next look.
                    Ok(()) | Err(StoreError::Moved { .. }) => Ok(None),
                    Err(failure) if failure.is_passing() => Err(failure),
                    Err(failure) => Ok(Some(vec![finding(name, chain(&failure))])),
                }
            }
            Ok(_) => Ok(None),
            Err(WriteError::Refused(findings)) => {
                Ok(Some(findings.into_iter().filter(crate::reconcile::is_error).collect()))
            }
            Err(WriteError::Store(failure)) if failure.is_passing() => Err(failure),
            // Planned anew with the next look.
            Err(WriteError::Outrun(_) | WriteError::Moved { .. }) => Ok(None),
            Err(other) => Ok(Some(vec![finding(name, chain(&other))])),
        }
    }

    /// Takes up that objects are gone.
    async fn take_away(&mut self) -> Result<(), StoreError> {
        let objects = self.reconciler.state().objects;
        let lanes = objects.lanes.keys().map(|name| (Kind::Lane, name));
        let policies = objects.policies.keys().map(|name| (Kind::ServicePolicy, name));
        let groups = objects.groups.keys().map(|name| (Kind::LaneGroup, name));
        let gone: Vec<(Kind, &String)> = {
            let there: BTreeSet<&str> = self.watch.all().values().map(|seen| seen.read.name.as_str()).collect();
            lanes.chain(policies).chain(groups).filter(|(_, name)| !there.contains(name.as_str())).collect()
        };
        for (kind, name) in gone {
            // It may have come a moment ago, and the watch not told of it yet.
            if !self.leader.leads() {
                continue;
            }
            match self.store.is_gone(kind, name).await {
                Ok(true) => {}
                Ok(false) => continue,
                Err(failure) if failure.is_passing() => return Err(failure),
                Err(failure) => {
                    warn!(object = name, error = chain(&failure), "whether it is gone cannot be seen");
                    continue;
                }
            }
            let own = name.clone();
            let make: MakeEdit = Box::new(move |state: &State| {
                let is_there = record_of(state, kind, &own).is_some();
                Ok(Edit { deletes: if is_there { vec![own.clone()] } else { Vec::new() }, ..Edit::default() })
            });
            let request = Request { is_urgent: true, ..request(None, name) };
            match self.reconciler.write(request, make).await {
                Ok(_) | Err(WriteError::Outrun(_)) => {}
                Err(WriteError::Store(failure)) if failure.is_passing() => return Err(failure),
                Err(other) => warn!(object = name, error = chain(&other), "that it is gone is not taken up"),
            }
        }
        Ok(())
    }

    /// Writes the status of what has changed.
    async fn report(&mut self) -> Result<(), StoreError> {
        let state = self.reconciler.state();
        let now = Instant::now();
        let mut counted_count = 0;
        let mut keys: Vec<Key> = self.watch.all().keys().cloned().collect();
        // Those that were never counted first, then those that wait longest: nobody waits for ever.
        keys.sort_by_key(|key| self.counted.get(key).map(|own| own.again));
        for key in keys {
            let Some(seen) = self.watch.all().get(&key) else { continue };
            let name = seen.read.name.clone();
            let judged = self.judged.get(&key);
            let revision = revision_of(&state, key.0, &name);
            let is_settled = match seen.read.standing {
                Standing::Proposed(_) => judged.is_some(),
                // The state and the watch tell of a commit one after the other.
                Standing::Accepted(_) => seen.read.revision == revision || judged.is_some(),
            };
            if !is_settled {
                continue;
            }
            let old = self.counted.get(&key);
            if old.is_some_and(|old| old.not_before > now) {
                continue;
            }
            let is_fresh = old.is_some_and(|old| old.revision == revision && old.again > now);
            let rollout = match old {
                Some(old) if is_fresh || counted_count >= COUNTED_MAX => old.rollout.clone(),
                _ if revision == 0 => None,
                // Its turn comes; until then what was said of it before stands.
                _ if counted_count >= COUNTED_MAX => continue,
                _ => {
                    counted_count += 1;
                    (self.progress)(name.clone()).await
                }
            };
            let Some(seen) = self.watch.all().get(&key) else { continue };
            let coverage = match key.0 {
                Kind::Lane => catalog::coverage(&state.objects, &state.catalog, &name),
                Kind::LaneGroup | Kind::ServicePolicy => Vec::new(),
            };
            let reported = Reported {
                generation: seen.generation,
                refused: self.judged.get(&key).map(|own| own.findings.as_slice()),
                revision,
                in_force: in_force::held(&seen.status, revision)
                    .or_else(|| record_of(&state, key.0, &name).as_ref().and_then(in_force::text)),
                lane: state.objects.lanes.get(&name),
                policy: state.objects.policies.get(&name),
                rollout: rollout.as_ref(),
                coverage: &coverage,
            };
            let status = conditions::status(&reported, &seen.status, self.reconciler.now());
            let is_done = rollout.as_ref().is_some_and(|rollout| rollout.done);
            let has_changed = status != seen.status;
            let mut not_before = old.map_or(now, |old| old.not_before);
            if has_changed {
                not_before = now + LOOK_EVERY;
                match self.store.report(&key, &status).await {
                    Ok(()) => {}
                    Err(failure) if failure.is_passing() => return Err(failure),
                    Err(failure) => {
                        // The others are reported on all the same.
                        not_before = now + REPORT_AGAIN;
                        warn!(object = name, error = chain(&failure), "what has become of it could not be reported");
                    }
                }
            }
            let again = match old.filter(|_| is_fresh) {
                Some(old) => old.again,
                None if is_done => now + COUNT_AGAIN,
                None => now + LOOK_EVERY,
            };
            self.counted.insert(key, Counted { revision, rollout, again, not_before });
        }
        Ok(())
    }
}

/// Is it what was accepted once, and not what is in force? Somebody wrote a copy back: of before it was changed, or deleted.
fn is_copy(state: &State, key: &Key, seen: &Seen) -> bool {
    matches!(seen.read.standing, Standing::Accepted(_))
        && seen.read.revision <= state.revision
        && seen.read.revision != revision_of(state, key.0, &seen.read.name)
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
    let call = Call { principal, resource: name.to_owned(), method: METHOD, ..Call::default() };
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

/// An error and what is below it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut below = error.source();
    while let Some(source) = below {
        words = format!("{words}: {source}");
        below = source.source();
    }
    words
}
