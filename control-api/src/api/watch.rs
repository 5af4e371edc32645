//! Watch: what is there, then every change as it is committed.
//!
//! ```text
//!   snapshot, or from resume_revision: what the history says was touched --> SYNCED --> commits as they come, heartbeats
//! ```
//! Each event says where to resume after it, so that nothing is missed: within a commit that is the one before, until its
//! last event. A watcher reads commits at its own pace; one that is slower than all that is held of them is told so.

use std::collections::BTreeMap;
use std::time::Duration;

use laneway_proto::admin::watch_event::{Kind, Resource};
use laneway_proto::admin::{WatchEvent, WatchRequest, resource_change};
use tonic::Status;

use super::stream::{End, Events, Outlet};
use super::{Answer, Api, errors, history, read};
use crate::changes::{Change, Object};
use crate::reconcile::State;
use crate::reconcile::history::is_brief;
use crate::{json, name};

#[cfg(test)]
mod tests;

/// Silence after which there is a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Commits of the history that a resumed watch looks back on; further back a snapshot is cheaper.
const RESUMED_MAX: usize = 1_000;

pub(super) async fn watch(api: &Api, request: WatchRequest) -> Answer<Events<WatchEvent>> {
    let parent = request.parent;
    let is_parent =
        parent.is_empty() || name::parse_namespace(&parent).is_some() || name::parse_group(&parent).is_some();
    if !is_parent {
        let shape = "is namespaces/{namespace} or namespaces/{namespace}/laneGroups/{lane_group}, or empty for all";
        return Err(errors::bad_field("parent", shape));
    }
    if request.resume_revision < 0 {
        return Err(errors::bad_field("resume_revision", "must not be negative"));
    }
    let state = api.reconciler.state();
    let begin = match request.resume_revision {
        0 => Begin::Snapshot,
        revision => Begin::Touched { since: revision, changes: touched(api, &state, revision).await? },
    };
    let watcher = Watcher { api: api.clone(), parent, after: state.revision };
    api.stream(|outlet| watcher.run(outlet, state, begin))
}

/// What comes before the changes.
enum Begin {
    Snapshot,
    /// By name: what the client has not seen of it.
    Touched {
        since: i64,
        changes: BTreeMap<String, Change>,
    },
}

struct Watcher {
    api: Api,
    /// Empty: everything.
    parent: String,
    /// All up to this revision was sent.
    after: i64,
}

impl Watcher {
    async fn run(mut self, mut outlet: Outlet<WatchEvent>, state: State, begin: Begin) -> (Outlet<WatchEvent>, End) {
        let end = match self.follow(&mut outlet, state, begin).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        (outlet, end)
    }

    async fn follow(
        &mut self,
        outlet: &mut Outlet<WatchEvent>,
        state: State,
        begin: Begin,
    ) -> Result<std::convert::Infallible, End> {
        let mut latest = self.api.reconciler.changes().latest();
        match begin {
            Begin::Snapshot => {
                let own: Vec<Object> = Object::all(&state.objects).filter(|object| self.concerns(object)).collect();
                for object in own {
                    // Half a snapshot is none: whoever is cut off here begins again.
                    outlet.send(event(Kind::Snapshot, 0, Some(object))).await?;
                }
            }
            Begin::Touched { since, changes } => {
                let own: Vec<Change> = changes.into_values().filter(|change| self.concerns(change.object())).collect();
                for change in own {
                    // In the order of names, not of time: whoever is cut off here resumes where this began.
                    outlet.send(changed(change, since)).await?;
                }
            }
        }
        drop(state);
        outlet.send(event(Kind::Synced, self.after, None)).await?;
        loop {
            let commits = self.api.reconciler.changes().after(self.after).map_err(|_| {
                errors::too_slow(format!("more was committed than is held; resume with resume_revision {}", self.after))
            })?;
            for commit in &commits {
                let own: Vec<Change> =
                    commit.changes.iter().filter(|change| self.concerns(change.object())).cloned().collect();
                let last = own.len();
                for (change, number) in own.into_iter().zip(1..) {
                    let resume = if number == last { commit.revision } else { commit.revision - 1 };
                    outlet.send(changed(change, resume)).await?;
                }
                self.after = commit.revision;
            }
            let after = self.after;
            let news = tokio::time::timeout(HEARTBEAT, latest.wait_for(|latest| *latest > after));
            let is_silent = match outlet.until(news).await? {
                Ok(Ok(_)) => false,
                Ok(Err(_)) => return Err(End::Because(errors::going_away())),
                Err(_) => true,
            };
            if is_silent {
                outlet.send(event(Kind::Heartbeat, self.after, None)).await?;
            }
        }
    }

    fn concerns(&self, object: &Object) -> bool {
        self.parent.is_empty() || name::is_under(object.name(), &self.parent)
    }
}

/// What was touched after a revision that the client knows, as it is now.
async fn touched(api: &Api, state: &State, revision: i64) -> Result<BTreeMap<String, Change>, Status> {
    let current = state.revision;
    let compacted = || {
        let message = format!("what was changed after revision {revision} is no longer held; begin with a snapshot");
        errors::no_longer_held(message)
    };
    if revision > current {
        let message = format!("revision {revision} is not there, the newest is {current}; begin with a snapshot");
        return Err(errors::no_longer_held(message));
    }
    let (mut touched, mut before, mut count) = (BTreeMap::new(), current.saturating_add(1), 0);
    while before > revision + 1 {
        let read = history::read(api, before).await?;
        count += read.len();
        let oldest = read.last().filter(|_| count <= RESUMED_MAX).ok_or_else(compacted)?;
        before = oldest.revision;
        // Newest first: what the newest commit made of an object is what it is now.
        for change in read.into_iter().filter(|own| own.revision > revision).flat_map(|own| own.changes) {
            if touched.contains_key(&change.name) {
                continue;
            }
            let now = match Object::find(&state.objects, &change.name) {
                Some(object) => Change::Put(object),
                None if change.kind() == resource_change::Kind::Deleted => Change::Deleted(was(&change)?),
                None => continue,
            };
            touched.insert(change.name, now);
        }
    }
    Ok(touched)
}

/// An object that is gone, as the history has it.
fn was(change: &laneway_proto::admin::ResourceChange) -> Result<Object, Status> {
    // Where the history had no room for it, its name alone.
    let text = match is_brief(change) {
        true => &serde_json::json!({ "name": change.name }).to_string(),
        false => &change.before_json,
    };
    let read = if name::parse_lane(&change.name).is_some() {
        json::read_input(text, "Lane").map(|lane| Object::Lane(Box::new(lane)))
    } else if name::parse_policy(&change.name).is_some() {
        json::read_input(text, "ServicePolicy").map(|policy| Object::ServicePolicy(Box::new(policy)))
    } else {
        json::read_input(text, "LaneGroup").map(|group| Object::LaneGroup(Box::new(group)))
    };
    read.map_err(|problem| Status::internal(format!("{} as it was cannot be read: {problem}", change.name)))
}

fn changed(change: Change, resume: i64) -> WatchEvent {
    match change {
        Change::Put(object) => event(Kind::Changed, resume, Some(object)),
        Change::Deleted(object) => event(Kind::Deleted, resume, Some(object)),
    }
}

fn event(kind: Kind, resume: i64, object: Option<Object>) -> WatchEvent {
    let resource = object.map(|object| match object {
        Object::LaneGroup(group) => Resource::LaneGroup(*group),
        Object::Lane(mut lane) => {
            lane.set_state(read::current_state(&lane));
            Resource::Lane(*lane)
        }
        Object::ServicePolicy(policy) => Resource::ServicePolicy(*policy),
    });
    WatchEvent { kind: kind.into(), revision: resume, resource }
}
