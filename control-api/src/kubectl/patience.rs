//! How long a replica that does not lead leaves things to the one that does. Pure.

use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// While nothing is committed.
pub(super) const LEAVE_IT: Duration = Duration::from_secs(3);
/// While something is: whoever leads is at it, one object after another (a folder of hundreds that somebody applied).
const LEAVE_IT_MAX: Duration = Duration::from_secs(60);

pub(super) struct Patience {
    revision: i64,
    /// When it was seen first.
    since: Instant,
}

impl Patience {
    pub(super) fn new(now: Instant) -> Patience {
        Patience { revision: 0, since: now }
    }

    /// That is the revision now.
    pub(super) fn saw(&mut self, revision: i64, now: Instant) {
        if self.revision != revision {
            *self = Patience { revision, since: now };
        }
    }

    /// With what is as it is since then, and nobody has acted on.
    pub(super) fn is_over(&self, since: Instant, now: Instant) -> bool {
        let is_quiet = now.saturating_duration_since(self.since) >= LEAVE_IT;
        now.saturating_duration_since(since) >= if is_quiet { LEAVE_IT } else { LEAVE_IT_MAX }
    }
}
