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
    reported: Instant,
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
        let is_judged = self
            .judged
            .get(key)
            .is_some_and(|own| own.revision == self.reconciler.state().revision && own.at.elapsed() < JUDGE_AGAIN);
        matches!(seen.read.standing, Standing::Proposed(_)) && is_ours && !is_judged
    }

    /// Takes up what somebody wrote.
    async fn take_up(&mut self, key: &Key) -> Result<(), StoreError> {
        let Some(seen) = self.watch.all().get(key) else { return Ok(()) };
        let Standing::Proposed(proposal) = &seen.read.standing else { return Ok(()) };
        let (name, author, fingerprint) = (seen.read.name.clone(), seen.author.clone(), seen.read.fingerprint);
        let revision = self.reconciler.state().revision;
        let refused = match self.twice(key, &name) {
            Some(finding) => Some(vec![finding]),
            None => match edit_of(proposal) {
                Err(findings) => Some(findings),
                Ok(edit) => self.propose(key.0, &name, author, edit).await?,
            },
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
                if let Some((record, revision)) = record_of(&self.reconciler.state(), kind, name) {
                    self.store.reaffirm(&record, revision).await?;
                }
                Ok(None)
            }
            Ok(_) => Ok(None),
            Err(WriteError::Refused(findings)) => {
                Ok(Some(findings.into_iter().filter(crate::reconcile::is_error).collect()))
            }
            Err(WriteError::Store(failure @ (StoreError::Away(_) | StoreError::Doubtful(_)))) => Err(failure),
            // Planned anew with the next look.
            Err(WriteError::Outrun(_) | WriteError::Moved { .. }) => Ok(None),
            Err(other) => Ok(Some(vec![Diagnostic {
                severity: diagnostic::Severity::Error.into(),
                resource: name.to_owned(),
                message: chain(&other),
                ..Diagnostic::default()
            }])),
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
            if !self.leader.leads() || !self.store.is_gone(kind, name).await? {
                continue;
            }
            let own = name.clone();
            let make: MakeEdit = Box::new(move |state: &State| {
                let is_there = record_of(state, kind, &own).is_some();
                Ok(Edit { deletes: if is_there { vec![own.clone()] } else { Vec::new() }, ..Edit::default() })
            });
            let request = Request { is_urgent: true, ..request(None, name) };
            match self.reconciler.write(request, make).await {
                Ok(_) | Err(WriteError::Outrun(_)) => {}
                Err(WriteError::Store(failure)) => return Err(failure),
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
            // One that nobody has judged yet.
            if matches!(seen.read.standing, Standing::Proposed(_)) && judged.is_none() {
                continue;
            }
            let old = self.counted.get(&key);
            if old.is_some_and(|old| now.duration_since(old.reported) < LOOK_EVERY) {
                continue;
            }
            let is_fresh = old.is_some_and(|old| old.revision == seen.read.revision && old.again > now);
            let is_in_force = record_of(&state, key.0, &name).is_some();
            let rollout = match old {
                Some(old) if is_fresh || counted_count >= COUNTED_MAX => old.rollout.clone(),
                _ if !is_in_force => None,
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
                revision: seen.read.revision,
                lane: state.objects.lanes.get(&name),
                policy: state.objects.policies.get(&name),
                rollout: rollout.as_ref(),
                coverage: &coverage,
            };
            let status = conditions::status(&reported, &seen.status, self.reconciler.now());
            let is_done = rollout.as_ref().is_some_and(|rollout| rollout.done);
            let (revision, has_changed) = (seen.read.revision, status != seen.status);
            if has_changed {
                self.store.report(&key, &status).await?;
            }
            let again = match old.filter(|_| is_fresh) {
                Some(old) => old.again,
                None if is_done => now + COUNT_AGAIN,
                None => now + LOOK_EVERY,
            };
            let reported = match (old, has_changed) {
                (Some(old), false) => old.reported,
                _ => now,
            };
            self.counted.insert(key, Counted { revision, rollout, again, reported });
        }
        Ok(())
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

/// An object that is in force, and with which revision it came.
fn record_of(state: &State, kind: Kind, name: &str) -> Option<(Record, i64)> {
    let objects = &state.objects;
    let (body, revision) = match kind {
        Kind::LaneGroup => objects.groups.get(name).map(|own| (own.encode_to_vec(), own.revision)),
        Kind::Lane => objects.lanes.get(name).map(|own| (own.encode_to_vec(), own.revision)),
        Kind::ServicePolicy => objects.policies.get(name).map(|own| (own.encode_to_vec(), own.revision)),
    }?;
    Some((Record { name: name.to_owned(), kind, body }, revision))
}

/// An error and what is below it.
fn chain(error: &WriteError) -> String {
    let mut words = error.to_string();
    let mut below = std::error::Error::source(error);
    while let Some(source) = below {
        words = format!("{words}: {source}");
        below = source.source();
    }
    words
}
