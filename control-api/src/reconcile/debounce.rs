//! How long a change waits for more of its kind. Pure.

use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// How urgent a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// A lane was switched: now.
    Switch,
    Rules,
    Endpoints,
}

/// Quiet that ends a burst, and the longest that a burst is waited for.
const RULES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));
/// A rollout moves many instances in a row.
const ENDPOINTS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// Changes that are waiting.
#[derive(Debug, Default)]
pub(super) struct Debounce {
    switch: Option<Instant>,
    rules: Option<Burst>,
    endpoints: Option<Burst>,
}

#[derive(Clone, Copy, Debug)]
struct Burst {
    first: Instant,
    last: Instant,
}

impl Debounce {
    pub(super) fn note(&mut self, pace: Pace, now: Instant) {
        let extend = |burst: &mut Option<Burst>| {
            *burst = Some(Burst { first: burst.map_or(now, |burst| burst.first), last: now });
        };
        match pace {
            Pace::Switch => self.switch = Some(self.switch.unwrap_or(now)),
            Pace::Rules => extend(&mut self.rules),
            Pace::Endpoints => extend(&mut self.endpoints),
        }
    }

    /// When to publish; `None` when nothing waits.
    pub(super) fn due(&self) -> Option<Instant> {
        let due = |burst: Option<Burst>, (quiet, longest): (Duration, Duration)| {
            burst.map(|burst| (burst.last + quiet).min(burst.first + longest))
        };
        [self.switch, due(self.rules, RULES), due(self.endpoints, ENDPOINTS)].into_iter().flatten().min()
    }

    /// Takes everything that waits, if any of it is due.
    pub(super) fn take_if_due(&mut self, now: Instant) -> bool {
        let is_due = self.due().is_some_and(|due| due <= now);
        if is_due {
            *self = Debounce::default();
        }
        is_due
    }
}
