//! What the newest commits changed, in memory, for those who watch.
//!
//! ```text
//!   reconcile --note--> [ commit | commit | commit ] --after(revision)--> api: one reader for each watcher, at its own pace
//!                         ^ the oldest goes when there are too many
//! ```
//! Nothing is queued for anybody: a watcher remembers a revision and comes back for what followed. Bounded by number and by
//! bytes; whoever falls behind is told so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use laneway_core::compile::Objects;
use laneway_proto::admin::{Lane, LaneGroup, ServicePolicy};
use prost::Message;
use tokio::sync::watch;

#[cfg(test)]
mod tests;

/// How much is held.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    pub commits: usize,
    /// Of the objects as they are sent.
    pub bytes: usize,
}

/// Some seconds at the highest rate of writes: what a watcher may be slow by.
pub const BOUND: Bound = Bound { commits: 1_000, bytes: 16 << 20 };

/// An object of any kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    LaneGroup(Box<LaneGroup>),
    Lane(Box<Lane>),
    ServicePolicy(Box<ServicePolicy>),
}

/// What became of one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// As it is now.
    Put(Object),
    /// As it last was.
    Deleted(Object),
}

/// One commit.
#[derive(Debug, PartialEq)]
pub struct Committed {
    pub revision: i64,
    /// In order of names within a kind; groups before lanes.
    pub changes: Vec<Change>,
}

/// What was asked for is not held any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FellBehind;

/// The newest commits.
pub struct Changes {
    bound: Bound,
    recent: Mutex<Recent>,
    /// The newest revision; changes with each.
    latest: watch::Sender<i64>,
}

struct Recent {
    /// Everything after this revision is held.
    after: i64,
    commits: VecDeque<(Arc<Committed>, usize)>,
    bytes: usize,
}

impl Changes {
    /// Nothing has been committed since `revision`.
    pub fn new(revision: i64, bound: Bound) -> Changes {
        let recent = Recent { after: revision, commits: VecDeque::new(), bytes: 0 };
        Changes { bound, recent: Mutex::new(recent), latest: watch::channel(revision).0 }
    }

    /// The step from one state to the next. Called in order of revisions, one after the other.
    pub fn note(&self, revision: i64, before: &Objects, after: &Objects) {
        let changes = differences(before, after);
        let bytes = changes.iter().map(Change::size).sum();
        {
            let mut recent = self.recent();
            recent.bytes += bytes;
            recent.commits.push_back((Arc::new(Committed { revision, changes }), bytes));
            while recent.commits.len() > self.bound.commits || recent.bytes > self.bound.bytes {
                let Some((oldest, bytes)) = recent.commits.pop_front() else { break };
                recent.bytes -= bytes;
                recent.after = oldest.revision;
            }
        }
        self.latest.send_replace(revision);
    }

    /// What was committed after a revision, in order.
    pub fn after(&self, revision: i64) -> Result<Vec<Arc<Committed>>, FellBehind> {
        let recent = self.recent();
        if revision < recent.after {
            return Err(FellBehind);
        }
        let start = recent.commits.partition_point(|(commit, _)| commit.revision <= revision);
        Ok(recent.commits.iter().skip(start).map(|(commit, _)| Arc::clone(commit)).collect())
    }

    /// The newest revision, and its changes.
    pub fn latest(&self) -> watch::Receiver<i64> {
        self.latest.subscribe()
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        // Whoever panicked left whole values behind.
        self.recent.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Object {
    pub fn name(&self) -> &str {
        match self {
            Object::LaneGroup(group) => &group.name,
            Object::Lane(lane) => &lane.name,
            Object::ServicePolicy(policy) => &policy.name,
        }
    }

    /// Every object there is, in the order of [`Committed::changes`].
    pub fn all(objects: &Objects) -> impl Iterator<Item = Object> + '_ {
        let groups = objects.groups.values().map(|group| Object::LaneGroup(Box::new(group.clone())));
        let lanes = objects.lanes.values().map(|lane| Object::Lane(Box::new(lane.clone())));
        let policies = objects.policies.values().map(|policy| Object::ServicePolicy(Box::new(policy.clone())));
        groups.chain(lanes).chain(policies)
    }

    /// The object of that name.
    pub fn find(objects: &Objects, name: &str) -> Option<Object> {
        let group = || objects.groups.get(name).map(|group| Object::LaneGroup(Box::new(group.clone())));
        let lane = || objects.lanes.get(name).map(|lane| Object::Lane(Box::new(lane.clone())));
        let policy = || objects.policies.get(name).map(|policy| Object::ServicePolicy(Box::new(policy.clone())));
        group().or_else(lane).or_else(policy)
    }
}

impl Change {
    pub fn object(&self) -> &Object {
        match self {
            Change::Put(object) | Change::Deleted(object) => object,
        }
    }

    fn size(&self) -> usize {
        match self.object() {
            Object::LaneGroup(group) => group.encoded_len(),
            Object::Lane(lane) => lane.encoded_len(),
            Object::ServicePolicy(policy) => policy.encoded_len(),
        }
    }
}

fn differences(before: &Objects, after: &Objects) -> Vec<Change> {
    let mut changes = Vec::new();
    compare(
        &before.groups,
        &after.groups,
        |own| own.revision,
        |own| Object::LaneGroup(Box::new(own.clone())),
        &mut changes,
    );
    compare(&before.lanes, &after.lanes, |own| own.revision, |own| Object::Lane(Box::new(own.clone())), &mut changes);
    let policy = |own: &ServicePolicy| Object::ServicePolicy(Box::new(own.clone()));
    compare(&before.policies, &after.policies, |own| own.revision, policy, &mut changes);
    changes
}

/// What is written has another revision; nothing else needs to be compared.
fn compare<T>(
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
    revision: impl Fn(&T) -> i64,
    object: impl Fn(&T) -> Object,
    changes: &mut Vec<Change>,
) {
    let put = after.iter().filter(|(name, own)| before.get(*name).is_none_or(|old| revision(old) != revision(own)));
    changes.extend(put.map(|(_, own)| Change::Put(object(own))));
    let gone = before.iter().filter(|(name, _)| !after.contains_key(*name));
    changes.extend(gone.map(|(_, old)| Change::Deleted(object(old))));
}
