//! How long a sidecar waits before it tries to reach the control plane again. Pure: chance is a seed, time is told.
//!
//! ```text
//!             never opened          opened, then lost with everybody else's
//!   pause in  [0, 0.1 s]            [0, spread]       <- drawn
//!             [0, 0.2 s]            spread            <- not drawn: who is spread evenly stays so,
//!             [0, 0.4 s] ..         spread ..            however long the control plane is away
//!             [0, spread], spread, spread ..
//! ```
//! A control plane that dies takes the streams of all its sidecars in the same moment, and most often it is back in less than a
//! second. Pauses that begin small would bring all of them back in that second. How many they are the control plane knows, so it
//! tells each over what time to come back ([`Spread`]): a few are back at once, a thousand one in fifteen at a time. Who was never
//! told (an older control plane, none yet) takes 15 s.
//! The sidecar and the simulators of the load recipes run this same code.

use std::time::Duration;

pub use self::spread::Spread;

mod spread;
#[cfg(test)]
mod tests;

/// First and longest limit of a pause, where nothing was told.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(15);
/// A stream that lived this long starts the pauses anew. By then a control plane knows how many have come back.
const STEADY: Duration = Duration::from_secs(60);
/// Bounds of the wait for a connection: it must neither hold a try for longer than the tries are apart, nor ask for more than a
/// network far away gives.
const CONNECT_MIN: Duration = Duration::from_secs(1);
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// There was no stream: nobody answered.
    Unopened,
    /// This stream and no other: it was old enough, a newer one of the same node took over, we broke a rule or were turned away.
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

    /// What such a word means instead of a stream.
    pub fn before_open(code: i32) -> Ended {
        match Ended::with_code(code) {
            Ended::Lost => Ended::Unopened,
            other => other,
        }
    }
}

/// The pauses of one sidecar.
#[derive(Clone, Debug)]
pub struct BackOff {
    limit: Duration,
    /// Many wait for the same control plane.
    is_one_of_many: bool,
    /// As told.
    spread: Option<Spread>,
    dice: u64,
}

impl BackOff {
    /// The seed should differ from sidecar to sidecar; every value is good.
    pub fn new(seed: u64) -> BackOff {
        BackOff { limit: FIRST, is_one_of_many: false, spread: None, dice: seed }
    }

    /// How long to wait after a try that ended so and lived so long, with what was told last.
    pub fn pause(&mut self, ended: Ended, lived: Duration, told: Option<Spread>) -> Duration {
        self.listen(lived, told);
        if lived >= STEADY {
            self.limit = FIRST;
        }
        let spread = self.spread();
        let longest = match ended {
            Ended::Lost => {
                self.is_one_of_many = true;
                return self.draw(spread);
            }
            Ended::Unopened if self.is_one_of_many => return spread,
            Ended::Unopened => spread,
            Ended::Dismissed => LONGEST,
        };
        let limit = self.limit.min(longest);
        // From its longest pause on it goes on as evenly as the others.
        self.is_one_of_many = ended == Ended::Unopened && limit == longest;
        self.limit = (self.limit * 2).min(LONGEST);
        self.draw(limit)
    }

    /// How long to wait for a connection.
    pub fn connect_timeout(&self) -> Duration {
        self.spread().clamp(CONNECT_MIN, CONNECT_MAX)
    }

    /// A control plane that has just come back has counted few, and may be gone again before it has counted all.
    fn listen(&mut self, lived: Duration, told: Option<Spread>) {
        if lived >= STEADY || told > self.spread {
            self.spread = told.or(self.spread);
        }
    }

    fn spread(&self) -> Duration {
        self.spread.map_or(LONGEST, Spread::time)
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
