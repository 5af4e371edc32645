//! How far objects have got on the sidecars of all replicas. Replicas that answer late hold nobody up: each count is a task of its own, and
//! what is known when somebody looks is what was counted last.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use laneway_proto::status::Rollout;
use tokio::task::JoinSet;
use tracing::warn;

use super::{LOOK_EVERY, Progress};
use crate::store::kubernetes::watch::Key;

#[cfg(test)]
mod tests;

/// How often sidecars that have all acknowledged an object are counted again: some may have come.
const COUNT_AGAIN: Duration = Duration::from_secs(10);
/// Objects that are counted at a time: other replicas are asked for each.
const COUNTED_MAX: usize = 50;

pub(super) struct Counts {
    progress: Progress,
    counted: BTreeMap<Key, Counted>,
    running: JoinSet<(Key, Counted)>,
    asked: BTreeSet<Key>,
}

/// What was counted last.
struct Counted {
    /// Of what was in force.
    revision: i64,
    rollout: Option<Rollout>,
    again: Instant,
}

/// An object to be counted.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) key: Key,
    pub(super) name: String,
    pub(super) revision: i64,
}

impl Counts {
    pub(super) fn new(progress: Progress) -> Counts {
        Counts { progress, counted: BTreeMap::new(), running: JoinSet::new(), asked: BTreeSet::new() }
    }

    /// Takes in what was counted meanwhile, and counts those that wait longest: first those of which nothing was counted at that revision.
    pub(super) fn look(&mut self, wanted: Vec<Wanted>, now: Instant) {
        self.take_in();
        let there: BTreeSet<&Key> = wanted.iter().map(|own| &own.key).collect();
        self.counted.retain(|key, _| there.contains(key));
        let since = |own: &Wanted| {
            let old = self.counted.get(&own.key).filter(|old| old.revision == own.revision);
            old.map(|old| old.again)
        };
        let mut due: Vec<(Option<Instant>, Wanted)> = wanted.into_iter().map(|own| (since(&own), own)).collect();
        due.retain(|(again, own)| again.is_none_or(|again| again <= now) && !self.asked.contains(&own.key));
        due.sort_by_key(|(again, _)| *again);
        let room = COUNTED_MAX.saturating_sub(self.running.len());
        for (_, Wanted { key, name, revision }) in due.into_iter().take(room) {
            self.asked.insert(key.clone());
            let progress = (self.progress)(name);
            self.running.spawn(async move {
                let rollout = progress.await;
                let is_done = rollout.as_ref().is_some_and(|rollout| rollout.done);
                let again = Instant::now() + if is_done { COUNT_AGAIN } else { LOOK_EVERY };
                (key, Counted { revision, rollout, again })
            });
        }
    }

    fn take_in(&mut self) {
        while let Some(done) = self.running.try_join_next() {
            match done {
                Ok((key, counted)) => {
                    self.asked.remove(&key);
                    self.counted.insert(key, counted);
                }
                Err(failure) => {
                    // Nobody knows whose it was: all are asked for again.
                    warn!(%failure, "sidecars were not counted");
                    self.asked.clear();
                }
            }
        }
    }

    /// What was counted of that revision. Nothing: its turn comes. `Some(None)`: no sidecar can be asked for it.
    pub(super) fn of(&self, key: &Key, revision: i64) -> Option<Option<&Rollout>> {
        self.counted.get(key).filter(|own| own.revision == revision).map(|own| own.rollout.as_ref())
    }
}
