//! So many a second, each name by itself.

use std::time::{Duration, Instant};

use super::{Limit, NAMES_MAX};

#[test]
fn a_burst_of_one_second_and_then_evenly() {
    let limit = Limit::per_second(200);
    let begin = Instant::now();
    let taken = (0..1000).filter(|_| limit.take("a", begin).is_ok()).count();
    assert_eq!(taken, 200);
    // The answer says when one is left, and that holds.
    let wait = limit.take("a", begin).expect_err("none is left");
    assert_eq!(wait, Duration::from_millis(5));
    assert!(limit.take("a", begin + wait / 2).is_err());
    assert!(limit.take("a", begin + wait).is_ok());
    assert!(limit.take("a", begin + wait).is_err());
    // Others have their own.
    assert!(limit.take("b", begin).is_ok());
    // Over a long time no more than the rate and one burst; a rest gives back no more than a burst.
    let later = begin + Duration::from_secs(100);
    assert_eq!((0..1000).filter(|_| limit.take("a", later).is_ok()).count(), 200);
    let over_ten_seconds = (0..10_000_u64).filter(|ms| limit.take("a", later + Duration::from_millis(*ms)).is_ok());
    assert_eq!(over_ten_seconds.count(), 1999);
}

#[test]
fn many_names_take_no_more_memory_than_the_bound() {
    let limit = Limit::per_second(1);
    let begin = Instant::now();
    for number in 0..NAMES_MAX {
        assert!(limit.take(&number.to_string(), begin).is_ok());
    }
    // Those beyond share one.
    assert!(limit.take("one more", begin).is_ok());
    assert!(limit.take("and another", begin).is_err());
    // Who rests makes room.
    let later = begin + Duration::from_secs(5);
    assert!(limit.take("one more", later).is_ok() && limit.take("and another", later).is_ok());
    assert_eq!(limit.last.lock().expect("nobody panicked").len(), 2);
}
