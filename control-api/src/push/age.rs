//! When a stream has lived long enough. Pure: chance is a seed, time is told.
//!
//! Streams would live for as long as pods, so a replica that was started later would never get any, and whoever was let in once would
//! stay: its token may be over, its pod gone. Each ends after half an hour at most, drawn a little apart, between two responses rather
//! than within one; the sidecar has another one within a tenth of a second, perhaps with another replica, and is sent nothing that it
//! has. At the door it is looked at anew. So the door is asked before: while it cannot say who anybody is, because the API server
//! of the cluster is away, a stream that ended could not come back, and stays for some hours.

use std::time::{Duration, Instant};

/// How long a stream lives, and by how much it may be more or less.
const LIFE: Duration = Duration::from_secs(27 * 60);
const SPREAD: Duration = Duration::from_secs(3 * 60);
/// Longest wait for what is in flight to be answered.
const GRACE: Duration = Duration::from_secs(10);

/// While nobody can say who a sidecar is, its stream asks again after each of these,
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// and stays for so long at most: an API server may be away for a night's maintenance, and who was let in is known for that long only.
const STAY_MAX: Duration = Duration::from_secs(4 * 3600);

/// No stream lives longer while it can be asked who it is, so what was opened beside it after it has no reason to. Half an hour, and the grace.
pub(super) const LONGEST: Duration = LIFE.saturating_add(SPREAD).saturating_add(GRACE);

/// The age of one stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Age {
    old_at: Instant,
    /// When the door is asked, first as soon as it is old.
    ask_at: Instant,
}

impl Age {
    /// Every seed is good; streams that began together should have different ones.
    pub(super) fn begin(now: Instant, seed: u64) -> Age {
        let share = (seed >> 11) as f64 / (1_u64 << 53) as f64;
        Age::of(now + LIFE - SPREAD + SPREAD.mul_f64(2.0 * share))
    }

    /// Of a stream that is opened beside another, after it.
    pub(super) fn begin_beside(now: Instant) -> Age {
        Age::of(now + LONGEST)
    }

    fn of(old_at: Instant) -> Age {
        Age { old_at, ask_at: old_at }
    }

    /// When it ends if the door knows who it is, as things are.
    pub(super) fn ends(&self, is_answered: bool) -> Instant {
        if is_answered { self.ask_at } else { self.ask_at + GRACE }
    }

    /// Nobody can say who it is. False: it has stayed for long enough.
    pub(super) fn stay(&mut self, now: Instant) -> bool {
        self.ask_at = now + ASK_AGAIN;
        self.ask_at <= self.old_at + STAY_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::{ASK_AGAIN, Age, GRACE, LIFE, LONGEST, SPREAD, STAY_MAX};
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

    #[test]
    fn while_nobody_can_say_who_it_is_a_stream_stays_for_some_hours_and_asks_each_minute() {
        let begun = Instant::now();
        let mut age = Age::begin(begun, 7);
        let old_at = age.ends(true);
        let mut asked = 0;
        while age.stay(age.ends(true)) {
            asked += 1;
            assert_eq!(age.ends(true), old_at + ASK_AGAIN * asked);
        }
        assert_eq!(ASK_AGAIN * asked, STAY_MAX);
        assert_eq!(STAY_MAX, Duration::from_secs(4 * 3600), "as docs/security.md says");
        assert_eq!(Age::begin_beside(begun).ends(true), begun + LONGEST);
    }
}
