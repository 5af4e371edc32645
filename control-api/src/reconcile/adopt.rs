//! What other replicas commit, taken over: the objects here become theirs, at once where something was switched.
//!
//! The loop asks the store again and again, also when it was away; what a change makes of the objects is worked out by pure functions.

use std::sync::Arc;
use std::time::Duration;

use laneway_core::compile::Objects;
use tracing::{info, warn};

use super::{Pace, Reconciler, restored, unreadable};
use crate::edit;
use crate::store::{self, Capability, Change, Record, StoreError};

/// Wait before the store is followed again after a failure, doubled each time.
const FOLLOW_AGAIN_FIRST: Duration = Duration::from_millis(100);
const FOLLOW_AGAIN_MAX: Duration = Duration::from_secs(5);

/// What came of a change that the store told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Adopted {
    New,
    /// It was here already: our own, or read by a write.
    Known,
    /// Something before it is missing here.
    Gap,
}

impl Reconciler {
    /// Adopts what other replicas commit, for as long as the process runs; at once done where there can be no others.
    pub async fn follow(self) {
        if !store::can(&*self.shared.store, Capability::Replicas) {
            return;
        }
        let mut following = self.shared.store.follow(self.state().revision);
        let mut pause = FOLLOW_AGAIN_FIRST;
        loop {
            let adopted = match following.next().await {
                Ok(change) => self.adopt(change),
                Err(failure) => Err(failure),
            };
            match adopted {
                Ok(adopted) => {
                    if pause > FOLLOW_AGAIN_FIRST {
                        info!(revision = self.state().revision, "the store is followed again");
                        pause = FOLLOW_AGAIN_FIRST;
                    }
                    if adopted == Adopted::Gap {
                        following = self.shared.store.follow(self.state().revision);
                    }
                }
                // Sidecars keep what they have, and are served.
                Err(failure) => {
                    if pause == FOLLOW_AGAIN_FIRST {
                        let error = &failure as &(dyn std::error::Error + 'static);
                        warn!(error, "what other replicas commit is not seen until the store is back");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(FOLLOW_AGAIN_MAX);
                }
            }
        }
    }

    /// Takes what another replica, or this one, has committed.
    pub(super) fn adopt(&self, change: Change) -> Result<Adopted, StoreError> {
        let state = self.state();
        let (revision, objects) = match change {
            Change::Whole(stored) if stored.revision <= state.revision => return Ok(Adopted::Known),
            Change::Commit { revision, .. } if revision <= state.revision => return Ok(Adopted::Known),
            Change::Commit { revision, .. } if revision > state.revision + 1 => return Ok(Adopted::Gap),
            Change::Whole(stored) => (stored.revision, restored(&stored.records)?),
            Change::Commit { revision, puts, deletes } => {
                (revision, changed(&state.objects, &puts, &deletes).map_err(unreadable)?)
            }
        };
        let pace = if is_switched(&state.objects, &objects) { Pace::Switch } else { Pace::Rules };
        if self.advance(revision, Arc::new(objects), pace) {
            info!(revision, "adopted what another replica committed");
        }
        Ok(Adopted::New)
    }
}

/// The objects with these in place, and those gone.
pub(super) fn changed(objects: &Objects, puts: &[Record], deletes: &[String]) -> Result<Objects, prost::DecodeError> {
    let mut objects = objects.clone();
    for name in deletes {
        objects.groups.remove(name);
        objects.lanes.remove(name);
        objects.policies.remove(name);
    }
    edit::restore_into(&mut objects, puts)?;
    Ok(objects)
}

/// True when something was switched on or off, or came switched off: as urgent here as where it was done.
pub(super) fn is_switched(before: &Objects, after: &Objects) -> bool {
    let lanes = after.lanes.iter().any(|(name, lane)| {
        let was = before.lanes.get(name).map_or(Some(true), |before| before.enabled);
        was != lane.enabled
    });
    let policies = after.policies.iter().any(|(name, policy)| {
        let was = before.policies.get(name).map_or(Some(true), |before| before.enabled);
        was != policy.enabled
    });
    lanes || policies
}
