//! The scale against its definition: floating point for the stream's buckets, plain comparison for the shown ones.

use proptest::prelude::*;

use super::*;

fn counted(times: &[u64]) -> Latencies {
    let latency = Latency::new();
    times.iter().for_each(|us| latency.took(*us));
    let mut copy = Latencies::default();
    copy.add(&latency);
    copy
}

/// Far enough from an edge that floating point is sure.
fn bucket_by_logarithm(us: u64) -> Option<u32> {
    let us = us.clamp(1, LONGEST_US);
    let exact = (us as f64).log2() * 8.0;
    let is_sure = (exact - exact.round()).abs() > 1e-9 || us.is_power_of_two();
    is_sure.then(|| if us.is_power_of_two() { exact.round() as u32 } else { exact.floor() as u32 })
}

#[test]
fn every_bound_is_in_its_own_bucket_and_one_microsecond_more_is_not() {
    for (at, bound) in BOUNDS_US.iter().enumerate() {
        let cumulative = counted(&[*bound, bound + 1]).cumulative();
        assert!(cumulative[..at].iter().all(|count| *count == 0), "{bound}");
        assert_eq!(cumulative[at], 1, "{bound}");
        assert!(cumulative[at + 1..].iter().all(|count| *count == 2), "{bound}");
    }
}

#[test]
fn what_took_no_time_and_what_took_very_long_is_counted_too() {
    let copy = counted(&[0, 1, u64::from(u32::MAX), u64::MAX / 4]);
    assert_eq!(copy.count(), 4);
    assert_eq!(copy.cumulative().last(), Some(&2));
    assert_eq!(copy.sparse_since(&Latencies::default()), [(0, 2), (SPARSE as u32 - 1, 2)]);
}

proptest! {
    #[test]
    fn both_scales_count_what_their_definitions_say(times in prop::collection::vec(0_u64..200_000_000, 1..200)) {
        let copy = counted(&times);
        prop_assert_eq!(copy.sum_us, times.iter().sum::<u64>());
        for (bound, count) in BOUNDS_US.iter().zip(copy.cumulative()) {
            prop_assert_eq!(count, times.iter().filter(|us| *us <= bound).count() as u64);
        }
        let sparse = copy.sparse_since(&Latencies::default());
        prop_assert!(sparse.is_sorted_by(|(a, _), (b, _)| a < b));
        prop_assert_eq!(sparse.iter().map(|(_, count)| count).sum::<u64>(), times.len() as u64);
        for us in times {
            let Some(bucket) = bucket_by_logarithm(us) else { continue };
            prop_assert!(sparse.iter().any(|(index, _)| *index == bucket), "{us} is not in {bucket}");
        }
    }

    #[test]
    fn a_difference_is_what_came_between(first in prop::collection::vec(0_u64..10_000_000, 0..50),
                                         then in prop::collection::vec(0_u64..10_000_000, 0..50)) {
        let all: Vec<u64> = first.iter().chain(&then).copied().collect();
        let between = counted(&all).sparse_since(&counted(&first));
        prop_assert_eq!(between, counted(&then).sparse_since(&Latencies::default()));
    }
}
