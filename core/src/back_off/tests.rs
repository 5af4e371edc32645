//! Pauses grow and are drawn; and of many sidecars that lose their streams together few come back together, of a few all.

use std::time::Duration;

use laneway_proto::contract::{RETURN_SPREAD_MAX, RETURN_SPREAD_MIN, TYPE_RECONNECT};
use laneway_proto::discovery::Reconnect;
use proptest::prelude::*;
use prost::Message as _;

use super::{BackOff, CONNECT_MAX, CONNECT_MIN, Ended, FIRST, LONGEST, STEADY, Spread};
use crate::decode::{Resources, decode};

const SIDECARS: usize = 1000;
const SECOND: Duration = Duration::from_secs(1);
/// How long a control plane is away.
const AWAY_MS: [u64; 7] = [0, 200, 1_000, 5_000, 14_000, 31_000, 100_000];

#[test]
fn pauses_grow_to_a_limit_and_a_steady_stream_starts_them_anew() {
    // Of many sidecars, so that what is drawn shows its limit.
    let mut all = fleet(SIDECARS);
    let longest = |all: &mut Vec<BackOff>, ended, lived| {
        let pauses = all.iter_mut().map(|one| one.pause(ended, lived, None));
        pauses.max().expect("there are sidecars")
    };
    let mut limit = FIRST;
    for _ in 0..12 {
        let pause = longest(&mut all, Ended::Unopened, Duration::ZERO);
        assert!(pause <= limit && pause > limit.mul_f64(0.95), "{pause:?} of {limit:?}");
        limit = (limit * 2).min(LONGEST);
    }
    assert_eq!(limit, LONGEST);
    assert!(longest(&mut all, Ended::Dismissed, STEADY) <= FIRST);
    // One that is always thrown out at once tries less than once a second after a while, whatever it was told.
    for told in [None, Some(Spread::SHORTEST)] {
        let mut thrown_out = BackOff::new(7);
        let pauses: Duration = (0..100).map(|_| thrown_out.pause(Ended::Dismissed, SECOND, told)).sum();
        assert!(pauses > Duration::from_secs(100), "{pauses:?}");
    }
}

#[test]
fn a_stream_that_was_old_enough_is_followed_by_another_at_once() {
    let mut one = BackOff::new(1);
    one.pause(Ended::Lost, SECOND, None);
    assert!(one.pause(Ended::Dismissed, Duration::from_secs(1800), None) <= FIRST);
    assert!(one.pause(Ended::Unopened, Duration::ZERO, None) <= FIRST * 2, "alone again");
}

#[test]
fn of_any_fleet_few_are_back_in_a_second_and_the_last_one_in_time_however_long_it_was_away() {
    for count in [1, 8, 20, 100, 1_000, 10_000] {
        let told = Spread::of(count);
        for away in AWAY_MS.map(Duration::from_millis) {
            let back = come_back(fleet(count), |_| Some(told), away);
            let most = most_in_a_second(&back);
            // Half as many again as are drawn on average, and a few: more is less likely than one in a million.
            let limit = ((count as f64 / told.time().as_secs_f64()).ceil() as usize * 3 / 2 + 20).min(count);
            assert!(most <= limit, "{most} of {count} in one second after {away:?}");
            if count >= SIDECARS {
                assert!(most <= count / 10, "{most} of {count} in one second after {away:?}");
            }
            let last = *back.last().expect("all come back");
            assert!(last <= away + told.time(), "the last of {count} after {last:?}, away for {away:?}");
            if count <= 20 {
                assert!(last < away + SECOND / 2, "the last of {count} after {last:?}, away for {away:?}");
            }
        }
    }
}

/// As before there was anything to tell.
#[test]
fn of_a_thousand_that_were_never_told_at_most_a_tenth_comes_back_in_any_second() {
    for away in AWAY_MS.map(Duration::from_millis) {
        let back = come_back(fleet(SIDECARS), |_| None, away);
        let most = most_in_a_second(&back);
        assert!(most <= SIDECARS / 10, "{most} in one second after {away:?}");
        let last = *back.last().expect("all come back");
        assert!(last <= away + LONGEST, "the last one after {last:?}, away for {away:?}");
    }
}

/// It tells those who are back how few they are.
#[test]
fn a_control_plane_that_dies_again_while_they_come_back_makes_no_storm() {
    let know = Some(Spread::of(SIDECARS));
    for back_already in [10, 300, 700] {
        let mut all = fleet(SIDECARS);
        for one in &mut all {
            one.pause(Ended::Lost, STEADY, know);
        }
        let told = Spread::of(back_already);
        let back = come_back(all, |number| if number < back_already { Some(told) } else { know }, SECOND);
        let most = most_in_a_second(&back);
        assert!(most <= SIDECARS / 10, "{most} in one second when {back_already} were back");
    }
}

#[test]
fn each_replica_counts_the_others_in_so_that_all_may_come_to_one() {
    const REPLICAS: usize = 3;
    // Of no even size.
    let sizes = [600, 300, 100];
    let told: Vec<Spread> =
        sizes.iter().flat_map(|size| std::iter::repeat_n(Spread::of(size * REPLICAS), *size)).collect();
    let back = come_back(fleet(SIDECARS), |number| Some(told[number]), SECOND);
    let most = most_in_a_second(&back);
    assert!(most <= SIDECARS / 10, "{most} in one second");
}

#[test]
fn a_sidecar_that_starts_while_nobody_is_there_is_back_in_time_if_its_predecessor_was_told() {
    let told = Some(Spread::SHORTEST);
    for seed in 0..100 {
        let mut one = BackOff::new(seed);
        let mut now = Duration::ZERO;
        for _ in 0..1_000 {
            let pause = one.pause(Ended::Unopened, Duration::ZERO, told);
            assert!(pause <= Spread::SHORTEST.time(), "{pause:?} after {now:?}");
            now += pause;
        }
        assert!(now > Spread::SHORTEST.time() * 990, "and asks no more often than it was told: {now:?}");
    }
}

#[test]
fn a_shorter_spread_counts_once_a_stream_has_lived() {
    let (long, short) = (Some(Spread::of(SIDECARS)), Some(Spread::SHORTEST));
    let mut one = BackOff::new(3);
    let spread = |one: &mut BackOff, lived, told| {
        one.pause(Ended::Lost, lived, told);
        one.pause(Ended::Unopened, Duration::ZERO, told)
    };
    assert_eq!(spread(&mut one, SECOND, short), Spread::SHORTEST.time(), "the first that it is told");
    assert_eq!(spread(&mut one, SECOND, long), Spread::of(SIDECARS).time(), "a longer one counts at once");
    assert_eq!(spread(&mut one, SECOND, short), Spread::of(SIDECARS).time());
    assert_eq!(spread(&mut one, STEADY, None), Spread::of(SIDECARS).time(), "nothing told, nothing forgotten");
    assert_eq!(spread(&mut one, STEADY, short), Spread::SHORTEST.time());
}

#[test]
fn a_connection_is_waited_for_no_longer_than_tries_are_apart_within_reason() {
    let wait = |told| {
        let mut one = BackOff::new(5);
        one.pause(Ended::Lost, SECOND, told);
        one.connect_timeout()
    };
    assert_eq!(wait(None), CONNECT_MAX);
    assert_eq!(wait(Some(Spread::of(1))), CONNECT_MIN);
    assert_eq!(wait(Some(Spread::of(100))), Spread::of(100).time());
    assert_eq!(wait(Some(Spread::of(10_000))), CONNECT_MAX);
}

#[test]
fn only_what_concerns_one_stream_alone_is_a_dismissal() {
    // UNAVAILABLE (it goes away, or the connection broke), UNKNOWN, INTERNAL, CANCELLED, DEADLINE_EXCEEDED.
    for lost in [14, 2, 13, 1, 4] {
        assert_eq!(Ended::with_code(lost), Ended::Lost, "{lost}");
        assert_eq!(Ended::before_open(lost), Ended::Unopened, "{lost}");
    }
    for dismissed in [0, 3, 7, 8, 10, 11, 12, 16] {
        assert_eq!(Ended::with_code(dismissed), Ended::Dismissed, "{dismissed}");
        assert_eq!(Ended::before_open(dismissed), Ended::Dismissed, "{dismissed}");
    }
}

#[test]
fn a_spread_is_told_and_heard_and_any_other_time_is_refused() {
    let mut held = Resources::default();
    for streams in [0, 21, 1_000, usize::MAX] {
        let wire = Spread::of(streams).to_resource();
        assert_eq!(wire.type_url, TYPE_RECONNECT);
        held.insert(decode(TYPE_RECONNECT, &wire.name, &wire.version, &wire.body).expect("what we tell is taken"));
        assert_eq!(held.return_spread(), Some(Spread::of(streams)));
    }
    held.remove(TYPE_RECONNECT, "self");
    assert_eq!(held.return_spread(), None);

    let duration = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    for (spread, reason) in [
        (None, "MISSING_FIELD"),
        (duration(0, 0), "OUT_OF_RANGE"),
        (duration(0, 99_999_999), "OUT_OF_RANGE"),
        (duration(-1, 0), "OUT_OF_RANGE"),
        (duration(60, 1), "OUT_OF_RANGE"),
        (duration(i64::MIN, i32::MIN), "OUT_OF_RANGE"),
        (duration(i64::MAX, i32::MAX), "OUT_OF_RANGE"),
    ] {
        let body = Reconnect { spread }.encode_to_vec();
        let refused = decode(TYPE_RECONNECT, "self", "1", &body).err().expect("refused");
        assert_eq!((refused[0].field.as_str(), refused[0].reason.as_str()), ("spread", reason), "{spread:?}");
        assert!(refused[0].message.contains("100ms to 60s"), "{}", refused[0].message);
    }
}

#[test]
fn a_fleet_that_comes_tells_each_sidecar_a_few_times() {
    let (mut spread, mut told) = (Spread::SHORTEST, 0);
    for streams in 1..=10_000 {
        let next = spread.with(streams);
        if std::mem::replace(&mut spread, next) != next {
            told += streams;
        }
    }
    assert_eq!(spread, Spread::of(10_000));
    assert!(told < 3 * 10_000, "{told}");
}

proptest! {
    /// It is never too short, never much too long, within its bounds, and stands still while a fleet moves a little.
    #[test]
    fn a_spread_fits_the_fleet(fleets in prop::collection::vec(0_usize..20_000, 1..50)) {
        let mut spread = Spread::SHORTEST;
        for streams in fleets {
            spread = spread.with(streams);
            let needed = Duration::from_millis(15).saturating_mul(streams as u32);
            let time = spread.time();
            prop_assert!(time >= needed.min(Duration::from_secs(30)));
            prop_assert!(time <= needed.mul_f64(2.26).max(Duration::from_millis(300)));
            prop_assert!((RETURN_SPREAD_MIN..=RETURN_SPREAD_MAX).contains(&time));
            // A tenth comes, and goes again: no more than one step up, and none down.
            let up = spread.with(streams + streams / 10);
            prop_assert!(up == spread || up.with(streams) == up);
            prop_assert_eq!(up.with(streams + streams / 10), up);
        }
    }
}

fn fleet(count: usize) -> Vec<BackOff> {
    (0..count as u64).map(BackOff::new).collect()
}

/// When each is back that loses its stream now, in order; the control plane is away for so long. What each knows is its number's.
fn come_back(all: Vec<BackOff>, told: impl Fn(usize) -> Option<Spread>, away: Duration) -> Vec<Duration> {
    let mut back: Vec<Duration> = all
        .into_iter()
        .enumerate()
        .map(|(number, mut sidecar)| {
            let mut now = sidecar.pause(Ended::Lost, Duration::from_secs(5), told(number));
            while now < away {
                now += sidecar.pause(Ended::Unopened, Duration::ZERO, told(number));
            }
            now
        })
        .collect();
    back.sort_unstable();
    back
}

/// In any second, wherever it begins.
fn most_in_a_second(back: &[Duration]) -> usize {
    let from = |at: usize| back[at..].partition_point(|other| *other < back[at] + SECOND);
    (0..back.len()).map(from).max().unwrap_or_default()
}
