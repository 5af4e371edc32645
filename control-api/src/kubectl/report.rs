//! What has become of each object, written into its status. The leader alone does.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::conditions::{self, Reported};
use super::count::Wanted;
use super::{Failures, Kubectl, LOOK_EVERY, record_of, revision_of};
use crate::catalog;
use crate::reconcile::State;
use crate::store::kubernetes::in_force;
use crate::store::kubernetes::watch::{Key, Seen};
use crate::store::{Kind, StoreError};

/// Objects reported on in one look, each with a call of its own.
const REPORTED_MAX: usize = 50;
/// How often counts are reported that come and go with sidecars, where nothing else has changed.
const RECOUNT_EVERY: Duration = Duration::from_secs(10);

impl Kubectl {
    /// Writes the status of what has changed.
    pub(super) async fn report(&mut self, failures: &mut Failures) -> Result<(), StoreError> {
        let (state, now) = (self.reconciler.state(), Instant::now());
        let all = self.watch.all();
        self.reported.retain(|key, at| now.saturating_duration_since(*at) < RECOUNT_EVERY && all.contains_key(key));
        let in_force = all.iter().filter_map(|(key, seen)| {
            let revision = revision_of(&state, key.0, &seen.read.name);
            (revision > 0).then(|| Wanted { key: key.clone(), name: seen.read.name.clone(), revision })
        });
        self.counts.look(in_force.collect(), now);
        let mut written_count = 0;
        // First those that were not reported on: one whose status the cluster does not keep comes up with each look.
        let (late, first): (Vec<Key>, Vec<Key>) = all.keys().cloned().partition(|key| self.reported.contains_key(key));
        for key in first.into_iter().chain(late) {
            // The others with the next look: proposals do not wait for all of them.
            if written_count == REPORTED_MAX {
                break;
            }
            let Some(seen) = self.watch.all().get(&key) else { continue };
            let name = seen.read.name.clone();
            let reported = self.reported.get(&key);
            if self.left.contains_key(&name) || reported.is_some_and(|at| now.duration_since(*at) < LOOK_EVERY) {
                continue;
            }
            let status = self.status_of(&state, &key, seen).filter(|status| *status != seen.status);
            let status = status.filter(|status| reported.is_none() || !conditions::is_recount(status, &seen.status));
            let Some(status) = status else { continue };
            written_count += 1;
            self.reported.insert(key.clone(), now);
            if let Err(failure) = self.store.report(&key, &status).await {
                self.leave(name, failure, failures)?;
            }
        }
        Ok(())
    }

    /// Nothing: something is still to be found out.
    fn status_of(&self, state: &State, key: &Key, seen: &Seen) -> Option<Value> {
        let name = &seen.read.name;
        let judged = self.judged.get(key);
        // Nobody has judged it yet; or the state and the watch tell of a commit one after the other.
        let revision = revision_of(state, key.0, name);
        let is_ahead = seen.read.revision > state.revision && seen.read.revision != revision;
        if judged.is_none() && (self.is_proposed(state, key, seen) || is_ahead) {
            return None;
        }
        let rollout = if revision == 0 { None } else { self.counts.of(key, revision)? };
        let coverage = match key.0 {
            Kind::Lane => catalog::coverage(&state.objects, &state.catalog, name),
            Kind::LaneGroup | Kind::ServicePolicy => Vec::new(),
        };
        let text = in_force::held(&seen.status, revision)
            .or_else(|| record_of(state, key.0, name).as_ref().and_then(in_force::text));
        let reported = Reported {
            generation: seen.generation,
            refused: judged.map(|own| own.findings.as_slice()),
            revision,
            in_force: text,
            lane: state.objects.lanes.get(name),
            policy: state.objects.policies.get(name),
            rollout,
            coverage: &coverage,
        };
        Some(conditions::status(&reported, &seen.status, self.reconciler.now()))
    }
}
