//! Disables lanes whose time is over: one task, on the replica that leads.
//!
//! ```text
//!   look --(some are over)--> write, as DisableLane does --> look
//!    ^                          | failed: wait, longer each time
//!    '--- sleep until the next end, at most LOOK_EVERY <-- published something, or leads now
//! ```
//! The write finds out for itself what is over, so a lane that was given more time meanwhile is left alone. It never
//! deletes, and never enables: a clock that is set back changes nothing that was done. Started by `app`.

use std::time::{Duration, SystemTime};

use tracing::{error, warn};

use crate::edit::expiry;
use crate::leader::Leader;
use crate::reconcile::audit::Call;
use crate::reconcile::{MakeEdit, Reconciler, Request, WriteError};
use crate::store::StoreError;

#[cfg(test)]
mod tests;

/// Longest sleep. The wall clock may jump, and no timer tells of it.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Wait after a failed write, doubled each time up to [`LOOK_EVERY`].
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// How long a start waits for sidecars' configuration without the lanes that ended while nobody looked.
const PUBLISH_WAIT: Duration = Duration::from_secs(5);

/// Who is named in the history.
const PRINCIPAL: &str = "laneway:expiry";
const REASON: &str = "its time is over (ttl or expireTime)";
const METHOD: &str = "laneway.admin.v1.LaneAdmin/DisableLane";

/// The task, before it runs.
pub struct Expirer {
    reconciler: Reconciler,
    leader: Leader,
    /// Writes that failed since the last that did not.
    failures: u32,
}

impl Expirer {
    pub fn new(reconciler: Reconciler, leader: Leader) -> Expirer {
        Expirer { reconciler, leader, failures: 0 }
    }

    /// Looks once, so that no sidecar is ever sent a lane that ended while the process was away. The reconciler runs.
    pub async fn catch_up(&mut self) {
        let Some(revision) = self.look().await else { return };
        let mut published = self.reconciler.published();
        let done = published.wait_for(|published| published.revision >= revision);
        if tokio::time::timeout(PUBLISH_WAIT, done).await.is_err() {
            warn!(revision, "lanes that have ended are still being published");
        }
    }

    /// Looks for as long as the process runs.
    pub async fn run(mut self) {
        let mut published = self.reconciler.published();
        loop {
            // Seen before the look: what comes later wakes.
            published.borrow_and_update();
            self.look().await;
            let has_failed = self.failures > 0;
            tokio::select! {
                () = tokio::time::sleep(self.pause()) => {}
                // The sender lives in our own reconciler. After a failure nothing cuts the wait short.
                _ = published.changed(), if !has_failed => {}
                () = self.leader.changed() => {}
            }
        }
    }

    /// Disables what is over. The revision that it became, if there was something to do and it was done.
    async fn look(&mut self) -> Option<i64> {
        let mut done = None;
        // All at once; one by one where that is more than the store takes.
        let mut at_once = usize::MAX;
        while let Some(written) = self.write(at_once).await {
            match written {
                Ok(revision) if at_once > 1 || done == Some(revision) => return Some(revision),
                Ok(revision) => done = Some(revision),
                Err(WriteError::Store(StoreError::TooLarge(_))) if at_once > 1 => at_once = 1,
                Err(failure) => {
                    self.note(&failure);
                    return done;
                }
            }
        }
        done
    }

    /// Disables so many that are over, if there are any.
    async fn write(&mut self, at_once: usize) -> Option<Result<i64, WriteError>> {
        let is_due = |next: SystemTime| next <= self.reconciler.now();
        if !self.leader.leads() || !expiry::next(&self.reconciler.state().objects).is_some_and(is_due) {
            self.failures = 0;
            return None;
        }
        let call =
            Call { principal: PRINCIPAL.to_owned(), reason: REASON.to_owned(), method: METHOD, ..Call::default() };
        let request = Request { call, is_urgent: true, ..Request::default() };
        let now = self.reconciler.now();
        let make: MakeEdit = Box::new(move |state| Ok(expiry::overdue(&state.objects, now, at_once)));
        let outcome = self.reconciler.write(request, make).await;
        if outcome.is_ok() {
            self.failures = 0;
        }
        Some(outcome.map(|outcome| outcome.revision))
    }

    fn note(&mut self, failure: &WriteError) {
        self.failures = self.failures.saturating_add(1);
        let (failures, retry_in_ms) = (self.failures, self.pause().as_millis());
        let error = failure as &(dyn std::error::Error + 'static);
        if matches!(failure, WriteError::Outrun(_) | WriteError::Store(StoreError::Away(_))) {
            warn!(error, failures, retry_in_ms, "lanes whose time is over wait");
        } else {
            error!(error, failures, retry_in_ms, "lanes whose time is over could not be disabled");
        }
    }

    /// Until the next look, if nothing happens before.
    fn pause(&self) -> Duration {
        if let Some(doublings) = self.failures.checked_sub(1) {
            return RETRY_FIRST.saturating_mul(1 << doublings.min(16)).min(LOOK_EVERY);
        }
        let next = expiry::next(&self.reconciler.state().objects);
        let until = next.map(|next| next.duration_since(self.reconciler.now()).unwrap_or_default());
        until.filter(|_| self.leader.leads()).map_or(LOOK_EVERY, |until| until.min(LOOK_EVERY))
    }
}
