//! When a stream has lived long enough. Pure: chance is a seed, time is told.
//!
//! Streams would live for as long as pods, so a replica that was started later would never get any, and whoever was let in once would
//! stay: its token may be over, its pod gone. Each ends after half an hour at most, drawn a little apart, between two responses rather
//! than within one; the sidecar has another one within a tenth of a second, perhaps with another replica, and is sent nothing that it
//! has. At the door it is looked at anew.

use std::time::{Duration, Instant};

/// How long a stream lives, and by how much it may be more or less.
const LIFE: Duration = Duration::from_secs(27 * 60);
const SPREAD: Duration = Duration::from_secs(3 * 60);
/// Longest wait for what is in flight to be answered.
const GRACE: Duration = Duration::from_secs(10);

/// No stream lives longer, so what was opened beside it after it has no reason to. Half an hour, and the grace.
pub(super) const LONGEST: Duration = LIFE.saturating_add(SPREAD).saturating_add(GRACE);

/// The age of one stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Age {
    old_at: Instant,
}

impl Age {
    /// Every seed is good; streams that began together should have different ones.
    pub(super) fn begin(now: Instant, seed: u64) -> Age {
        let share = (seed >> 11) as f64 / (1_u64 << 53) as f64;
        Age { old_at: now + LIFE - SPREAD + SPREAD.mul_f64(2.0 * share) }
    }

    /// When it ends, as things are.
    pub(super) fn ends(&self, is_answered: bool) -> Instant {
        if is_answered { self.old_at } else { self.old_at + GRACE }
    }
}

#[cfg(test)]
mod tests {
    use super::{Age, GRACE, LIFE, LONGEST, SPREAD};
    use std::time::{Duration, Instant};

    #[test]
    fn a_stream_lives_half_an_hour_more_or_less_and_a_grace_longer_while_an_answer_is_due() {
        let now = Instant::now();
        let lives = |seed| Age::begin(now, seed).ends(true) - now;
        assert_eq!(lives(0), LIFE - SPREAD);
        assert!(lives(u64::MAX) > LIFE + SPREAD - Duration::from_millis(1) && lives(u64::MAX) <= LIFE + SPREAD);
        assert_eq!(lives(u64::MAX / 2 + 1), LIFE);
        let age = Age::begin(now, 7);
        assert_eq!(age.ends(false) - age.ends(true), GRACE);
        assert!(Age::begin(now, u64::MAX).ends(false) - now <= LONGEST);
        assert_eq!(LONGEST, Duration::from_secs(30 * 60 + 10), "as docs/security.md says");
    }
}
