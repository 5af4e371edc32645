//! How well the outside is heard: written by sources, read by whoever shows it. Pure: the time comes in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Clones are the same.
#[derive(Clone, Default)]
pub struct Standing(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    watches: Vec<Watch>,
    problems: Problems,
}

struct Watch {
    /// What it watches.
    kind: &'static str,
    heard: Instant,
    restarts: u64,
}

/// One watch, told of by whoever keeps it.
pub struct Ear {
    standing: Standing,
    at: usize,
}

/// The watches of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// For how long the one that was not heard for the longest was not.
    pub silence: Duration,
    /// How often one had to be started again.
    pub restarts: u64,
}

/// What is wrong with what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    pub told: Vec<String>,
    /// How many more there are.
    pub untold: usize,
}

impl Standing {
    /// One more watch.
    pub fn ear(&self, kind: &'static str, now: Instant) -> Ear {
        let mut state = self.state();
        state.watches.push(Watch { kind, heard: now, restarts: 0 });
        Ear { standing: self.clone(), at: state.watches.len() - 1 }
    }

    /// By kind.
    pub fn watched(&self, now: Instant) -> BTreeMap<&'static str, Watched> {
        let mut kinds: BTreeMap<&'static str, Watched> = BTreeMap::new();
        for watch in &self.state().watches {
            let kind = kinds.entry(watch.kind).or_default();
            kind.silence = kind.silence.max(now.saturating_duration_since(watch.heard));
            kind.restarts += watch.restarts;
        }
        kinds
    }

    /// As they are now, in place of those before.
    pub fn find(&self, problems: Problems) {
        self.state().problems = problems;
    }

    pub fn problems(&self) -> Problems {
        self.state().problems.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one value.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ear {
    pub fn heard(&self, now: Instant) {
        if let Some(watch) = self.standing.state().watches.get_mut(self.at) {
            watch.heard = now;
        }
    }

    pub fn restarted(&self) {
        if let Some(watch) = self.standing.state().watches.get_mut(self.at) {
            watch.restarts += 1;
        }
    }
}

impl Problems {
    pub fn count(&self) -> usize {
        self.told.len() + self.untold
    }
}
