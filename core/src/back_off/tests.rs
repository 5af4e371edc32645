//! Pauses grow and are drawn; and of a thousand sidecars that lose their streams together few come back together.

use std::time::Duration;

use super::{BackOff, Ended, FIRST, LONGEST, STEADY};

const SIDECARS: u64 = 1000;

#[test]
fn pauses_grow_to_a_limit_and_a_steady_stream_starts_them_anew() {
    // Of many sidecars, so that what is drawn shows its limit.
    let mut all: Vec<BackOff> = (0..SIDECARS).map(BackOff::new).collect();
    let longest = |all: &mut Vec<BackOff>, lived| {
        let pauses = all.iter_mut().map(|one| one.pause(Ended::Unopened, lived));
        pauses.max().expect("there are sidecars")
    };
    let mut limit = FIRST;
    for _ in 0..12 {
        let pause = longest(&mut all, Duration::ZERO);
        assert!(pause <= limit && pause > limit.mul_f64(0.95), "{pause:?} of {limit:?}");
        limit = (limit * 2).min(LONGEST);
    }
    assert_eq!(limit, LONGEST);
    assert!(longest(&mut all, STEADY) <= FIRST);
    // One that is always thrown out at once tries less than once a second after a while.
    let mut thrown_out = BackOff::new(7);
    let pauses: Duration = (0..100).map(|_| thrown_out.pause(Ended::Dismissed, Duration::from_secs(1))).sum();
    assert!(pauses > Duration::from_secs(100), "{pauses:?}");
}

#[test]
fn a_stream_that_was_old_enough_is_followed_by_another_at_once() {
    let mut one = BackOff::new(1);
    one.pause(Ended::Lost, Duration::from_secs(1));
    assert!(one.pause(Ended::Dismissed, Duration::from_secs(1800)) <= FIRST);
    assert!(one.pause(Ended::Unopened, Duration::ZERO) <= FIRST * 2, "alone again");
}

/// However long the control plane is away.
#[test]
fn of_a_thousand_that_lose_their_streams_at_most_a_tenth_comes_back_in_any_second() {
    for away_ms in [0, 200, 1_000, 5_000, 14_000, 31_000, 100_000] {
        let away = Duration::from_millis(away_ms);
        let mut back: Vec<Duration> = (0..SIDECARS).map(|seed| comes_back(BackOff::new(seed), away)).collect();
        back.sort_unstable();
        let in_a_second = |from: usize| back[from..].partition_point(|at| *at < back[from] + Duration::from_secs(1));
        let most = (0..back.len()).map(in_a_second).max().expect("all come back");
        assert!(most <= 100, "{most} in one second after {away:?}");
        let last = *back.last().expect("all come back");
        assert!(last <= away + LONGEST, "the last one after {last:?}, away for {away:?}");
    }
}

fn comes_back(mut sidecar: BackOff, away: Duration) -> Duration {
    let mut now = sidecar.pause(Ended::Lost, Duration::from_secs(5));
    while now < away {
        now += sidecar.pause(Ended::Unopened, Duration::ZERO);
    }
    now
}

#[test]
fn only_what_concerns_one_stream_alone_is_a_dismissal() {
    // UNAVAILABLE (it goes away, or the connection broke), UNKNOWN, INTERNAL, CANCELLED, DEADLINE_EXCEEDED.
    for lost in [14, 2, 13, 1, 4] {
        assert_eq!(Ended::with_code(lost), Ended::Lost, "{lost}");
    }
    for dismissed in [0, 3, 7, 8, 10, 11, 12, 16] {
        assert_eq!(Ended::with_code(dismissed), Ended::Dismissed, "{dismissed}");
    }
}
