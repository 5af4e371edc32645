//! How long a sidecar waits before it tries to reach the control plane again. Pure: chance is a seed, time is told.
//!
//! ```text
//!             never opened          opened, then lost with everybody else's
//!   pause in  [0, 0.1 s]            [0, 15 s]         <- drawn
//!             [0, 0.2 s]            15 s              <- not drawn: who is spread evenly stays so,
//!             [0, 0.4 s] ..         15 s ..              however long the control plane is away
//!             [0, 15 s]
//! ```
//! A control plane that dies takes the streams of all its sidecars in the same moment, and most often it is back in less than a
//! second. Pauses that begin small would bring all of them back in that second; these bring back one in fifteen in any one.
//! The sidecar and the simulators of the load recipes run this same code.

use std::time::Duration;

#[cfg(test)]
mod tests;

/// First and longest limit of a pause.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(15);
/// A stream that lived this long starts the pauses anew.
const STEADY: Duration = Duration::from_secs(60);

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// There was no stream: nobody answered, or we were turned away.
    Unopened,
    /// This stream and no other: it was old enough, a newer one of the same node took over, we broke a rule.
    Dismissed,
    /// The control plane went away, or the way to it: whoever else was connected lost its stream too.
    Lost,
}

impl Ended {
    /// What the last word of an open stream, a google.rpc.Code, means. 0: it had its time, which is drawn for each stream.
    pub fn with_code(code: i32) -> Ended {
        const OK: i32 = 0;
        const INVALID_ARGUMENT: i32 = 3;
        const PERMISSION_DENIED: i32 = 7;
        const RESOURCE_EXHAUSTED: i32 = 8;
        const ABORTED: i32 = 10;
        const OUT_OF_RANGE: i32 = 11;
        const UNIMPLEMENTED: i32 = 12;
        const UNAUTHENTICATED: i32 = 16;
        match code {
            // A newer stream of the same node (ABORTED), a rule that was broken, what is not allowed: nobody else's business.
            OK | INVALID_ARGUMENT | PERMISSION_DENIED | RESOURCE_EXHAUSTED | ABORTED | OUT_OF_RANGE | UNIMPLEMENTED
            | UNAUTHENTICATED => Ended::Dismissed,
            _ => Ended::Lost,
        }
    }
}

/// The pauses of one sidecar.
#[derive(Clone, Debug)]
pub struct BackOff {
    limit: Duration,
    /// Many wait for the same control plane.
    is_one_of_many: bool,
    dice: u64,
}

impl BackOff {
    /// The seed should differ from sidecar to sidecar; every value is good.
    pub fn new(seed: u64) -> BackOff {
        BackOff { limit: FIRST, is_one_of_many: false, dice: seed }
    }

    /// How long to wait after a try that ended so and lived so long.
    pub fn pause(&mut self, ended: Ended, lived: Duration) -> Duration {
        if lived >= STEADY {
            self.limit = FIRST;
        }
        match ended {
            Ended::Lost => {
                self.is_one_of_many = true;
                return self.draw(LONGEST);
            }
            Ended::Unopened if self.is_one_of_many => return LONGEST,
            Ended::Unopened => {}
            Ended::Dismissed => self.is_one_of_many = false,
        }
        let pause = self.draw(self.limit);
        self.limit = (self.limit * 2).min(LONGEST);
        pause
    }

    /// Anything up to a limit ("full jitter"): splitmix64, whose values are even whatever the seed.
    fn draw(&mut self, limit: Duration) -> Duration {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.dice;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        limit.mul_f64((mixed >> 11) as f64 / (1_u64 << 53) as f64)
    }
}
