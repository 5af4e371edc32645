use std::time::Duration;

use super::read;

fn of(seconds: i64, nanos: i32) -> Option<Duration> {
    read(prost_types::Duration { seconds, nanos })
}

#[test]
fn the_extremes_of_a_peer_are_times_or_none() {
    assert_eq!(of(0, 0), Some(Duration::ZERO));
    assert_eq!(of(1, 500_000_000), Some(Duration::from_millis(1_500)));
    assert_eq!(of(2, -500_000_000), Some(Duration::from_millis(1_500)), "it is put in order");
    for (seconds, nanos) in [(0, -1), (-1, 0), (-1, i32::MAX), (i64::MIN, 0), (i64::MIN, i32::MIN), (0, i32::MIN)] {
        assert_eq!(of(seconds, nanos), None, "{seconds} s and {nanos} ns");
    }
    for nanos in [i32::MIN, 0, i32::MAX] {
        assert!(of(i64::MAX, nanos).is_some_and(|time| time.as_secs() >= i64::MAX.unsigned_abs() - 3), "{nanos}");
    }
}
