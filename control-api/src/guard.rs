//! Switches off lanes that do worse than their baseline, where their guard says so: one task, which judges on the replica that
//! leads and keeps sidecars reporting every second on all of them.
//!
//! ```text
//!   every second: for each lane that is on and guarded
//!     observe (all replicas) --> judge (stats::verdict) --worse--> disable, as DisableLane does | warn
//! ```
//! It never enables. A lane that somebody changed or enabled since it was judged is left alone, and what was counted before that
//! is not held against it: whoever enables a lane again gets a fresh window. Started by `app`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use laneway_proto::admin::{GuardAction, Lane};
use tokio::task::JoinSet;
use tracing::{error, warn};

use crate::edit::trip;
use crate::leader::Leader;
use crate::reconcile::audit::Call;
use crate::reconcile::{MakeEdit, Reconciler, Request, WriteError};
use crate::stats::observe::{Observe, counted};
use crate::stats::verdict::{Limits, Verdict};
use crate::stats::{Cell, Key, Stats, Watching};
use crate::store::StoreError;

#[cfg(test)]
mod tests;

/// Between two judgements of a lane.
const JUDGE_EVERY: Duration = Duration::from_secs(1);
/// Lanes that are asked about at a time: a replica that does not answer is waited for once for all of them, and none is asked more
/// than its connection carries.
const ASKED_MAX: usize = 32;
/// Wait after a failed write, doubled each time up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Who is named in the history.
const PRINCIPAL: &str = "laneway:guard";
const METHOD: &str = "laneway.admin.v1.LaneAdmin/DisableLane";
/// google.rpc.Code of what went as it was meant to.
const CODE_OK: i32 = 0;

/// How often a guard did something; cheap to clone.
#[derive(Clone, Default)]
pub struct Deeds(Arc<Counts>);

#[derive(Default)]
struct Counts {
    disabled: AtomicU64,
    warned: AtomicU64,
    failed: AtomicU64,
}

impl Deeds {
    /// By what was done: lanes disabled, warnings, lanes that should have been disabled and could not be.
    pub fn counts(&self) -> [(&'static str, u64); 3] {
        let Counts { disabled, warned, failed } = &*self.0;
        [("disabled", disabled.load(Relaxed)), ("warned", warned.load(Relaxed)), ("failed", failed.load(Relaxed))]
    }
}

/// The task, before it runs.
pub struct Guard {
    reconciler: Reconciler,
    leader: Leader,
    stats: Stats,
    observe: Observe,
    deeds: Deeds,
    /// While a lane is guarded sidecars report every second.
    watching: Option<Watching>,
    /// Lanes that were warned of: as what they were judged, and until when nothing is said again, seconds.
    warned: BTreeMap<String, (String, u64)>,
    /// Writes that failed since the last that did not.
    failures: u32,
}

/// The lane, and what to compare it by.
struct Guarded {
    lane: Lane,
    limits: Limits,
    action: GuardAction,
}

impl Guard {
    pub fn new(reconciler: Reconciler, leader: Leader, stats: Stats, observe: Observe, deeds: Deeds) -> Guard {
        Guard { reconciler, leader, stats, observe, deeds, watching: None, warned: BTreeMap::new(), failures: 0 }
    }

    /// Looks for as long as the process runs.
    pub async fn run(mut self) {
        let mut published = self.reconciler.published();
        loop {
            // Seen before the look: what comes later wakes.
            published.borrow_and_update();
            let has_work = self.look().await;
            tokio::select! {
                () = tokio::time::sleep(self.pause()), if has_work => {}
                // The sender lives in our own reconciler. What is judged every second need not be woken.
                _ = published.changed(), if !has_work => {}
                () = self.leader.changed(), if !has_work => {}
            }
        }
    }

    /// Judges every guarded lane once. True: there are some, and it is ours to do.
    async fn look(&mut self) -> bool {
        let lanes = guarded(&self.reconciler);
        self.watching = match self.watching.take() {
            _ if lanes.is_empty() => None,
            Some(watching) => Some(watching),
            None => Some(self.stats.watch()),
        };
        if !self.leader.leads() {
            self.warned.clear();
            return false;
        }
        self.warned.retain(|name, _| lanes.iter().any(|guarded| guarded.lane.name == *name));
        for some in lanes.chunks(ASKED_MAX) {
            let now = self.stats.now();
            let mut asked = JoinSet::new();
            for (at, Guarded { lane, limits, .. }) in some.iter().enumerate() {
                let counted = counted(&self.observe, lane, limits, now);
                asked.spawn(async move { (at, counted.await) });
            }
            while let Some(done) = asked.join_next().await {
                match done {
                    Ok((at, counted)) => self.judge(&some[at], &counted, now).await,
                    Err(failure) => error!(%failure, "a lane was not judged, which is a bug of ours"),
                }
            }
        }
        !lanes.is_empty()
    }

    async fn judge(&mut self, guarded: &Guarded, counted: &[(Key, Cell)], now: u64) {
        let Guarded { lane, limits, action } = guarded;
        let verdict = limits.judge(&lane.tag, counted.iter().map(|(key, cell)| (key, cell)));
        let Verdict::Worse(_, worse) = verdict else { return };
        let reason = worse.to_string();
        match action {
            GuardAction::Warn => self.warn(guarded, &reason, now),
            GuardAction::Disable | GuardAction::Unspecified => self.disable(lane, reason).await,
        }
    }

    /// Once in a window, and again for a lane that was changed.
    fn warn(&mut self, guarded: &Guarded, reason: &str, now: u64) {
        let Guarded { lane, limits, .. } = guarded;
        let is_told = |(etag, until): &(String, u64)| *etag == lane.etag && now < *until;
        if self.warned.get(&lane.name).is_some_and(is_told) {
            return;
        }
        self.warned.insert(lane.name.clone(), (lane.etag.clone(), now + limits.window_seconds));
        self.deeds.0.warned.fetch_add(1, Relaxed);
        warn!(lane = %lane.name, reason, "a lane does worse than its baseline; its guard only warns");
        let message = format!("it only warns: {reason}");
        self.reconciler.refused(&call(lane, reason), CODE_OK, &message);
    }

    async fn disable(&mut self, lane: &Lane, reason: String) {
        warn!(lane = %lane.name, reason, "a lane does worse than its baseline; its guard disables it");
        let request = Request { call: call(lane, &reason), is_urgent: true, ..Request::default() };
        let (name, etag) = (lane.name.clone(), lane.etag.clone());
        let make: MakeEdit = Box::new(move |state| Ok(trip::trip(&state.objects, &name, &etag, &reason)));
        match self.reconciler.write(request, make).await {
            Ok(outcome) => {
                self.failures = 0;
                // None: somebody else was quicker.
                self.deeds.0.disabled.fetch_add(u64::from(!outcome.changes.is_empty()), Relaxed);
            }
            Err(failure) => {
                self.failures = self.failures.saturating_add(1);
                self.deeds.0.failed.fetch_add(1, Relaxed);
                let (failures, retry_in_ms) = (self.failures, self.pause().as_millis());
                let (lane, error) = (&lane.name, &failure as &(dyn std::error::Error + 'static));
                if matches!(failure, WriteError::Outrun(_) | WriteError::Store(StoreError::Away(_))) {
                    warn!(lane, error, failures, retry_in_ms, "a lane that does worse waits to be disabled");
                } else {
                    error!(lane, error, failures, retry_in_ms, "a lane that does worse could not be disabled");
                }
            }
        }
    }

    /// Until the next look.
    fn pause(&self) -> Duration {
        match self.failures.checked_sub(1) {
            Some(doublings) => RETRY_FIRST.saturating_mul(1 << doublings.min(16)).min(RETRY_MAX),
            None => JUDGE_EVERY,
        }
    }
}

fn guarded(reconciler: &Reconciler) -> Vec<Guarded> {
    let state = reconciler.state();
    let on = state.objects.lanes.values().filter(|lane| lane.enabled.unwrap_or(true));
    let guarded = on.filter_map(|lane| {
        let guard = lane.guard.as_ref()?;
        Some(Guarded { lane: lane.clone(), limits: Limits::from(guard), action: guard.action() })
    });
    guarded.collect()
}

fn call(lane: &Lane, reason: &str) -> Call {
    Call {
        principal: PRINCIPAL.to_owned(),
        reason: reason.to_owned(),
        method: METHOD,
        resource: lane.name.clone(),
        ..Call::default()
    }
}
