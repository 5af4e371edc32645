//! What a sidecar tells the next one about a request, in `x-laneway-hop`, so that what was decided once is not decided again. It is
//! told to sidecars alone, and taken off before the application.

use laneway_proto::contract::FOLLOW_SECONDS_MAX;

const HANDED_OVER: &str = "1";
const IN_LANE: &[u8] = b"lane=";
/// By seconds.
const IN_LANE_FOR: [&str; FOLLOW_SECONDS_MAX as usize + 1] =
    ["lane=0", "lane=1", "lane=2", "lane=3", "lane=4", "lane=5", "lane=6", "lane=7", "lane=8", "lane=9", "lane=10"];

/// One such word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// An instance of the same service handed it over: its decision stands, rules are not drawn again.
    HandedOver,
    /// It is in the lane of its tag, and what it causes stays there for so many seconds, though the lane be off for whoever reads
    /// this: switched off a moment ago, or not known yet to be on. A second less at each sidecar where it is off, so that requests
    /// that cause each other for ever cannot keep a lane from ending.
    InLane { seconds: u32 },
}

impl Hop {
    /// `None`: it tells nothing that we know.
    pub fn read(line: &[u8]) -> Option<Hop> {
        if line == HANDED_OVER.as_bytes() {
            return Some(Hop::HandedOver);
        }
        let seconds: u32 = std::str::from_utf8(line.strip_prefix(IN_LANE)?).ok()?.parse().ok()?;
        Some(Hop::InLane { seconds: seconds.min(FOLLOW_SECONDS_MAX) })
    }

    /// The value that stands on the wire.
    pub fn wire(self) -> &'static str {
        match self {
            Hop::HandedOver => HANDED_OVER,
            Hop::InLane { seconds } => IN_LANE_FOR[seconds.min(FOLLOW_SECONDS_MAX) as usize],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        for hop in (0..=FOLLOW_SECONDS_MAX).map(|seconds| Hop::InLane { seconds }).chain([Hop::HandedOver]) {
            assert_eq!(Hop::read(hop.wire().as_bytes()), Some(hop));
        }
        for nothing in
            ["", "lane", "lane=", "lane=-1", "lane=x", "lane= 1", "lane=1,lane=2", "lane=4294967296", "2", "11"]
        {
            assert_eq!(Hop::read(nothing.as_bytes()), None, "{nothing:?}");
        }
        assert_eq!(Hop::read(b"lane=\xff"), None);
    }

    #[test]
    fn nobody_makes_a_lane_last_longer_than_the_bound() {
        assert_eq!(Hop::read(b"lane=4000000000"), Some(Hop::InLane { seconds: FOLLOW_SECONDS_MAX }));
    }
}
