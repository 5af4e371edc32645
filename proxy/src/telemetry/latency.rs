//! How long requests took, in whole microseconds: one scale from which two others are cut without a rest, the buckets of Prometheus
//! and those of the statistics stream (eight for each power of two). One writer.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::add;

/// Upper bounds of the buckets that are shown, inclusive: three that a local call needs, and OpenTelemetry's.
pub(super) const BOUNDS_US: [u64; 17] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000, 1_000_000, 2_500_000,
    5_000_000, 7_500_000, 10_000_000,
];
/// Powers of two that are told apart: up to two minutes, and what is longer counts as that.
const OCTAVES: usize = 27;
/// Buckets of the statistics stream.
pub(crate) const SPARSE: usize = OCTAVES * 8;
const LONGEST_US: u64 = (1 << OCTAVES) - 1;
/// A bucket of the stream that a bound falls into is two slots here.
const SLOTS: usize = SPARSE + BOUNDS_US.len();

/// 2^(i/8), as the top of 64 bits.
const EIGHTHS: [u64; 7] = [
    eighth(1.090_507_732_665_257_7),
    eighth(1.189_207_115_002_721),
    eighth(1.296_839_554_651_009_6),
    eighth(std::f64::consts::SQRT_2),
    eighth(1.542_210_825_407_940_7),
    eighth(1.681_792_830_507_429),
    eighth(1.834_008_086_409_342_4),
];

const fn eighth(power: f64) -> u64 {
    (power * (1_u64 << 63) as f64) as u64
}

/// The first slot of each bucket of the stream, and what is at most in it; above comes the second.
static SCALE: [(u16, u32); SPARSE] = scale();

const fn scale() -> [(u16, u32); SPARSE] {
    let mut scale = [(0, u32::MAX); SPARSE];
    let (mut bucket, mut slot, mut bound) = (0, 0, 0);
    while bucket < SPARSE {
        scale[bucket].0 = slot;
        slot += 1;
        if bound < BOUNDS_US.len() && bucket_of(BOUNDS_US[bound]) == bucket {
            scale[bucket].1 = BOUNDS_US[bound] as u32;
            slot += 1;
            bound += 1;
        }
        bucket += 1;
    }
    assert!(bound == BOUNDS_US.len(), "no two bounds in one bucket");
    scale
}

/// The largest i with 2^(i/8) <= `us`, which is at least 1.
const fn bucket_of(us: u64) -> usize {
    let octave = 63 - us.leading_zeros() as usize;
    let top = us << (63 - octave);
    let (mut part, mut at) = (0, 0);
    while at < EIGHTHS.len() {
        part += (top >= EIGHTHS[at]) as usize;
        at += 1;
    }
    octave * 8 + part
}

fn slot_of(us: u64) -> usize {
    let us = us.clamp(1, LONGEST_US);
    let (slot, bound) = SCALE[bucket_of(us)];
    usize::from(slot) + usize::from(us > u64::from(bound))
}

pub(super) struct Latency {
    slots: [AtomicU64; SLOTS],
    sum_us: AtomicU64,
}

/// A copy at one moment, or the sum of several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Latencies {
    slots: [u64; SLOTS],
    pub(crate) sum_us: u64,
}

impl Latency {
    pub(super) fn new() -> Latency {
        Latency { slots: std::array::from_fn(|_| AtomicU64::new(0)), sum_us: AtomicU64::new(0) }
    }

    pub(super) fn took(&self, us: u64) {
        add(&self.slots[slot_of(us)], 1);
        add(&self.sum_us, us);
    }
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies { slots: [0; SLOTS], sum_us: 0 }
    }
}

impl Latencies {
    pub(super) fn add(&mut self, latency: &Latency) {
        for (sum, slot) in self.slots.iter_mut().zip(&latency.slots) {
            *sum += slot.load(Relaxed);
        }
        self.sum_us += latency.sum_us.load(Relaxed);
    }

    pub(super) fn merge(&mut self, other: &Latencies) {
        for (sum, slot) in self.slots.iter_mut().zip(&other.slots) {
            *sum += slot;
        }
        self.sum_us += other.sum_us;
    }

    pub(crate) fn count(&self) -> u64 {
        self.slots.iter().sum()
    }

    /// Counts up to and with each bound of [`BOUNDS_US`].
    pub(super) fn cumulative(&self) -> [u64; BOUNDS_US.len()] {
        let mut below = 0;
        let mut at = 0;
        BOUNDS_US.map(|bound| {
            let end = slot_of(bound);
            below += self.slots[at..=end].iter().sum::<u64>();
            at = end + 1;
            below
        })
    }

    /// What came since an earlier copy, in the stream's buckets that have any.
    pub(crate) fn sparse_since(&self, earlier: &Latencies) -> Vec<(u32, u64)> {
        let in_bucket = |bucket: usize| {
            let start = usize::from(SCALE[bucket].0);
            let end = SCALE.get(bucket + 1).map_or(SLOTS, |(next, _)| usize::from(*next));
            (start..end).map(|slot| self.slots[slot].wrapping_sub(earlier.slots[slot])).sum()
        };
        (0..SPARSE).map(|bucket| (bucket as u32, in_bucket(bucket))).filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests;
