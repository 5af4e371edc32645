//! When a lane does worse, and when nothing can be said. Properties against what the documents promise.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits =
    Limits { window_seconds: 60, requests_min: 100, error_rate_over_baseline: Some(0.02), p99_ratio: Some(1.5) };

fn key(view: View, service: &str, tag: &str) -> Key {
    Key {
        view,
        source_service: "".into(),
        source_tag: "".into(),
        destination_service: format!("namespaces/default/services/{service}").into(),
        request_tag: tag.into(),
        endpoint_tag: tag.into(),
        lane_group: "shop".into(),
    }
}

/// So many requests and errors; all took as long as a bucket says. 96 is 4.3 ms, 104 is 8.6 ms.
fn cell(requests: u64, errors: u64, bucket: u32) -> Cell {
    Cell { requests, errors, latency: [(bucket, requests)].into(), ..Cell::default() }
}

fn judge(limits: Limits, counted: &[(Key, Cell)]) -> Verdict {
    limits.judge("gray", counted.iter().map(|(key, cell)| (key, cell)))
}

/// Gray and baseline of one service, as its callers saw it.
fn pair(lane: Cell, baseline: Cell) -> Vec<(Key, Cell)> {
    vec![(key(View::Callers, "b", "gray"), lane), (key(View::Callers, "b", ""), baseline)]
}

fn is_worse(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Worse(..))
}

#[test]
fn a_lane_that_fails_more_often_does_worse_and_the_words_say_by_how_much() {
    let found = judge(LIMITS, &pair(cell(200, 10, 96), cell(1000, 5, 96)));
    let Verdict::Worse(sides, worse) = found else { panic!("{found:?}") };
    assert_eq!((sides.lane.requests, sides.baseline.requests), (200, 1000));
    let words = "error rate 5.00 % of 200 requests, baseline 0.50 % of 1000, at most 2 % above";
    assert_eq!(worse.to_string(), words);
    // What is just at the limit is not above it.
    assert!(!is_worse(&judge(LIMITS, &pair(cell(200, 5, 96), cell(1000, 5, 96)))));
}

#[test]
fn a_lane_that_is_slower_does_worse_unless_it_is_quick_all_the_same() {
    let found = judge(LIMITS, &pair(cell(200, 0, 112), cell(1000, 0, 104)));
    let Verdict::Worse(_, worse) = found else { panic!("{found:?}") };
    assert!(worse.to_string().starts_with("p99 17.1 ms, baseline 8.6 ms, at most 1.5 times"), "{worse}");
    assert!(!is_worse(&judge(LIMITS, &pair(cell(200, 0, 80), cell(1000, 0, 40)))), "a millisecond is not slow");
    let both = judge(LIMITS, &pair(cell(200, 100, 160), cell(1000, 0, 104)));
    let Verdict::Worse(_, worse) = both else { panic!("{both:?}") };
    assert!(worse.to_string().contains("; p99 ") && worse.to_string().len() <= 256, "{worse}");
}

#[test]
fn what_is_not_looked_at_is_no_reason() {
    let errors = Limits { p99_ratio: None, ..LIMITS };
    let slow = Limits { error_rate_over_baseline: None, ..LIMITS };
    assert!(!is_worse(&judge(errors, &pair(cell(200, 0, 160), cell(1000, 0, 104)))));
    assert!(!is_worse(&judge(slow, &pair(cell(200, 200, 104), cell(1000, 0, 104)))));
}

#[test]
fn a_baseline_that_is_as_bad_excuses_the_lane() {
    assert!(!is_worse(&judge(LIMITS, &pair(cell(200, 100, 160), cell(1000, 500, 160)))));
    assert!(!is_worse(&judge(LIMITS, &pair(cell(200, 0, 96), cell(1000, 1000, 160)))), "and a better lane is well");
}

#[test]
fn the_entry_is_judged_by_what_it_saw_itself_and_no_call_counts_twice() {
    let entry = |tag: &str, cell: Cell| (key(View::Servers, "a", tag), cell);
    let counted = [entry("gray", cell(200, 100, 96)), entry("", cell(1000, 0, 96))];
    assert!(is_worse(&judge(LIMITS, &counted)), "nobody with a sidecar called it");
    // The same calls at both ends are one.
    let mut counted = pair(cell(80, 80, 96), cell(1000, 0, 96));
    counted.push((key(View::Servers, "b", "gray"), cell(80, 80, 96)));
    counted.push((key(View::Servers, "b", ""), cell(1000, 0, 96)));
    assert_eq!(judge(LIMITS, &counted), Verdict::Unknown, "80 requests are not 160");
}

#[test]
fn a_request_that_goes_through_three_services_is_one() {
    let chain = |requests: u64| -> Vec<(Key, Cell)> {
        let services = ["a", "b", "c"].into_iter();
        let both = services.flat_map(|service| {
            let lane = (key(View::Servers, service, "gray"), cell(requests, requests, 96));
            [lane, (key(View::Servers, service, ""), cell(1000, 0, 96))]
        });
        both.collect()
    };
    assert_eq!(judge(LIMITS, &chain(99)), Verdict::Unknown, "297 calls are 99 requests");
    assert!(is_worse(&judge(LIMITS, &chain(100))));
}

#[test]
fn other_lanes_and_unknown_destinations_are_nobodys_fault() {
    let mut counted = pair(cell(200, 0, 96), cell(1000, 0, 96));
    counted.push((key(View::Callers, "b", "blue"), cell(1000, 1000, 200)));
    counted.push((Key { destination_service: "".into(), ..key(View::Callers, "b", "gray") }, cell(500, 500, 200)));
    counted.push((Key { destination_service: "".into(), ..key(View::Callers, "b", "") }, cell(500, 0, 96)));
    assert!(matches!(judge(LIMITS, &counted), Verdict::Well(_)));
}

#[test]
fn nothing_from_before_the_last_change_counts() {
    assert_eq!(LIMITS.period(0, 1000), 940..1000);
    assert_eq!(LIMITS.period(990, 1000), 992..1000);
    assert!(LIMITS.period(999, 1000).is_empty() && LIMITS.period(5000, 1000).is_empty(), "a clock that is behind");
    assert_eq!(LIMITS.period(0, 5), 2..5);
}

#[test]
fn a_guard_that_says_little_has_defaults() {
    let limits = Limits::from(&Guard { max_p99_ratio: 2.0, ..Guard::default() });
    let expected =
        Limits { window_seconds: 60, requests_min: 100, error_rate_over_baseline: None, p99_ratio: Some(2.0) };
    assert_eq!(limits, expected);
}

/// Requests, errors among them, and how long they took.
fn traffic(requests: std::ops::Range<u64>) -> impl Strategy<Value = Cell> {
    (requests, 0..=100_u64, 60..200_u32)
        .prop_map(|(requests, share, bucket)| cell(requests, requests * share / 100, bucket))
}

/// Three services, both views, both sides.
fn mesh() -> impl Strategy<Value = Vec<(Key, Cell)>> {
    let sides = prop::collection::vec((traffic(0..400), traffic(0..4000)), 6);
    sides.prop_map(|sides| {
        let mut counted = Vec::new();
        for (at, (lane, baseline)) in sides.into_iter().enumerate() {
            let view = if at % 2 == 0 { View::Callers } else { View::Servers };
            let service = ["a", "b", "c"][at / 2];
            counted.push((key(view, service, "gray"), lane));
            counted.push((key(view, service, ""), baseline));
        }
        counted
    })
}

proptest! {
    #[test]
    fn nothing_is_said_of_too_few_requests(lane in traffic(0..99), baseline in traffic(0..5000), few in traffic(0..99)) {
        prop_assert_eq!(judge(LIMITS, &pair(lane, baseline.clone())), Verdict::Unknown);
        prop_assert_eq!(judge(LIMITS, &pair(baseline, few)), Verdict::Unknown);
    }

    /// However differently the two sides call: what does the same everywhere does the same as a whole.
    #[test]
    fn the_mix_of_services_makes_no_lane_worse(
        services in prop::collection::vec((0..10_u64, 60..200_u32, 1..40_u64, 1..400_u64), 1..6)
    ) {
        let counted: Vec<(Key, Cell)> = services.iter().enumerate().flat_map(|(at, (errors, bucket, lane, baseline))| {
            let service = format!("s{at}");
            // Errors of ten requests, so that both sides can have the same share.
            let side = |tag: &str, tens: u64| (key(View::Callers, &service, tag), cell(tens * 10, tens * errors, *bucket));
            [side("gray", *lane), side("", *baseline)]
        }).collect();
        prop_assert!(!is_worse(&judge(LIMITS, &counted)));
    }

    /// Two replicas, or three, know together what one would know alone.
    #[test]
    fn it_does_not_matter_which_replica_was_told(counted in mesh(), cut in 0..100_u64) {
        let mut parts = Vec::new();
        for (key, whole) in &counted {
            let (requests, errors) = (whole.requests * cut / 100, whole.errors * cut / 100);
            let bucket = whole.latency.keys().next().copied().unwrap_or(0);
            parts.push((key.clone(), cell(requests, errors, bucket)));
            parts.push((key.clone(), cell(whole.requests - requests, whole.errors - errors, bucket)));
        }
        parts.reverse();
        let (whole, parts) = (judge(LIMITS, &counted), judge(LIMITS, &parts));
        prop_assert_eq!(is_worse(&whole), is_worse(&parts));
        prop_assert_eq!(whole == Verdict::Unknown, parts == Verdict::Unknown);
    }

    /// Seconds that are missing, of both sides alike, change nothing but how much is known.
    #[test]
    fn gaps_make_no_lane_worse(counted in mesh(), kept in 1..8_u64) {
        let times = |count: u64| -> Vec<(Key, Cell)> {
            let scaled = counted.iter().map(|(key, one)| {
                let bucket = one.latency.keys().next().copied().unwrap_or(0);
                (key.clone(), cell(one.requests * count, one.errors * count, bucket))
            });
            scaled.collect()
        };
        let (part, whole) = (times(kept), times(8));
        // Services that can be compared in the part and in the whole alike.
        let is_enough = part.iter().all(|(_, cell)| cell.requests == 0 || cell.requests >= LIMITS.requests_min);
        let found = judge(LIMITS, &part);
        if is_enough && found != Verdict::Unknown {
            prop_assert_eq!(is_worse(&found), is_worse(&judge(LIMITS, &whole)));
        }
    }

    #[test]
    fn more_errors_never_make_a_lane_better(lane in traffic(100..400), baseline in traffic(100..4000), more in 0..100_u64) {
        let worse = Cell { errors: (lane.errors + more).min(lane.requests), ..lane.clone() };
        let before = judge(LIMITS, &pair(lane, baseline.clone()));
        prop_assert!(!is_worse(&before) || is_worse(&judge(LIMITS, &pair(worse, baseline))));
    }

    #[test]
    fn counts_beyond_all_measure_break_nothing(requests in prop::array::uniform2(0..=u64::MAX), errors in prop::array::uniform2(0..=u64::MAX)) {
        let lane = Cell { requests: requests[0], errors: errors[0], latency: [(511, u64::MAX)].into(), ..Cell::default() };
        let baseline = Cell { requests: requests[1], errors: errors[1], latency: [(0, u64::MAX)].into(), ..Cell::default() };
        if let Verdict::Worse(sides, worse) = judge(LIMITS, &pair(lane, baseline)) {
            prop_assert!(sides.lane.error_rate <= 1.0 && sides.baseline.error_rate <= 1.0 + 1e-9);
            prop_assert!(worse.to_string().len() <= 256);
        }
    }
}
