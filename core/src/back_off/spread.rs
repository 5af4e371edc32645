//! Over what time the sidecars of one control plane come back to it: told by the control plane, which counts them, followed by
//! [`BackOff`](super::BackOff). Pure.
//!
//! ```text
//!  streams x 15 ms, up to the next rung of   0.3  0.45  0.68  1.0  1.5  2.3  3.4  5.1  7.7  11.5  17.3  25.9  30 s
//! ```
//! Rungs, so that a fleet that grows tells each sidecar a few times and not with each newcomer: all of them together are told
//! less than three times as often as there are sidecars.

use std::time::Duration;

use laneway_proto::contract::{RETURN_SPREAD_MAX, RETURN_SPREAD_MIN, TYPE_RECONNECT};
use laneway_proto::discovery::Reconnect;

use crate::compile::WireResource;
use crate::condition::Refusal;

/// The share of one stream: at most 67 are opened in a second, each for a third of a millisecond of the control plane's. Of a
/// thousand that is a fifteenth.
const STREAM: Duration = Duration::from_millis(15);
/// Twenty sidecars are back at once; and nobody asks more often than this whether the control plane is there again.
const SHORTEST: Duration = Duration::from_millis(300);
/// Two thousand and more: of ten thousand one in thirty is back in any second, a tenth of a core, and the last one in time for what
/// people do next.
const LONGEST: Duration = Duration::from_secs(30);
/// Half as much again from one rung to the next.
const RUNG: (u32, u32) = (3, 2);

/// A time between [`RETURN_SPREAD_MIN`] and [`RETURN_SPREAD_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spread(Duration);

impl Spread {
    /// For a control plane without sidecars.
    pub const SHORTEST: Spread = Spread(SHORTEST);

    /// For so many streams: the rung above what they need.
    pub fn of(streams: usize) -> Spread {
        let needed = STREAM.saturating_mul(u32::try_from(streams).unwrap_or(u32::MAX)).min(LONGEST);
        let mut rung = SHORTEST;
        while rung < needed {
            rung = (rung * RUNG.0 / RUNG.1).min(LONGEST);
        }
        Spread(rung)
    }

    /// What it becomes with so many streams. Down only where a few more would not bring it up again.
    pub fn with(self, streams: usize) -> Spread {
        let more = streams.saturating_mul(RUNG.0 as usize) / RUNG.1 as usize;
        Spread::of(streams).max(self.min(Spread::of(more)))
    }

    pub fn time(self) -> Duration {
        self.0
    }

    /// As each sidecar is told.
    pub fn to_resource(self) -> WireResource {
        // Within a minute, so it always fits.
        let spread = prost_types::Duration { seconds: self.0.as_secs() as i64, nanos: self.0.subsec_nanos() as i32 };
        WireResource::new(TYPE_RECONNECT, "self", &Reconnect { spread: Some(spread) })
    }

    /// What a control plane told.
    pub(crate) fn compile(from: &Reconnect, refusals: &mut Vec<Refusal>) -> Option<Spread> {
        let mut refuse = |reason, message: String| {
            let allowed = format!("{RETURN_SPREAD_MIN:?} to {RETURN_SPREAD_MAX:?}");
            refusals.push(Refusal::new("spread", reason, message).help(allowed));
        };
        let Some(spread) = from.spread else {
            refuse("MISSING_FIELD", "a time is needed".to_owned());
            return None;
        };
        // Not by `TryFrom` of prost-types, which overflows at the smallest number of seconds.
        let parts = u64::try_from(spread.seconds).ok().zip(u32::try_from(spread.nanos).ok());
        let time =
            parts.filter(|(_, nanos)| *nanos < 1_000_000_000).map(|(seconds, nanos)| Duration::new(seconds, nanos));
        let time = time.filter(|time| (RETURN_SPREAD_MIN..=RETURN_SPREAD_MAX).contains(time));
        if time.is_none() {
            refuse("OUT_OF_RANGE", format!("{} s and {} ns is no such time", spread.seconds, spread.nanos));
        }
        time.map(Spread)
    }
}
