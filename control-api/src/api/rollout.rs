//! How far one version of one object has got: counted over the sidecars that it concerns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use laneway_core::compile::Compiled;
use laneway_proto::contract::{TYPE_LANE, TYPE_LANE_GROUP, TYPE_SERVICE_POLICY};
use laneway_proto::status::rollout::Refusal;
use laneway_proto::status::{GetRolloutRequest, Rollout};
use tokio::time::timeout_at;
use tonic::Status;

use super::peers::NAMES_MAX;
use super::{Api, errors, peers};
use crate::changes::Object;
use crate::fleet::{Holding, Member};
use crate::name;
use crate::reconcile::Published;

/// A revision is compiled within milliseconds; without `wait_timeout` no longer than this.
const COMPILE_WAIT: Duration = Duration::from_secs(1);

/// An object that can be followed, and the resource that it becomes.
pub(super) struct Subject {
    pub(super) object: String,
    resource: String,
    type_url: &'static str,
    /// Version that was asked for. None: the current one.
    version: Option<String>,
}

/// One version of one resource.
struct Target<'a> {
    name: &'a str,
    type_url: &'static str,
    version: String,
    /// Counts like `version`: it is that, or an earlier one.
    asked: Option<&'a str>,
    revision: i64,
}

/// What one sidecar made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Acked,
    Nacked,
    Pending,
}

/// Follows `revision` of an object until every sidecar of every replica has answered or the time is over. Nothing for a
/// trial run.
pub(super) async fn follow(
    api: &Api,
    name: &str,
    revision: i64,
    begun: Instant,
    wait: Option<Duration>,
    validate_only: bool,
) -> Option<Rollout> {
    if validate_only {
        return None;
    }
    let wait = wait.unwrap_or_default();
    let request = GetRolloutRequest { name: name.to_owned(), revision, ..GetRolloutRequest::default() };
    let (here, elsewhere) =
        tokio::join!(follow_here(api, name, revision, begun, wait), api.peers.rollouts(request, wait));
    let elapsed = prost_types::Duration::try_from(begun.elapsed()).unwrap_or_default();
    Some(Rollout { elapsed: Some(elapsed), ..peers::merged_rollout(here?, elsewhere) })
}

/// The same, of the sidecars that are connected here.
pub(super) async fn follow_here(
    api: &Api,
    name: &str,
    revision: i64,
    begun: Instant,
    wait: Duration,
) -> Option<Rollout> {
    let deadline = begun + wait;
    let type_url = type_of(name)?;
    let mut events = api.fleet.events();
    let mut published = api.reconciler.published();
    let compiled_until = deadline.max(begun + COMPILE_WAIT);
    let reached = timeout_at(compiled_until.into(), published.wait_for(|published| published.revision >= revision));
    let current: Arc<Published> = match reached.await {
        Ok(Ok(published)) => Arc::clone(&published),
        _ => return Some(Rollout { name: name.to_owned(), revision, ..Rollout::default() }),
    };
    let version = current.compiled.version_of(type_url, name).unwrap_or_default().to_owned();
    let target = Target { name, type_url, version, asked: None, revision };
    let mut concerned = Concerned::new();
    loop {
        events.borrow_and_update();
        let counting = Instant::now();
        let mut rollout = count(api, &target, &current.compiled, &mut concerned);
        let elapsed = prost_types::Duration::try_from(begun.elapsed()).unwrap_or_default();
        rollout.elapsed = Some(elapsed);
        if rollout.done || Instant::now() >= deadline {
            return Some(rollout);
        }
        // Either way it is counted once more. Each of thousands of answers is an event: a fifth of the time is spent on counting.
        let rested = Instant::now() + counting.elapsed() * 4;
        let _ = timeout_at(deadline.into(), events.changed()).await;
        tokio::time::sleep_until(rested.min(deadline).into()).await;
    }
}

impl Subject {
    pub(super) fn find(api: &Api, name: &str, version: &str) -> Result<Subject, Status> {
        let (type_url, resource) = if let Some((namespace, id)) = name::parse_policy(name) {
            let state = api.reconciler.state();
            // One that is gone can be followed too: who still has it.
            let service = state.objects.policies.get(name).map_or(id, |policy| policy.service.as_str());
            (TYPE_SERVICE_POLICY, laneway_core::name::service(namespace, service))
        } else if let Some(type_url) = type_of(name) {
            (type_url, name.to_owned())
        } else {
            return Err(errors::bad_field("name", "is that of a lane group, a lane or a service policy"));
        };
        let is_version = version.len() == 16 && version.bytes().all(|digit| digit.is_ascii_hexdigit());
        if !version.is_empty() && !is_version {
            return Err(errors::bad_field("version", "is the hash that Rollout.version has, 16 digits, or empty"));
        }
        let version = (!version.is_empty()).then(|| version.to_owned());
        Ok(Subject { object: name.to_owned(), resource, type_url, version })
    }

    /// The same question for another replica.
    pub(super) fn request(&self) -> GetRolloutRequest {
        let version = self.version.clone().unwrap_or_default();
        GetRolloutRequest { name: self.object.clone(), version, ..GetRolloutRequest::default() }
    }

    /// Where it is now, here. `concerned` is kept from one look to the next.
    pub(super) fn look(&self, api: &Api, concerned: &mut Concerned) -> Rollout {
        let current = Arc::clone(&api.reconciler.published().borrow());
        let version = current.compiled.version_of(self.type_url, &self.resource).unwrap_or_default().to_owned();
        let target = Target {
            name: &self.resource,
            type_url: self.type_url,
            version,
            asked: self.version.as_deref(),
            revision: current.revision,
        };
        let mut rollout = count(api, &target, &current.compiled, concerned);
        rollout.name.clone_from(&self.object);
        if let Some(asked) = &self.version {
            rollout.version.clone_from(asked);
        }
        rollout
    }

    /// When it last became another: when it, or the group of a lane, was written. None: it is gone.
    pub(super) fn written(&self, api: &Api) -> Option<SystemTime> {
        let objects = api.reconciler.state().objects;
        let time = |name: &str| match Object::find(&objects, name)? {
            Object::LaneGroup(group) => group.update_time,
            Object::Lane(lane) => lane.update_time,
            Object::ServicePolicy(policy) => policy.update_time,
        };
        let group =
            name::parse_lane(&self.object).map(|(namespace, group, _)| laneway_core::name::group(namespace, group));
        let times = [time(&self.object), group.and_then(|group| time(&group))];
        times.into_iter().flatten().filter_map(|time| SystemTime::try_from(time).ok()).max()
    }
}

/// Waits until what is committed is compiled, which takes milliseconds.
pub(super) async fn settled(api: &Api) {
    let committed = api.reconciler.state().revision;
    let mut published = api.reconciler.published();
    let reached = published.wait_for(|published| published.revision >= committed);
    // What is not compiled by then did not compile: what sidecars have is counted.
    let _ = tokio::time::timeout(COMPILE_WAIT, reached).await;
}

/// Of each sidecar that was ever seen: is it to be counted?
pub(super) type Concerned = BTreeMap<String, bool>;

fn count(api: &Api, target: &Target<'_>, compiled: &Compiled, concerned: &mut Concerned) -> Rollout {
    let mut rollout = Rollout {
        name: target.name.to_owned(),
        version: target.version.clone(),
        revision: target.revision,
        ..Rollout::default()
    };
    let connected = api.fleet.connected();
    let gone = concerned.iter().filter(|(node, counts)| {
        **counts && connected.binary_search_by(|(connected, _)| connected.as_str().cmp(node.as_str())).is_err()
    });
    rollout.disconnected_count = u32::try_from(gone.count()).unwrap_or(u32::MAX);
    for (node, member) in &connected {
        // In this order: what is held is then that of the revision that was seen, or of a later one.
        let has_seen = member.seen_revision() >= target.revision;
        let holding = member.holding(target.type_url, target.name);
        if !concerned.contains_key(node) {
            if !has_seen || (holding.sent_version.is_none() && holding.is_unsettled) {
                // It is not known yet whether it will get it.
                rollout.target_count += 1;
                rollout.pending_count += 1;
                name_one(&mut rollout.pending_proxies, node);
                continue;
            }
            concerned.insert(node.clone(), concerns(target, compiled, member.as_ref(), &holding));
        }
        if !concerned[node] {
            continue;
        }
        rollout.target_count += 1;
        match progress(target, &holding) {
            Progress::Acked => rollout.acked_count += 1,
            Progress::Nacked => {
                rollout.nacked_count += 1;
                if rollout.refusals.len() < NAMES_MAX {
                    rollout.refusals.push(refusal(target, node, member.as_ref()));
                }
                name_one(&mut rollout.nacked_proxies, node);
            }
            Progress::Pending => {
                rollout.pending_count += 1;
                name_one(&mut rollout.pending_proxies, node);
            }
        }
    }
    rollout.done = rollout.pending_count == 0;
    rollout
}

fn concerns(target: &Target<'_>, compiled: &Compiled, member: &dyn Member, holding: &Holding) -> bool {
    holding.sent_version.is_some()
        || holding.is_being_removed
        || compiled.subscribed(target.type_url, &member.identity()).iter().any(|resource| resource.name == target.name)
}

fn progress(target: &Target<'_>, holding: &Holding) -> Progress {
    let acked = holding.acked.as_ref();
    if target.version.is_empty() {
        let is_gone = holding.sent_version.is_none() && !holding.is_being_removed;
        return if is_gone { Progress::Acked } else { Progress::Pending };
    }
    let is_meant = |version: &str| version == target.version || Some(version) == target.asked;
    let is_current = holding.sent_version.as_deref().is_some_and(is_meant);
    if is_current && holding.is_refused {
        return Progress::Nacked;
    }
    let has_it = is_current && acked.is_some_and(|(version, _)| is_meant(version));
    // Whoever acknowledged a later version had no use for this one any more.
    let is_past_it = !is_current && acked.is_some_and(|(_, revision)| *revision > target.revision);
    if has_it || is_past_it { Progress::Acked } else { Progress::Pending }
}

/// Why a sidecar refused it, field by field.
fn refusal(target: &Target<'_>, node: &str, member: &dyn Member) -> Refusal {
    let types = member.report(false).types;
    let errors = types.into_iter().filter(|own| own.type_url == target.type_url).flat_map(|own| own.errors);
    let errors = errors.filter(|error| error.name == target.name).take(NAMES_MAX).collect();
    Refusal { proxy: format!("proxies/{node}"), errors }
}

fn name_one(names: &mut Vec<String>, node: &str) {
    if names.len() < NAMES_MAX {
        names.push(format!("proxies/{node}"));
    }
}

/// The resource type that a group or a lane becomes.
fn type_of(name: &str) -> Option<&'static str> {
    if name::parse_lane(name).is_some() {
        Some(TYPE_LANE)
    } else if name::parse_group(name).is_some() {
        Some(TYPE_LANE_GROUP)
    } else {
        None
    }
}
